"""The house rules that a machine can check."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]])
def test_style_and_types(command):
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def imported(package: str) -> dict[str, set[str]]:
    """The top-level packages that each module of a package imports."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        names = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module.partition(".")[0])
        found[str(path.relative_to(ROOT / package))] = names
    return found


MAY_IMPORT = {
    "imagetrust": set(),
    "handlers": {"imagetrust"},
    "archive_scripts": {"imagetrust", "server"},
    "training": {"evaluation", "imagetrust"},
    "evaluation": {"training", "imagetrust"},
    "clients": set(),
    "ui": {"imagetrust"},
    "server": {"clients", "imagetrust"},
    "batch": {"imagetrust"},
    "measuring": {"server"},
    "loadtests": {"measuring", "clients", "server", "imagetrust"},
    "benchmarks": {
        "measuring",
        "archive_scripts",
        "evaluation",
        "training",
        "server",
        "clients",
        "handlers",
        "imagetrust",
    },
}
OURS = {*MAY_IMPORT, "tests"}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_data_flow_one_way(package):
    for module, names in imported(package).items():
        assert names & OURS <= MAY_IMPORT[package] | {package}, f"{package}/{module}"


def described() -> tuple[set[str], dict[str, set[str]]]:
    """The packages that pyproject.toml names: of the product, and by extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return set(project["dependencies"]), {name: set(rows) for name, rows in project["optional-dependencies"].items()}


PROVIDED_BY = {
    "yaml": "pyyaml", "PIL": "pillow", "pillow_heif": "pillow-heif", "cv2": "opencv-python-headless",
    "c2pa": "c2pa-python", "ts": "torchserve",
}  # fmt: skip


@pytest.mark.parametrize("package", ["imagetrust", "handlers", "archive_scripts", "server"])
def test_serving_needs_no_test_or_training_package(package):
    """What the predictor imports is in the product's dependencies; the server's part may need the extra `serve` too."""
    dependencies, extras = described()
    allowed = dependencies if package == "imagetrust" else dependencies | extras["serve"]
    for module, names in imported(package).items():
        for name in names - OURS - set(sys.stdlib_module_names):
            assert PROVIDED_BY.get(name, name) in allowed, f"{package}/{module} imports {name}"


def test_the_server_starts_without_torch():
    """A supervisor holds little memory, and a rollback does not wait for seconds of imports."""
    program = "import sys, server.__main__; print(*{'torch', 'openvino', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_every_package_is_pinned():
    dependencies, extras = described()
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in lines if not line.startswith("#")}
    assert all("==" in line for line in lines if not line.startswith("#"))
    named = {name.partition("[")[0].lower() for name in dependencies.union(*extras.values())}
    assert named <= pinned


def test_every_module_of_the_product_has_its_tests():
    """tests/ mirrors imagetrust/ and handlers/; what a module's own file does not test is named here."""
    covered_by = {
        "imagetrust/answers.py": "tests/test_predictor.py",
        "imagetrust/client/errors.py": "tests/client/test_clients.py",
        "imagetrust/errors.py": "tests/test_predictor.py",
        "imagetrust/request.py": "tests/test_predictor.py",
        "imagetrust/limits.py": "tests/images/test_decode.py",
        "imagetrust/images/decoding_memory.py": "tests/images/test_decode.py",
        "imagetrust/models/backbone.py": "tests/models/test_registry.py",
        "imagetrust/models/efficientnet_lite.py": "tests/models/test_registry.py",
        "imagetrust/models/resnet.py": "tests/models/test_registry.py",
        "imagetrust/models/vit.py": "tests/models/test_registry.py",
    }
    for path in sorted((ROOT / "imagetrust").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if path.name == "__init__.py" or "provenance" in name:
            continue
        mirror = path.relative_to(ROOT / "imagetrust").with_name(f"test_{path.name}")
        assert (ROOT / covered_by.get(name, f"tests/{mirror.as_posix()}")).exists(), name
