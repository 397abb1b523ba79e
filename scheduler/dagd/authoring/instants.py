"""Users' instants and durations as plain ones, whatever kind of datetime and timedelta they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dagd.model.times import Micros, to_micros


def exact_micros(instant: datetime) -> Micros:
    """An aware instant in microseconds UTC. Raises ValueError for a naive one.

    pendulum's instants cannot be subtracted from by plain arithmetic (their differences are no timedeltas that divide),
    so the fields are taken apart first.
    """
    offset = instant.utcoffset()
    if offset is None:
        raise ValueError(f"naive datetime {instant!r}: an instant needs a time zone")
    date = (instant.year, instant.month, instant.day)
    clock = (instant.hour, instant.minute, instant.second, instant.microsecond)
    return to_micros(datetime(*date, *clock, tzinfo=UTC)) - round(offset.total_seconds() * 1_000_000)


def plain_duration(duration: timedelta) -> timedelta:
    """A duration as a plain timedelta; pendulum's do not divide by one."""
    as_timedelta = getattr(duration, "as_timedelta", None)
    return as_timedelta() if callable(as_timedelta) else duration
