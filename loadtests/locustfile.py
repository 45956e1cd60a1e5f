"""The users, for Locust: `make load`, or `locust -f loadtests/locustfile.py --token TOKEN --host http://...`.

No shape is imported here: Locust would take it and ignore --users.
"""

from loadtests.users import Analyst, PartnerFeed, UploadFeed

__all__ = ["Analyst", "PartnerFeed", "UploadFeed"]
