"""deploy/compose.yaml by the Compose specification's own schema, and by what it promises."""

import copy
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from server.gate_config import read_settings

DEPLOY = Path(__file__).resolve().parent.parent.parent / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
DESCRIBED = yaml.safe_load(COMPOSE.read_text())
SERVICES = DESCRIBED["services"]


def check(path: Path) -> subprocess.CompletedProcess:
    """Check a file against the schema that the package check-jsonschema carries, without a network."""
    return subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)],
        capture_output=True, text=True,
    )  # fmt: skip


def test_it_is_what_the_specification_says():
    done = check(COMPOSE)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("service", "change"), [("server", {"cap_drop": "ALL"}), ("ui", {"port": ["7860"]})])
def test_the_schema_finds_what_is_wrong(service, change, tmp_path):
    broken = copy.deepcopy(DESCRIBED)
    broken["services"][service] |= change
    (tmp_path / "compose.yaml").write_text(yaml.safe_dump(broken))
    assert check(tmp_path / "compose.yaml").returncode == 1


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_confined_and_pinned(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"] and "cap_add" not in service and "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"cpus", "memory", "pids"} <= service["deploy"]["resources"]["limits"].keys()
    assert re.search(r":(v?\d+\.\d+\.\d+|\$\{IMAGETRUST_VERSION:-\d+\.\d+\.\d+\})$", service["image"]), service["image"]


def test_callers_reach_the_gate_and_this_machine_the_screens():
    published = {
        re.sub(r"\$\{\w+:-(\w+)\}", r"\1", port) for service in SERVICES.values() for port in service.get("ports", ())
    }
    assert published == {"8443:8443", "7443:7443", "127.0.0.1:7860:7860", "127.0.0.1:3000:3000"}
    assert DESCRIBED["networks"]["metrics"] == {"internal": True}
    assert SERVICES["prometheus"]["networks"] == ["metrics"]
    assert not any("network_mode" in service for service in SERVICES.values())
    opened = [argument for argument in SERVICES["server"]["command"] if "0.0.0.0" in argument]
    assert [argument.partition("=")[2].partition("=")[0] for argument in opened] == [
        "metrics_address",
        "supervisor_metrics_address",
    ]


def test_secrets_and_ports_are_those_of_the_gate_in_the_image():
    gate = read_settings(DEPLOY / "container" / "gate.toml")
    given = {secret["target"] for secret in SERVICES["server"]["secrets"]}
    assert given == {gate.callers, gate.certificate, gate.certificate_key}
    for service in SERVICES.values():
        assert {secret["source"] for secret in service.get("secrets", ())} <= DESCRIBED["secrets"].keys()
    exposed = re.search(r"^EXPOSE (8\d+) (\d+)$", (DEPLOY / "container" / "Dockerfile").read_text(), re.MULTILINE)
    assert (gate.rest, gate.grpc) == (f"0.0.0.0:{exposed[1]}", f"0.0.0.0:{exposed[2]}")


def test_what_is_written_lies_in_volumes():
    volumes = {volume for service in SERVICES.values() for volume in service.get("volumes", ())}
    named = {volume.partition(":")[0] for volume in volumes if volume[0] != "."}
    assert named == DESCRIBED["volumes"].keys()
    assert all(volume.endswith(":ro") for volume in volumes if volume[0] == ".")
    assert "state:/var/lib/imagetrust" in SERVICES["server"]["volumes"]
    assert all(service["tmpfs"] for name, service in SERVICES.items() if name != "prometheus")


def test_prometheus_asks_the_server_what_it_opens():
    """At the addresses that the command line opens, under the names and by the rules that it has on one machine."""
    here = yaml.safe_load((DEPLOY / "compose" / "prometheus.yml").read_text())
    alone = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    targets = {
        job["job_name"]: job["static_configs"][0]["targets"][0].rpartition(":")[::2] for job in here["scrape_configs"]
    }
    ports = {
        job["job_name"]: job["static_configs"][0]["targets"][0].rpartition(":")[2] for job in alone["scrape_configs"]
    }
    assert targets == {name: ("server", port) for name, port in ports.items()}
    assert {argument.rpartition(":")[2] for argument in SERVICES["server"]["command"]} == set(ports.values())
    assert here["rule_files"] == [f"rules/{file}" for file in alone["rule_files"]]
    assert here["global"] == alone["global"]


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_is_there(name):
    for volume in SERVICES[name].get("volumes", ()):
        if volume[0] == ".":
            assert (DEPLOY / volume.partition(":")[0]).exists(), volume


def test_grafana_finds_its_data_and_its_dashboard():
    (source,) = yaml.safe_load((DEPLOY / "compose" / "datasources.yml").read_text())["datasources"]
    assert source["url"].removeprefix("http://").partition(":")[0] in SERVICES
    (provider,) = yaml.safe_load((DEPLOY / "compose" / "dashboards.yml").read_text())["providers"]
    assert any(volume.endswith(f":{provider['options']['path']}:ro") for volume in SERVICES["grafana"]["volumes"])
