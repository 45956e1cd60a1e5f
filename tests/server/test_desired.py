"""What shall be served is written in one step, read strictly, and changed by one at a time."""

import pytest

from server.desired import DESIRED, Canary, Desired, DesiredError, Served, changing


def served(*models: str) -> Desired:
    tasks = {"authenticity": ("a",), "generator_type": ("g",), "explanation": ("a", "g"), "other": ("o",), "plain": ()}
    desired = Desired(["authenticity-1.mar", "authenticity-2.mar"], {})
    for name in models:
        desired.add(name, "1", Served(f"{name}-1.mar", "c" * 64), tasks[name])
    return desired


def test_it_is_read_as_written(tmp_path):
    assert Desired.read(tmp_path) is None
    desired = served("authenticity", "plain")
    desired.add("authenticity", "2", Served("authenticity-2.mar", "d" * 64, 3), ("a",))
    desired.models["authenticity"].canary = Canary("2", 0.05)
    desired.write(tmp_path)
    assert Desired.read(tmp_path) == desired
    assert desired.canaries() == {"authenticity": ("2", 5)}
    assert [path.name for path in tmp_path.iterdir()] == [DESIRED]


ONE = '"default": "1", "versions": {"1": {"archive": "", "contents": ""%s}}'


def of_model(model: str) -> bytes:
    return f'{{"made_from": [], "models": {{"a": {{{model}}}}}}}'.encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"\xff",
        b'{"made_from": [], "models": {}, "more": 1}',
        of_model('"default": "1", "versions": {}'),
        of_model(ONE % ', "workers": 0'),
        of_model(ONE % "" + ', "previous": "0"'),
        of_model(ONE % "" + ', "canary": {"version": "1", "share": 1.5}'),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / DESIRED).write_bytes(content)
    with pytest.raises(DesiredError, match=DESIRED):
        Desired.read(tmp_path)


def test_what_differs_from_them_is_read(tmp_path):
    (tmp_path / DESIRED).write_bytes(of_model(ONE % ', "workers": 1'))
    assert Desired.read(tmp_path).models["a"].versions["1"].workers == 1


@pytest.mark.parametrize("name", ["authenticity", "generator_type", "explanation"])
def test_models_that_share_a_task_are_one_group(name):
    desired = served("authenticity", "generator_type", "explanation", "other", "plain")
    assert desired.group(name) == ["authenticity", "generator_type", "explanation"]
    assert desired.group("other") == ["other"] and desired.group("plain") == ["plain"]


def test_versions_that_the_settings_name_share_the_workers():
    desired = served("authenticity")
    assert desired.sharing("authenticity") == 1
    desired.add("authenticity", "2", Served("authenticity-2.mar", "d" * 64), ("a",))
    assert desired.sharing("authenticity") == 2
    desired.add("authenticity", "3", Served("authenticity-3.mar", "e" * 64), ("a",))
    assert desired.sharing("authenticity") == 2


def test_one_at_a_time(tmp_path):
    with changing(tmp_path) as first, changing(tmp_path, wait=False) as second:
        assert first and not second
    with changing(tmp_path, wait=False) as again:
        assert again
