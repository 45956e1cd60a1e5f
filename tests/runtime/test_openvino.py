"""OpenVINO computes in the precision that was asked for, or says that it does not."""

import sys

import numpy as np
import pytest

from imagetrust.runtime.openvino import OpenVinoRunner, openvino
from imagetrust.runtime.precision_gate import EXACT_NETWORK


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
