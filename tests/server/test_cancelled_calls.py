"""The class of TorchServe that is served without what closes a cancelled call."""

import hashlib
import logging
import zipfile
from importlib.resources import files

from server import cancelled_calls
from server.cancelled_calls import mend

NAME = "org/pytorch/serve/grpcimpl/InferenceImpl.class"


def test_three_calls_are_left_out_and_nothing_else(tmp_path):
    """Of `observer.onError(...)`, in the three methods that run when a caller leaves."""
    mend(tmp_path)
    with zipfile.ZipFile(files("ts") / "frontend" / "model-server.jar") as jar:
        original = jar.read(NAME)
    written = (tmp_path / NAME).read_bytes()
    assert len(written) == len(original)
    changed = [index for index, (one, other) in enumerate(zip(original, written, strict=True)) if one != other]
    calls = {original[index : index + 5] for index in changed if written[index] == 0x58}
    assert len(calls) == 1 and calls.pop()[0] == 0xB9  # one method of an interface, by invokeinterface
    assert sum(written[index] == 0x58 for index in changed) == 3
    assert {written[index] for index in changed} == {0, 0x58}


def test_another_torchserve_is_left_as_it_is(tmp_path, monkeypatch, caplog):
    mend(tmp_path)
    assert (tmp_path / NAME).exists()
    monkeypatch.setattr(cancelled_calls, "_KNOWN", hashlib.sha256(b"of another version").hexdigest())
    with caplog.at_level(logging.WARNING):
        mend(tmp_path)
    assert not (tmp_path / NAME).exists() and "may end a worker" in caplog.text
