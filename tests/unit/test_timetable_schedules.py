"""What users write, and the spec that it becomes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pendulum
import pytest
from dateutil.relativedelta import MO, relativedelta

from dagd.model.errors import InvalidSchedule
from dagd.timetables.build import build
from dagd.timetables.duration import preview_spec
from dagd.timetables.schedules import (
    Cron,
    CronDataInterval,
    Custom,
    Events,
    MultipleCron,
    Spec,
    describe,
    schedule_spec,
)

MINUTE = 60_000_000
DAY = 1440 * MINUTE


def cron(*exprs: str, **fields: object) -> Spec:
    """A cron's spec with its defaults."""
    plain = {"kind": "cron", "exprs": list(exprs), "timezone": None, "dst": None}
    return {**plain, "seconds": False, "interval": "trailing", **fields}


def calendar(months: int, days: int = 0, micros: int = 0) -> Spec:
    return {"kind": "calendar", "months": months, "days": days, "micros": micros}


def delta(micros: int) -> Spec:
    return {"kind": "delta", "micros": micros}


SCHEDULES = [
    (None, {"kind": "none"}, None),
    ("@once", {"kind": "once"}, "@once"),
    ("@continuous", {"kind": "continuous"}, "@continuous"),
    ("@daily", cron("@daily"), "@daily"),
    (" */5  * * * * ", cron("*/5 * * * *"), "*/5 * * * *"),
    (timedelta(seconds=30), delta(MINUTE // 2), "every 0:00:30"),
    (timedelta(days=1), delta(DAY), "every 1 day, 0:00:00"),
    (relativedelta(months=14), calendar(14), "every 14 months"),
    (relativedelta(years=1, days=2, hours=30), calendar(12, 3, 360 * MINUTE), "every 12 months 3 days 6:00:00"),
    (relativedelta(weeks=1, hours=-1), delta(7 * DAY - 60 * MINUTE), "every 6 days, 23:00:00"),
    (pendulum.duration(months=1), calendar(1), "every 1 month"),
    (
        pendulum.duration(years=1, months=1, weeks=1, minutes=1),
        calendar(13, 7, MINUTE),
        "every 13 months 7 days 0:01:00",
    ),
    (pendulum.duration(days=1, minutes=1), delta(DAY + MINUTE), "every 1 day, 0:01:00"),
    (pendulum.datetime(2026, 3, 1) - pendulum.datetime(2026, 1, 1), delta(59 * DAY), "every 59 days, 0:00:00"),
    (Cron("0 6 * * *"), cron("0 6 * * *"), "0 6 * * *"),
    (
        Cron("1 0 6 * * *", timezone="Asia/Tokyo", dst="both", seconds=True),
        cron("1 0 6 * * *", timezone="Asia/Tokyo", dst="both", seconds=True),
        "1 0 6 * * *",
    ),
    (Cron("@daily", timezone=ZoneInfo("Asia/Tokyo")), cron("@daily", timezone="Asia/Tokyo"), "@daily"),  # type: ignore[arg-type]
    (CronDataInterval("@daily", dst="skip"), cron("@daily", dst="skip", interval="start"), "@daily"),
    (
        MultipleCron("0 6 * * *", "@weekly", timezone="UTC", dst="skip"),
        cron("0 6 * * *", "@weekly", timezone="UTC", dst="skip"),
        "0 6 * * *, @weekly",
    ),
    (
        Events([datetime(1970, 1, 2, tzinfo=UTC), datetime(1970, 1, 1, 1, tzinfo=ZoneInfo("Europe/Berlin"))] * 2),
        {"kind": "events", "at": [0, DAY]},
        "2 events",
    ),
    (Custom("moon", {"phase": 3}), {"kind": "custom", "entry_point": "moon", "args": {"phase": 3}}, "moon"),
]


@pytest.mark.parametrize("schedule, spec, text", SCHEDULES)
def test_a_schedule_has_this_spec_and_text(schedule: object, spec: Spec, text: str | None) -> None:
    found = schedule_spec(schedule)
    assert found == spec
    assert json.loads(json.dumps(found)) == found
    assert describe(found) == text


@pytest.mark.parametrize(
    "schedule, what",
    [
        ("@dayly", "unknown preset '@dayly'.*Did you mean '@daily'"),
        ("@fortnightly", "unknown preset.*(@hourly|Did you mean)"),
        ("daily", "1 field, not 5"),
        (5, "5 [(]int[)] is no schedule"),
        (["0 6 * * *"], "MultipleCron"),
        (timedelta(0), "each step must go forward"),
        (timedelta(days=-1), "each step must go forward"),
        (timedelta(milliseconds=999), "at least one second"),
        (relativedelta(months=-1), "each step must go forward"),
        (relativedelta(months=1, days=-1), "each step must go forward"),
        (relativedelta(months=1, day=31), "day is no length of time.*L"),
        (relativedelta(weekday=MO), "weekday is no length of time"),
        (relativedelta(), "each step must go forward"),
        (pendulum.duration(months=-1), "each step must go forward"),
        (Events([datetime(2026, 1, 1)]), "no aware datetime.*tzinfo=UTC"),  # noqa: DTZ001
        (Events(["2026-01-01"]), "no aware datetime"),  # type: ignore[list-item]
    ],
)
def test_what_is_no_schedule_is_refused_with_what_to_write(schedule: object, what: str) -> None:
    with pytest.raises(InvalidSchedule, match=what):
        schedule_spec(schedule)


def test_a_wrong_cron_object_is_refused_on_the_line_that_makes_it() -> None:
    with pytest.raises(InvalidSchedule, match="schedule='@once'"):
        Cron("@once")
    with pytest.raises(InvalidSchedule, match=r"6 fields.*seconds=True"):
        Cron("0 0 6 * * *")
    with pytest.raises(InvalidSchedule, match="no time zone"):
        Cron("0 6 * * *", timezone=7)  # type: ignore[arg-type]
    with pytest.raises(InvalidSchedule, match="no cron expression"):
        CronDataInterval(None)  # type: ignore[arg-type]
    with pytest.raises(InvalidSchedule, match="MultipleCron has no cron"):
        MultipleCron()
    with pytest.raises(InvalidSchedule, match="Events has no instant"):
        Events([])


@pytest.mark.parametrize(
    "text, spec",
    [
        ("P1M", calendar(1)),
        ("P1Y2M", calendar(14)),
        ("P1M1W2DT3H", calendar(1, 9, 180 * MINUTE)),
        ("P2W", delta(14 * DAY)),
        ("P1D", delta(DAY)),
        ("PT36H", delta(36 * 60 * MINUTE)),
        ("PT1M", delta(MINUTE)),
        ("PT90S", delta(90 * MINUTE // 60)),
        ("PT1.5S", delta(1_500_000)),
        ("P1DT1,25S", delta(DAY + 1_250_000)),
        ("*/5 * * * *", cron("*/5 * * * *")),
        ("@hourly", cron("@hourly")),
        ("@once", {"kind": "once"}),
    ],
)
def test_a_preview_takes_durations_crons_and_presets(text: str, spec: Spec) -> None:
    assert preview_spec(text, seconds=False) == spec


def test_a_preview_takes_seconds_only_when_asked() -> None:
    assert preview_spec("5 0 6 * * *", seconds=True) == cron("5 0 6 * * *", seconds=True)
    with pytest.raises(InvalidSchedule, match="--seconds"):
        preview_spec("5 0 6 * * *", seconds=False)


@pytest.mark.parametrize(
    "text",
    [
        *("P", "PT", "P1", "P1DT", "P1H", "PT1D", "P1M1Y", "P1.5M", "P-1M", "-P1M", "+P1M"),
        *("PT0S", "P0D", "PT0.5S", "PT1S ago", "P999999999D", "P٣D"),
    ],
)
def test_a_malformed_or_empty_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidSchedule, match=r"duration|each step must go forward"):
        preview_spec(text, seconds=False)


@pytest.mark.parametrize(
    "spec, what",
    [
        ({}, "unknown kind of schedule None"),
        ({"kind": "corn"}, "Did you mean 'cron'"),
        (cron(), "needs expressions"),
        (cron("@daily", seconds=1), "seconds cannot be 1"),
        (cron("@daily", interval="end"), "unknown interval 'end'"),
        (cron("@daily", timezone="Mars/Base"), "unknown time zone 'Mars/Base'"),
        (cron("@daily", dst=3), "dst cannot be 3"),
        ({"kind": "cron"}, "exprs cannot be None"),
        ({"kind": "cron", "exprs": [3]}, "needs expressions"),
        (delta(0), "too short"),
        (delta(-MINUTE), "too short"),
        ({"kind": "delta", "micros": "1"}, "micros cannot be '1'"),
        (calendar(0, 1), "do not go forward"),
        (calendar(1, -1), "do not go forward"),
        ({"kind": "calendar", "months": 1}, "days cannot be None"),
        ({"kind": "events", "at": []}, "needs instants"),
        ({"kind": "events", "at": [True]}, "needs instants"),
        ({"kind": "custom", "entry_point": "moon", "args": {}}, "no installed package has a timetable 'moon'"),
    ],
)
def test_a_malformed_spec_is_refused(spec: Spec, what: str) -> None:
    with pytest.raises(InvalidSchedule, match=what):
        build(spec, timezone="UTC", dst="once", start_at=None, end_at=None)
