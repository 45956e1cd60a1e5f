"""What a roll-out lost is counted in the step in which it was lost."""

from loadtests.recorder import Request
from loadtests.rollout import Step, rows_of


def asked(second: float, milliseconds: float = 100, outcome: str = "served", fault: str = "") -> Request:
    return Request(second, "REST", "authenticity", "1024x768 JPEG", milliseconds, outcome, fault)


def test_a_request_belongs_to_the_step_in_which_its_answer_came():
    """A step lasts until the next one begins; the last one until the end."""
    done = [Step("register", 1010, 1012), Step("promote", 1020, 1025)]
    requests = [
        asked(5),  # before the first step
        asked(10), asked(15, 4000), asked(19.95, 20, "failed", "status 503"),
        asked(19.95), asked(40, 100, "rejected", "rejected: the queue is full"),
    ]  # fmt: skip
    rows = rows_of(done, requests, began=1000)
    assert [(row["step"], row["seconds"], row["requests"], row["lost"], row["longest"]) for row in rows] == [
        ("register", 2, 3, 1, 4.0), ("promote", 5, 2, 1, 0.1),
    ]  # fmt: skip
    assert rows[0]["how"] == "1 x status 503" and "the queue is full" in rows[1]["how"]


def test_a_broken_picture_that_is_refused_is_not_lost():
    (row,) = rows_of([Step("register", 1000, 1001)], [asked(1, outcome="expected_4xx")], began=1000)
    assert (row["requests"], row["lost"]) == (1, 0)
