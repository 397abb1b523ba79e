"""Triggers as DAG files write them: `context.defer(trigger=FileTrigger("/in/x.csv"))`. Each is a JSON object."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from dagd.authoring.instants import exact_micros, plain_duration
from dagd.model.times import delta_micros
from dagd.model.triggers import Trigger, check_trigger


class BaseTrigger:
    """What a deferred task waits for. `to_json` is what is stored; it holds no code and no secret."""

    def __init__(self, fields: Trigger) -> None:
        """Raises ValueError for a field that cannot be."""
        self._fields = check_trigger(fields)

    def to_json(self) -> Trigger:
        """The trigger as it is stored."""
        return dict(self._fields)


class DateTimeTrigger(BaseTrigger):
    """Fires at an aware instant."""

    def __init__(self, moment: datetime) -> None:
        super().__init__({"kind": "time", "at": exact_micros(moment)})


class TimeDeltaTrigger(BaseTrigger):
    """Fires a while after the task has said so."""

    def __init__(self, delta: timedelta) -> None:
        super().__init__({"kind": "time", "in_us": delta_micros(plain_duration(delta))})


class FileTrigger(BaseTrigger):
    """Fires when a file is there, or a glob finds one, or a folder holds one. The event: {path}."""

    def __init__(self, filepath: str, recursive: bool = False, poke_interval: float | timedelta = 60) -> None:
        path = os.path.abspath(os.fspath(filepath))
        super().__init__({"kind": "file", "path": path, "recursive": recursive, **pace(poke_interval)})


class HttpTrigger(BaseTrigger):
    """Fires when an answer has a status of `status` (default: below 400) and what else is asked of it.

    `contains` is a text in the body; `json_path` a dotted path in its JSON whose value must be true, or equal
    `json_equals`. A status of `not_yet` (default: 404) means to ask again, any other is an error. `url` may be a path
    below the connection `conn_id`. The event: {status, url, text}, the text cut to 16,000 characters.
    """

    def __init__(
        self, url: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, data: Any = None,
        conn_id: str | None = None, status: Sequence[int] | None = None, not_yet: Sequence[int] | None = None,
        contains: str | None = None, json_path: str | None = None, json_equals: Any = None, timeout: float = 60,
        poke_interval: float | timedelta = 60,
    ) -> None:  # fmt: skip
        fields = {
            "kind": "http", "url": url, "method": method.upper(), "headers": dict(headers) if headers else None,
            "data": data, "conn_id": conn_id, "status": list(status) if status else None,
            "not_yet": None if not_yet is None else list(not_yet), "contains": contains, "json_path": json_path,
            "json_equals": json_equals, "timeout_s": timeout,
        }  # fmt: skip
        super().__init__({**fields, **pace(poke_interval)})


class SqlTrigger(BaseTrigger):
    """Fires when the first cell of a query is true (0, '' and '0' are not). The event: {value}."""

    def __init__(
        self, conn_id: str, sql: str, parameters: Any = None, poke_interval: float | timedelta = 60
    ) -> None:  # fmt: skip
        fields = {"kind": "sql", "conn_id": conn_id, "sql": sql, "parameters": parameters}
        super().__init__({**fields, **pace(poke_interval)})


def pace(
    every: float | timedelta, *, backoff: bool = False, most: timedelta | None = None, was_checked: bool = False
) -> Trigger:
    """The fields that say how often a trigger looks."""
    pause = plain_duration(every) if isinstance(every, timedelta) else timedelta(seconds=every)
    return {
        "every_us": delta_micros(pause), "backoff": backoff or None, "was_checked": was_checked or None,
        "max_wait_us": None if most is None else delta_micros(most),
    }  # fmt: skip


def as_trigger(given: Any) -> Trigger:
    """The JSON of a trigger: one of ours, or a dict with a `kind`. Raises ValueError."""
    if isinstance(given, BaseTrigger):
        return given.to_json()
    if isinstance(given, Mapping):
        return check_trigger(dict(given))
    what = f"{type(given).__name__} is no trigger that dagd knows"
    raise ValueError(f"{what}: use DateTimeTrigger, TimeDeltaTrigger, FileTrigger, HttpTrigger or SqlTrigger")
