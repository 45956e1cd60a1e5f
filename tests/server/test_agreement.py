"""The same bytes give the same logits in the training code and through the server."""

import numpy as np
import pytest
import torch

from clients.rest import ask
from imagetrust.models.config import TASKS
from imagetrust.models.model import Model
from imagetrust.runtime.engine import choose_engine
from server.samples import photograph
from tests.procedural import encoded, picture
from tests.releases import RELEASE
from training.augment import ServedViews, normalise
from training.data import Images, Record
from training.train import Classifier


def test_training_and_serving_agree(server, serving_folder, photo, tmp_path):
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

    model = Model(RELEASE)
    preprocessing = model.config.preprocessing
    classifier = Classifier(model.network, model.backbone.channels).eval()
    for task, head in model.heads.items():
        classifier.heads[task].load_state_dict(head.state_dict())
    views = [views for views, _ in Images(items, ServedViews(preprocessing), preprocessing.min_side())]
    with torch.inference_mode():
        trained = classifier(torch.stack([normalise(view[0].numpy(), preprocessing) for view in views]))

    served_model = Model(serving_folder)
    fast, exact = (choose_engine(served_model, precision=precision) for precision in ("auto", "fp32"))
    for task, classes in TASKS.items():
        for data, view, expected in zip(files.values(), views, trained[task], strict=True):
            status, answer = ask(server.addresses.inference, task, data, server.token("inference"))
            assert status == 200
            served = torch.tensor([answer["logits"][name] for name in classes])
            assert (served - fast.score([view.numpy()], [task])[0].logits[task]).abs().max() < 1e-4
            assert (exact.score([view.numpy()], [task])[0].logits[task] - expected).abs().max() < 1e-4
            assert served.argmax() == expected.argmax()


@pytest.mark.parametrize("question", ["explanation"])
def test_both_questions_in_one_request_agree_with_two(server, photo, question):
    data, address, token = encoded(photo, "JPEG"), server.addresses.inference, server.token("inference")
    _, together = ask(address, question, data, token, options={"detail": "verdicts"})
    for task in TASKS:
        _, alone = ask(address, task, data, token)
        assert together["inferred"][task]["logits"] == pytest.approx(alone["logits"], abs=1e-4)
