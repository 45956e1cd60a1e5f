"""What happens to each item of a batch, without a server: the context is TorchServe's own class."""

import json
from pathlib import Path

import pytest
import torch
from jsonschema import Draft202012Validator
from safetensors.torch import load_file, save_file
from ts.context import Context, RequestProcessor

import handlers
from archive_scripts.build import ENDPOINTS, RELEASED
from handlers.authenticity import Authenticity
from handlers.classifier import Classifier
from handlers.explanation import Explanation
from handlers.generator_type import GeneratorType
from handlers.network import file_sha256
from tests.procedural import encoded
from tests.provenance.files import finding, signed
from tests.provenance.manifest_host import ManifestHost

HANDLERS = dict(zip(ENDPOINTS, (Authenticity, GeneratorType, Explanation), strict=True))
SCHEMA = json.loads((Path(handlers.__file__).parent / "answer.schema.json").read_text())


def context(items: int, explain: bool = False) -> Context:
    made = Context("test", str(RELEASED), {}, items, None, "0.12.0", model_yaml_config={"handler": {"threads": 1}})
    made.request_ids = {index: f"request-{index}" for index in range(items)}
    made.request_processor = [RequestProcessor({"explain": str(explain)}) for _ in range(items)]
    return made


def handled(handler, data: list[dict], context: Context) -> list[dict]:
    """What the caller reads: the answers' texts, parsed, without NaN and other words that JSON does not have."""

    def refuse(word: str):
        raise AssertionError(f"{word} is not JSON")

    return [json.loads(text, parse_constant=refuse) for text in handler.handle(data, context)]


def status(context: Context, index: int) -> int:
    return context.get_response_status(index)[0]


@pytest.fixture(scope="module", params=ENDPOINTS)
def endpoint(request):
    handler = HANDLERS[request.param]()
    handler.initialize(context(1))
    return request.param, handler


def validate(answer: dict, kind: str) -> None:
    """Against one kind's schema; the answer must be plain JSON."""
    schema = {"$ref": f"#/$defs/{kind}", "$defs": SCHEMA["$defs"]}
    Draft202012Validator(schema).validate(json.loads(json.dumps(answer, allow_nan=False)))


def test_schema_is_valid():
    Draft202012Validator.check_schema(SCHEMA)


def test_one_broken_item_of_eight(endpoint, photo):
    name, handler = endpoint
    data = [{"body": encoded(photo, "JPEG", quality=60 + index)} for index in range(8)]
    data[3] = {"body": data[3]["body"][:200]}
    batch = context(8)
    answers = handled(handler, data, batch)
    assert [status(batch, index) for index in range(8)] == [200] * 3 + [400] + [200] * 4
    for index, answer in enumerate(answers):
        validate(answer, "error" if index == 3 else name)
    assert answers[3]["error"]["code"] == "broken_picture"


def test_answers_do_not_depend_on_the_neighbours(endpoint, photo):
    _, handler = endpoint
    pictures = [encoded(photo.rotate(angle), "PNG") for angle in (0, 90, 180)]
    together = handled(handler, [{"body": data} for data in pictures], context(3))
    alone = [handled(handler, [{"body": data}], context(1))[0] for data in pictures]
    for one, other in zip(together, alone, strict=True):
        one, other = (
            one.get("inferred", {}).get("authenticity", one),
            other.get("inferred", {}).get("authenticity", other),
        )
        assert one["logits"] == pytest.approx(other["logits"], abs=1e-4)


def test_a_batch_with_nothing_good(endpoint):
    _, handler = endpoint
    batch = context(2)
    answers = handled(handler, [{"body": b"no"}, {}], batch)
    assert [answer["error"]["code"] for answer in answers] == ["unknown_format", "empty_body"]
    assert [status(batch, index) for index in range(2)] == [400, 400]


def test_a_fault_of_ours_is_that_items_500(endpoint, photo, monkeypatch):
    name, handler = endpoint
    answered = []
    inherited = handler.answer

    def fail_on_second(prepared, output):
        answered.append(prepared)
        if len(answered) == 2:
            raise RuntimeError("a secret of the server")
        return inherited(prepared, output)

    monkeypatch.setattr(handler, "answer", fail_on_second)
    batch = context(3)
    answers = handled(handler, [{"body": encoded(photo, "PNG")}] * 3, batch)
    assert [status(batch, index) for index in range(3)] == [200, 500, 200]
    assert "secret" not in json.dumps(answers[1])
    validate(answers[1], "error")
    validate(answers[2], name)


def test_a_picture_that_inference_fails_on_harms_no_neighbour(endpoint, photo, monkeypatch):
    name, handler = endpoint
    inherited, prepared_second, infer_calls = handler.infer, [], []
    prepare = handler.prepare

    def remember(picture, request):
        prepared_second.append(prepare(picture, request))
        return prepared_second[-1]

    def fail_with_second(prepared):
        infer_calls.append(len(prepared))
        if any(one is prepared_second[1] for one in prepared):
            raise RuntimeError("a secret of the server")
        return inherited(prepared)

    monkeypatch.setattr(handler, "prepare", remember)
    monkeypatch.setattr(handler, "infer", fail_with_second)
    batch = context(3)
    data = [{"body": encoded(photo.rotate(angle), "PNG")} for angle in (0, 90, 180)]
    answers = handled(handler, data, batch)
    assert [status(batch, index) for index in range(3)] == [200, 500, 200]
    assert infer_calls == [3, 1, 1, 1]
    validate(answers[1], "error")
    for index in (0, 2):
        validate(answers[index], name)


def test_a_card_without_thresholds_is_not_served(tmp_path):
    for file in RELEASED.glob("authenticity.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    card = json.loads((tmp_path / "authenticity.json").read_text())
    (tmp_path / "authenticity.json").write_text(json.dumps(card | {"thresholds": None}))
    assert Classifier(tmp_path, "authenticity", torch.device("cpu")).card.thresholds is None, "training reads it"
    made = context(1)
    made.system_properties["model_dir"] = str(tmp_path)
    with pytest.raises(ValueError, match="authenticity.json has no thresholds"):
        Authenticity().initialize(made)


def test_an_answer_names_the_engine(endpoint, photo):
    name, handler = endpoint
    (answer,) = handled(handler, [{"body": encoded(photo, "PNG")}], context(1))
    answered = answer["inferred"]["generator_type"] if name == "explanation" else answer
    assert answered["model"]["engine"] == next(iter(handler.engines.values())).name


def test_logits_that_are_not_finite_are_that_items_500(endpoint, photo, monkeypatch):
    name, handler = endpoint
    inherited = handler.infer

    @torch.inference_mode()
    def spoil_second(prepared):
        outputs = inherited(prepared)
        for logits in [outputs[1][0]] if isinstance(outputs[1], tuple) else outputs[1].logits.values():
            logits.fill_(float("nan"))
        return outputs

    monkeypatch.setattr(handler, "infer", spoil_second)
    batch = context(3)
    data = [{"body": encoded(photo.rotate(angle), "PNG")} for angle in (0, 90, 180)]
    answers = handled(handler, data, batch)
    assert [status(batch, index) for index in range(3)] == [200, 500, 200]
    assert answers[1]["error"]["code"] == "internal"
    validate(answers[2], name)


@pytest.mark.parametrize(
    ("gpu_id", "gpus", "expected"),
    [(None, 0, "cpu"), (None, 2, "cpu"), (0, 2, "cuda:0"), (1, 2, "cuda:1"), (0, 0, "cpu")],
)
def test_a_worker_uses_the_gpu_it_was_given(monkeypatch, gpu_id, gpus, expected):
    devices = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus > 0)
    loaded = Classifier(RELEASED, "authenticity", torch.device("cpu"))
    monkeypatch.setattr("handlers.base.Classifier", lambda folder, name, device: devices.append(str(device)) or loaded)
    given = context(1)
    given.system_properties["gpu_id"] = gpu_id
    Authenticity().initialize(given)
    assert devices == [expected]


def test_one_trunk_and_two_give_the_same_answer(photo, tmp_path):
    """Sharing the features is only a shortcut: run apart, the models say the same."""
    trunk = load_file(RELEASED / "authenticity.safetensors")
    answers = []
    for form in (torch.float16, torch.float32):  # the same numbers, but stored otherwise: another trunk
        folder = tmp_path / str(form)
        folder.mkdir()
        for name in ("authenticity", "generator_type"):
            tensors = load_file(RELEASED / f"{name}.safetensors")
            tensors = trunk | {n: tensors[n] for n in ("fc.weight", "fc.bias")}
            dtype = form if name == "generator_type" else torch.float16
            save_file({n: t.to(dtype) for n, t in tensors.items()}, folder / f"{name}.safetensors")
            card = json.loads((RELEASED / f"{name}.json").read_text())
            card["weights_sha256"] = file_sha256(folder / f"{name}.safetensors")
            (folder / f"{name}.json").write_text(json.dumps(card))
        made = context(1)
        made.system_properties["model_dir"] = str(folder)
        handler = Explanation()
        handler.initialize(made)
        assert len(handler.engines) == (1 if form == torch.float16 else 2)
        answers += handled(handler, [{"body": encoded(photo, "PNG")}], context(1))
    shared, apart = answers
    for name in ("authenticity", "generator_type"):
        assert shared["inferred"][name]["logits"] == pytest.approx(apart["inferred"][name]["logits"], abs=1e-5)
    assert shared["inferred"]["heatmap"] == apart["inferred"]["heatmap"]


def test_verdicts_alone_are_those_of_the_full_answer(photo):
    handler = Explanation()
    handler.initialize(context(1))
    data = {"image": encoded(photo, "JPEG")}
    (full,) = handled(handler, [data], context(1))
    (bare,) = handled(handler, [data | {"detail": b"verdicts"}], context(1))
    validate(bare, "verdicts")
    assert bare == {"inferred": {name: full["inferred"][name] for name in ("authenticity", "generator_type")}}
    together = handled(handler, [data, data | {"detail": b"verdicts"}], context(2))
    assert [set(answer) for answer in together] == [set(full), {"inferred"}]


@pytest.mark.parametrize("name", ["authenticity", "generator_type"])
def test_explanations_by_torchserves_own_route(name, photo):
    handler = HANDLERS[name]()
    handler.initialize(context(1))
    data = {"image": encoded(photo, "PNG")}
    (plain,) = handled(handler, [data], context(1))
    assert "heatmap" not in plain
    (explained,) = handled(handler, [data], context(1, explain=True))
    validate(explained, name)
    heatmap = explained.pop("heatmap")
    assert explained == plain
    decided = explained.get("label", explained.get("family"))
    assert (heatmap["model"], heatmap["class"], heatmap["method"]) == (name, decided, "gradcam")
    (named,) = handled(handler, [data | {"class": b"real", "method": b"eigencam"}], context(1, explain=True))
    assert (named["heatmap"]["class"], named["heatmap"]["method"]) == ("real", "eigencam")


@pytest.mark.parametrize(
    ("class_name", "model"),
    [("real", "authenticity"), ("generated", "authenticity"), ("gan", "generator_type"), ("other", "generator_type")],
)
def test_a_named_class_is_explained_by_its_model(photo, class_name, model):
    handler = Explanation()
    handler.initialize(context(1))
    (answer,) = handled(handler, [{"image": encoded(photo, "PNG"), "class": class_name}], context(1))
    validate(answer, "explanation")
    assert (answer["inferred"]["heatmap"]["class"], answer["inferred"]["heatmap"]["model"]) == (class_name, model)


@pytest.mark.parametrize("option", [{"class": "dog"}, {"method": "guesscam"}])
def test_unknown_options_are_that_items_400(photo, option):
    handler = Explanation()
    handler.initialize(context(2))
    batch = context(2)
    data = {"image": encoded(photo, "PNG")}
    answers = handled(handler, [data | option, data], batch)
    assert [status(batch, index) for index in range(2)] == [400, 200]
    assert answers[0]["error"]["code"] == "invalid_option" and answers[0]["error"]["allowed"]
    validate(answers[0], "error")


@pytest.fixture
def manifest_host():
    host = ManifestHost()
    yield host
    host.close()


def explanation_allowing(*hosts: str) -> Explanation:
    made = context(1)
    made.model_yaml_config["handler"]["manifest_hosts"] = list(hosts)
    handler = Explanation()
    handler.initialize(made)
    return handler


def test_manifests_are_fetched_from_the_hosts_of_the_settings(manifest_host):
    data = [{"body": manifest_host.keep()}]
    (answer,) = handled(explanation_allowing(), data, context(1))
    assert finding(answer["declared"], "c2pa")["values"]["fetch"] == "not_allowed"
    assert manifest_host.connections == 0
    (answer,) = handled(explanation_allowing(manifest_host.origin), data, context(1))
    validate(answer, "explanation")
    assert finding(answer["declared"], "c2pa")["values"]["fetch"] == "done"
    assert finding(answer["declared"], "c2pa")["says"] == "camera"


def test_a_fetch_that_fails_fails_no_request(manifest_host, monkeypatch):
    monkeypatch.setattr("imagetrust.provenance.manifest_fetch.MAX_FETCH_SECONDS", 0.3)
    urls = [f"{manifest_host.origin}/{kind}" for kind in ("dripping-header", "missing")]
    data = [{"body": body} for body in (signed(None, remote_url=urls[0]), signed(None, remote_url=urls[1]))]
    data.append({"body": manifest_host.keep()})
    batch = context(3)
    answers = handled(explanation_allowing(manifest_host.origin), data, batch)
    assert [status(batch, index) for index in range(3)] == [200] * 3
    found = [finding(answer["declared"], "c2pa")["values"]["fetch"] for answer in answers]
    assert found == ["timeout", "status", "done"]


def test_a_refused_request_makes_no_host_be_asked(manifest_host):
    batch = context(1)
    data = [{"image": manifest_host.keep(), "method": "guesscam"}]
    handled(explanation_allowing(manifest_host.origin), data, batch)
    assert status(batch, 0) == 400 and manifest_host.connections == 0


@pytest.mark.parametrize("hosts", [["example.com/manifests"], "example.com"])
def test_a_worker_does_not_start_with_hosts_that_are_none(hosts):
    made = context(1)
    made.model_yaml_config["handler"]["manifest_hosts"] = hosts
    with pytest.raises(ValueError, match="example.com"):
        Explanation().initialize(made)
