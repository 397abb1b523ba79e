"""What users write as a schedule, and the JSON spec that it becomes.

Imported in task processes: the standard library alone, and only shallow checks. `build` reads a spec in depth.

A spec is one of

    {"kind": "none" | "once" | "continuous"}
    {"kind": "cron", "exprs": [...], "timezone": zone | null, "dst": policy | null, "seconds": bool,
     "interval": "trailing" | "start"}       # "start": the logical date starts the interval, due at its end
    {"kind": "delta", "micros": int}                             # elapsed time
    {"kind": "calendar", "months": int, "days": int, "micros": int}     # counted from the anchor, on the wall
    {"kind": "events", "at": [micros, ...]}
    {"kind": "custom", "entry_point": name, "args": {...}}       # of the group dagd.timetables
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from dagd.model.errors import InvalidSchedule, did_you_mean
from dagd.model.times import SECOND, delta_micros, to_micros

Spec = dict[str, Any]

PRESETS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@quarterly": "0 0 1 1,4,7,10 *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
GRIDLESS_PRESETS = ("@once", "@continuous")
_DAY = 86_400 * SECOND
_KNOWN = (
    "Use a cron string, a preset such as '@daily', a timedelta, Cron, CronDataInterval, MultipleCron, Events or None."
)


@dataclass(frozen=True)
class Cron:
    """A cron expression or preset. `timezone` and `dst` are the DAG's when None; `seconds` allows a sixth field, the
    seconds, at the front. The logical date is when a slot falls due."""

    expr: str
    timezone: str | None = None
    dst: str | None = None
    seconds: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "expr", _read_expr(self.expr, seconds=self.seconds))
        object.__setattr__(self, "timezone", zone_name(self.timezone))


@dataclass(frozen=True)
class CronDataInterval(Cron):
    """As `Cron`, with Airflow 2's convention: the logical date is the start of the data interval, due at its end."""


@dataclass(frozen=True, init=False)
class MultipleCron:
    """Several cron expressions or presets as one schedule; where two of them meet there is one slot."""

    exprs: tuple[str, ...]
    timezone: str | None = None
    dst: str | None = None

    def __init__(self, *exprs: str, timezone: str | None = None, dst: str | None = None) -> None:
        if not exprs:
            raise InvalidSchedule("MultipleCron has no cron", remedy="Give it at least one: MultipleCron('0 6 * * *').")
        object.__setattr__(self, "exprs", tuple(_read_expr(expr, seconds=False) for expr in exprs))
        object.__setattr__(self, "timezone", zone_name(timezone))
        object.__setattr__(self, "dst", dst)


@dataclass(frozen=True)
class Events:
    """A list of aware instants."""

    instants: Iterable[datetime]

    def __post_init__(self) -> None:
        object.__setattr__(self, "instants", tuple(self.instants))
        if not self.instants:
            raise InvalidSchedule("Events has no instant", remedy="Give it at least one aware datetime.")


@dataclass(frozen=True)
class Custom:
    """A timetable from an installed package: the entry point's name in the group `dagd.timetables`, and JSON arguments
    for its factory."""

    entry_point: str
    args: Mapping[str, Any] = field(default_factory=dict)


def schedule_spec(schedule: object) -> Spec:
    """The spec of anything that is a schedule in time. Raises InvalidSchedule."""
    if schedule is None:
        return {"kind": "none"}
    if isinstance(schedule, str):
        return _text_spec(schedule)
    if isinstance(schedule, Cron):
        interval = "start" if isinstance(schedule, CronDataInterval) else "trailing"
        return _cron_spec([schedule.expr], schedule.timezone, schedule.dst, seconds=schedule.seconds, interval=interval)
    if isinstance(schedule, MultipleCron):
        return _cron_spec(list(schedule.exprs), schedule.timezone, schedule.dst)
    if isinstance(schedule, Events):
        return {"kind": "events", "at": sorted({_event_micros(instant) for instant in schedule.instants})}
    if isinstance(schedule, Custom):
        return {"kind": "custom", "entry_point": schedule.entry_point, "args": dict(schedule.args)}
    if isinstance(schedule, timedelta):
        return _timedelta_spec(schedule)
    if any(base.__module__ == "dateutil.relativedelta" for base in type(schedule).__mro__):
        return _relativedelta_spec(schedule)
    raise InvalidSchedule(f"{schedule!r} ({type(schedule).__name__}) is no schedule", remedy=_KNOWN)


def step_spec(shown: str, *, months: int = 0, days: int = 0, micros: int = 0) -> Spec:
    """The spec of a repeated step: months count on the calendar and take whole days along; a step without months is
    elapsed time. Raises InvalidSchedule for one that does not go forward by at least a second."""
    if months and min(months, days, micros) >= 0:
        return {"kind": "calendar", "months": months, "days": days, "micros": micros}
    elapsed = days * _DAY + micros
    if months or elapsed < SECOND:
        raise InvalidSchedule(
            f"schedule {shown}: each step must go forward, by at least one second",
            remedy="Make it positive, or use schedule=None for runs by hand.",
        )
    return {"kind": "delta", "micros": elapsed}


def describe(spec: Spec) -> str | None:
    """The schedule in a few words, as its author wrote it where that is known; None without one."""
    match spec["kind"]:
        case "none":
            return None
        case "once" | "continuous" as kind:
            return f"@{kind}"
        case "cron":
            return ", ".join(spec["exprs"])
        case "delta":
            return f"every {timedelta(microseconds=spec['micros'])}"
        case "calendar":
            parts = [_counted(spec["months"], "month"), _counted(spec["days"], "day") if spec["days"] else ""]
            parts.append(str(timedelta(microseconds=spec["micros"])) if spec["micros"] else "")
            return f"every {' '.join(part for part in parts if part)}"
        case "events":
            return _counted(len(spec["at"]), "event")
    return str(spec["entry_point"])


def zone_name(zone: object) -> str | None:
    """The IANA name of what a user gives as a time zone: a name, a ZoneInfo or pendulum zone, or None."""
    name = zone if zone is None or isinstance(zone, str) else getattr(zone, "key", None)
    if name is None and zone is not None:
        raise InvalidSchedule(f"{zone!r} is no time zone", remedy='Use an IANA name such as "Europe/Berlin" or "UTC".')
    return name


def split_fields(expr: str, *, seconds: bool) -> list[str]:
    """The five fields of a cron expression, or six with the seconds first. Raises InvalidSchedule for other numbers."""
    fields = expr.split()
    if len(fields) == 5 or (len(fields) == 6 and seconds):
        return fields
    if len(fields) == 6:
        remedy = "A sixth field is the seconds, at the front, and needs Cron(..., seconds=True) (--seconds)."
    elif len(fields) == 7:
        remedy = "There is no year field; use end_date, or Events for single instants."
    else:
        remedy = "The five are minute, hour, day of month, month, day of week."
    raise InvalidSchedule(f"cron {expr!r} has {_counted(len(fields), 'field')}, not 5", remedy=remedy)


def _text_spec(text: str) -> Spec:
    name = text.strip().lower()
    return {"kind": name[1:]} if name in GRIDLESS_PRESETS else _cron_spec([_read_expr(text, seconds=False)])


def _read_expr(expr: object, *, seconds: bool) -> str:
    """A cron or preset with single spaces; raises InvalidSchedule for what can be seen without reading the fields."""
    if not isinstance(expr, str):
        raise InvalidSchedule(f"{expr!r} is no cron expression", remedy="It is a string such as '0 6 * * *'.")
    plain = " ".join(expr.split())
    if not plain.startswith("@"):
        split_fields(plain, seconds=seconds)
    elif plain.lower() in GRIDLESS_PRESETS:
        raise InvalidSchedule(f"{plain} is no cron", remedy=f"Write schedule={plain!r}.")
    elif plain.lower() not in PRESETS:
        known = (*PRESETS, *GRIDLESS_PRESETS)
        raise InvalidSchedule(
            f"unknown preset {plain!r}",
            remedy=did_you_mean(plain.lower(), known) or f"It is one of {', '.join(known)}.",
        )
    return plain


def _cron_spec(
    exprs: list[str],
    timezone: str | None = None,
    dst: str | None = None,
    *,
    seconds: bool = False,
    interval: str = "trailing",
) -> Spec:
    return {
        "kind": "cron",
        "exprs": exprs,
        "timezone": timezone,
        "dst": dst,
        "seconds": seconds,
        "interval": interval,
    }


def _event_micros(instant: object) -> int:
    if isinstance(instant, datetime) and instant.utcoffset() is not None:
        return to_micros(instant)
    raise InvalidSchedule(f"event {instant!r} is no aware datetime", remedy="Give it a time zone: tzinfo=UTC.")


def _timedelta_spec(step: Any) -> Spec:
    # pendulum's Duration is a timedelta that counts a year as 365 days and a month as 30, and remembers both. Its
    # Interval, between two instants, is elapsed time.
    months, counted_days = 0, 0
    if hasattr(step, "remaining_days") and not hasattr(step, "start"):
        months, counted_days = step.years * 12 + step.months, step.years * 365 + step.months * 30
    micros = delta_micros(step.as_timedelta() if hasattr(step, "as_timedelta") else step)
    days, micros = divmod(micros - counted_days * _DAY, _DAY)
    return step_spec(repr(step), months=months, days=days, micros=micros)


def _relativedelta_spec(step: Any) -> Spec:
    absolute = ("year", "month", "day", "hour", "minute", "second", "microsecond", "weekday")
    named = [name for name in absolute if getattr(step, name) is not None]
    if named or step.leapdays:
        raise InvalidSchedule(
            f"schedule {step!r}: {', '.join(named) or 'leapdays'} is no length of time",
            remedy="Use the plural arguments (months=1), or a cron ('0 0 L * *' is the last day of each month).",
        )
    rest = timedelta(
        days=step.days, hours=step.hours, minutes=step.minutes, seconds=step.seconds, microseconds=step.microseconds
    )
    days, micros = divmod(delta_micros(rest), _DAY)
    return step_spec(repr(step), months=step.years * 12 + step.months, days=days, micros=micros)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
