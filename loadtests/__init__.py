"""Load tests: Locust's users, and scenarios with gates. See docs/load.md."""
