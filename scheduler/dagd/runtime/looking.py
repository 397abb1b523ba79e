"""What a look at a trigger needs where triggers are watched: the functions of each kind, and secrets kept out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from dagd.authoring.store_access import Connection
from dagd.model.triggers import CHECKS, Trigger
from dagd.runtime.masking import Masker, secrets_of_connection

Event = dict[str, Any]
Check = Callable[[Trigger, Connection | None], Event | None]
_LONGEST_ERROR = 4096


def load_checks() -> Mapping[str, Check]:
    """The function of each kind that is looked at."""
    found: Mapping[str, Check] = import_module(CHECKS).CHECKS
    return found


def connection_name(trigger: Trigger) -> str | None:
    """The connection that a trigger names; a URL in its place needs none."""
    name = trigger.get("conn_id")
    return None if name is None or "://" in name else str(name)


def opened_connection(name: str, fields: dict[str, Any] | None, masker: Masker) -> Connection | None:
    """A connection from what was answered, its secrets known to `masker`."""
    if fields is None:
        return None
    masker.add_all(secrets_of_connection(fields))
    found = Connection.from_fields({**fields, "conn_id": name})
    masker.add_all([found.password] if found.password else [])
    return found


def masked_event(event: Any, masker: Masker) -> Any:
    """An event without secrets: it is stored."""
    if isinstance(event, str):
        return masker.mask(event)
    if isinstance(event, dict):
        return {name: masked_event(one, masker) for name, one in event.items()}
    return event


def masked_error(error: Exception, masker: Masker) -> dict[str, Any]:
    """Why a look failed, without secrets."""
    return {"type": type(error).__name__, "message": masker.mask(str(error))[:_LONGEST_ERROR]}
