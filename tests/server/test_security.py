"""Guards are on as shipped: tokens, loopback, no foreign archives. No test switches one off."""

import psutil
import pytest
import requests

from archive_scripts.build import ENDPOINTS, ROOT
from server.settings import CONFIG, instance_settings, read_properties
from server.sizing import size, this_machine
from tests.procedural import encoded
from tests.releases import archive_of


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Bearer "}])
def test_no_answer_without_a_token(server, photo, headers):
    url = f"{server.addresses.inference}/predictions/authenticity"
    answer = requests.post(url, data=encoded(photo, "PNG"), headers={"Content-Type": "image/png"} | headers, timeout=20)
    assert answer.status_code == 400 and answer.json()["type"] == "InvalidKeyException"


def test_an_inference_token_does_not_manage(server):
    answer = requests.get(f"{server.addresses.management}/models", headers=server.headers("inference"), timeout=20)
    assert answer.status_code == 400


@pytest.mark.parametrize("kind", ["nobody", "caller"])
def test_models_are_registered_and_deleted_by_the_operator_alone(server, kind):
    management, headers = server.addresses.management, server.headers("inference") if kind == "caller" else {}
    url = {"url": archive_of("authenticity")}
    assert requests.post(f"{management}/models", params=url, headers=headers, timeout=20).status_code == 400
    assert requests.delete(f"{management}/models/authenticity", headers=headers, timeout=20).status_code == 400


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/evil.mar", "file:///tmp/evil.mar", "../evil.mar", "/tmp/evil.mar"])
def test_no_archive_comes_from_elsewhere_than_the_store(server, url):
    answer = requests.post(
        f"{server.addresses.management}/models", params={"url": url}, headers=server.headers("management"), timeout=20
    )
    assert answer.status_code == 404, answer.text


def test_every_port_listens_on_loopback_alone(server):
    family = [server.process, *server.process.children(recursive=True)]
    listening = {
        connection.laddr
        for process in family
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {address.port for address in listening} == set(server.addresses.ports())
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_the_token_file_is_private(server):
    assert (server.folder / "key_file.json").stat().st_mode & 0o077 == 0


def test_workers_do_not_see_the_checkout(server):
    """An archive stands alone: no worker may find this project by its working directory or its path."""
    workers = [p for p in server.process.children(recursive=True) if "model_service_worker" in " ".join(p.cmdline())]
    assert len(workers) == sum(size(endpoint, this_machine())["minWorkers"] for endpoint in ENDPOINTS)
    for worker in workers:
        paths = [worker.cwd(), *worker.environ().get("PYTHONPATH", "").split(":")]
        assert str(ROOT) not in paths


def test_shipped_settings():
    shipped = read_properties(CONFIG)
    assert shipped["disable_token_authorization"] == "false"
    assert shipped["enable_envvars_config"] == "false"
    assert shipped["install_py_dep_per_model"] == "false"
    for key, value in shipped.items():
        if key.endswith("_address"):
            assert "127.0.0.1" in value


def test_archives_may_come_from_the_store_alone(tmp_path):
    allowed = instance_settings(CONFIG, {"model_store": str(tmp_path / "a store (1)")})["allowed_urls"]
    import re

    def admits(url):
        return re.fullmatch(allowed, url) is not None

    assert admits(f"file://{tmp_path}/a store (1)/authenticity.mar")
    for url in (
        f"file://{tmp_path}/authenticity.mar",
        f"file://{tmp_path}/a store (1)/../evil.mar",
        f"file://{tmp_path}/a store (1)/folder/evil.mar",
        "http://example.org/evil.mar",
    ):
        assert not admits(url), url
