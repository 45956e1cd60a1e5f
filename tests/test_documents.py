"""Every command in the documents is run, parsed as far as it can be without hours or another machine, or named here."""

import argparse
import importlib.util
import os
import re
import runpy
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.test_command import PROGRAM
from tests.procedural import encoded
from tests.server.test_gate import MISSING, TOKEN
from tests.server.test_gated_torchserve import gate, make_gate, url  # noqa: F401  fixtures
from tests.server.test_rest import HEIC

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    path for pattern in ("*.md", "docs/**/*.md", "deploy/**/*") for path in ROOT.glob(pattern) if path.is_file()
)
FENCE = re.compile(r"^ *(```+|~~~+)(\w*)[^\n]*\n(.*?)^ *\1 *$", re.DOTALL | re.MULTILINE)
SHELLS = {"sh", "bash", "shell", "console"}

# By how a command begins: why it is neither run nor parsed.
NOT_RUN = {
    "python -m training.train --data ../shared/data/artifact_mini --task both": "0.3's own, whose options are gone",
    "python -m training.refit": "0.3's own; the module is gone, as the text says",
    "python -m training.unseen": "0.3's own; the module is gone, as the text says",
    "python -m training.release --data ../shared/data/artifact_mini --run runs/both/refitted": "0.3's own",
    "python -m training.quantise --data ../shared/data/artifact_mini --rounds": "0.3's own",
    "python -m pip install": "installs; tests run where it has",
}
RUN = {"curl", "echo", "cat", "imagetrust"}  # programs that are run as they stand, beside the server


def fenced(languages: set[str]) -> list[tuple[str, str]]:
    """Document and text of each fenced block in one of these languages."""
    return [
        (path.relative_to(ROOT).as_posix(), text)
        for path in DOCUMENTS
        for _, language, text in FENCE.findall(path.read_text(errors="replace"))
        if language in languages
    ]


def commands() -> list[tuple[str, str]]:
    """Document and text of each command: a line with those that it goes on in, without comments and settings."""
    found = []
    for document, text in fenced(SHELLS):
        for line in re.sub(r"(\\|\|)\n\s*", lambda end: " " if end[1] == "\\" else "| ", text).splitlines():
            command = re.sub(r"(^|\s)#.*", "", line).removeprefix("$ ").strip()
            command = re.sub(r"\.venv/(ui/)?bin/", "", command)
            if command:
                found.append((document, command))
    return list(dict.fromkeys(found))


def kind(command: str) -> str:
    """`run`, `parse` or `make`: how a command is tested; `no` for one that NOT_RUN names, else empty."""
    if any(command.startswith(beginning) for beginning in NOT_RUN):
        return "no"
    if re.match(r"[A-Z]+=", command):
        return "run"
    program, *arguments = shlex.split(command)
    if program == "python" and arguments[:1] == ["-m"]:
        return "parse" if (ROOT / arguments[1].partition(".")[0]).is_dir() else "run"
    return "make" if program == "make" else "run" if program in RUN else ""


COMMANDS = commands()


def of_kind(wanted: str) -> pytest.MarkDecorator:
    chosen = [row for row in COMMANDS if kind(row[1]) == wanted]
    return pytest.mark.parametrize(
        ("document", "command"), chosen, ids=[f"{name}-{text[:60]}" for name, text in chosen]
    )


def test_every_command_is_tested_or_says_why_not():
    assert [f"{document}: {command}" for document, command in COMMANDS if not kind(command)] == []
    assert {kind(command) for _, command in COMMANDS} == {"run", "parse", "make", "no"}


@pytest.mark.parametrize("beginning", NOT_RUN)
def test_no_exception_is_left_without_its_command(beginning):
    assert any(command.startswith(beginning) for _, command in COMMANDS)


class Parsed(Exception):
    """The command line is accepted."""


@of_kind("parse")
def test_a_command_of_ours_is_accepted(command, document, monkeypatch):
    _, _, module, *arguments = shlex.split(command)
    parse = argparse.ArgumentParser.parse_args

    def accept(parser, *given):
        parse(parser, *given)
        raise Parsed

    source = importlib.util.find_spec(f"{module}.__main__" if (ROOT / module).is_dir() else module)
    assert source and "parse_args" in Path(source.origin).read_text(), "it is not there, or it would run"
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", accept)
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    with pytest.raises(Parsed):
        runpy.run_module(module, run_name="__main__")


@of_kind("make")
def test_make_knows_what_it_is_told(command, document):
    for one in command.split("&&"):
        _, *arguments = shlex.split(one)
        done = subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def desk(server, photo, tmp_path_factory):
    """A folder with what the commands name, and the programs that they call."""
    folder = tmp_path_factory.mktemp("desk")
    for suffix, image_format in (("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP")):
        (folder / f"photo.{suffix}").write_bytes(encoded(photo, image_format))
        for name in ("photos", "more/of/them"):
            (folder / name).mkdir(exist_ok=True, parents=True)
            (folder / name / f"photo.{suffix}").write_bytes(encoded(photo, image_format))
    (folder / "photo.heic").write_bytes(HEIC.read_bytes())
    for name in ("C2PA-TRUST-LIST.pem", "anchors.pem"):
        (folder / name).write_text("")
    token = server.token("inference")
    (folder / "token").write_text(token)
    programs = {
        "make": f'[ "$*" = "-s token" ] && echo {token}',
        "curl": f'exec {shutil.which("curl")} --silent --show-error --fail-with-body "$@"',
        "python": f'exec {sys.executable} "$@"',
        "imagetrust": f'exec {sys.executable} -c "{PROGRAM}" "$@"',
    }
    (folder / "bin").mkdir()
    for name, text in programs.items():
        path = folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return folder


@pytest.fixture
def place(request, server, desk):
    """Where what a document asks is asked: text with addresses of this run, and the environment of its commands."""
    environment = os.environ | {
        "PATH": f"{desk / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TOKEN": server.token("inference"),
        "AUTH": f"Authorization: Bearer {server.token('inference')}",
        "IMAGETRUST_ADDRESS": server.addresses.inference,
        "IMAGETRUST_TOKEN": server.token("inference"),
    }

    def placed(text: str) -> tuple[str, dict[str, str]]:
        text = text.replace("http://127.0.0.1:8080", server.addresses.inference)
        if "127.0.0.1:8090" not in text:
            return text, environment
        if MISSING:
            pytest.skip(f"NOT TESTED: {MISSING}")
        return text.replace("http://127.0.0.1:8090", request.getfixturevalue("url")), environment | {"TOKEN": TOKEN}

    return placed


@of_kind("run")
def test_a_command_runs_beside_the_server(command, document, desk, place):
    text, environment = place(command)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], cwd=desk, env=environment, capture_output=True, text=True, timeout=60
    )
    # The command line says by its exit code what it found.
    assert done.returncode in ((0, 1, 4) if "imagetrust check" in command else (0,)), done.stdout + done.stderr


@pytest.mark.parametrize(("document", "program"), fenced({"python"}))
def test_a_program_in_python_runs_beside_the_server(document, program, desk, place, server, monkeypatch):
    text, environment = place(program)
    if "7070" in text:
        text = text.replace("127.0.0.1:7070", server.addresses.grpc)
    text = f"token = {environment['TOKEN']!r}\n{text}"
    done = subprocess.run([sys.executable, "-c", text], cwd=desk, env=environment, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()


NAMED = re.compile(r"`((?:\.venv/bin/)?python -m [a-z_.]+|make [a-z]+)")
INLINE = sorted(
    {
        (path.relative_to(ROOT).as_posix(), span)
        for path in DOCUMENTS
        if path.suffix == ".md"
        for span in NAMED.findall(path.read_text())
    }
)


@pytest.mark.parametrize(("document", "span"), INLINE)
def test_what_is_named_within_the_text_is_there(document, span):
    *_, name = span.split()
    if span.startswith("make"):
        assert re.search(rf"^{name}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    else:
        assert importlib.util.find_spec(name)
