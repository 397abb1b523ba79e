"""Variable and Connection: read through the channel of the running try (or of the parse, for variables)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from dagd.authoring.ambient import AMBIENT, Asker
from dagd.authoring.params import NOT_GIVEN
from dagd.model.errors import NotFound, Refused

# Airflow's name in a URI for an extra that is no flat table of texts.
WHOLE_EXTRA = "__extra__"


def _channel(what: str) -> Asker:
    if AMBIENT.channel is None:
        remedy = "Read it inside a task; in a DAG file outside dagd give a default."
        raise Refused(f"{what} can be read only where dagd runs the code", remedy=remedy)
    return AMBIENT.channel


class Variable:
    """A named text of the deployment."""

    @classmethod
    def get(cls, key: str, default: Any = NOT_GIVEN, deserialize_json: bool = False, **older: Any) -> Any:
        """The text (or the JSON value in it). Raises NotFound without a default."""
        default = older.pop("default_var", default)
        if older:
            raise TypeError(f"Variable.get() takes no argument {next(iter(older))!r}")
        if AMBIENT.channel is None and default is not NOT_GIVEN:
            return default
        text = _channel(f"the variable {key!r}").request("variable", {"key": str(key)})
        if text is None:
            if default is NOT_GIVEN:
                raise NotFound(f"there is no variable {key!r}", remedy=f"Make it: dagd variables set {key} VALUE")
            return default
        return json.loads(text) if deserialize_json else text

    @classmethod
    def set(cls, key: str, value: Any, description: str | None = None, serialize_json: bool = False) -> None:
        """Store a text; returns when it is durable."""
        text = json.dumps(value) if serialize_json else str(value)
        args = {"key": str(key), "value": text, "description": description}
        _channel(f"the variable {key!r}").request("set_variable", args)

    @classmethod
    def delete(cls, key: str) -> None:
        """Remove a variable; none of that name is no error."""
        _channel(f"the variable {key!r}").request("delete_variable", {"key": str(key)})


@dataclass
class Connection:
    """Where and how to reach something. Attributes have Airflow's names."""

    conn_id: str = ""
    conn_type: str = ""
    description: str | None = None
    host: str | None = None
    login: str | None = None
    password: str | None = field(default=None, repr=False)
    schema: str | None = None
    port: int | None = None
    extra: str | None = field(default=None, repr=False)

    @classmethod
    def get(cls, conn_id: str) -> Connection:
        """The connection of that id. Raises NotFound."""
        found = _channel(f"the connection {conn_id!r}").request("connection", {"id": str(conn_id)})
        if found is None:
            remedy = f"Make it: dagd connections set {conn_id} --uri ..."
            raise NotFound(f"there is no connection {conn_id!r}", remedy=remedy)
        return cls.from_fields({**found, "conn_id": conn_id})

    @classmethod
    def from_fields(cls, found: dict[str, Any]) -> Connection:
        """A connection from its stored fields; those that are None do not matter."""
        if found.get("uri"):
            return cls.from_uri(found["uri"], found.get("conn_id", ""))
        known = {name: value for name, value in found.items() if name in cls.__dataclass_fields__ and value is not None}
        if isinstance(known.get("extra"), dict):
            known["extra"] = json.dumps(known["extra"])
        if known.get("port") is not None:
            known["port"] = int(known["port"])
        return cls(**known)

    @classmethod
    def from_uri(cls, uri: str, conn_id: str = "") -> Connection:
        """A connection from its URI; the query becomes `extra`."""
        parts = urlsplit(uri)
        netloc = parts.netloc.rpartition("@")[2]
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        extra = query.get(WHOLE_EXTRA) if set(query) == {WHOLE_EXTRA} else json.dumps(query) if query else None
        return cls(
            conn_id=conn_id,
            conn_type=parts.scheme.replace("-", "_"),
            host=unquote(netloc.rsplit(":", 1)[0] if parts.port else netloc) or None,
            login=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            schema=unquote(parts.path[1:]) or None,
            port=parts.port,
            extra=extra,
        )

    @property
    def extra_dejson(self) -> dict[str, Any]:
        """`extra` as a dict; empty when it is none."""
        try:
            found = json.loads(self.extra or "{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def get_uri(self) -> str:
        """The URI form."""
        user = quote(self.login or "", safe="")
        if self.password is not None:
            user += ":" + quote(self.password, safe="")
        port = f":{self.port}" if self.port else ""
        path = "/" + quote(self.schema, safe="") if self.schema else "/" if user or self.host else ""
        is_flat = all(isinstance(one, str) for one in self.extra_dejson.values())
        extra = self.extra_dejson if self.extra_dejson and is_flat else {WHOLE_EXTRA: self.extra}
        query = f"?{urlencode(extra)}" if self.extra else ""
        at = f"{user}@" if user else ""
        return f"{self.conn_type.replace('_', '-')}://{at}{quote(self.host or '', safe='.:[]-_')}{port}{path}{query}"


def get_current_context() -> Any:
    """The context of the task that runs. Raises Refused outside a task."""
    if AMBIENT.context is None:
        raise Refused("there is no current context", remedy="Call get_current_context() inside a running task.")
    return AMBIENT.context
