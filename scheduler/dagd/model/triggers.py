"""What a deferred try may wait for: small JSON objects with their kind under `kind`, stored with the try.

  time   {at}      (a task may say `in_us` instead, from its own present)
  file   {path, recursive}
  http   {url, method, headers, data, conn_id, status, not_yet, contains, json_path, json_equals, timeout_s}
  sql    {conn_id, sql, parameters}

All but `time` are looked at again and again: `every_us` apart (twice as long each time with `backoff`, up to
`max_wait_us`), at once when they arrive unless `was_checked` says that the task has just looked itself. They hold no
code and no secret: what opens something is in the connection that they name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from dagd.model.times import SECOND, from_micros

Trigger = dict[str, Any]

# The module that has a function for each kind that is looked at. It is loaded by this name where triggers are
# watched: the core knows no operators, and operators know how to ask.
CHECKS = "dagd_operators.checks"

_PACE = {"every_us", "backoff", "max_wait_us", "was_checked"}
_FIELDS = {
    "time": {"at", "in_us"},
    "file": {"path", "recursive"} | _PACE,
    "http": {
        "url", "method", "headers", "data", "conn_id", "status", "not_yet", "contains", "json_path", "json_equals",
        "timeout_s",
    } | _PACE,
    "sql": {"conn_id", "sql", "parameters"} | _PACE,
}  # fmt: skip
_NEEDED = {"time": (), "file": ("path",), "http": ("url",), "sql": ("conn_id", "sql")}
KINDS = tuple(_FIELDS)

DEFAULT_EVERY_US = 60 * SECOND
LEAST_EVERY_US = SECOND // 10
LONGEST_PAUSE_US = 7 * 86_400 * SECOND
LARGEST_EVENT = 32 * 1024


def check_trigger(trigger: Trigger) -> Trigger:
    """A trigger as it is stored. Raises ValueError for an unknown kind or field, a missing one, or a password."""
    kind = trigger.get("kind")
    if kind not in _FIELDS:
        raise ValueError(f"a trigger of the kind {kind!r} is unknown; known: {', '.join(KINDS)}")
    strange = trigger.keys() - _FIELDS[kind] - {"kind"}
    if strange:
        raise ValueError(f"a {kind} trigger has no {sorted(strange)[0]!r}")
    for name in _NEEDED[kind]:
        if trigger.get(name) in (None, ""):
            raise ValueError(f"a {kind} trigger needs {name!r}")
    if kind == "time" and (trigger.get("at") is None) == (trigger.get("in_us") is None):
        raise ValueError("a time trigger needs 'at' or 'in_us'")
    for name in ("url", "conn_id"):
        value = str(trigger.get(name) or "")
        if "://" in value and urlsplit(value).password is not None:
            raise ValueError(f"the {name} of a trigger holds a password: name a connection instead")
    try:
        return dict(json.loads(json.dumps({name: value for name, value in trigger.items() if value is not None})))
    except TypeError as error:
        raise ValueError(f"a {kind} trigger is stored as JSON: {error}") from None


def describe(trigger: Trigger) -> str:
    """What is waited for, in some words: the kind and its subject."""
    kind = trigger.get("kind")
    if kind == "time":
        return f"time {from_micros(int(trigger['at'])).strftime('%Y-%m-%d %H:%M:%S')} UTC"
    if kind == "file":
        return f"file {trigger['path']}"
    at = f" on {trigger['conn_id']}" if trigger.get("conn_id") else ""
    if kind == "http":
        return f"http {trigger.get('method') or 'GET'} {trigger['url']}{at}"
    sql = " ".join(str(trigger.get("sql")).split())
    return f"sql {sql if len(sql) <= 80 else sql[:77] + '...'}{at}"


def pauses(trigger: Trigger) -> Iterator[int]:
    """The pauses before each look, the first one included, in microseconds; without end."""
    every = max(LEAST_EVERY_US, int(trigger.get("every_us") or DEFAULT_EVERY_US))
    most = min(LONGEST_PAUSE_US, int(trigger.get("max_wait_us") or LONGEST_PAUSE_US))
    pause = min(every, most)
    if not trigger.get("was_checked"):
        yield 0
    while True:
        yield pause
        if trigger.get("backoff"):
            pause = min(pause * 2, most)
