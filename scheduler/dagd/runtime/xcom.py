"""XCom values as text: JSON with typed tags, never pickle.

A tag is an object with the key `$dagd`, which names the type, and `v`. A dict that has that key itself, or a key that
is no text, is written as a tag of its own, so that no user's dict is ever taken for a tag.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path, PurePath
from typing import Any
from uuid import UUID

from dagd.model.errors import XComRefused
from dagd.runtime.classes import class_name, find_class, restore_dataclass

TAG = "$dagd"
_BIG = 2**63
_LONGEST_SHOWN = 3500  # hexadecimal digits


class LazyValues:
    """Marker of sequences that are stored as plain lists."""


def encode(value: Any) -> str:
    """The text of a value. Raises XComRefused for what has no JSON form, naming the place inside the value."""
    try:
        plain = _plain(value)
    except RecursionError:
        raise XComRefused("the value contains itself, or is nested too deeply") from None
    except _Unknown as error:
        raise error.refuse(value) from None
    text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
    return text if text.isascii() or _is_utf8(text) else json.dumps(plain, separators=(",", ":"))


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


class _Unknown(Exception):
    """Something without a JSON form."""

    def __init__(self, value: Any) -> None:
        super().__init__(type(value).__name__)
        self.value = value

    def refuse(self, whole: Any) -> XComRefused:
        kind = type(self.value)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        place = _place_of(self.value, whole, "value", 0) or "value"
        if kind.__name__ in {
            "generator",
            "async_generator",
            "map",
            "filter",
            "zip",
            "range",
            "dict_keys",
            "dict_values",
        }:
            remedy = "Make it a list: list(...)."
        elif kind.__name__ in {"DataFrame", "Series", "ndarray", "Table"}:
            remedy = "Write it to a file or table and hand on the path or name."
        else:
            remedy = (
                "Hand on JSON values, dates, Decimal, bytes, Path, UUID, sets, tuples, or a dataclass at module level."
            )
        return XComRefused(f"{place} is a {name}, which cannot be handed to other tasks", remedy=remedy)


def _place_of(wanted: Any, value: Any, path: str, depth: int) -> str | None:
    if value is wanted:
        return path
    inner: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        inner = value.items()
    elif isinstance(value, (list, tuple)):
        inner = enumerate(value)
    if depth < 20:
        for key, one in inner:
            found = _place_of(wanted, one, f"{path}[{key!r}]", depth + 1)
            if found:
                return found
    return None


def _plain(value: Any) -> Any:
    kind = type(value)
    if value is None or kind is str or kind is bool:
        return value
    if kind is int:
        return value if -_BIG <= value < _BIG else {TAG: "int", "v": hex(value)}
    if kind is float:
        return value if math.isfinite(value) else {TAG: "float", "v": repr(value)}
    if kind is list:
        return [_plain(one) for one in value]
    if kind is dict:
        return _plain_dict(value)
    for base, write in _WRITERS:
        if isinstance(value, base):
            return write(value)
    if kind.__module__ == "numpy" and hasattr(value, "item") and getattr(value, "shape", None) == ():
        return _plain(value.item())
    raise _Unknown(value)


def _plain_dict(value: Mapping[Any, Any]) -> Any:
    if TAG not in value and all(type(key) is str for key in value):
        return {key: _plain(one) for key, one in value.items()}
    return {TAG: "dict", "v": [[_plain(key), _plain(one)] for key, one in value.items()]}


def _write_datetime(value: datetime) -> Any:
    written = {TAG: "datetime", "v": datetime.isoformat(value)}
    zone = getattr(value.tzinfo, "key", None)
    if zone:
        written["zone"] = zone
    if type(value).__module__.startswith("pendulum"):
        written["of"] = "pendulum"
    return written


def _write_timedelta(value: timedelta) -> Any:
    exact = value.as_timedelta() if hasattr(value, "as_timedelta") else value
    return {TAG: "timedelta", "v": [exact.days, exact.seconds, exact.microseconds]}


def _write_tuple(value: tuple[Any, ...]) -> Any:
    items = [_plain(one) for one in value]
    if hasattr(value, "_fields") and (name := class_name(type(value))):
        return {TAG: "namedtuple", "of": name, "v": items}
    return {TAG: "tuple", "v": items}


def _write_set(value: set[Any] | frozenset[Any]) -> Any:
    items = sorted((_plain(one) for one in value), key=lambda one: json.dumps(one, sort_keys=True))
    return {TAG: "frozenset" if isinstance(value, frozenset) else "set", "v": items}


def _write_enum(value: Enum) -> Any:
    name = class_name(type(value))
    if name is None:
        raise _Unknown(value)
    return {TAG: "enum", "of": name, "v": value.name}


def _write_dataclass(value: Any) -> Any:
    name = class_name(type(value))
    if isinstance(value, type) or name is None:
        raise _Unknown(value)
    fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return {TAG: "dataclass", "of": name, "v": fields}


class _IsDataclass(type):
    def __instancecheck__(cls, value: Any) -> bool:
        return dataclasses.is_dataclass(value)


class _Dataclass(metaclass=_IsDataclass):
    """Anything that is an instance of a dataclass."""


# In order: a subclass stands before its base.
_WRITERS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (Enum, _write_enum),
    (_Dataclass, _write_dataclass),
    (LazyValues, lambda value: [_plain(one) for one in value]),
    (datetime, _write_datetime),
    (date, lambda value: {TAG: "date", "v": date.isoformat(value)}),
    (time, lambda value: {TAG: "time", "v": time.isoformat(value)}),
    (timedelta, _write_timedelta),
    (Decimal, lambda value: {TAG: "Decimal", "v": str(value)}),
    ((bytes, bytearray, memoryview), lambda value: {TAG: "bytes", "v": base64.b64encode(bytes(value)).decode("ascii")}),
    (Path, lambda value: {TAG: "Path", "v": str(value)}),
    (PurePath, lambda value: {TAG: "PurePath", "v": str(value)}),
    (UUID, lambda value: {TAG: "UUID", "v": str(value)}),
    ((set, frozenset), _write_set),
    (tuple, _write_tuple),
    (str, lambda value: str.__str__(value)),
    (int, lambda value: _plain(int(value))),
    (float, lambda value: _plain(float(value))),
    (list, lambda value: [_plain(one) for one in value]),
    (Mapping, _plain_dict),
)


def decode(text: str) -> Any:
    """The inverse of `encode`. Raises XComRefused for a class that is not there any more."""
    return _restore(json.loads(text))


def _restore(value: Any) -> Any:
    kind = type(value)
    if kind is list:
        return [_restore(one) for one in value]
    if kind is not dict:
        return value
    tag = value.get(TAG)
    if tag is None:
        return {key: _restore(one) for key, one in value.items()}
    read = _READERS.get(tag)
    if read is None:
        raise XComRefused(f"a value has the unknown tag {tag!r}", remedy="It was written by a newer release of dagd.")
    return read(value)


def _read_datetime(tagged: dict[str, Any]) -> datetime:
    value = datetime.fromisoformat(tagged["v"])
    zone = tagged.get("zone")
    if zone and value.tzinfo is not None:
        value = _in_zone(value, zone)
    if tagged.get("of") == "pendulum":
        import pendulum

        return pendulum.instance(value, tz=zone or value.tzinfo)
    return value


def _in_zone(value: datetime, zone: str) -> datetime:
    """In its named zone again, if that zone still has the same offset there."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        moved = value.astimezone(ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError):
        return value
    return moved if moved.utcoffset() == value.utcoffset() else value


def _read_namedtuple(tagged: dict[str, Any]) -> Any:
    return find_class(tagged["of"])._make(_restore(one) for one in tagged["v"])


_READERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "int": lambda tagged: int(tagged["v"], 16),
    "float": lambda tagged: float(tagged["v"]),
    "dict": lambda tagged: {_restore(key): _restore(one) for key, one in tagged["v"]},
    "datetime": _read_datetime,
    "date": lambda tagged: date.fromisoformat(tagged["v"]),
    "time": lambda tagged: time.fromisoformat(tagged["v"]),
    "timedelta": lambda tagged: timedelta(*tagged["v"]),
    "Decimal": lambda tagged: Decimal(tagged["v"]),
    "bytes": lambda tagged: base64.b64decode(tagged["v"]),
    "Path": lambda tagged: Path(tagged["v"]),
    "PurePath": lambda tagged: PurePath(tagged["v"]),
    "UUID": lambda tagged: UUID(tagged["v"]),
    "set": lambda tagged: {_restore(one) for one in tagged["v"]},
    "frozenset": lambda tagged: frozenset(_restore(one) for one in tagged["v"]),
    "tuple": lambda tagged: tuple(_restore(one) for one in tagged["v"]),
    "namedtuple": _read_namedtuple,
    "enum": lambda tagged: find_class(tagged["of"])[tagged["v"]],
    "dataclass": lambda tagged: restore_dataclass(
        find_class(tagged["of"]), {name: _restore(one) for name, one in tagged["v"].items()}
    ),
}


def length_of(value: Any) -> int | None:
    """How many instances a task mapped over this value has; None when it cannot be mapped over."""
    if isinstance(value, (list, tuple, Mapping, LazyValues)):
        return len(value)  # type: ignore[arg-type]
    return None


def split_items(text: str) -> list[str]:
    """The texts of the items of an encoded list, tuple or dict (its pairs), without restoring them.

    For whoever hands items to mapped tasks and knows nothing of the values. Raises ValueError for anything else.
    """
    value = json.loads(text)
    tag = value.get(TAG) if isinstance(value, dict) else None
    if isinstance(value, dict) and tag is None:
        items: list[Any] = [{TAG: "tuple", "v": [key, one]} for key, one in value.items()]
    elif tag == "dict":
        items = [{TAG: "tuple", "v": pair} for pair in value["v"]]
    elif tag in {"tuple", "namedtuple"}:
        items = value["v"]
    elif isinstance(value, list):
        items = value
    else:
        raise ValueError("the value is no list or dict")
    return [json.dumps(item, separators=(",", ":")) for item in items]


def to_shown(text: str) -> Any:
    """A value for people and for JSON output: tags become their plain content, classes are not needed."""
    return _shown(json.loads(text))


def _shown(value: Any) -> Any:
    if isinstance(value, list):
        return [_shown(one) for one in value]
    if not isinstance(value, dict):
        return value
    if TAG not in value:
        return {key: _shown(one) for key, one in value.items()}
    tag: str = value[TAG]
    inner: Any = value.get("v")
    if tag == "int":  # beyond 4300 digits no JSON reader in Python takes the number
        return int(inner, 16) if len(inner) < _LONGEST_SHOWN else inner
    if tag == "dict":
        return {str(_shown(key)): _shown(one) for key, one in inner}
    if tag == "timedelta":
        return str(timedelta(*inner))
    return _shown(inner)
