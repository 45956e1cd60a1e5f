"""The command line against a real HTTP server that plays answers."""

import csv
import io
import json
import os
import pkgutil
import pty
import signal
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import pytest

from imagetrust.client import clients, command, exchange
from imagetrust.client.command import main
from tests.client.answers import AUTHENTICITY, BOTH, EXPLANATION, PNG
from tests.client.player import Play

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = "import sys; from imagetrust.client.command import main; sys.exit(main())"


def verdict_of(request):
    """A picture that holds its verdict, or an error's code, gets it."""
    said = request["body"].partition(b"\n")[0].decode()
    if said not in ("real", "uncertain", "generated"):
        return Play(400, {"error": {"code": "unknown_format", "message": "It is no picture."}})
    if request["headers"].get("imagetrust-detail") == "verdicts":
        return Play(body={"inferred": BOTH | {"authenticity": AUTHENTICITY | {"verdict": said}}})
    inferred = EXPLANATION["inferred"] | {"authenticity": AUTHENTICITY | {"verdict": said}}
    return Play(body=EXPLANATION | {"inferred": inferred})


@pytest.fixture
def asked(player, tmp_path, monkeypatch):
    """A server that answers as the pictures say, and pictures of each kind in the working folder."""
    player.plays = verdict_of
    monkeypatch.setenv("IMAGETRUST_ADDRESS", player.address)
    monkeypatch.delenv("IMAGETRUST_TOKEN", raising=False)
    monkeypatch.setattr(exchange, "_FIRST_WAIT", 0.001)
    monkeypatch.chdir(tmp_path)
    for verdict in ("real", "uncertain", "generated", "broken"):
        (tmp_path / f"{verdict}.jpg").write_bytes(verdict.encode())
    return player


@pytest.mark.parametrize(
    ("pictures", "code"),
    [
        (["real.jpg", "real.jpg"], 0),
        (["real.jpg", "generated.jpg"], 1),
        (["generated.jpg", "broken.jpg", "uncertain.jpg"], 1),
        (["uncertain.jpg", "real.jpg"], 4),
        (["broken.jpg", "real.jpg", "uncertain.jpg"], 3),
        (["nothing.jpg", "real.jpg"], 3),
    ],
)
def test_it_exits_by_the_worst_verdict(asked, capsys, pictures, code):
    assert main(["check", *pictures]) == code
    out, err = capsys.readouterr()
    assert [line.split()[-1 if "failed" not in line else 1].rstrip(":") for line in out.splitlines()[1:]] == pictures
    assert err == ""


def test_the_package_installs_it():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert pkgutil.resolve_name(scripts["imagetrust"]) is main


def test_the_help_has_the_exit_codes(capsys):
    with pytest.raises(SystemExit):
        main(["check", "--help"])
    out = capsys.readouterr().out
    assert all(f"\n  {code} " in out for code in [*command.EXIT_CODES.values(), command.USAGE])


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["real.jpg", "--json", "--csv"],
        ["real.jpg", "--concurrency", "0"],
        ["real.jpg", "--concurrency", "65"],
        ["real.jpg", "--timeout", "nan"],
        ["real.jpg", "--timeout", "-1"],
        ["real.jpg", "--server", "localhost:8080"],
        ["real.jpg", "--token-file", "nothing"],
        ["real.jpg", "--token-file", "empty"],
        ["real.jpg", "--token-file", "two"],
        ["real.jpg", "--token", "secret"],
        ["real.jpg", "--explain", "nowhere/out.png"],
        ["real.jpg", "--explain", "real.jpg"],
        ["real.jpg", "generated.jpg", "--explain", "empty"],
        ["real.jpg", "--server", "https://127.0.0.1", "--certificates", "empty"],
        ["-", "-"],
    ],
)
def test_a_command_line_at_fault_asks_nothing(asked, capsys, arguments):
    Path("empty").write_text("")
    Path("two").write_text("one\nX-Other: header")
    try:
        code = main(["check", *arguments])
    except SystemExit as exit_:
        code = exit_.code
    assert code == 2 and not asked.seen and capsys.readouterr().err


def test_rows_come_in_the_order_of_the_pictures(asked, capsys):
    def slow_first(request):
        number = int(request["body"].split()[1])
        return Play(**(vars(verdict_of(request)) | {"delay": 0.2 if number % 8 == 0 else 0}))

    asked.plays = slow_first
    Path("many").mkdir()
    for number in range(40):
        Path(f"many/{number:03d}.jpg").write_text(f"real\n {number}")
    assert main(["check", "many", "--csv", "--concurrency", "8"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["picture"] for row in rows] == [f"many/{number:03d}.jpg" for number in range(40)]
    assert len(asked.seen) == 40


def test_no_more_are_asked_about_at_once_than_allowed(asked):
    now, most, lock = [0], [0], threading.Lock()

    def count(request):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.02)
        with lock:
            now[0] -= 1
        return verdict_of(request)

    asked.plays = count
    assert main(["check", *["real.jpg"] * 20, "--concurrency", "3"]) == 0
    assert most[0] == 3 and asked.connections <= 3


def test_the_token_comes_from_a_file_which_is_read_anew(asked, tmp_path):
    token = tmp_path / "token"
    token.write_text("first\n")

    def renew(request):
        token.write_text("second\n")
        return verdict_of(request)

    asked.plays = renew
    main(["check", "real.jpg", "real.jpg", "--token-file", str(token), "--concurrency", "1"])
    assert [seen["headers"]["authorization"] for seen in asked.seen] == ["Bearer first", "Bearer second"]


def test_the_token_comes_from_the_environment(asked, monkeypatch):
    monkeypatch.setenv("IMAGETRUST_TOKEN", "secret")
    main(["check", "real.jpg"])
    assert asked.seen[0]["headers"]["authorization"] == "Bearer secret"


def test_the_heat_map_of_one_picture_is_a_file(asked, capsys):
    assert main(["check", "real.jpg", "--explain", "out.png", "--json"]) == 0
    assert Path("out.png").read_bytes() == PNG
    assert json.loads(capsys.readouterr().out)["heatmap_file"] == "out.png"


def test_heat_maps_of_several_pictures_are_files_in_a_folder(asked, capsys):
    Path("same").mkdir()
    Path("same/real.jpg").write_text("real")
    assert main(["check", ".", "--explain", "maps", "--csv"]) == 1
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    files = [Path(row["heatmap_file"]) for row in rows if row["verdict"] != "failed"]
    assert len(set(files)) == 4 == len(list(Path("maps").iterdir()))
    assert all(file.read_bytes() == PNG for file in files)
    assert main(["check", ".", "--explain", "maps"]) == 1 and len(asked.seen) == 10  # and not about heat maps


def test_a_heat_map_that_cannot_be_written_is_a_failure_of_its_picture(asked, capsys):
    Path("maps/000001-real.png").mkdir(parents=True)
    assert main(["check", "real.jpg", "uncertain.jpg", "--explain", "maps", "--csv"]) == 3
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["error"] for row in rows] == ["unwritten_heatmap", ""]


def test_a_picture_that_cannot_be_opened_or_is_too_large_stops_nothing(asked, capsys, monkeypatch):
    monkeypatch.setattr(clients.AsyncClient, "__init__", _with(clients.AsyncClient.__init__, max_bytes=10))
    Path("large.jpg").write_bytes(bytes(11))
    Path("odd\x1b\udce9.jpg").symlink_to("nowhere")
    assert main(["check", "large.jpg", "odd\x1b\udce9.jpg", "real.jpg", "--csv"]) == 3
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["error"] for row in rows] == ["too_many_bytes", "no_picture", ""] and len(asked.seen) == 1


def _with(function, **more):
    return lambda *arguments, **named: function(*arguments, **named, **more)


@pytest.mark.parametrize(
    "refusal", [Play(401, {"error": {"code": "unauthorized", "message": "…"}}), Play(reset=True)], ids=["401", "reset"]
)
def test_it_gives_up_where_nobody_answers(asked, capsys, monkeypatch, refusal):
    monkeypatch.setattr(command, "_RETRIES", 0)
    asked.plays = [refusal]
    assert main(["check", *["real.jpg"] * 200]) == 3
    assert 20 <= len(asked.seen) < 60 and "given up" in capsys.readouterr().err


def test_refused_pictures_are_no_reason_to_give_up(asked, capsys):
    assert main(["check", *["broken.jpg"] * 50, "generated.jpg"]) == 1
    assert len(asked.seen) == 51


def test_memory_does_not_grow_with_the_number_of_pictures(asked):
    """Each picture has 200 kB; 400 of them take 80 MB."""
    program = "import resource; from imagetrust.client.command import main; main(); "
    program += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    for folder, count in (("few", 20), ("many", 400)):
        Path(folder).mkdir()
        for number in range(count):
            Path(f"{folder}/{number}.jpg").write_bytes(b"real\n" + bytes(200_000))
    kilobytes = {}
    for folder in ("few", "many"):
        out, _ = start(asked.address, "check", folder, "--json", program=program).communicate(timeout=60)
        *rows, kilobytes[folder] = map(json.loads, out.splitlines())
        assert len(rows) == {"few": 20, "many": 400}[folder]
    assert kilobytes["many"] - kilobytes["few"] < 10_000


def start(address, *arguments, program=PROGRAM, stderr=subprocess.PIPE, stdin=None):
    environment = os.environ | {"IMAGETRUST_ADDRESS": address, "PYTHONPATH": str(ROOT)}
    command_line = [sys.executable, "-c", program, *arguments]
    return subprocess.Popen(command_line, env=environment, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr)


def test_the_standard_input_is_a_picture(asked):
    process = start(asked.address, "check", "-", "--json", stdin=subprocess.PIPE)
    out, err = process.communicate(b"generated\n", timeout=30)
    assert process.returncode == 1, err
    assert json.loads(out)["picture"] == "-" and err == b""


def test_ctrl_c_ends_it_with_what_was_answered(asked):
    def hang_after_the_first(request):
        return Play(**(vars(verdict_of(request)) | {"delay": 0 if len(asked.seen) == 1 else 20}))

    asked.plays = hang_after_the_first
    # A shell has what it starts in the background ignore the signal, these tests too.
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); " + PROGRAM
    pictures = ("real.jpg", "generated.jpg", "uncertain.jpg")
    process = start(asked.address, "check", *pictures, "--csv", "--concurrency", "1", program=program)
    head, first = process.stdout.readline(), process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130 and err.decode() == "imagetrust: interrupted\n"
    assert head.startswith(b"picture,") and first.startswith(b"real.jpg,real,") and out == b""


def test_a_reader_that_stops_reading_ends_it(asked):
    process = start(asked.address, "check", *["real.jpg"] * 2000, "--json")
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=30) == 141
    assert process.stderr.read() == b""


def test_progress_is_shown_on_a_terminal_alone(asked):
    master, slave = pty.openpty()
    out, _ = start(asked.address, "check", "real.jpg", "broken.jpg", "--csv", stderr=slave).communicate(timeout=30)
    os.close(slave)
    shown = os.read(master, 10_000).decode()
    os.close(master)
    assert "2 of 2: 1 failed, 1 real" in shown
    assert b"\x1b" not in out and out.count(b"\n") == 3
