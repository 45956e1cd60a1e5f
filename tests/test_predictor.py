"""From bytes to answers: what goes wrong with one image is the answer to that one."""

import json
from pathlib import Path

import pytest
import torch
from jsonschema import Draft202012Validator

import imagetrust
from imagetrust.errors import AnswerError, RequestError
from imagetrust.images.views import ViewRule
from imagetrust.models.registry import BACKBONES
from imagetrust.predictor import QUESTIONS, Predictor
from imagetrust.request import Request
from imagetrust.runtime.engine import Scores
from tests.procedural import encoded
from tests.provenance.files import finding, signed
from tests.provenance.manifest_host import ManifestHost
from tests.releases import untrained_release
from tests.small_vit import SMALL_VIT

SCHEMA = json.loads((Path(imagetrust.__file__).parent / "answer.schema.json").read_text())


@pytest.fixture(scope="module")
def predictor(serving_folder) -> Predictor:
    return Predictor(serving_folder)


def validate(answer, kind: str) -> None:
    """Against one kind's schema; the answer must be plain JSON."""
    schema = {"$ref": f"#/$defs/{kind}", "$defs": SCHEMA["$defs"]}
    Draft202012Validator(schema).validate(json.loads(json.dumps(answer, allow_nan=False)))


def ask(predictor: Predictor, question: str, image: bytes, heatmap: bool = False, **options: object):
    (answer,) = predictor.predict([Request(image, options, heatmap)], question)
    return answer


def authenticity_of(answer) -> dict:
    return answer.get("inferred", {}).get("authenticity", answer)


def test_schema_is_valid():
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("question", QUESTIONS)
def test_one_broken_item_of_eight(predictor, question, photo):
    images = [encoded(photo, "JPEG", quality=60 + index) for index in range(8)]
    images[3] = images[3][:200]
    answers = predictor.predict([Request(image) for image in images], question)
    for index, answer in enumerate(answers):
        if index == 3:
            assert isinstance(answer, RequestError) and answer.code == "broken_picture"
            validate(answer.as_json(), "error")
        else:
            validate(answer, question)


@pytest.mark.parametrize("question", QUESTIONS)
def test_answers_do_not_depend_on_the_neighbours(predictor, question, photo):
    images = [Request(encoded(photo.rotate(angle), "PNG")) for angle in (0, 90, 180)]
    together = predictor.predict(images, question)
    for one, image in zip(together, images, strict=True):
        (other,) = predictor.predict([image], question)
        assert authenticity_of(one)["logits"] == pytest.approx(authenticity_of(other)["logits"], abs=1e-4)


def test_a_batch_with_nothing_good(predictor):
    errors = predictor.predict([Request(b"no"), Request(b""), RequestError("no_image_field", "none")], "authenticity")
    assert [error.code for error in errors] == ["unknown_format", "empty_body", "no_image_field"]
    assert predictor.predict([], "authenticity") == []


def poison(predictor, monkeypatch, harm):
    """Let the engine meet harm at the darkest image of a batch."""
    score = predictor.engine.score

    def harmed(images, tasks):
        if any(image.mean() < 1 for image in images):
            return harm(score, images, tasks)
        return score(images, tasks)

    monkeypatch.setattr(type(predictor.engine), "score", lambda self, images, tasks: harmed(images, tasks))


def raise_secret(score, images, tasks):
    raise RuntimeError("a secret of the server")


def give_nan(score, images, tasks):
    return [
        Scores(one.features, {task: one.logits[task] * float("nan") for task in tasks}) if image.mean() < 1 else one
        for one, image in zip(score(images, tasks), images, strict=True)
    ]


@pytest.mark.parametrize("harm", [raise_secret, give_nan])
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_failing_inference_harms_one_image(predictor, question, photo, monkeypatch, harm):
    poison(predictor, monkeypatch, harm)
    black = encoded(photo.point(lambda value: 0), "PNG")
    first, second, third = predictor.predict(
        [Request(encoded(photo, "PNG")), Request(black), Request(encoded(photo, "JPEG"))], question
    )
    assert isinstance(second, AnswerError) and second.status == 500 and "secret" not in json.dumps(second.as_json())
    validate(second.as_json(), "error")
    for answer in (first, third):
        validate(answer, question)


def test_a_failing_explanation_harms_one_image(predictor, photo, monkeypatch):
    answered = []

    def fail_once(*arguments):
        answered.append(arguments)
        if len(answered) == 1:
            raise RuntimeError("a secret of the server")
        return heatmap_answer(*arguments)

    from imagetrust.explain.heatmap import heatmap_answer

    monkeypatch.setattr("imagetrust.predictor.heatmap_answer", fail_once)
    first, second = predictor.predict([Request(encoded(photo, "PNG"))] * 2, "explanation")
    assert isinstance(first, AnswerError) and first.status == 500
    validate(second, "explanation")


def test_verdicts_alone_are_those_of_the_full_answer(predictor, photo):
    data = encoded(photo, "JPEG")
    full, bare = ask(predictor, "explanation", data), ask(predictor, "explanation", data, detail="verdicts")
    validate(bare, "verdicts")
    assert bare == {"inferred": {task: full["inferred"][task] for task in QUESTIONS["explanation"]}}


@pytest.mark.parametrize("question", ["authenticity", "generator_type"])
def test_a_heat_map_beside_one_answer(predictor, question, photo):
    data = encoded(photo, "PNG")
    plain, explained = ask(predictor, question, data), ask(predictor, question, data, heatmap=True)
    validate(explained, question)
    heatmap = explained.pop("heatmap")
    assert explained == plain
    decided = explained.get("label", explained.get("family"))
    assert (heatmap["model"], heatmap["class"], heatmap["method"]) == (question, decided, "centred-hirescam")
    named = ask(predictor, question, data, heatmap=True, **{"class": b"real", "method": b"eigencam"})
    assert (named["heatmap"]["class"], named["heatmap"]["method"]) == ("real", "eigencam")


@pytest.mark.parametrize(
    ("class_name", "task"),
    [("real", "authenticity"), ("generated", "authenticity"), ("gan", "generator_type"), ("other", "generator_type")],
)
def test_a_named_class_is_explained_by_its_task(predictor, photo, class_name, task):
    answer = ask(predictor, "explanation", encoded(photo, "PNG"), **{"class": class_name})
    validate(answer, "explanation")
    assert (answer["inferred"]["heatmap"]["class"], answer["inferred"]["heatmap"]["model"]) == (class_name, task)


@pytest.mark.parametrize("name", ["class", "method", "detail", "place"])
@pytest.mark.parametrize("value", ["dog", "", ["gradcam"], {"a": 1}, 1, 0.5, None, True])
def test_an_option_of_another_value_or_type_is_that_items_400(predictor, photo, name, value):
    data = encoded(photo, "PNG")
    refused, answered = predictor.predict([Request(data, {name: value}), Request(data)], "explanation")
    assert isinstance(refused, RequestError) and refused.code == "invalid_option" and refused.details["allowed"]
    validate(refused.as_json(), "error")
    validate(answered, "explanation")


@pytest.fixture
def manifest_host():
    host = ManifestHost()
    yield host
    host.close()


def test_manifests_are_fetched_from_the_hosts_of_the_operator(predictor, serving_folder, manifest_host):
    data = manifest_host.keep()
    answer = ask(predictor, "explanation", data)
    assert finding(answer["declared"], "c2pa")["values"]["fetch"] == "not_allowed"
    assert manifest_host.connections == 0
    answer = ask(Predictor(serving_folder, manifest_hosts=[manifest_host.origin]), "explanation", data)
    validate(answer, "explanation")
    assert finding(answer["declared"], "c2pa")["values"]["fetch"] == "done"
    assert finding(answer["declared"], "c2pa")["says"] == "camera"


def test_a_fetch_that_fails_fails_no_request(serving_folder, manifest_host, monkeypatch):
    monkeypatch.setattr("imagetrust.provenance.manifest_fetch.MAX_FETCH_SECONDS", 0.3)
    urls = [f"{manifest_host.origin}/{kind}" for kind in ("dripping-header", "missing")]
    images = [*(signed(None, remote_url=url) for url in urls), manifest_host.keep()]
    allowing = Predictor(serving_folder, manifest_hosts=[manifest_host.origin])
    answers = allowing.predict([Request(image) for image in images], "explanation")
    found = [finding(answer["declared"], "c2pa")["values"]["fetch"] for answer in answers]
    assert found == ["timeout", "status", "done"]


def test_a_refused_request_makes_no_host_be_asked(serving_folder, manifest_host):
    allowing = Predictor(serving_folder, manifest_hosts=[manifest_host.origin])
    refused = ask(allowing, "explanation", manifest_host.keep(), method="guesscam")
    assert isinstance(refused, RequestError) and manifest_host.connections == 0


@pytest.mark.parametrize("hosts", [["example.com/manifests"], "example.com"])
def test_hosts_that_are_none_are_refused_at_the_start(serving_folder, hosts):
    with pytest.raises(ValueError, match=r"example\.com"):
        Predictor(serving_folder, manifest_hosts=hosts)


@pytest.mark.parametrize("name", ["resnet18", SMALL_VIT.name])
def test_every_kind_of_backbone_answers_and_explains_over_all_views(name, tmp_path, photo, monkeypatch):
    """One whole view and two native crops: the map and its regions lie in the image's own pixels."""
    from archive_scripts.prepare import prepare

    monkeypatch.setitem(BACKBONES, SMALL_VIT.name, SMALL_VIT)
    backbone = BACKBONES[name]
    rules = (ViewRule(fraction=1.0), ViewRule(zoom=1.0, places=((0.0, 0.0), (1.0, 1.0))))
    prepare(untrained_release(tmp_path / "release", backbone, *rules), tmp_path / "model")
    answer = ask(Predictor(tmp_path / "model"), "explanation", encoded(photo.resize((640, 480)), "PNG"))
    validate(answer, "explanation")
    heatmap = answer["inferred"]["heatmap"]
    assert heatmap["view"] == {"left": 0, "top": 0, "right": 640, "bottom": 480}
    assert heatmap["columns"] > heatmap["rows"] > 1
    for region in heatmap["regions"]:
        assert 0 <= region["left"] < region["right"] <= 640 and 0 <= region["top"] < region["bottom"] <= 480
    exact = torch.tensor(list(authenticity_of(answer)["logits"].values()))
    assert exact.isfinite().all()
