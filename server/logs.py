"""The supervisor's log: an object of JSON a line, as the logs of TorchServe and of the gate are."""

import json
import logging
from datetime import UTC, datetime


class JsonLines(logging.Formatter):
    """Writes a record as one line of JSON; what was raised is in `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def readable(text: str) -> str:
    """Return lines of such a log for reading; what is none stays as it is."""
    lines = []
    for line in text.splitlines():
        try:
            lines.append(str(json.loads(line)["message"]))
        except (ValueError, KeyError, TypeError):
            lines.append(line)
    return "\n".join(lines)
