"""What a model must answer about a few pictures to count as ready, computed where the archive is built.

The pictures are scikit-image's photographs in the public domain and procedural ones, as in tests/golden.
"""

import shutil
from pathlib import Path

from imagetrust.errors import AnswerError
from imagetrust.files import replace_json
from imagetrust.models.config import TASKS
from imagetrust.predictor import Predictor
from imagetrust.request import Request
from imagetrust.runtime.precision_gate import Gate

PICTURES = Path(__file__).resolve().parent / "self_test"
SELF_TEST = "self_test.json"  # in the serving folder, the pictures beside it in `self_test/`
# In calibrated log odds. fp32 differs between processors by the order of its sums alone.
FP32_TOLERANCE = 0.02
# Of a fast precision, in margins (imagetrust.runtime.precision_gate): a margin is what changes 0.3 % of the answers,
# not what no answer exceeds. A network of which a part is lost moves answers by whole log odds.
MARGINS = 4


def write_self_test(folder: Path) -> None:
    """Add the pictures and what the model answers about them, in fp32 on this processor, to a serving folder.

    Raises AnswerError where the model cannot answer about one.
    """
    predictor = Predictor(folder, precision="fp32")
    config = predictor.model.config
    names = [path.name for path in sorted(PICTURES.glob("*.jpg"))]
    requests = [Request((PICTURES / name).read_bytes(), {"detail": "verdicts"}) for name in names]
    expected = {}
    for name, answer in zip(names, predictor.predict(requests, "explanation"), strict=True):
        if isinstance(answer, AnswerError):
            raise answer
        expected[f"self_test/{name}"] = {
            # Rounded, so that other processors build the same bytes; far finer than the tolerance.
            task: {label: round(value, 3) for label, value in one["logits"].items()}
            for task, one in answer["inferred"].items()
        }
    gate = Gate.read(folder, config.weights_sha256)
    tolerances = {"fp32": dict.fromkeys(TASKS, FP32_TOLERANCE)}
    for precision, margins in (gate.passed() if gate else {}).items():
        tolerances[precision] = {task: max(FP32_TOLERANCE, MARGINS * margin) for task, margin in margins.items()}
    shutil.copytree(PICTURES, folder / "self_test", ignore=lambda _, found: sorted(set(found) - set(names)))
    temperatures = {task: head.temperature for task, head in config.heads.items()}
    replace_json(folder / SELF_TEST, {"tolerances": tolerances, "temperatures": temperatures, "logits": expected})
