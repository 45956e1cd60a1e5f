"""Results as the screens get them, of answers that are small."""

import copy
import json

import msgspec

from imagetrust.client.answers import Explanation
from tests.client.answers import EXPLANATION
from ui.checking import Checked
from ui.pictures import Copies
from ui.words import fault

COPIES = Copies("data:image/jpeg;base64,AAAA", "data:image/jpeg;base64,BBBB")


def explanation(**members: object) -> Explanation:
    """An answer with members replaced, each named by its path: declared__findings=[]."""
    answer = copy.deepcopy(EXPLANATION)
    for path, value in members.items():
        *outer, last = path.split("__")
        inner = answer
        for name in outer:
            inner = inner[name]
        inner[last] = value
    return msgspec.json.decode(json.dumps(answer), type=Explanation)


def answered(name: str = "photo.jpg", **members: object) -> Checked:
    return Checked(name, explanation(**members), COPIES)


def failed(name: str = "broken.jpg", code: str = "broken_picture") -> Checked:
    return Checked(name, fault=fault(code, "The server's words."), code=code, request_id="abc123")
