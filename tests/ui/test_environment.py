"""The screens' own environment: pinned, in the product's versions, and without a model."""

import re
import subprocess
import sys

from tests.ui.conftest import ROOT

PINNED = re.compile(r"([A-Za-z0-9._-]+)==(\S+)\s*(?:#.*)?")


def pins(path: str) -> dict[str, str]:
    lines = [line for line in (ROOT / path).read_text().splitlines() if line and not line.startswith("#")]
    found = [PINNED.fullmatch(line) for line in lines]
    assert all(found), [line for line, match in zip(lines, found, strict=True) if not match]
    return {re.sub(r"[-_.]+", "-", match[1]).lower(): match[2] for match in found}


def test_versions_are_those_of_the_product():
    screens, product = pins("ui/requirements.txt"), pins("constraints.txt")
    assert {name for name in screens.keys() & product.keys() if screens[name] != product[name]} == set()


def test_nothing_is_missing_though_no_resolver_looked():
    """Gradio 6.31 asks for a Pillow below 13, and works with 13."""
    check = [ROOT / ".venv" / "ui" / "bin" / "python", "-m", "pip", "check"]
    complaints = subprocess.run(check, capture_output=True, text=True).stdout.splitlines()
    assert [line.partition(" has requirement ")[0] for line in complaints] == ["gradio 6.31.0"]
    assert "pillow<13.0" in complaints[0]


def test_a_screen_needs_no_model():
    program = (
        "import sys, ui.fragments, ui.exports, ui.settings;"
        "print(*{'torch', 'torchvision', 'timm', 'openvino', 'c2pa'} & set(sys.modules),"
        "*[name for name in sys.modules if name.startswith(('imagetrust.models', 'imagetrust.runtime'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
