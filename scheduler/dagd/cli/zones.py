"""Zones and instants as people type them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, available_timezones

from dagd.model.errors import UsageError, did_you_mean
from dagd.model.times import from_micros, to_micros
from dagd.timetables.dst import FLOOR, HORIZON


def read_zone(name: str) -> tzinfo | None:
    """An IANA zone, or None for `local`. Raises UsageError."""
    if name.lower() == "local":
        return None
    if name.upper() in {"UTC", "Z"}:
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        remedy = did_you_mean(name, available_timezones()) or "Use an IANA name such as Europe/Berlin, or UTC."
        raise UsageError(f"unknown time zone {name!r}", remedy=remedy) from error


def read_instant(text: str, zone: tzinfo | None = UTC) -> int:
    """An ISO 8601 instant or date as microseconds UTC; one without offset is in `zone` (None: the local one).
    Raises UsageError."""
    try:
        found = datetime.fromisoformat(text.strip())
        if found.tzinfo is None:
            found = found.astimezone() if zone is None else found.replace(tzinfo=zone)
        return to_micros(found)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{text!r} is no instant", remedy="Write 2026-10-01T06:00:00Z, or a date.") from error


def read_logical_date(text: str, zone: tzinfo | None = UTC) -> int:
    """An instant that a run may have: one that each zone can show, and with room for sums. Raises UsageError."""
    at = read_instant(text, zone)
    if not FLOOR <= at < HORIZON:
        low, high = from_micros(FLOOR).year + 1, from_micros(HORIZON).year - 1
        raise UsageError(f"{text!r} is no logical date", remedy=f"Its year is {low:04} to {high}.")
    return at


def read_age(text: str, now: int) -> int:
    """An instant, or how long ago: 30d, 12h, 45m, 90s. Microseconds UTC. Raises UsageError."""
    found = re.fullmatch(r"(\d{1,6})([dhms])", text.strip())
    if found is None:
        return read_instant(text)
    unit = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}[found[2]]
    return now - timedelta(**{unit: int(found[1])}) // timedelta(microseconds=1)


def local_text(micros: int, zone: tzinfo) -> str:
    """An instant in a zone as RFC 3339 with the zone's offset."""
    return datetime.fromtimestamp(micros // 1_000_000, zone).replace(microsecond=micros % 1_000_000).isoformat()
