"""From a schedule's JSON spec to its timetable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dagd.model.errors import InvalidSchedule, did_you_mean
from dagd.model.times import SECOND, Micros
from dagd.timetables.base import Timetable
from dagd.timetables.cron import read_cron
from dagd.timetables.custom import load_custom
from dagd.timetables.dst import FLOOR, HORIZON, read_policy, read_zone
from dagd.timetables.grids import CalendarSteps, EvenSteps, Listed, Merged, cron_grid
from dagd.timetables.kinds import Continuous, Leading, Listing, Never, Once, Trailing
from dagd.timetables.schedules import Spec


@dataclass(frozen=True, slots=True)
class Frame:
    """What a timetable takes from its DAG."""

    timezone: str
    dst: str
    start_at: Micros | None
    end_at: Micros | None
    first_seen_at: Micros | None


def build(
    spec: Spec,
    *,
    timezone: str,
    dst: str,
    start_at: Micros | None,
    end_at: Micros | None,
    first_seen_at: Micros | None = None,
) -> Timetable:
    """The timetable of a spec (see `schedules`). `timezone` and `dst` are the DAG's, used where the spec has none.
    Raises InvalidSchedule for what cannot be read or can never fire."""
    read_zone(timezone)
    kind = spec.get("kind")
    if kind not in _KINDS:
        raise InvalidSchedule(f"unknown kind of schedule {kind!r}", remedy=did_you_mean(str(kind), _KINDS))
    return _KINDS[kind](spec, Frame(timezone, read_policy(dst), start_at, end_at, first_seen_at))


def _never(_spec: Spec, _frame: Frame) -> Timetable:
    return Never()


def _once(_spec: Spec, frame: Frame) -> Timetable:
    begins = [at for at in (frame.start_at, frame.first_seen_at) if at is not None]
    return Once(Listed([max(begins)] if begins else []), None, frame.end_at)


def _continuous(_spec: Spec, frame: Frame) -> Timetable:
    return Continuous(frame.start_at, frame.end_at)


def _cron(spec: Spec, frame: Frame) -> Timetable:
    zone = read_zone(_field(spec, "timezone", str, None) or frame.timezone)
    policy = read_policy(_field(spec, "dst", str, None) or frame.dst)
    exprs = _field(spec, "exprs", list)
    if not exprs or not all(isinstance(expr, str) for expr in exprs):
        raise InvalidSchedule(f"a cron schedule needs expressions, not {exprs!r}")
    seconds = _field(spec, "seconds", bool, False)
    grids = [cron_grid(read_cron(expr, seconds), zone, policy) for expr in dict.fromkeys(exprs)]
    grid = grids[0] if len(grids) == 1 else Merged(grids)
    interval = _field(spec, "interval", str, "trailing")
    if interval not in ("trailing", "start"):
        raise InvalidSchedule(f"unknown interval {interval!r}", remedy='It is "trailing" or "start".')
    return (Trailing if interval == "trailing" else Leading)(grid, frame.start_at, frame.end_at)


def _delta(spec: Spec, frame: Frame) -> Timetable:
    step = _field(spec, "micros", int)
    if step < SECOND:
        raise InvalidSchedule(f"a step of {step} microseconds is too short", remedy="The shortest is one second.")
    return Trailing(EvenSteps(_anchor(frame), step), frame.start_at, frame.end_at)


def _calendar(spec: Spec, frame: Frame) -> Timetable:
    months, days, elapsed = (_field(spec, name, int) for name in ("months", "days", "micros"))
    if months < 1 or days < 0 or elapsed < 0:
        raise InvalidSchedule(f"calendar steps of {months} months, {days} days do not go forward by a month or more")
    anchor = _anchor(frame)
    if not FLOOR <= anchor < HORIZON:
        raise InvalidSchedule(
            "calendar steps cannot be counted from there", remedy="Give a start_date in the years 4 to 9989."
        )
    grid = CalendarSteps(anchor, read_zone(frame.timezone), frame.dst, months=months, days=days, elapsed=elapsed)
    return Trailing(grid, frame.start_at, frame.end_at)


def _events(spec: Spec, frame: Frame) -> Timetable:
    instants = _field(spec, "at", list)
    if not instants or not all(type(at) is int for at in instants):
        raise InvalidSchedule(f"an event list needs instants in microseconds, not {instants!r}")
    return Listing(Listed(instants), frame.start_at, frame.end_at)


def _custom(spec: Spec, frame: Frame) -> Timetable:
    return load_custom(_field(spec, "entry_point", str), frame, _field(spec, "args", dict))


_KINDS: dict[str, Callable[[Spec, Frame], Timetable]] = {
    "none": _never,
    "once": _once,
    "continuous": _continuous,
    "cron": _cron,
    "delta": _delta,
    "calendar": _calendar,
    "events": _events,
    "custom": _custom,
}

_REQUIRED: Any = object()


def _field(spec: Spec, name: str, kind: type, default: Any = _REQUIRED) -> Any:
    """A field of the spec, checked; null counts as absent."""
    value = spec.get(name)
    if value is None and default is not _REQUIRED:
        return default
    if type(value) is not kind:
        raise InvalidSchedule(f"schedule {spec.get('kind')!r}: {name} cannot be {value!r}")
    return value


def _anchor(frame: Frame) -> Micros:
    """Where steps are counted from: the start date, else 1970-01-01 00:00 in the DAG's zone."""
    return read_zone(frame.timezone).land(0).instant if frame.start_at is None else frame.start_at
