"""Whether a version answers as it did where its archive was built (archive_scripts/self_test.py)."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clients.rest import ask
from server.instance import TorchServe

SELF_TEST = Path("model") / "self_test.json"
REQUEST_ID = "self-test"  # what the requests here call themselves: they are not counted (handlers/metrics.py)
# What another precision of the answering worker is measured by: fp16 rounds finer than bf16.
_MEASURED_AS = {"fp16": "bf16"}


@dataclass(frozen=True)
class SelfTest:
    """Pictures by name, and what is expected of each.

    logits: by picture, task and class. temperatures: by task. tolerances: by precision and task, in log odds.
    """

    pictures: Mapping[str, bytes]
    logits: Mapping[str, Mapping[str, Mapping[str, float]]]
    temperatures: Mapping[str, float]
    tolerances: Mapping[str, Mapping[str, float]]

    def faults(self, picture: str, version: str, answer: Mapping[str, Any]) -> list[str]:
        """Compare a version's answer about a picture; return a line for each task that is answered otherwise."""
        lines = []
        for task, part in answered_tasks(answer).items():
            model = part["model"]
            if model["version"] != version:
                lines.append(f"{task} is answered by version {model['version']}")
            expected = self.logits[picture][task]
            moved = [(part["logits"][name] - value) / self.temperatures[task] for name, value in expected.items()]
            precision = model["engine"].rpartition(" ")[2]
            allowed = self.tolerances.get(_MEASURED_AS.get(precision, precision), self.tolerances["fp32"])[task]
            if not (by := max(moved) - min(moved)) <= allowed:  # NaN is no answer either
                lines.append(
                    f"{task} of {Path(picture).name} is off by {by:.3f} in log odds, {allowed:.3f} are allowed"
                )
        return lines


def read_self_test(folder: Path) -> SelfTest | None:
    """Read the self-test of an unpacked archive; None for an archive that has none, which is none of ours."""
    path = folder / SELF_TEST
    if not path.exists():
        return None
    read = json.loads(path.read_bytes())
    pictures = {name: (path.parent / name).read_bytes() for name in read["logits"]}
    return SelfTest(pictures, read["logits"], read["temperatures"], read["tolerances"])


@dataclass(frozen=True)
class Reply:
    """One answer of a version, and the seconds that it took."""

    status: int
    answer: dict[str, Any]
    seconds: float


def ask_version(server: TorchServe, name: str, version: str, picture: bytes, timeout: float = 30) -> Reply:
    """Ask a version of a model about a picture, for verdicts alone. Raises requests.RequestException for no answer."""
    options = {"detail": "verdicts"} if name == "explanation" else None
    begin = time.monotonic()
    status, answer = ask(
        server.addresses.inference,
        f"{name}/{version}",
        picture,
        server.token("inference"),
        timeout,
        options,
        REQUEST_ID,
    )
    return Reply(status, answer, time.monotonic() - begin)


def answered_tasks(answer: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the part of an answer that each task gave."""
    if "inferred" in answer:
        return {task: part for task, part in answer["inferred"].items() if "logits" in part}
    return {answer["model"]["name"]: answer}


def verdicts(answer: Mapping[str, Any]) -> dict[str, str]:
    """Return what each task says: the family, or the verdict with the label, which `uncertain` hides."""
    return {
        task: f"{part['verdict']} ({part['label']})" if "verdict" in part else part["family"]
        for task, part in answered_tasks(answer).items()
    }
