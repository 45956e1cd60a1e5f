"""A batch goes from TorchServe's own context to answers with their statuses."""

import base64
import json
import os
import shutil
import subprocess
import sys
from unittest.mock import MagicMock

import pytest
from ts.context import Context, RequestProcessor
from ts.service import Service

from handlers.authenticity import Authenticity
from handlers.explanation import Explanation
from handlers.generator_type import GeneratorType
from handlers.read_request import Repeated
from handlers.torchserve import ERROR_HEADER, retrieve_data
from imagetrust.errors import PredictionError, RequestError
from imagetrust.measured import Measured
from imagetrust.predictor import QUESTIONS
from server.archive import admit
from tests.procedural import encoded
from tests.releases import RELEASE

ENDPOINTS = {endpoint.question: endpoint for endpoint in (Authenticity, GeneratorType, Explanation)}


@pytest.fixture(scope="module")
def archive_folder(archives, tmp_path_factory):
    """An unpacked archive."""
    return admit(archives / f"explanation-{RELEASE.name}.mar", tmp_path_factory.mktemp("store")).folder


@pytest.fixture(scope="module")
def make_context(archive_folder):
    def made(items: int, headers: dict[str, str] | None = None, **handler: object) -> Context:
        settings = {"handler": {"threads": 1} | handler}
        context = Context("test", str(archive_folder), {}, items, None, "0.12.0", model_yaml_config=settings)
        context.request_ids = {index: f"request-{index}" for index in range(items)}
        context.request_processor = [RequestProcessor(headers or {}) for _ in range(items)]
        return context

    return made


@pytest.fixture(scope="module", params=ENDPOINTS)
def endpoint(request, make_context):
    made = ENDPOINTS[request.param]()
    made.initialize(make_context(1))
    return made


def test_there_is_an_endpoint_for_each_question():
    assert set(ENDPOINTS) == set(QUESTIONS)


def test_a_batch_keeps_its_order_statuses_and_types(endpoint, make_context, photo):
    context = make_context(3)
    data = [{"body": encoded(photo, "PNG")}, {"body": b"hello"}, {"image": encoded(photo, "JPEG")}]
    bodies = [json.loads(text) for text in endpoint.handle(data, context)]
    assert [context.get_response_status(index)[0] for index in range(3)] == [200, 400, 200]
    assert bodies[1]["error"]["code"] == "unknown_format" and "error" not in bodies[0]
    headers = context.get_response_headers(0)
    assert headers["content-type"] == "application/json" and ERROR_HEADER not in headers


@pytest.mark.parametrize("message", ["two\nlines\r\n", "é 你 \U0001f600", 'a "quoted" one', "\0\x7f"])
def test_an_error_is_in_a_header_too(endpoint, make_context, monkeypatch, caplog, message):
    """One line of printable ASCII whatever it says, and the log names a request that failed here as the gate does."""
    failed, refused = PredictionError(), RequestError("broken_picture", message)
    answers = [(failed, Measured()), (refused, Measured())]
    monkeypatch.setattr(endpoint.predictor, "predict_measured", lambda requests, question: answers)
    context = make_context(2, {"X-Request-Id": "order-7"})
    bodies = endpoint.handle([{"body": b"one"}, {"body": b"two"}], context)
    for index, body in enumerate(bodies):
        value = context.get_response_headers(index)[ERROR_HEADER]
        assert json.loads(value) == json.loads(body) and value.isascii() and value.isprintable()
    assert json.loads(bodies[1])["error"]["message"] == message
    assert [line.getMessage() for line in caplog.records] == ["request order-7 failed: internal"]


@pytest.mark.parametrize(
    ("gpu_id", "gpus", "expected"),
    [(None, 0, "cpu"), (None, 2, "cpu"), (0, 2, "cuda:0"), (1, 2, "cuda:1"), (0, 0, "cpu")],
)
def test_a_worker_uses_the_gpu_it_was_given(monkeypatch, make_context, gpu_id, gpus, expected):
    devices = []

    class Recorded:
        def __init__(self, folder, device, threads, precision, manifest_hosts):
            devices.append(str(device))
            self.engine = self.model = self.config = self
            self.name = "recorded"

    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus > 0)
    monkeypatch.setattr("handlers.torchserve.Predictor", Recorded)
    monkeypatch.setattr("handlers.torchserve.Metrics", MagicMock())
    context = make_context(1)
    context.system_properties["gpu_id"] = gpu_id
    Authenticity().initialize(context)
    assert devices == [expected]


@pytest.mark.parametrize(("engine", "returned"), [("openvino int8", 1), ("openvino fp32", 1), ("torch fp32", 0)])
def test_memory_is_returned_at_once_where_openvino_serves(monkeypatch, make_context, engine, returned):
    calls = []
    monkeypatch.setattr("handlers.torchserve.return_memory_at_once", lambda: calls.append(1))
    predictor = MagicMock()
    predictor.engine.name = engine
    monkeypatch.setattr("handlers.torchserve.Predictor", lambda *_: predictor)
    monkeypatch.setattr("handlers.torchserve.Metrics", MagicMock())
    Authenticity().initialize(make_context(1))
    assert len(calls) == returned


BLOCKS = """
import re
import sys
import numpy
from handlers.torchserve import return_memory_at_once
def heap():
    parts = open("/proc/self/smaps").read().split("[heap]")[1:]
    return sum(int(re.search(r"Private_Dirty: +(\\d+)", part)[1]) for part in parts)
if sys.argv[1] == "served":
    return_memory_at_once()
before, kept = heap(), []
for size in (30, 20, 10, 5, 2, 1) * 20:
    block = numpy.ones(size * 2**20, numpy.uint8)
    kept.append(bytes(100_000))
    del block
print((heap() - before) // 1024)
"""


def test_what_an_image_takes_goes_back_to_the_system_with_it():
    """Small blocks come to lie among those of up to 32 MiB, which glibc keeps by default."""

    def grown(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", BLOCKS, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert grown("served") < 20 < grown("as it is")  # MiB; 12 of them are kept


def test_settings_reach_the_predictor(make_context):
    with pytest.raises(ValueError, match="int4"):
        Authenticity().initialize(make_context(1, precision="int4"))
    with pytest.raises(ValueError, match=r"example\.com"):
        Explanation().initialize(make_context(1, manifest_hosts=["example.com/path"]))


def test_a_field_that_a_request_has_twice_is_kept_twice():
    def sent(*names: str) -> dict[str, object]:
        parameters = [
            {"name": name, "contentType": "", "value": name.encode() + bytes([n])} for n, name in enumerate(names)
        ]
        return {"requestId": b"r", "headers": [], "parameters": parameters}

    _, data, ids = retrieve_data([sent("image", "image"), sent("image", "class")])
    assert data[0] == {"image": [b"image\0", b"image\1"]} and isinstance(data[0]["image"], Repeated)
    assert data[1] == {"image": b"image\0", "class": b"class\1"} and set(ids) == {0, 1}


def test_a_worker_leaves_the_reading_of_bodies_to_us(endpoint):
    assert Service.retrieve_data_for_inference is retrieve_data
    assert os.environ["TS_DECODE_INPUT_REQUEST"] == "false"


@pytest.mark.parametrize("name", ["clas", "Class", "detail "])
def test_an_option_that_is_not_offered_is_named(endpoint, make_context, photo, name):
    context = make_context(1)
    (body,) = endpoint.handle([{"image": encoded(photo, "JPEG"), name: b"verdicts"}], context)
    error = json.loads(body)["error"]
    assert error["code"] == "invalid_option" and repr(name) in error["message"]
    assert error["allowed"] == (["detail", "class", "method", "place"] if endpoint.question == "explanation" else [])


def test_the_bodies_of_kserve_on_every_endpoint(endpoint, make_context, photo):
    text = base64.b64encode(encoded(photo, "PNG")).decode()
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [text]}
    bodies = [{"image": text}, {"instances": [{"image": {"b64": text}}]}, {"inputs": [tensor]}]
    plain, first, second = (
        json.loads(endpoint.handle([{"body": json.dumps(body).encode()}], make_context(1))[0]) for body in bodies
    )
    assert first == {"predictions": [plain]}
    assert json.loads(second["outputs"][0]["data"][0]) == plain and second["model_name"] == endpoint.question


@pytest.mark.parametrize(
    "name", ["model/network.fp32.bin", "model/network.int8.xml", "model/weights.safetensors", "model/gate.json"]
)
def test_a_worker_loads_no_model_that_lost_a_part(archive_folder, make_context, tmp_path, name):
    damaged = shutil.copytree(archive_folder, tmp_path / "damaged")
    content = (damaged / name).read_bytes()
    (damaged / name).write_bytes(content[: len(content) // 2].ljust(len(content), b"\0"))
    context = make_context(1)
    context.system_properties["model_dir"] = str(damaged)
    with pytest.raises(ValueError, match=f"{name} has SHA-256"):
        Authenticity().initialize(context)
