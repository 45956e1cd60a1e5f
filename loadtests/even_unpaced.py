"""The requests of loadtests/even.py without a pause, for Locust: used to measure how many of them are answered."""

from locust import constant

from loadtests import mix, pictures, recorder, users  # noqa: F401 (the recorder adds its option)


class Metronome(users.RestUser):
    sender = mix.METRONOME
    choose = staticmethod(pictures.choose_typical)
    wait_time = constant(0)
