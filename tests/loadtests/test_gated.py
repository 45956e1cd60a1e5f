"""A server with its supervisor and gate, for loads."""

import pytest

from loadtests.gated import gated_server
from server.instance import ServerError


def test_a_start_that_fails_says_why_and_leaves_its_logs(tmp_path):
    """Though there is no gate yet that has any."""
    ends = lambda folder: ["sh", "-c", "echo no room; exit 1"]  # noqa: E731
    with (
        pytest.raises(ServerError, match="no room"),
        gated_server([], tmp_path / "store", {}, logs=tmp_path / "logs", before=ends),
    ):
        pass
    assert "no room" in (tmp_path / "logs" / "supervisor.log").read_text()
