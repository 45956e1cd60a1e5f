"""Keeps a gRPC caller that leaves from ending a worker, which is a fault of TorchServe 0.12."""

import hashlib
import logging
import re
import zipfile
from importlib.resources import files
from pathlib import Path

from imagetrust.files import replace_bytes

logger = logging.getLogger(__name__)

_CLASS = "org/pytorch/serve/grpcimpl/InferenceImpl.class"
_KNOWN = "8b85e06f700eeb9dc6e595307bcaf38c67209883a08dcd09039f72f1462e36cc"  # SHA-256, of TorchServe 0.12.0
# In Java's bytecode: observer.onError(Status.CANCELLED.withDescription("…").asRuntimeException()); return.
_CLOSING = re.compile(rb"(\xb2..\x13..\xb6..\xb6..)\xb9..\x02\x00\xb1", re.DOTALL)
_NOT_CLOSING = b"\x58\x00\x00\x00\x00\xb1"  # pop both arguments, do nothing four times, return


def mend(folder: Path) -> None:
    """Write into `folder`, which Java searches first, the class that takes gRPC requests, without what closes a call.

    TorchServe closes a cancelled call from a thread of its own. A worker's thread that begins to answer in the same
    moment fails with "call is closed", and ends the worker and the other requests of its batch. gRPC itself closes a
    call that was cancelled, and takes an answer to it without complaint.

    Where the installed TorchServe has another class than the one that is known, logs a warning and leaves it.
    """
    with zipfile.ZipFile(files("ts") / "frontend" / "model-server.jar") as jar:
        original = jar.read(_CLASS)
    path = folder / _CLASS
    if hashlib.sha256(original).hexdigest() != _KNOWN:
        path.unlink(missing_ok=True)
        logger.warning("this TorchServe is not known: a gRPC caller that leaves may end a worker")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_bytes(path, _CLOSING.sub(lambda found: found[1] + _NOT_CLOSING, original))
