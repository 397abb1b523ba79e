"""`dagd schedules preview`: no database, no daemon."""

from __future__ import annotations

from datetime import UTC

import click

from dagd.cli.context import now_micros, settings
from dagd.cli.output import Output, with_output
from dagd.cli.slots import COLUMNS, MOST, after_or_now, slot_rows
from dagd.cli.zones import read_instant, read_zone
from dagd.model.errors import InvalidSchedule
from dagd.timetables.build import build
from dagd.timetables.duration import preview_spec


@click.command()
@click.argument("spec")
@click.option("--tz", "zone", help="The schedule's time zone.")
@click.option("--after", help="Slots due after this instant (else now).")
@click.option("-n", "--count", type=click.IntRange(0, MOST), default=5, show_default=True, help="How many.")
@click.option("--dst", default="once", show_default=True, help="Of a repeated or skipped local time: once, skip, both.")
@click.option("--seconds", is_flag=True, help="A cron's sixth field, at the front, is the seconds.")
@click.option("--start", help="Where a duration is counted from, and the first possible slot.")
@with_output(zone=False)
def preview(
    out: Output, spec: str, zone: str | None, after: str | None, count: int, dst: str, seconds: bool, start: str | None
) -> None:
    """The slots of SPEC: a cron, a preset such as @daily, or an ISO 8601 duration such as P1M or PT90S."""
    place = zone or settings()["core.default_timezone"]
    place = "UTC" if read_zone(place) is UTC else place
    if not spec.isprintable():
        raise InvalidSchedule(f"{spec!r} is no schedule")
    read = preview_spec(spec, seconds=seconds)
    now = now_micros()
    start_at = None if start is None else read_instant(start, read_zone(place))
    timetable = build(read, timezone=place, dst=dst, start_at=start_at, end_at=None, first_seen_at=None)
    rows = slot_rows(timetable, after_or_now(after, now, place), count, place)
    out.rows(rows, COLUMNS, name="due_at", empty="no slot is due")
