"""The gRPC client's stubs are those of the installed TorchServe."""

import importlib.resources
import subprocess
import sys
import sysconfig
import tomllib
import zipfile

import pytest

from archive_scripts.build import ROOT

STUBS = ("clients/torchserve_inference_pb2.py", "clients/torchserve_inference_pb2_grpc.py")


def test_the_protocol_is_that_of_the_installed_torchserve():
    jar = importlib.resources.files("ts") / "frontend" / "model-server.jar"
    with zipfile.ZipFile(str(jar)) as archive:
        assert (ROOT / "clients" / "torchserve_inference.proto").read_bytes() == archive.read("proto/inference.proto")


def test_the_stubs_are_compiled_from_it(tmp_path):
    """Where this fails after a change of versions, the same command with --python_out=. writes them anew."""
    included = [ROOT, sysconfig.get_path("purelib"), importlib.resources.files("grpc_tools") / "_proto"]
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", *(f"-I{folder}" for folder in included),
         f"--python_out={tmp_path}", f"--grpc_python_out={tmp_path}", "clients/torchserve_inference.proto"],
        cwd=ROOT, check=True,
    )  # fmt: skip
    for stub in STUBS:
        assert (tmp_path / stub).read_text() == (ROOT / stub).read_text()


@pytest.mark.parametrize("package", ["grpcio", "protobuf", "googleapis-common-protos"])
def test_what_the_client_imports_comes_with_the_server(package):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert package in extras["serve"]
