"""docs/openapi.json is what the code says, what the gate does, and what a generator of clients reads."""

import importlib
import json
import os
import pkgutil
import subprocess
import sys

import pytest
from jsonschema import Draft202012Validator

from server.api_description import DESCRIPTION, describe
from server.gate_config import answers, read_settings
from tests.client.answers import EXPLANATION
from tests.conftest import ROOT
from tests.procedural import encoded
from tests.server.test_gate import TOKEN, needs_nginx
from tests.server.test_gated_torchserve import gate, make_gate, url  # noqa: F401  fixtures
from tests.server.test_rest import SCHEMA

NOT_DESCRIBED = {"origin_not_allowed", "no_route"}  # of browsers' preflights, and of paths that are none


def test_the_document_is_what_the_code_says():
    assert json.loads(DESCRIPTION.read_text()) == describe(), "python -m server.api_description > docs/openapi.json"


def test_answers_are_those_of_the_schema():
    """But for what generators of clients do not understand, which is said more loosely."""
    described = json.loads(json.dumps(describe()["components"]["schemas"]).replace("#/components/schemas/", "#/$defs/"))
    assert set(SCHEMA["$defs"]) <= set(described)
    loosened = {"value", "finding", "heatmap"}
    assert {name for name, schema in SCHEMA["$defs"].items() if described[name] != schema} == loosened
    for schema in described.values():
        Draft202012Validator.check_schema(schema)
    Draft202012Validator({"$ref": "#/$defs/explanation", "$defs": described}).validate(EXPLANATION)


def test_everything_that_the_gate_answers_is_described():
    responses = describe()["components"]["responses"]
    for code, row in answers(read_settings()).items():
        said = [name for name, response in responses.items() if f"`{code}`" in response["description"]]
        assert bool(said) != (code in NOT_DESCRIBED), code
        assert all(name.endswith(f"_{row['status']}") for name in said)
        assert all("Retry-After" in responses[name]["headers"] for name in said if "retry" in row)


@pytest.fixture
def ready(gate, url):  # noqa: F811
    """The address of a gate that says it is ready."""
    gate.set_ready(True)
    return url


@needs_nginx
def test_the_gate_does_what_the_document_says(ready, tmp_path):
    """Schemathesis sends what the document allows and what it does not, and holds each answer against it."""
    program = "from schemathesis.cli import schemathesis; schemathesis()"
    environment = {"SCHEMATHESIS_HOOKS": "tests.server.schemathesis_hooks", "PYTHONPATH": str(ROOT)}
    command_line = [sys.executable, "-c", program, "run", DESCRIPTION, "--url", ready]
    command_line += ["--header", f"Authorization: Bearer {TOKEN}", "--phases", "examples,coverage,fuzzing"]
    command_line += ["--max-examples", "5", "--seed", "1", "--no-shrink"]
    done = subprocess.run(
        command_line, cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "Tested: 21" in done.stdout


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """A client that openapi-python-client makes of the document, as a package."""
    folder = tmp_path_factory.mktemp("generated")
    # It knows no pictures as bodies, but bytes.
    types = [name for name in describe()["paths"]["/predictions/authenticity"]["post"]["requestBody"]["content"]
             if name.startswith("image/")]  # fmt: skip
    (folder / "settings.json").write_text(
        json.dumps({"content_type_overrides": dict.fromkeys(types, "application/octet-stream"), "post_hooks": []})
    )
    subprocess.run(
        [sys.executable, "-m", "openapi_python_client", "generate", "--path", DESCRIPTION, "--meta", "none",
         "--config", folder / "settings.json", "--output-path", folder / "generated_client", "--fail-on-warning"],
        check=True, timeout=120,
    )  # fmt: skip
    sys.path.insert(0, str(folder))
    yield importlib.import_module("generated_client")
    sys.path.remove(str(folder))


def test_a_generator_makes_a_client_of_it(generated):
    modules = [module.name for module in pkgutil.walk_packages(generated.__path__, "generated_client.")]
    for module in modules:
        importlib.import_module(module)
    operations = {operation["operationId"] for path in describe()["paths"].values() for operation in path.values()}
    assert {f"generated_client.api.default.{name}" for name in operations} <= set(modules)
    assert (
        importlib.import_module("generated_client.models").Explanation.from_dict(EXPLANATION).to_dict() == EXPLANATION
    )


@needs_nginx
def test_the_client_that_it_makes_is_answered(generated, ready, photo):
    types = importlib.import_module("generated_client.types")
    authenticity = importlib.import_module("generated_client.api.default.authenticity")
    client = generated.AuthenticatedClient(ready, token=TOKEN)
    answer = authenticity.sync(client=client, body=types.File(payload=encoded(photo, "PNG")))
    assert answer.verdict.value in ("real", "uncertain", "generated")
    refused = authenticity.sync(client=client, body=types.File(payload=b"hello"))
    assert refused.error.code.value == "unknown_format"
