"""Every request is recorded with its outcome."""

from types import SimpleNamespace

from loadtests.recorder import read_requests, record_requests
from loadtests.responses import Failed, Rejected


class Hook:
    """An event of Locust."""

    def add_listener(self, listener):
        self.fire = listener


def test_requests_are_recorded_from_the_start_of_the_load(tmp_path, monkeypatch):
    monkeypatch.setattr("loadtests.recorder.time.time", lambda: 1000.0)
    events = SimpleNamespace(test_start=Hook(), request=Hook(), quitting=Hook())
    record_requests(SimpleNamespace(events=events), tmp_path / "requests.csv", delay=3)
    events.test_start.fire()
    for kind, image, exception in (
        ("POST", "64x48 JPEG", None), ("POST", "broken", None), ("gRPC", "64x48 JPEG", Rejected()),
        ("gRPC", "broken", Failed("status 200")),
    ):  # fmt: skip
        context = {"endpoint": "authenticity", "image": image}
        events.request.fire(
            request_type=kind, name="n", start_time=1004.5, response_time=12.345, exception=exception, context=context
        )
    events.quitting.fire()
    requests = read_requests(tmp_path / "requests.csv")
    assert [request.outcome for request in requests] == ["served", "expected_4xx", "rejected", "failed"]
    assert [request.transport for request in requests] == ["REST", "REST", "gRPC", "gRPC"]
    assert all((request.second, request.milliseconds) == (1.5, 12.35) for request in requests)
    assert requests[3].fault == "status 200" and requests[0].fault == ""
