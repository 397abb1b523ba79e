"""A seeded part of the calendar's bar (`calendar_bar` runs all of it), and crons in UTC against a second library."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime
from itertools import islice, pairwise

import pytest
from cronsim import CronSim, CronSimError

from dagd.model.times import SECOND
from dagd.timetables.build import build
from dagd.timetables.schedules import schedule_spec
from tests.property.calendar_bar import POLICIES, ZONES, compare, make_cron, pieces


@pytest.mark.parametrize("zone, year", ZONES)
def test_random_crons_over_years_of_a_zone_have_exactly_the_slots_of_the_rule(zone: str, year: int) -> None:
    pick = random.Random(zone)
    for policy in POLICIES:
        cron = next(cron for cron in iter(lambda: make_cron(pick), None) if cron.a_day <= 8 or policy == "once")
        count, wrong = compare(cron, zone, year + 3, policy, years=3)
        assert wrong == []
        assert count or cron.a_day > 24


def test_the_oracle_sees_changes_of_every_size() -> None:
    seen = set()
    for zone in ("Australia/Lord_Howe", "Antarctica/Troll", "Pacific/Apia", "Africa/Monrovia", "Europe/Berlin"):
        year = dict(ZONES)[zone]
        begin, end = (int(datetime(each, 1, 1, tzinfo=UTC).timestamp()) for each in (year + 4, year + 7))
        seen |= {after.ahead - before.ahead for before, after in pairwise(pieces(zone, begin, end))}
    assert {3600, -3600, 1800, -1800, 7200, -7200, 86_400, 2670} <= seen


def test_in_utc_slots_are_those_of_cronsim() -> None:
    pick, compared = random.Random(7), 0
    for _ in range(400):
        cron = make_cron(pick)
        fields = cron.text.split()
        if fields[2].startswith("*/") and fields[4] != "*":
            continue  # Debian's rule takes */n for no restriction there
        theirs = " ".join([*fields[:4], re.sub(r"^L(\d)$", r"\1L", fields[4])])
        begin = datetime(pick.randrange(1990, 2030), pick.randrange(1, 13), 1, tzinfo=UTC)
        try:
            wanted = [int(at.timestamp()) for at in islice(CronSim(theirs, begin), 20)]
        except CronSimError:
            continue  # it has no ranges that wrap around
        timetable = build(schedule_spec(cron.text), timezone="UTC", dst="once", start_at=None, end_at=None)
        after = int(begin.timestamp()) * SECOND
        assert [slot.due_at // SECOND for slot in islice(timetable.slots_after(after), len(wanted))] == wanted, (
            cron.text
        )
        compared += 1
    assert compared > 200
