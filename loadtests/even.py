"""Requests that all cost the same, at equal gaps, for Locust: `python -m loadtests.run even` starts it.

What spreads their latencies is the server's own doing: batches, garbage collection, workers in each other's way. Under
random arrivals of mixed pictures most of it is that requests meet by chance.
"""

import itertools
import time

from locust import LoadTestShape

from loadtests import mix, pictures, users
from loadtests.paced import add_options  # noqa: F401 (its options are this file's too)
from loadtests.timetable import SCENARIOS, load_at

PERIOD = 2  # seconds between two requests of a user: few users and connections, which cost the server and Locust
GATHERING = 3  # seconds until the first request, in which all users come


class Metronome(users.RestUser):
    """Sends one kind of picture to one endpoint every PERIOD seconds, each user a beat after the one before."""

    sender = mix.METRONOME
    choose = staticmethod(pictures.choose_typical)
    began: float | None = None
    numbers = itertools.count()

    def on_start(self) -> None:
        if Metronome.began is None:
            Metronome.began = time.perf_counter() + GATHERING
        asked = self.environment.parsed_options
        beat = 1 / (asked.capacity * SCENARIOS[asked.scenario].stages(1)[0].load)
        self._due = Metronome.began + next(self.numbers) * beat - PERIOD
        self.wait()

    def wait_time(self) -> float:
        self._due += PERIOD
        return max(0.0, self._due - time.perf_counter())


class EvenShape(LoadTestShape):
    """All users at once, from the start to the end."""

    def tick(self) -> tuple[int, float] | None:
        asked = self.runner.environment.parsed_options
        scenario = SCENARIOS[asked.scenario]
        load = load_at(scenario.stages(asked.minutes or scenario.minutes), self.get_run_time() - GATHERING)
        if load is None:
            return None
        count = round(load * asked.capacity * PERIOD)
        return count, count
