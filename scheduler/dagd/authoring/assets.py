"""Assets: what tasks read and write, conditions over them, and the policies that an asset may carry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

from dagd.authoring.ambient import caller_ref
from dagd.model.errors import InvalidId, SourceRef, WrongArgument
from dagd.model.specs import AssetSpec

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_KINDS = ("table", "view", "file", "model", "external")


class AssetCondition:
    """Something over assets that is true or not: one asset, all of several, any of several."""

    def assets(self) -> Iterator[Asset]:
        """The assets named, in order."""
        raise TypeError(type(self).__name__)

    def tree(self) -> list[Any]:
        """The compiled form: ["asset", key] | ["all", [...]] | ["any", [...]]."""
        raise TypeError(type(self).__name__)

    def describe(self) -> str:
        """In words: keys joined by & and |."""
        raise TypeError(type(self).__name__)

    def __and__(self, other: Any) -> AssetCondition:
        if not isinstance(other, AssetCondition):
            return NotImplemented
        return AssetAll(self, other)

    def __or__(self, other: Any) -> Any:
        if isinstance(other, AssetCondition):
            return AssetAny(self, other)
        return AssetOrTime(self, other)

    def __ror__(self, other: Any) -> Any:
        return AssetOrTime(self, other)


class Asset(AssetCondition):
    """A piece of data with a key of its own across the project. `Asset("s3://bucket/x")` names and locates it."""

    def __init__(
        self,
        name: str | None = None,
        uri: str | None = None,
        *,
        group: str | None = None,
        extra: dict[str, Any] | None = None,
        owner: str | None = None,
        tags: Sequence[str] = (),
        kind: str = "table",
        shared: bool = False,
        freshness: Every | By | None = None,
        partitions: Any = None,
        watchers: Sequence[Any] = (),
    ) -> None:
        del watchers
        where = caller_ref()
        key = name if name is not None else uri
        if not isinstance(key, str) or not 0 < len(key) <= 1500 or not key.isprintable():
            raise InvalidId(f"asset name {key!r} is not valid", where=where, remedy="Give 1 to 1500 characters.")
        if kind not in _KINDS:
            raise WrongArgument(f"kind={kind!r}", where=where, remedy=f"Known: {', '.join(_KINDS)}")
        if freshness is not None and not isinstance(freshness, (Every, By)):
            raise WrongArgument(f"freshness={freshness!r}", where=where, remedy="Give Every(...) or By(...).")
        self.name = self.key = key
        self.uri = uri if uri is not None else (key if "://" in key else None)
        self.group, self.owner, self.kind, self.shared = group, owner, kind, shared
        self.tags, self.extra = tuple(tags), dict(extra or {})
        self.freshness, self.partitions, self.where = freshness, partitions, where

    def assets(self) -> Iterator[Asset]:
        """Itself."""
        yield self

    def tree(self) -> list[Any]:
        """The compiled form."""
        return ["asset", self.key]

    def describe(self) -> str:
        """Its key."""
        return self.key

    def to_spec(self) -> AssetSpec:
        """The compiled declaration."""
        freshness = self.freshness.to_json() if self.freshness else None
        return AssetSpec(
            self.key, self.uri, self.group, self.owner, self.tags, self.kind, self.shared, freshness, self.partitions
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Asset) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"Asset({self.key!r})"


class _Joint(AssetCondition):
    word = ""

    def __init__(self, *parts: AssetCondition) -> None:
        where = caller_ref()
        for part in parts:
            if not isinstance(part, AssetCondition):
                raise WrongArgument(f"{part!r} is no asset", where=where)
        self.parts: list[AssetCondition] = []
        for part in parts:
            self.parts.extend(part.parts if isinstance(part, type(self)) else [part])

    def assets(self) -> Iterator[Asset]:
        """The assets of all parts."""
        for part in self.parts:
            yield from part.assets()

    def tree(self) -> list[Any]:
        """The compiled form."""
        return [self.word, [part.tree() for part in self.parts]]

    def describe(self) -> str:
        """Keys joined by & or |; joints inside in parentheses."""
        parts = [f"({part.describe()})" if isinstance(part, _Joint) else part.describe() for part in self.parts]
        return (" & " if self.word == "all" else " | ").join(parts)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.parts))})"


class AssetAll(_Joint):
    """True when all parts are."""

    word = "all"


class AssetAny(_Joint):
    """True when a part is."""

    word = "any"


class AssetOrTime:
    """A schedule of assets and a timetable together: either makes runs."""

    def __init__(self, condition: AssetCondition, time: Any) -> None:
        self.condition, self.time = condition, time


class AssetOrTimeSchedule(AssetOrTime):
    """Airflow's name for it."""

    def __init__(self, *, timetable: Any, assets: Any) -> None:
        super().__init__(as_condition(assets), timetable)


def as_condition(value: Any) -> AssetCondition:
    """One asset, a condition, or a list that means all of them. Raises WrongArgument."""
    if isinstance(value, AssetCondition):
        return value
    if isinstance(value, (list, tuple)) and value and all(isinstance(one, AssetCondition) for one in value):
        return value[0] if len(value) == 1 else AssetAll(*value)
    raise WrongArgument(f"{value!r} is no asset or list of assets", where=caller_ref())


def _micros(name: str, value: Any, where: SourceRef) -> int:
    duration = value
    if isinstance(value, str) and value[:-1].isdigit() and value[-1:] in _UNITS:
        duration = timedelta(seconds=int(value[:-1]) * _UNITS[value[-1]])
    if not isinstance(duration, timedelta) or duration <= timedelta(0):
        raise WrongArgument(
            f"{name}={value!r} is no duration", where=where, remedy="Give a timedelta, or text like '6h'."
        )
    return duration // timedelta(microseconds=1)


class Every:
    """Fresh as long as the age (or the age of its data) stays below `fail`; `warn` comes earlier."""

    def __init__(self, fail: Any, warn: Any = None, *, on: str = "age", ensure: bool = False) -> None:
        where = caller_ref()
        if on not in {"age", "data"}:
            raise WrongArgument(f"on={on!r}", where=where, remedy="Give 'age' or 'data'.")
        self.fail_us = _micros("fail", fail, where)
        self.warn_us = None if warn is None else _micros("warn", warn, where)
        if self.warn_us is not None and self.warn_us > self.fail_us:
            raise WrongArgument(f"warn={warn!r} comes after fail={fail!r}", where=where)
        self.on, self.ensure = on, ensure

    def to_json(self) -> dict[str, Any]:
        """The compiled form."""
        return {"kind": "every", "fail_us": self.fail_us, "warn_us": self.warn_us, "on": self.on, "ensure": self.ensure}


class By:
    """Fresh when materialised by each slot of `cron`, at most `within` before it."""

    def __init__(self, cron: str, within: Any = None, tz: str = "UTC", *, ensure: bool = False) -> None:
        where = caller_ref()
        self.cron, self.tz, self.ensure = cron, tz, ensure
        self.within_us = None if within is None else _micros("within", within, where)

    def to_json(self) -> dict[str, Any]:
        """The compiled form."""
        return {"kind": "by", "cron": self.cron, "within_us": self.within_us, "tz": self.tz, "ensure": self.ensure}


class AssetFunction:
    """A function made an asset by `@asset`: its parameters name the assets that it reads."""

    def __init__(self, function: Callable[..., Any], asset: Asset, options: dict[str, Any], where: SourceRef) -> None:
        self.function, self.asset, self.options, self.where = function, asset, options, where
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__
