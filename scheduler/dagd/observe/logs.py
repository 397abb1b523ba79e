"""Logs of dagd's own processes: one line an event, with its instant, level, part and ids, for people or as JSON.

A log site names its ids as fields: `LOG.warning("try cannot be launched", extra=ids(token=token, dag=dag.name))`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from dagd.observe.talk import plain

FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
FIELDS = "dagd_ids"
# Of a token only so much is logged: it names a try, and whoever holds all of it could speak of it.
TOKEN_SHOWN = 12


def ids(**found: Any) -> dict[str, dict[str, Any]]:
    """The named fields of a log record: dag, run, task, try, token (its beginning), turn... None is left out."""
    if "token" in found:
        found["token"] = str(found["token"])[:TOKEN_SHOWN]
    return {FIELDS: {name: value for name, value in found.items() if value is not None}}


class UtcFormatter(logging.Formatter):
    """Text: instants in UTC to the millisecond, ids as name=value at the end of the line."""

    converter = staticmethod(time.gmtime)
    default_msec_format = "%s.%03dZ"
    default_time_format = "%Y-%m-%dT%H:%M:%S"

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line, without what a traceback adds."""
        fields = getattr(record, FIELDS, {})
        tail = "".join(f" {name}={value}" for name, value in fields.items())
        return plain(super().formatMessage(record) + tail)


class JsonFormatter(UtcFormatter):
    """One JSON object a line: at, level, part, message, the ids, and error with its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The object."""
        shown: dict[str, Any] = {
            "at": self.formatTime(record), "level": record.levelname.lower(), "part": record.name,
            "pid": record.process, "message": record.getMessage(), **getattr(record, FIELDS, {}),
        }  # fmt: skip
        if record.exc_info and record.exc_info[0] is not None:
            shown["error"] = record.exc_info[0].__name__
            shown["traceback"] = self.formatException(record.exc_info)
        return json.dumps(shown, ensure_ascii=False, default=str)


def log_to(path: Path | None, level: int = logging.INFO, *, form: str = "text") -> None:
    """Send every log record to a private file, or to stderr; `form` is text or json."""
    handler: logging.Handler
    if path is None:
        handler = logging.StreamHandler(sys.stderr)
    else:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
        handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(JsonFormatter() if form == "json" else UtcFormatter(FORMAT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in ("apscheduler", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
