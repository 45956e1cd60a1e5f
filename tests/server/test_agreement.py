"""The same bytes give the same logits in the training code and through the server."""

import zipfile

import numpy as np
import pytest
import torch

from archive_scripts.build import RELEASED
from clients.rest import ask
from handlers.card import read_card
from handlers.classifier import Classifier
from handlers.decode import decode
from handlers.engine import choose_engine
from handlers.preprocessing import needed_side, picture_to_pixels
from server.samples import photograph
from tests.procedural import encoded, picture
from training.data import CLASSES, Pictures, Record
from training.initial_weights import build_network
from training.transforms import EvaluationTransform


@pytest.mark.parametrize("task", CLASSES)
def test_training_and_serving_agree(server, archives, photo, tmp_path, task):
    """In fp32 to the last digits; in the precision that this machine serves in, with the same label."""
    rng = np.random.default_rng(5)
    files = {f"{family}.png": encoded(picture(family, rng), "PNG") for family in ("real", "gan", "diffusion", "other")}
    files |= {
        "photo.jpg": encoded(photo, "JPEG", quality=70),
        "wide.webp": encoded(photo.resize((900, 300)), "WEBP"),
        "large.jpg": encoded(photo.resize((1600, 1200)), "JPEG", quality=85),  # decoded at a part of its size
        "cmyk.jpg": encoded(photo.convert("CMYK"), "JPEG"),
        "cat.png": photograph().read_bytes(),
    }
    items = []
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        items.append((Record(tmp_path / name, "s", "real", "real", "mixed", name), 0))

    card = read_card(RELEASED / f"{task}.json")
    network = build_network(card.architecture, str(RELEASED / f"{task}.safetensors"), len(CLASSES[task])).eval()
    pictures = Pictures(items, EvaluationTransform(card.preprocessing), needed_side(card.preprocessing))
    with torch.inference_mode():
        trained = network(torch.stack([tensor for tensor, _ in pictures]))

    # The engine that a worker chooses on this machine, here with what training makes of the pictures.
    with zipfile.ZipFile(archives / f"{task}.mar") as archive:
        archive.extractall(tmp_path / "archive")
    classifier = Classifier(tmp_path / "archive", task, torch.device("cpu"))
    engine = choose_engine(tmp_path / "archive", classifier, threads=1)
    exact = choose_engine(tmp_path / "archive", classifier, threads=1, precision="fp32")
    pixels = [
        picture_to_pixels(decode(data, needed_side(card.preprocessing)).image, card.preprocessing)
        for data in files.values()
    ]
    for data, seen, expected in zip(files.values(), pixels, trained, strict=True):
        status, answer = ask(server.addresses.inference, task, data, server.token("inference"))
        assert status == 200
        served = torch.tensor([answer["logits"][name] for name in card.classes])
        (fast,) = engine.score(seen[None], [classifier])[1][task]
        (in_fp32,) = exact.score(seen[None], [classifier])[1][task]
        assert (served - fast).abs().max() < 1e-4
        assert (in_fp32 - expected).abs().max() < 1e-4
        assert served.argmax() == expected.argmax()
