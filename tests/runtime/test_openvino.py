"""OpenVINO computes in the precision that was asked for, or says that it does not."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from imagetrust.images.views import Preprocessing, ViewRule
from imagetrust.runtime.openvino import OpenVinoRunner, openvino, save_network, to_openvino
from imagetrust.runtime.precision_gate import EXACT_NETWORK
from imagetrust.runtime.torch import PixelNetwork
from server.settings import ROOT
from tests.small_vit import SMALL_VIT

FP32 = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}


def test_a_precision_that_is_compiled_to_another_is_refused(serving_folder):
    """The network is never said to run in bf16 on a processor that computes it in fp32."""
    if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        runner = OpenVinoRunner(serving_folder / EXACT_NETWORK, "bf16", 1)
        assert runner.name == "openvino bf16"
    else:
        with pytest.raises(RuntimeError, match="computes .* in f32, not in bf16"):
            OpenVinoRunner(serving_folder / EXACT_NETWORK, "bf16", 1)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(RuntimeError):
        OpenVinoRunner(tmp_path / "nothing.xml", "fp32", 1)


def test_results_outlive_the_next_batch(serving_folder, images):
    runner = OpenVinoRunner(serving_folder / EXACT_NETWORK, "fp32", 1)
    features, embeddings = runner(images[0])
    kept = features.clone(), embeddings.clone()
    runner(np.concatenate(images[1:3]))
    runner(images[4])
    assert (features == kept[0]).all() and (embeddings == kept[1]).all()


def test_importing_the_backend_reports_to_nobody():
    """openvino's telemetry package, which would, is kept out of the process."""
    assert sys.modules["openvino_telemetry"] is None
    assert sys.modules["openvino.tools.ovc.telemetry_utils"].tm.__name__ == "openvino.tools.ovc.telemetry_stub"


@pytest.mark.parametrize("rounded", [True, False])
def test_weights_are_stored_in_fp16_where_that_changes_nothing(tmp_path, rounded):
    """The same results but for the order of sums; half of the bytes where the weights are rounded already."""
    torch.manual_seed(0)
    network = SMALL_VIT.build(64).eval()
    if rounded:
        network.load_state_dict({name: tensor.half().float() for name, tensor in network.state_dict().items()})
    preprocessing = Preprocessing(64, "bicubic", SMALL_VIT.mean, SMALL_VIT.std, (ViewRule(fraction=1.0),))
    pixels = np.random.default_rng(0).integers(0, 255, (1, 64, 64, 3), dtype=np.uint8)
    expected = openvino.Core().compile_model(to_openvino(PixelNetwork(network, preprocessing), 64), "CPU", FP32)(pixels)
    save_network(to_openvino(PixelNetwork(network, preprocessing), 64), tmp_path / "network.xml")
    features, embeddings = OpenVinoRunner(tmp_path / "network.xml", "fp32", 1)(pixels)
    for found, reference in zip((features, embeddings), (expected[0], expected[1]), strict=True):
        assert found.numpy() == pytest.approx(reference, abs=2e-5)
    bytes_a_weight = (tmp_path / "network.bin").stat().st_size / sum(p.numel() for p in network.parameters())
    assert bytes_a_weight == pytest.approx(2 if rounded else 4, abs=0.2)


def test_a_tower_at_another_size_than_its_weights_gives_what_torch_gives(tmp_path):
    """Its position embeddings are interpolated: within the network OpenVINO would come to other values."""
    torch.manual_seed(0)
    weights = SMALL_VIT.build(224).state_dict()
    weights["features.vit.pos_embed"] = torch.randn_like(weights["features.vit.pos_embed"])
    network = SMALL_VIT.build(192).eval()
    network.load_state_dict(weights)
    preprocessing = Preprocessing(192, "bicubic", SMALL_VIT.mean, SMALL_VIT.std, (ViewRule(fraction=1.0),))
    made = PixelNetwork(network, preprocessing)
    save_network(to_openvino(made, 192), tmp_path / "network.xml")
    pixels = np.random.default_rng(0).integers(0, 255, (1, 192, 192, 3), dtype=np.uint8)
    _, found = OpenVinoRunner(tmp_path / "network.xml", "fp32", 1)(pixels)
    with torch.inference_mode():
        assert found.numpy() == pytest.approx(made(torch.from_numpy(pixels))[1].numpy(), abs=1e-4)


def small_vit(path, in_int8: bool) -> np.ndarray:
    """Write a small transformer, its matrices as int8 times a scale where wanted, and return what it should give."""
    torch.manual_seed(0)
    network = SMALL_VIT.build(64).eval()
    if in_int8:
        for tensor in network.state_dict().values():
            if tensor.dim() == 2:
                scale = tensor.abs().amax(1, keepdim=True) / 127
                tensor.copy_(((tensor / scale).round() * scale).half().float())
    preprocessing = Preprocessing(64, "bicubic", SMALL_VIT.mean, SMALL_VIT.std, (ViewRule(fraction=1.0),))
    made = PixelNetwork(network, preprocessing)
    save_network(to_openvino(made, 64), path)
    with torch.inference_mode():
        return made(torch.from_numpy(PIXELS))[1].numpy()


PIXELS = np.random.default_rng(0).integers(0, 255, (1, 64, 64, 3), dtype=np.uint8)


def test_weights_that_are_int8_times_a_scale_are_stored_so(tmp_path):
    """A byte a weight, and the same results in fp32; in int8 the activations are rounded too."""
    expected = small_vit(tmp_path / "network.xml", in_int8=True)
    matrices = sum(p.numel() for p in SMALL_VIT.build().parameters() if p.dim() == 2)
    others = sum(p.numel() for p in SMALL_VIT.build().parameters() if p.dim() != 2)
    assert (tmp_path / "network.bin").stat().st_size < 1.1 * matrices + 4.1 * others
    _, exact = OpenVinoRunner(tmp_path / "network.xml", "fp32", 1)(PIXELS)
    assert exact.numpy() == pytest.approx(expected, abs=5e-3)
    runner = OpenVinoRunner(tmp_path / "network.xml", "int8", 1)
    _, rounded = runner(PIXELS)
    cosine = (rounded.numpy() * expected).sum() / np.linalg.norm(rounded) / np.linalg.norm(expected)
    assert runner.name == "openvino int8" and cosine > 0.99


def test_int8_is_refused_for_a_network_without_any(tmp_path):
    small_vit(tmp_path / "network.xml", in_int8=False)
    with pytest.raises(RuntimeError, match="holds nothing in int8"):
        OpenVinoRunner(tmp_path / "network.xml", "int8", 1)


_SIGNALLED = """
import os, signal, sys
from pathlib import Path
from imagetrust.runtime.openvino import OpenVinoRunner

runners = [OpenVinoRunner(Path(sys.argv[1]), "fp32", 1, (1,)) for _ in range(2)]
del runners[0]
del runners[0]
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_signal_is_handled_after_networks_are_gone(serving_folder):
    network = serving_folder / EXACT_NETWORK
    done = subprocess.run([sys.executable, "-c", _SIGNALLED, str(network)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 7, done.stderr
