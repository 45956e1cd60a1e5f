"""The users without a pause, for Locust: as many requests as the server answers. Used to measure its capacity."""

from locust import constant

from loadtests import recorder, users  # noqa: F401 (the recorder adds its option)


class UploadFeed(users.UploadFeed):
    wait_time = constant(0)


class Analyst(users.Analyst):
    wait_time = constant(0)


class PartnerFeed(users.PartnerFeed):
    wait_time = constant(0)
