"""How each kind of trigger looks: one function a kind, without a context and without a process of its own.

A function gets the trigger and the connection that it names, and returns the event, or None for not yet. What it raises
fails the try that waits. Drivers and urllib block, so whoever watches many triggers calls these in threads.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from dagd.authoring.store_access import Connection
from dagd.model.errors import NotFound
from dagd.model.triggers import Trigger
from dagd_operators.filesystem import find_file
from dagd_operators.http import HTTPFailed, Response, send
from dagd_operators.sql import first_row, is_true_cell

Event = dict[str, Any]
Check = Callable[[Trigger, Connection | None], Event | None]
_LONGEST_TEXT = 16_000
_NOT_YET = (404,)


def look_for_file(trigger: Trigger, connection: Connection | None) -> Event | None:
    """The path that was found."""
    del connection
    found = find_file(trigger["path"], recursive=bool(trigger.get("recursive")))
    return None if found is None else {"path": found}


def ask_http(trigger: Trigger, connection: Connection | None) -> Event | None:
    """The status, URL and text of an answer that is as it should be. Raises HTTPFailed, OSError."""
    method = str(trigger.get("method") or "GET")
    data, headers = trigger.get("data"), trigger.get("headers")
    by = _connection_of(trigger, connection)
    answer = send(method, by, trigger["url"], data, headers, float(trigger.get("timeout_s") or 60))
    wanted = trigger.get("status")
    if not (answer.status_code in wanted if wanted else answer.ok):
        if answer.status_code in trigger.get("not_yet", _NOT_YET):
            return None
        raise HTTPFailed(f"{method} {answer.url} answered {answer.status_code}: {answer.text[:500]}")
    if not _says(answer, trigger):
        return None
    return {"status": answer.status_code, "url": answer.url, "text": answer.text[:_LONGEST_TEXT]}


def _says(answer: Response, trigger: Trigger) -> bool:
    """Whether a body has what is looked for in it."""
    if trigger.get("contains") is not None and str(trigger["contains"]) not in answer.text:
        return False
    path = trigger.get("json_path")
    if path is None:
        return True
    try:
        found = answer.json()
    except json.JSONDecodeError:
        return False
    for name in str(path).split("."):
        if isinstance(found, list) and name.isdigit() and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, dict):
            found = found.get(name)
        else:
            return False
    return bool(found == trigger["json_equals"]) if "json_equals" in trigger else bool(found)


def ask_sql(trigger: Trigger, connection: Connection | None) -> Event | None:
    """The first cell of the first row, when it is true."""
    by = _connection_of(trigger, connection)
    assert by is not None
    row = first_row(by, trigger["sql"], trigger.get("parameters"))
    if row is None or not is_true_cell(row[0]):
        return None
    cell = row[0]
    return {"value": cell if isinstance(cell, (int, float, bool)) else str(cell)[:_LONGEST_TEXT]}


def _connection_of(trigger: Trigger, connection: Connection | None) -> Connection | str | None:
    """What a trigger goes by: its connection, a URL in its place, or nothing. Raises NotFound."""
    name = trigger.get("conn_id")
    if connection is not None or name is None or (name == "http_default" and trigger["kind"] == "http"):
        return connection
    if "://" in name:
        return str(name)
    raise NotFound(f"there is no connection {name!r}", remedy=f"Make it: dagd connections set {name} --uri ...")


CHECKS: dict[str, Check] = {"file": look_for_file, "http": ask_http, "sql": ask_sql}
