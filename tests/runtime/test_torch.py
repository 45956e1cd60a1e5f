"""Torch's runners agree; the GPU's is run on a device that only pretends to be one."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from imagetrust.images.views import Preprocessing, ViewRule
from imagetrust.models.backbone import AveragePool, Network
from imagetrust.models.model import Model
from imagetrust.models.registry import backbone_of
from imagetrust.runtime import engine as engines
from imagetrust.runtime.torch import HalfRunner, PixelNetwork, TorchRunner
from tests.small_vit import SMALL_VIT

PREPROCESSING = Preprocessing(32, "bicubic", (0.5,) * 3, (0.25,) * 3, (ViewRule(fraction=1.0),))


def small_cnn() -> Network:
    return Network(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 4, 4), torch.nn.ReLU()), AveragePool())


# The kinds of the two released backbones, and ResNet18 itself.
@pytest.fixture(params=[small_cnn, backbone_of("resnet18").build, SMALL_VIT.build], ids=["cnn", "resnet18", "vit"])
def network(request) -> PixelNetwork:
    torch.manual_seed(0)
    return PixelNetwork(request.param().eval(), PREPROCESSING)


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


class Graph:
    """A CUDA graph that runs its network again on the inputs that it was captured with."""

    def replay(self) -> None:
        runner = self.runner
        (inputs, outputs) = next(row[1:] for row in runner._graphs.values() if row[0] is self)
        for output, again in zip(outputs, runner.network(inputs), strict=True):
            output.copy_(again)


@pytest.fixture
def fake_cuda(monkeypatch):
    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "graph", lambda graph: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)


def test_pixels_are_normalised_in_front(network):
    runner = TorchRunner(network, torch.device("cpu"))
    batch = pixels(2)
    images = (torch.from_numpy(batch).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    with torch.inference_mode():
        expected = network.network(images)
    for own, reference in zip(runner(batch), expected, strict=True):
        assert torch.allclose(own, reference, atol=1e-5)


def test_half_precision_pads_batches_to_few_graphs(network, fake_cuda, monkeypatch):
    exact = TorchRunner(network, torch.device("cpu"))
    expected = {count: exact(pixels(count)) for count in (1, 2, 3, 5, 8)}
    runner = HalfRunner(network, torch.device("cpu"))
    monkeypatch.setattr(Graph, "runner", runner, raising=False)
    for count in (5, 3, 8, 1, 2, 5):  # a small batch after a large one must not see what the large one left
        features, embeddings = runner(pixels(count))
        assert len(features) == len(embeddings) == count and features.dtype == torch.float32
        for half, exactly in zip((features, embeddings), expected[count], strict=True):
            assert (half - exactly).abs().max() < 0.01 * exactly.abs().max()
    assert sorted(runner._graphs) == [1, 2, 4, 8]


@pytest.mark.parametrize(
    ("precision", "name"), [("auto", "torch fp16"), ("fp16", "torch fp16"), ("fp32", "torch fp32")]
)
def test_a_gpu_serves_in_half_precision_with_bf16s_margins(serving_folder, monkeypatch, precision, name):
    made = []

    class Recorded(TorchRunner):
        name = "torch fp16"

        def __init__(self, network, device):
            made.append(device)
            super().__init__(network, torch.device("cpu"))

    monkeypatch.setattr(engines, "HalfRunner", Recorded)
    model = Model(serving_folder)
    _ = model.network  # built before the device is said to be one that is not there
    device = SimpleNamespace(type="cuda")
    monkeypatch.setattr(model, "device", device)
    monkeypatch.setattr(PixelNetwork, "to", lambda self, device: self)
    engine = engines.choose_engine(model, precision=precision)
    assert engine.name == name
    if name == "torch fp16":
        assert made == [device] and engine.exact is not None and engine.margins["authenticity"] == 0.1137
    else:
        assert engine.exact is None
