"""The screens' own environment: pinned, like the product's but for one package, and without a model."""

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


def test_versions_are_those_of_the_product_but_for_pillow():
    """Gradio 6.31 asks for a Pillow below 13. Where that ends, so does the second environment."""
    screens, product = pins("ui/requirements.txt"), pins("constraints.txt")
    assert {name for name in screens.keys() & product.keys() if screens[name] != product[name]} == {"pillow"}


def test_a_screen_needs_no_model():
    program = (
        "import sys, ui.fragments, ui.exports, ui.settings;"
        "print(*{'torch', 'torchvision', 'timm', 'openvino', 'c2pa'} & set(sys.modules),"
        "*[name for name in sys.modules if name.startswith(('imagetrust.models', 'imagetrust.runtime'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
