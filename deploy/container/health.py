"""Asks the gate in this container how it is: `python -I health.py live|ready`. Ends with 0, or with 1 and a reason.

It needs the standard library alone, since it is run every few seconds.
"""

import ssl
import sys
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

SETTINGS = Path("/etc/imagetrust/gate.toml")

settings = tomllib.loads(SETTINGS.read_text())
scheme = "https" if settings.get("certificate") else "http"
port = settings["rest"].rpartition(":")[2]
# The certificate has the name that callers use, not this one; nothing secret is sent.
context = ssl._create_unverified_context()
try:
    urllib.request.urlopen(f"{scheme}://127.0.0.1:{port}/health/{sys.argv[1]}", timeout=4, context=context).close()
except (urllib.error.URLError, OSError) as error:
    sys.exit(f"not {sys.argv[1]}: {error}")
