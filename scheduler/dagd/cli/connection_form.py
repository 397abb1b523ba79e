"""The parts of a connection: read from a URI or from flags, and shown without secrets."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from dagd.authoring.store_access import Connection
from dagd.cli.context import read_json
from dagd.model.errors import Refused, UsageError, did_you_mean
from dagd.runtime.masking import is_secret_field

PARTS = ("conn_type", "host", "port", "login", "password", "schema", "extra")
HIDDEN = "***"


def from_uri(uri: str) -> dict[str, Any]:
    """The parts of `type://login:password@host:port/schema?extra=...`. Raises UsageError."""
    try:
        split = urlsplit(uri)
        if not split.scheme or "://" not in uri:
            raise ValueError("it has no type://")
        found = Connection.from_uri(uri)
    except ValueError as error:
        remedy = "Write type://login:password@host:port/schema, special characters as %XX."
        raise UsageError(f"the URI cannot be read: {error}", remedy=remedy) from None
    return {name: getattr(found, name) for name in PARTS}


def from_parts(given: dict[str, Any]) -> dict[str, Any]:
    """The parts as flags or a file give them. Raises UsageError, Refused for an extra that is no object."""
    known = {**given}
    if "uri" in known:
        return {**from_uri(str(known.pop("uri"))), **known}
    known.pop("conn_id", None)
    for name in known:
        if name not in (*PARTS, "description"):
            raise UsageError(f"a connection has no {name!r}", remedy=did_you_mean(name, PARTS))
    extra = known.get("extra")
    if isinstance(extra, str) and extra:
        extra = read_json(extra, "extra")
    if extra not in (None, "") and not isinstance(extra, dict):
        raise Refused("extra is no JSON object", remedy='Write {"name": value}.')
    found = {name: known.get(name) for name in PARTS} | {"extra": json.dumps(extra) if extra else None}
    return found | ({"description": known["description"]} if known.get("description") else {})


def masked(body: dict[str, Any]) -> dict[str, Any]:
    """The parts with every secret as ***."""
    found = {name: body.get(name) for name in PARTS}
    if found["password"]:
        found["password"] = HIDDEN
    if found["extra"]:
        found["extra"] = _masked_extra(found["extra"])
    return found


def _masked_extra(text: str) -> str:
    try:
        value = json.loads(text)
    except ValueError:
        return HIDDEN
    return json.dumps(_hide(value))


def _hide(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: HIDDEN if is_secret_field(name) and one else _hide(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_hide(one) for one in value]
    return value
