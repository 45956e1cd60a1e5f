import numpy as np
import pytest
from PIL import Image

from evaluation.shortcuts import PAIRS, file_only_balanced_accuracy, pair_metrics
from tests.procedural import encoded
from training.data import Record, read_artifact


@pytest.mark.parametrize(("leak", "least", "most"), [(False, 0.3, 0.7), (True, 0.99, 1.0)])
def test_shortcuts_are_found_where_there_are_some(tmp_path, leak, least, most):
    """The same images twice: once saved alike, once with generated ones saved at another quality."""
    rng = np.random.default_rng(0)
    records = []
    for number in range(200):
        family = ("real", "gan")[rng.integers(0, 2)]
        image = Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(encoded(image, "JPEG", quality=60 if leak and family == "gan" else 90))
        records.append(Record(path, "source", family, family, "mixed", str(number)))
    accuracy = file_only_balanced_accuracy(records[:140], records[140:], seed=0, with_length=False)
    assert least <= accuracy <= most


def of(source: str, family: str) -> Record:
    return Record(None, source, family, source, "mixed", source)


def test_pairs_by_hand():
    records = [of("diff_sd3_grocery", "diffusion")] * 2 + [of("real_grocery_store", "real")] * 4
    found = pair_metrics(records, np.array([0.9, 0.3, 0.1, 0.2, 0.3, 0.8]))
    assert list(found) == ["groceries"]
    row = found["groceries"]
    assert (row["generated"]["count"], row["real"]["count"]) == (2, 4)
    assert row["balanced_accuracy"] == pytest.approx((1 / 2 + 3 / 4) / 2)
    assert row["roc_auc"] == pytest.approx((4 + 2 + 0.5) / 8)


def test_artifact_mini_has_both_sides_of_every_pair(artifact_mini):
    records = read_artifact(artifact_mini)
    assert set(pair_metrics(records, np.full(len(records), 0.5))) == set(PAIRS)
