"""Rules over a schedule: nights of clock change, runs that all come at once, dates that leave nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice, pairwise

from dagd.model.specs import DagSpec
from dagd.model.times import SECOND, from_micros, iso
from dagd.parsing.results import Finding
from dagd.timetables.base import Timetable
from dagd.timetables.build import build
from dagd.timetables.cron import CronTimes, read_cron
from dagd.timetables.dst import DAY, Zone, read_zone

AHEAD = 3 * 366 * DAY
FLOOD, MOST_COUNTED = 500, 5000
MINUTE = 60 * SECOND


def lint_times(spec: DagSpec, file: str, now: int) -> Iterator[Finding]:
    """What is doubtful about when a DAG runs."""
    schedule = spec.schedule.get("time") or spec.schedule
    if schedule["kind"] in {"none", "assets"}:
        return
    if schedule["kind"] == "cron":
        yield from _lint_clock_changes(spec, schedule, file, now)
    table = build(
        schedule, timezone=spec.timezone, dst=spec.dst, start_at=spec.start_at, end_at=spec.end_at, first_seen_at=now
    )
    yield from _lint_slots(spec, table, file, now)


def _lint_clock_changes(spec: DagSpec, schedule: dict[str, object], file: str, now: int) -> Iterator[Finding]:
    """A time of day that the zone skips or repeats. Who names a policy has thought of it."""
    zone_name = str(schedule.get("timezone") or spec.timezone)
    if (schedule.get("dst") or spec.dst) != "once":
        return
    zone = read_zone(zone_name)
    exprs = schedule["exprs"]
    assert isinstance(exprs, list)
    for expr in exprs:
        times = read_cron(expr, bool(schedule.get("seconds")))
        told = list(_hits(times, zone, now)) if times.is_fixed else []
        if told:
            at = f"{zone_name} {' and '.join(told)}"
            what = f"the cron {expr!r} names a time that a clock change touches: {at}"
            remedy = 'Choose another hour or timezone="UTC", or say dst="skip" or "both"; "once" runs it once a day.'
            yield Finding("DAGD-L012", what, file, spec.line, remedy)


def _hits(times: CronTimes, zone: Zone, now: int) -> Iterator[str]:
    """The next skipped and the next repeated time, in words."""
    kinds: set[str] = set()
    span = zone.span(now)
    while span.end < now + AHEAD and len(kinds) < 2:
        after = zone.span(span.end)
        low, high = sorted((span.end + span.offset, span.end + after.offset))
        kind = "skips" if after.offset > span.offset else "repeats"
        hit = times.next(low)
        if high > low and hit is not None and hit < high and kind not in kinds:
            kinds.add(kind)
            yield f"{kind} {_wall(hit):%H:%M} on {_wall(hit):%Y-%m-%d}"
        span = after


def _wall(wall: int) -> datetime:
    return from_micros(wall)


def _lint_slots(spec: DagSpec, table: Timetable, file: str, now: int) -> Iterator[Finding]:
    upcoming = [] if table.is_continuous else list(islice(table.slots_after(now - 1), 4))
    if not table.is_continuous and not upcoming:
        when = f"end_date is {iso(spec.end_at)}" if spec.end_at is not None else "its last instant is past"
        yield Finding("DAGD-L013", f"no slot of {spec.dag_id!r} falls due any more: {when}", file, spec.line)
    if spec.catchup and not table.is_continuous and (first := table.first()) is not None:
        due = _count(table, first.due_at, now)
        if due >= FLOOD:
            many = f"more than {MOST_COUNTED:,}" if due > MOST_COUNTED else f"{due:,}"
            what = f"catchup=True from {iso(spec.start_at)} makes {many} runs on a new deployment"
            remedy = "Move start_date, or leave catchup out and fill the past with `dagd backfill create`."
            yield Finding("DAGD-L014", what, file, spec.line, remedy)
    steps = [later.due_at - one.due_at for one, later in pairwise(upcoming)]
    if steps and min(steps) < MINUTE and any(task.isolation == "fork" for task in spec.tasks):
        step = timedelta(microseconds=min(steps)).total_seconds()
        what = f"a run each {step:g} s, and each of its tasks is a process of its own"
        yield Finding("DAGD-L015", what, file, spec.line, 'Give its tasks isolation="warm", or let one task loop.')


def _count(table: Timetable, first_due_at: int, now: int) -> int:
    """How many slots are due until now, the first included; counting stops beyond MOST_COUNTED."""
    found = 0
    for slot in table.slots_after(first_due_at - 1):
        if slot.due_at > now or found > MOST_COUNTED:
            break
        found += 1
    return found
