"""Imports torchvision, also where its compiled operators do not fit the installed torch.

The torchvision wheel on PyPI is built against CUDA builds of torch. Next to a CPU build its C++ library does
not load, and the import stops because the schemas of `nms` and `qnms` were never registered. Neither is used
here, so declaring the two schemas is enough. Where the real operators load, nothing is done.
"""

import importlib
import sys

import torch

_UNREGISTERED = "operator torchvision::nms does not exist"
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_library = None  # torch forgets the schemas once the Library object is collected


def _import_torchvision():
    global _library
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if _UNREGISTERED not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        _library.define(schema)
    return importlib.import_module("torchvision")


torchvision = _import_torchvision()
