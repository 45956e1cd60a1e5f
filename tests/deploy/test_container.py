"""The server's image, built and run by podman. It takes minutes, so that `make container-test` alone asks for it."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

from server.gate import add_token, self_signed
from server.instance import free_addresses
from tests.releases import RELEASE

ROOT = Path(__file__).resolve().parent.parent.parent
IMAGE = "localhost/imagetrust-serve:test"
DEBIAN, OWN_BASE = "docker.io/library/debian:bookworm-slim", "localhost/debian:bookworm-slim"
WHEELS = ROOT / ".container" / "wheels"
STATE, SECRETS = "/var/lib/imagetrust", "/etc/imagetrust/secrets"
# Some machines let nobody raise a limit, which podman does by default.
LIMITS = ("--ulimit", "nofile=16384:16384", "--ulimit", "nproc=4096:4096")
CONFINED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "all", "--security-opt", "no-new-privileges", *LIMITS)
GRACE = 90  # seconds that a stopped container has

pytestmark = pytest.mark.skipif(
    "IMAGETRUST_CONTAINER" not in os.environ,
    reason="the image is not built here: `make container-test` builds it, which takes minutes",
)


def podman(*arguments: str, **options) -> str:
    done = subprocess.run(["podman", *arguments], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"podman {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


def does(*command: str, **options) -> bool:
    return subprocess.run(command, capture_output=True, **options).returncode == 0


@pytest.fixture(scope="module")
def base() -> str:
    """The image to build on: Debian's, or one that debootstrap makes where no registry is reached."""
    if not shutil.which("podman"):
        pytest.skip("podman is not installed: apt-get install podman buildah runc")
    if does("podman", "image", "exists", DEBIAN) or does("podman", "pull", "-q", DEBIAN, timeout=120):
        name = DEBIAN
    elif does("podman", "image", "exists", OWN_BASE) or does(ROOT / "deploy" / "container" / "base.sh", OWN_BASE):
        name = OWN_BASE
    else:
        pytest.skip(f"neither is a registry reached that has {DEBIAN}, nor does debootstrap make a base")
    tried = subprocess.run(
        ["podman", "run", "--rm", *CONFINED, "--network", "none", name, "true"], capture_output=True, text=True
    )
    if tried.returncode:
        pytest.skip(f"podman cannot run a container here: {tried.stderr.strip()}")
    return name


@pytest.fixture(scope="module")
def image(base, tmp_path_factory) -> Iterator[str]:
    """The image with a small release, built as `make container` does it. Its layers stay for the next build."""
    tried = tmp_path_factory.mktemp("tried")
    (tried / "Dockerfile").write_text(f"FROM {base}\nRUN true\n")
    build = ("podman", "build", "-q", "--no-cache", str(tried))
    isolations = ({}, {"BUILDAH_ISOLATION": "chroot"})
    environment = next((one for one in isolations if does(*build, env=os.environ | one)), None)
    if environment is None:
        pytest.skip("podman cannot build an image here")
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-qq", "--only-binary", ":all:", "-d", str(WHEELS),
         "-c", "constraints.txt", ".[serve]"], cwd=ROOT, check=True,
    )  # fmt: skip
    begin = time.monotonic()
    subprocess.run(
        ["make", "container", f"IMAGE={IMAGE}", f"VERSION={RELEASE.name}", f"BASE={base}", f"WHEELS={WHEELS}"],
        cwd=ROOT, check=True, env=os.environ | environment,
    )  # fmt: skip
    size = int(podman("image", "inspect", "--format", "{{.Size}}", IMAGE)) / 1e6
    print(f"\nthe image has {size:.0f} MB with release {RELEASE.name}; built in {time.monotonic() - begin:.0f} s:")
    print(podman("history", "--format", "{{.Size}}\t{{.CreatedBy}}", IMAGE))
    yield IMAGE
    podman("untag", IMAGE)


@dataclass
class Running:
    name: str
    address: str
    certificate: Path
    token: str

    def ask(self, endpoint: str, picture: bytes, token: str | None = None) -> requests.Response:
        headers = {"Authorization": f"Bearer {token or self.token}", "Content-Type": "application/octet-stream"}
        return requests.post(
            f"{self.address}/predictions/{endpoint}", picture, headers=headers, verify=self.certificate, timeout=60
        )

    def is_ready(self) -> bool:
        try:
            return requests.get(f"{self.address}/health/ready", verify=self.certificate, timeout=5).ok
        except requests.RequestException:
            return False

    def shell(self, script: str) -> str:
        return podman("exec", self.name, "sh", "-c", script)

    def java(self) -> int:
        return int(self.shell(f"cat {STATE}/tmp/.model_server.pid"))


def wait_until(true: Callable[[], object], seconds: float) -> float:
    """Return after how many seconds it is true."""
    begin = time.monotonic()
    while not true():
        assert time.monotonic() - begin < seconds, f"not within {seconds} s"
        time.sleep(0.1)
    return time.monotonic() - begin


@pytest.fixture(scope="module")
def secrets(image, tmp_path_factory) -> Iterator[tuple[list[str], Path, str]]:
    """The options that give a container its secrets, the certificate, and the token of a caller."""
    folder, prefix = tmp_path_factory.mktemp("secrets"), f"imagetrust-test-{os.getpid()}"
    certificate, key = self_signed(folder, "localhost")
    token = add_token(folder / "callers", "newsroom")
    options = []
    for name, path in (("callers", folder / "callers"), ("certificate", certificate), ("certificate_key", key)):
        podman("secret", "create", f"{prefix}-{name}", str(path))
        options += ["--secret", f"{prefix}-{name},target={SECRETS}/{name},uid=10001,gid=10001,mode=0400"]
    yield options, certificate, token
    podman("secret", "rm", *(f"{prefix}-{name}" for name in ("callers", "certificate", "certificate_key")))


@pytest.fixture(scope="module")
def container(image, secrets) -> Iterator[Running]:
    """A container of the image that answers on a free port of loopback."""
    options, certificate, token = secrets
    port = free_addresses()["inference_address"].rpartition(":")[2]
    name = f"imagetrust-test-{os.getpid()}"
    running = Running(name, f"https://localhost:{port}", certificate, token)
    try:
        podman(
            "run", "--detach", "--name", name, *CONFINED, *options, "--publish", f"127.0.0.1:{port}:8443", image,
            "--workers", "authenticity=1",
        )  # fmt: skip
        print(f"ready after {wait_until(running.is_ready, 120):.1f} s")
        yield running
    finally:
        print(subprocess.run(["podman", "logs", name], capture_output=True, text=True).stderr[-3000:])
        podman("rm", "--force", "--volumes", name)


@pytest.fixture(scope="module")
def large_picture() -> bytes:
    """A JPEG of 12 megapixels, which an explanation takes a while for."""
    pixels = np.random.default_rng(3).integers(0, 255, (750, 1000, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).resize((4000, 3000)).save(file, "JPEG", quality=85)
    return file.getvalue()


@pytest.fixture(scope="module")
def small_picture(large_picture) -> bytes:
    file = BytesIO()
    Image.open(BytesIO(large_picture)).resize((640, 480)).save(file, "JPEG")
    return file.getvalue()


def test_callers_with_a_token_are_answered_through_the_gate(container, small_picture):
    for endpoint in ("authenticity", "generator_type", "explanation"):
        answer = container.ask(endpoint, small_picture)
        assert answer.status_code == 200, answer.text
    assert answer.json()["inferred"]["authenticity"]["model"]["version"] == RELEASE.name
    refused = container.ask("authenticity", small_picture, token="x" * 40)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "unauthorized")


def test_nothing_but_the_gate_is_reached(container):
    """Neither from this machine nor from another container of the network."""
    (network,) = json.loads(podman("inspect", container.name))[0]["NetworkSettings"]["Networks"].values()
    ports = {"rest": 8080, "management": 8081, "metrics": 8082, "grpc": 7070, "grpc management": 7071, "gate": 8443}
    probe = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"
    reached = {
        name
        for name, port in ports.items()
        if does("podman", "run", "--rm", *CONFINED, "--entrypoint", "python", IMAGE, "-c", probe,
                network["IPAddress"], str(port))
    }  # fmt: skip
    assert reached == {"gate"}


def test_it_runs_as_nobody_in_a_file_system_that_it_cannot_write(container):
    assert container.shell("id -u; id -g").split() == ["10001", "10001"]
    status = container.shell("cat /proc/1/status")
    assert "CapEff:\t0000000000000000" in status and "NoNewPrivs:\t1" in status
    for path in ("/opt/imagetrust", "/opt/venv", "/etc/imagetrust", "/etc", "/usr", "/var/log", "/var/lib", "/"):
        assert container.shell(f"touch {path}/x 2>/dev/null && echo written || echo refused") == "refused", path


def test_the_image_holds_no_private_key_no_tools_and_no_tests(container):
    found = podman(
        "run", "--rm", "--user", "0", *CONFINED, "--entrypoint", "sh", IMAGE, "-c",
        "find / -xdev -name archives.pem; ls -d /opt/venv/lib/*/site-packages/pip* /root/.cache /wheels/* 2>/dev/null;"
        "grep -rlI -e '-----BEGIN [A-Z ]*PRIVATE KEY' /etc /home /opt/imagetrust /root /srv /tmp /var;"
        "find /opt/imagetrust -name tests -o -name training -o -name archive_scripts -o -name '.git*';"
        "command -v gcc cc make pip git curl; true",
    )  # fmt: skip
    assert found == ""
    assert container.shell("ls /etc/imagetrust/keys") == "archives.pub"
    assert container.shell("cd /opt/imagetrust/model_store && ls").split() == sorted(
        [*(f"{name}-{RELEASE.name}.mar" for name in ("authenticity", "explanation", "generator_type")), "current"]
    )


def test_its_versions_are_those_that_are_pinned(container):
    listed = container.shell(
        "python -c 'import importlib.metadata as m; print(*(d.name + \"==\" + d.version for d in m.distributions()))'"
    )
    pinned = {line.lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().splitlines()}
    installed = {one.partition("+")[0].lower().replace("_", "-") for one in listed.split()}
    assert {one for one in installed if not one.startswith("imagetrust")} <= pinned
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert not {"scikit-learn", "pytest", "locust"} & {one.partition("==")[0] for one in installed}, extras.keys()


def test_the_engine_can_ask_how_it_is(container):
    podman("healthcheck", "run", container.name)
    assert "live" in podman("image", "inspect", "--format", "{{json .Config.Healthcheck}}", IMAGE)
    podman("exec", container.name, "python", "-I", "health.py", "ready")


def test_archives_are_admitted_by_the_public_key_alone(container):
    """As `server models register` does it."""
    assert "authenticity" in container.shell(f"python -m server --folder {STATE} models list")
    archive = f"/opt/imagetrust/model_store/authenticity-{RELEASE.name}.mar"
    admit = f"from pathlib import Path; from server.archive import admit; admit(Path('{archive}'), Path('/tmp/store'))"
    container.shell(f'python -c "{admit}" && rm -r /tmp/store')
    assert "no public key" in container.shell(f'IMAGETRUST_KEYS=/tmp python -c "{admit}" 2>&1 || true')


def test_a_killed_java_comes_back(container, small_picture):
    before = container.java()
    container.shell(f"kill -9 {before}")
    wait_until(lambda: not container.is_ready(), 20)
    down = wait_until(container.is_ready, 90)
    assert container.ask("authenticity", small_picture).status_code == 200
    assert container.java() != before
    assert "Z" not in container.shell("cut -d ' ' -f 3 /proc/[0-9]*/stat"), "a zombie is left"
    print(f"ready {down:.1f} s after Java was killed")


def test_it_writes_into_its_state_and_nowhere_else(container):
    """After all that the tests above did. What an engine mounts, it notes as an addition."""
    changed = {line.split(maxsplit=1)[1] for line in podman("diff", container.name).splitlines()}
    assert all(path in ("/etc", "/etc/imagetrust") or path.startswith(SECRETS) for path in changed), changed
    assert container.shell("find /run /var/tmp /dev/shm -user 10001") == ""
    assert container.shell("find /tmp -mindepth 1") == ""
    readable = container.shell(f"find {STATE} -perm /004 -type f -name '*key*' -o -perm /004 -name 'callers*'")
    assert readable == "", "others may read what is secret"


def test_a_stopped_container_answers_what_is_under_way(container, large_picture):
    answers: list[tuple[float, int]] = []

    def ask() -> None:
        status = container.ask("explanation", large_picture).status_code
        answers.append((time.monotonic(), status))

    callers = [threading.Thread(target=ask) for _ in range(6)]
    for caller in callers:
        caller.start()
    wait_until(lambda: answers, 60)
    stopped = time.monotonic()
    podman("stop", "--time", str(GRACE), container.name)
    seconds = time.monotonic() - stopped
    for caller in callers:
        caller.join()
    assert [status for _, status in answers] == [200] * len(callers)
    assert sum(when > stopped for when, _ in answers) >= 2, "all had been answered before the stop"
    assert podman("inspect", "--format", "{{.State.ExitCode}}", container.name) == "0"
    assert seconds < GRACE - 10
    print(f"stopped in {seconds:.1f} s, with {sum(when > stopped for when, _ in answers)} requests under way")


@pytest.mark.parametrize("wait", [0, 0.3, 3])
def test_a_container_that_has_just_started_stops_at_once(image, secrets, wait):
    """Also where Python has not yet begun to listen to signals."""
    options, _, _ = secrets
    name = f"imagetrust-test-{os.getpid()}-early"
    try:
        podman("run", "--detach", "--name", name, *CONFINED, *options, image)
        time.sleep(wait)
        begin = time.monotonic()
        podman("stop", "--time", str(GRACE), name)
        assert time.monotonic() - begin < 30
        assert podman("inspect", "--format", "{{.State.ExitCode}}", name) in ("0", "143")
    finally:
        podman("rm", "--force", "--volumes", name)
