"""Files that people send to the screens."""

from pathlib import Path

import numpy as np
from PIL import PngImagePlugin

from server.samples import photograph
from tests.procedural import encoded, picture
from tests.provenance.files import TRAINED, signed

HOSTILE = "<img src=x onerror=\"document.title='hacked'\">"


def write_files(folder: Path) -> dict[str, Path]:
    """Write a photograph, a signed generated picture, a broken one, one with HTML in its texts, and twenty."""
    rng = np.random.default_rng(11)
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Software", HOSTILE)
    texts.add_text("parameters", f"{HOSTILE}\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 64x64")
    small = picture("real", rng)
    contents = {
        "photo.png": photograph().read_bytes(),
        "signed.jpg": signed(TRAINED),
        "broken.jpg": encoded(small, "JPEG")[:900],
        "note.txt": b"hello",
        f"a{HOSTILE.replace('/', '')}.png": encoded(small, "PNG", pnginfo=texts),
    }
    families = ("real", "gan", "diffusion", "other")
    many = {f"{number:02}.jpg": encoded(picture(families[number % 4], rng), "JPEG") for number in range(18)}
    many |= {"18 broken.jpg": contents["broken.jpg"], "19 note.txt": contents["note.txt"]}
    paths = {}
    for name, data in (contents | many).items():
        (folder / name).write_bytes(data)
        paths[name] = folder / name
    return paths | {"hostile": paths[next(name for name in contents if "onerror" in name)]}


def twenty(files: dict[str, Path]) -> list[Path]:
    return [path for name, path in files.items() if name[:2].isdigit()]


# Hands a page bytes as a picture from the clipboard, or dropped, as a browser does.
PASTE = """(bytes) => {
  const given = new DataTransfer();
  given.items.add(new File([new Uint8Array(bytes)], "pasted.png", { type: "image/png" }));
  document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: given, bubbles: true, cancelable: true }));
}"""
DROP = """([bytes, selector]) => {
  const given = new DataTransfer();
  given.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
  const dropped = new DragEvent("drop", { dataTransfer: given, bubbles: true, cancelable: true });
  document.querySelector(selector).dispatchEvent(dropped);
}"""
