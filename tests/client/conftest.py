import pytest

from tests.client.player import Player, play


@pytest.fixture
def player() -> Player:
    playing, server = play()
    yield playing
    server.shutdown()
    server.server_close()
