"""Load tests: Locust's users and scenarios, and the command that runs and judges them. See docs/load.md."""
