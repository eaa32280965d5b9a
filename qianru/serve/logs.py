"""The server's log: one JSON object a line, on stderr; never a text, a query, a vector or a key."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime

LOGGERS = ("qianru", "uvicorn", "uvicorn.error")


class JsonLines(logging.Formatter):
    """A record as one line of JSON. What is given as extra={"facts": {...}} stands beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        told = {"time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
                "level": record.levelname.lower(), "message": record.getMessage(), **getattr(record, "facts", {})}
        if record.exc_info and record.exc_info[0] is not None:
            # where, not what: the words of a foreign error may repeat the text that it met
            told["error"] = record.exc_info[0].__name__
            told["where"] = [f"{frame.filename}:{frame.lineno} {frame.name}"
                             for frame in traceback.extract_tb(record.exc_info[2])[-8:]]
        return json.dumps(told, ensure_ascii=False)


def log_as_json(level: int = logging.INFO) -> None:
    """From now on the library and the server log to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in LOGGERS:
        log = logging.getLogger(name)
        log.handlers = [handler] if name != "uvicorn.error" else []
        log.setLevel(level)
        log.propagate = name == "uvicorn.error"
