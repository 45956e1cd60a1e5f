"""The same bytes give the same logits in the training code and through the server."""

import numpy as np
import pytest
import torch

from archive_scripts.build import RELEASED
from clients.rest import ask
from handlers.card import read_card
from server.samples import photograph
from tests.procedural import encoded, picture
from training.data import CLASSES, Pictures, Record
from training.initial_weights import build_network
from training.transforms import EvaluationTransform


@pytest.mark.parametrize("task", CLASSES)
def test_training_and_serving_agree(server, photo, tmp_path, task):
    rng = np.random.default_rng(5)
    files = {f"{family}.png": encoded(picture(family, rng), "PNG") for family in ("real", "gan", "diffusion", "other")}
    files |= {
        "photo.jpg": encoded(photo, "JPEG", quality=70),
        "wide.webp": encoded(photo.resize((900, 300)), "WEBP"),
        "cmyk.jpg": encoded(photo.convert("CMYK"), "JPEG"),
        "cat.png": photograph().read_bytes(),
    }
    items = []
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        items.append((Record(tmp_path / name, "s", "real", "real", "mixed", name), 0))

    card = read_card(RELEASED / f"{task}.json")
    network = build_network(card.architecture, str(RELEASED / f"{task}.safetensors"), len(CLASSES[task])).eval()
    pictures = Pictures(items, EvaluationTransform(card.preprocessing))
    with torch.inference_mode():
        trained = network(torch.stack([tensor for tensor, _ in pictures])).numpy()

    for data, expected in zip(files.values(), trained, strict=True):
        status, answer = ask(server.addresses.inference, task, data, server.token("inference"))
        assert status == 200
        served = [answer["logits"][name] for name in card.classes]
        assert np.abs(np.array(served) - expected).max() < 1e-4
