"""Variables and connections in the environment: `DAGD_VAR_KEY` and `DAGD_CONN_ID`, or Airflow's names for them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from dagd.authoring.store_access import Connection
from dagd.model.errors import Refused

VARIABLE = ("DAGD_VAR_", "AIRFLOW_VAR_")
CONNECTION = ("DAGD_CONN_", "AIRFLOW_CONN_")


def variable_from(key: str, env: Mapping[str, str] | None = None) -> str | None:
    """The variable of that key; the name in upper case serves any case."""
    found = _find(VARIABLE, key, env)
    return None if found is None else found[1]


def connection_from(conn_id: str, env: Mapping[str, str] | None = None) -> dict[str, Any] | None:
    """The fields of the connection of that id. Raises Refused for a text that is neither a URI nor an object."""
    found = _find(CONNECTION, conn_id, env)
    return None if found is None else connection_fields(found[1], f"the connection {conn_id!r} in {found[0]}")


def _find(prefixes: tuple[str, ...], name: str, env: Mapping[str, str] | None) -> tuple[str, str] | None:
    known = os.environ if env is None else env
    for prefix in prefixes:
        for spelling in (f"{prefix}{name}", f"{prefix}{name.upper()}"):
            if "\0" not in spelling and spelling in known:
                return spelling, known[spelling]
    return None


def connection_fields(given: Any, what: str) -> dict[str, Any]:
    """A connection as fields, from its URI, its JSON, a dict or a Connection. Raises Refused, without its text."""
    try:
        if isinstance(given, str):
            given = json.loads(given) if given.lstrip().startswith("{") else _from_uri(given)
        if not isinstance(given, (Connection, Mapping)):
            raise ValueError
        found = given if isinstance(given, Connection) else Connection.from_fields(dict(given))
    except (TypeError, ValueError):
        remedy = 'Write type://login:password@host:port/schema, or {"conn_type": ..., "host": ...}.'
        raise Refused(f"{what} cannot be read", remedy=remedy) from None
    names = ("conn_type", "host", "login", "password", "schema", "port", "extra", "description")
    return {name: value for name in names if (value := getattr(found, name)) not in (None, "")}


def _from_uri(text: str) -> dict[str, Any]:
    if "://" not in text:
        raise ValueError
    return {"uri": text}
