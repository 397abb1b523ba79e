"""Slots of a timetable as JSON and as a table."""

from __future__ import annotations

from datetime import UTC, tzinfo
from itertools import islice
from typing import Any

from dagd.cli.output import Column
from dagd.cli.zones import local_text, read_instant, read_zone
from dagd.model.times import iso
from dagd.timetables.base import Timetable

Row = dict[str, Any]
COLUMNS = [
    Column("due_at", "due", "instant"), Column("local", "local"),
    Column("logical_date", "logical date", "instant", wide=True),
    Column("data_interval_start", "data from", "instant", wide=True),
    Column("data_interval_end", "data to", "instant", wide=True),
]  # fmt: skip
MOST = 100_000


def slot_rows(timetable: Timetable | None, after: int, count: int, zone: str) -> list[Row]:
    """The slots due strictly after an instant. `local` is in the schedule's zone."""
    if timetable is None:
        return []
    if timetable.is_continuous:
        count = min(count, 1)
    place: tzinfo = read_zone(zone) or UTC
    rows = []
    try:
        for slot in islice(timetable.slots_after(after), count):
            rows.append(
                {
                    "due_at": iso(slot.due_at), "logical_date": iso(slot.logical_at),
                    "data_interval_start": iso(slot.start_at), "data_interval_end": iso(slot.end_at),
                    "local": local_text(slot.due_at, place),
                }
            )  # fmt: skip
    except (OverflowError, ValueError):
        return rows  # the calendar ends with the year 9999
    return rows


def after_or_now(text: str | None, now: int, zone: str) -> int:
    """--after, in the schedule's zone when it has no offset; else now. Raises UsageError."""
    return now if text is None else read_instant(text, read_zone(zone) or UTC)
