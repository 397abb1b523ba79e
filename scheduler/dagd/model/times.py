"""Instants between processes and in tables: integer microseconds since 1970-01-01 UTC."""

from __future__ import annotations

from calendar import timegm
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000

Micros = int


def to_micros(instant: datetime) -> Micros:
    """An aware datetime as microseconds UTC. Raises ValueError for a naive one."""
    if instant.tzinfo is None:
        raise ValueError(f"naive datetime {instant!r}: an instant needs a time zone")
    return timegm(instant.utctimetuple()) * SECOND + instant.microsecond


def from_micros(micros: Micros) -> datetime:
    """Microseconds UTC as an aware UTC datetime."""
    return EPOCH + timedelta(microseconds=micros)


def iso(micros: Micros | None) -> str | None:
    """RFC 3339 UTC, with a fraction only when it is not zero: what machine output shows."""
    if micros is None:
        return None
    text = from_micros(micros).isoformat()
    return text.replace("+00:00", "Z")


def delta_micros(duration: timedelta) -> Micros:
    """A duration in microseconds; pendulum's durations too, whose own division gives other types."""
    return round(duration.total_seconds() * SECOND)
