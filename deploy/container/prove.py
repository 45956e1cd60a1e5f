"""Answers the self-test of every archive with the packages at hand: `python prove.py STORE SCRATCH`.

It imports what the supervisor and a worker import, and the build keeps the compiled modules that this leaves. Ends with
the faults where there are any.
"""

import sys
from pathlib import Path

import ts.model_server  # noqa: F401 (what starts Java)
import ts.model_service_worker  # noqa: F401 (a worker)

import server.__main__  # noqa: F401 (the supervisor)
from imagetrust.predictor import Predictor
from imagetrust.request import Request
from server.archive import admit
from server.self_test import read_self_test

store, scratch = map(Path, sys.argv[1:])
faults = []
for path in sorted(store.glob("*.mar")):
    archive = admit(path, scratch)
    test, predictor = read_self_test(archive.folder), Predictor(archive.folder / "model")
    options = {"detail": "full"} if archive.name == "explanation" else {}
    for name, picture in test.pictures.items():
        (answer,) = predictor.predict([Request(picture, options)], archive.name)
        faults += [f"{path.name}: {fault}" for fault in test.faults(name, archive.version, answer)]
    print(f"{path.name} answers {len(test.pictures)} pictures by {predictor.engine.name}")
sys.exit("\n".join(faults) or 0)
