"""The users on a timetable, for Locust: `python -m loadtests.run` starts it, and so may you, web UI and all.

A user sends every PERIOD seconds on average, at times of its own, whether the server is quick or slow; so many users
make the rate. Together their requests come as those of strangers do (a Poisson process), and a slow server is not
spared by users who wait for it.
"""

import math
import random
import time

from locust import LoadTestShape, events

from loadtests import recorder, users  # noqa: F401 (the recorder adds its option)
from loadtests.timetable import SCENARIOS, load_at

PERIOD = 10  # seconds; well above any orderly answer's, so that hardly a user is still waiting when its time comes


@events.init_command_line_parser.add_listener
def add_options(parser) -> None:
    # Locust's web UI turns what is typed into the type of the default: hence 10.0.
    parser.add_argument("--scenario", choices=list(SCENARIOS), default="steady", help="which timetable")
    parser.add_argument("--capacity", type=float, default=10.0, help="requests a second that the server can take")
    parser.add_argument("--minutes", type=float, default=0.0, help="how long; 0: as the scenario has it")


class Paced:
    """Sends at random times, every PERIOD seconds on average."""

    def on_start(self) -> None:
        super().on_start()
        self._due = time.perf_counter()
        self.wait()

    def wait_time(self) -> float:
        now = time.perf_counter()
        # Who is late sends at once and keeps no list of what was missed: a backlog would outlive the overload.
        self._due = max(now, self._due + random.expovariate(1 / PERIOD))
        return self._due - now


class UploadFeed(Paced, users.UploadFeed):
    pass


class Analyst(Paced, users.Analyst):
    pass


class PartnerFeed(Paced, users.PartnerFeed):
    pass


class TimetableShape(LoadTestShape):
    """As many users as the timetable wants at the moment."""

    def tick(self) -> tuple[int, float] | None:
        asked = self.runner.environment.parsed_options
        scenario = SCENARIOS[asked.scenario]
        stages = scenario.stages(asked.minutes or scenario.minutes)
        load = load_at(stages, self.get_run_time())
        if load is None:
            return None
        per_load = asked.capacity * PERIOD
        at_once = math.ceil(per_load * max(stage.load for stage in stages))  # come and go within a second
        return max(1, round(load * per_load)), at_once
