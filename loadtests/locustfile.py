"""People who use the service, for Locust: `make load`, or `locust -f loadtests/locustfile.py --token TOKEN`.

Each sends pictures of mixed sizes and formats; one in fifty is broken, and then status 400 is the right answer.
"""

import functools
import io
import random

from locust import FastHttpUser, between, events, task
from PIL import Image

from server.samples import photograph

PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
SIZES = ((640, 480), (1024, 768), (1600, 1200))
FORMATS = ("JPEG", "PNG", "WEBP")
BROKEN_SHARE = 0.02


@events.init_command_line_parser.add_listener
def add_token_option(parser) -> None:
    """--token, or the environment variable IMAGETRUST_TOKEN, so that it need not show in a list of processes."""
    parser.add_argument("--token", env_var="IMAGETRUST_TOKEN", default="", is_secret=True, help="inference token")


@functools.cache
def picture(name: str, size: tuple[int, int], image_format: str) -> bytes:
    """The file of a photograph at a size. Made when first sent: all at once would take seconds before any request."""
    buffer = io.BytesIO()
    with Image.open(photograph(name)) as image:
        image.convert("RGB").resize(size).save(buffer, image_format)
    return buffer.getvalue()


class Sender(FastHttpUser):
    """Sends a random picture to an endpoint."""

    abstract = True

    def send(self, endpoint: str) -> None:
        """One request; a failure is any status but 200, or but 400 for a broken picture."""
        image_format = random.choice(FORMATS)
        body = picture(random.choice(PHOTOGRAPHS), random.choice(SIZES), image_format)
        broken = random.random() < BROKEN_SHARE
        if broken:
            body = body[: len(body) // 3]
        headers = {
            "Authorization": f"Bearer {self.environment.parsed_options.token}",
            "Content-Type": f"image/{image_format.lower()}",
        }
        with self.client.post(f"/predictions/{endpoint}", data=body, headers=headers, catch_response=True) as answer:
            if answer.status_code == (400 if broken else 200):
                answer.success()
            else:
                answer.failure(f"status {answer.status_code}")


class UploadFeed(Sender):
    """An application that checks every upload and asks for the family of some."""

    weight = 9
    wait_time = between(0.05, 0.5)

    @task(5)
    def check(self) -> None:
        self.send("authenticity")

    @task(1)
    def name_the_family(self) -> None:
        self.send("generator_type")


class Analyst(Sender):
    """A person who looks into single pictures."""

    weight = 1
    wait_time = between(1, 5)

    @task
    def explain(self) -> None:
        self.send("explanation")
