"""Local times where clocks change: both nights of the year, every policy, the zones that are odd."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from dagd.model.errors import InvalidSchedule
from dagd.model.times import from_micros, to_micros
from dagd.timetables.build import build
from dagd.timetables.schedules import schedule_spec


def due_between(expr: str, zone: str, dst: str, begin: str, end: str) -> list[str]:
    """The slots due in [begin, end), as local times with their offset."""
    clock = ZoneInfo(zone)
    start_at, end_at = (to_micros(datetime.fromisoformat(text).replace(tzinfo=clock)) for text in (begin, end))
    timetable = build(schedule_spec(expr), timezone=zone, dst=dst, start_at=start_at, end_at=end_at - 1)
    slots = list(timetable.slots_after(start_at - 1))
    backwards = []
    at = end_at
    while (slot := timetable.last_until(at)) is not None:
        backwards.append(slot)
        at = slot.due_at - 1
    assert backwards[::-1] == slots
    return [from_micros(slot.due_at).astimezone(clock).strftime("%d %H:%M:%S%z") for slot in slots]


SPRING = ("2026-03-28T12:00", "2026-03-30T12:00")
AUTUMN = ("2026-10-24T12:00", "2026-10-26T12:00")

BERLIN = [
    # Clocks go from 02:00 to 03:00 on 29 March.
    ("30 2 * * *", "once", SPRING, ["29 03:00:00+0200", "30 02:30:00+0200"]),
    ("30 2 * * *", "both", SPRING, ["29 03:00:00+0200", "30 02:30:00+0200"]),
    ("30 2 * * *", "skip", SPRING, ["30 02:30:00+0200"]),
    ("0,15,30 2 29 3 *", "once", SPRING, ["29 03:00:00+0200"]),
    ("0 2,3 29 3 *", "once", SPRING, ["29 03:00:00+0200"]),
    ("10 2,3 29 3 *", "once", SPRING, ["29 03:00:00+0200", "29 03:10:00+0200"]),
    ("10 2-3 29 3 *", "skip", SPRING, ["29 03:10:00+0200"]),
    ("*/30 2 29 3 *", "once", SPRING, []),
    (
        "30 */2 29 3 *",
        "both",
        SPRING,
        [f"29 {hour:02}:30:00+0{2 if hour > 2 else 1}00" for hour in (0, *range(4, 24, 2))],
    ),
    (
        "*/30 1-3 29 3 *",
        "once",
        SPRING,
        ["29 01:00:00+0100", "29 01:30:00+0100", "29 03:00:00+0200", "29 03:30:00+0200"],
    ),
    # They go from 03:00 back to 02:00 on 25 October.
    ("30 2 * * *", "once", AUTUMN, ["25 02:30:00+0200", "26 02:30:00+0100"]),
    ("30 2 * * *", "skip", AUTUMN, ["25 02:30:00+0200", "26 02:30:00+0100"]),
    ("30 2 * * *", "both", AUTUMN, ["25 02:30:00+0200", "25 02:30:00+0100", "26 02:30:00+0100"]),
    (
        "0,30 2,3 25 10 *",
        "once",
        AUTUMN,
        ["25 02:00:00+0200", "25 02:30:00+0200", "25 03:00:00+0100", "25 03:30:00+0100"],
    ),
    (
        "0,30 2 25 10 *",
        "both",
        AUTUMN,
        ["25 02:00:00+0200", "25 02:30:00+0200", "25 02:00:00+0100", "25 02:30:00+0100"],
    ),
    *(
        (
            "*/30 2 25 10 *",
            policy,
            AUTUMN,
            ["25 02:00:00+0200", "25 02:30:00+0200", "25 02:00:00+0100", "25 02:30:00+0100"],
        )
        for policy in ("once", "skip", "both")
    ),
    (
        "0-59/30 2 25 10 *",
        "once",
        AUTUMN,
        ["25 02:00:00+0200", "25 02:30:00+0200", "25 02:00:00+0100", "25 02:30:00+0100"],
    ),
    ("30 0-23 24 10 *", "once", ("2026-10-24T22:00", "2026-10-25T12:00"), ["24 22:30:00+0200", "24 23:30:00+0200"]),
]


@pytest.mark.parametrize("expr, dst, window, expected", BERLIN)
def test_berlin_follows_the_policy_on_both_nights(
    expr: str, dst: str, window: tuple[str, str], expected: list[str]
) -> None:
    assert due_between(expr, "Europe/Berlin", dst, *window) == expected


ODD_ZONES = [
    # Half an hour of summer time: 02:00 to 02:30, and 02:00 back to 01:30.
    (
        "Australia/Lord_Howe",
        "15 2 * * *",
        "once",
        "2026-10-03T12:00",
        "2026-10-05T12:00",
        ["04 02:30:00+1100", "05 02:15:00+1100"],
    ),
    ("Australia/Lord_Howe", "45 1 5 4 *", "once", "2026-04-04T12:00", "2026-04-06T12:00", ["05 01:45:00+1100"]),
    (
        "Australia/Lord_Howe",
        "45 1 5 4 *",
        "both",
        "2026-04-04T12:00",
        "2026-04-06T12:00",
        ["05 01:45:00+1100", "05 01:45:00+1030"],
    ),
    # No midnight in spring.
    (
        "Asia/Beirut",
        "0 0 * * *",
        "once",
        "2026-03-28T12:00",
        "2026-03-30T12:00",
        ["29 01:00:00+0300", "30 00:00:00+0300"],
    ),
    ("Asia/Beirut", "0 0 * * *", "skip", "2026-03-28T12:00", "2026-03-30T12:00", ["30 00:00:00+0300"]),
    (
        "Africa/Cairo",
        "0 0 * * *",
        "once",
        "2026-04-23T12:00",
        "2026-04-25T12:00",
        ["24 01:00:00+0300", "25 00:00:00+0300"],
    ),
    (
        "America/Sao_Paulo",
        "0 0 * * *",
        "once",
        "2018-11-03T12:00",
        "2018-11-05T12:00",
        ["04 01:00:00-0200", "05 00:00:00-0200"],
    ),
    # The last hour of a day twice: 24:00 back to 23:00 of the same day.
    ("America/Sao_Paulo", "30 23 * * *", "once", "2018-02-17T12:00", "2018-02-18T12:00", ["17 23:30:00-0200"]),
    (
        "America/Sao_Paulo",
        "30 23 * * *",
        "both",
        "2018-02-17T12:00",
        "2018-02-18T12:00",
        ["17 23:30:00-0200", "17 23:30:00-0300"],
    ),
    # 00:01 back to 23:01 of the day before: midnight comes twice, a minute of the new day before the old one ends.
    (
        "America/St_Johns",
        "0 0 * * *",
        "once",
        "2006-10-28T12:00",
        "2006-10-30T12:00",
        ["29 00:00:00-0230", "30 00:00:00-0330"],
    ),
    (
        "America/St_Johns",
        "*/30 0,23 28,29 10 *",
        "once",
        "2006-10-28T22:50",
        "2006-10-29T12:00",
        [
            "28 23:00:00-0230",
            "28 23:30:00-0230",
            "29 00:00:00-0230",
            "28 23:30:00-0330",
            "29 00:00:00-0330",
            "29 00:30:00-0330",
        ],
    ),
    # No 30 December 2011 at all.
    (
        "Pacific/Apia",
        "0 0 * * *",
        "once",
        "2011-12-29T00:00",
        "2012-01-01T00:00",
        ["29 00:00:00-1000", "31 00:00:00+1400"],
    ),
    (
        "Pacific/Apia",
        "0 12 * * *",
        "once",
        "2011-12-29T00:00",
        "2012-01-01T00:00",
        ["29 12:00:00-1000", "31 12:00:00+1400"],
    ),
    (
        "Pacific/Apia",
        "0 12 30 * *",
        "both",
        "2011-11-01T00:00",
        "2012-01-31T00:00",
        ["30 12:00:00-1000", "30 12:00:00+1400"],
    ),
    # 23 hours of one day twice.
    (
        "Pacific/Kwajalein",
        "0 12 * * *",
        "once",
        "1969-09-29T00:00",
        "1969-10-02T00:00",
        ["29 12:00:00+1100", "30 12:00:00+1100", "01 12:00:00-1200"],
    ),
    (
        "Pacific/Kwajalein",
        "0 12 * * *",
        "both",
        "1969-09-29T00:00",
        "1969-10-02T00:00",
        ["29 12:00:00+1100", "30 12:00:00+1100", "30 12:00:00-1200", "01 12:00:00-1200"],
    ),
    # "Winter" time during Ramadan: back at 03:00, forward at 02:00.
    (
        "Africa/Casablanca",
        "30 2 * * *",
        "once",
        "2026-02-14T12:00",
        "2026-02-16T12:00",
        ["15 02:30:00+0100", "16 02:30:00+0000"],
    ),
    (
        "Africa/Casablanca",
        "30 2 * * *",
        "once",
        "2026-03-21T12:00",
        "2026-03-23T12:00",
        ["22 03:00:00+0100", "23 02:30:00+0100"],
    ),
    (
        "Europe/Dublin",
        "30 1 * * *",
        "once",
        "2026-10-24T12:00",
        "2026-10-26T12:00",
        ["25 01:30:00+0100", "26 01:30:00+0000"],
    ),
    # A gap of 44 minutes and 30 seconds.
    (
        "Africa/Monrovia",
        "15 0 * * *",
        "once",
        "1972-01-06T12:00",
        "1972-01-08T12:00",
        ["07 00:44:30+0000", "08 00:15:00+0000"],
    ),
    ("Asia/Kolkata", "30 2 * * *", "both", "2026-03-28T12:00", "2026-03-29T12:00", ["29 02:30:00+0530"]),
]


@pytest.mark.parametrize("zone, expr, dst, begin, end, expected", ODD_ZONES)
def test_odd_zones_follow_the_policy(zone: str, expr: str, dst: str, begin: str, end: str, expected: list[str]) -> None:
    assert due_between(expr, zone, dst, begin, end) == expected


def test_every_five_minutes_keeps_its_pace_through_both_nights() -> None:
    for begin, end in (SPRING, AUTUMN):
        clock = ZoneInfo("Europe/Berlin")
        start_at, end_at = (to_micros(datetime.fromisoformat(text).replace(tzinfo=clock)) for text in (begin, end))
        timetable = build(
            schedule_spec("*/5 * * * *"), timezone="Europe/Berlin", dst="once", start_at=start_at, end_at=end_at
        )
        due = [slot.due_at for slot in timetable.slots_after(start_at - 1)]
        assert due == list(range(start_at, end_at + 1, 300_000_000))


def test_an_interval_reaches_back_over_a_skipped_hour() -> None:
    timetable = build(schedule_spec("30 2 * * *"), timezone="Europe/Berlin", dst="once", start_at=None, end_at=None)
    slot = timetable.next_after(to_micros(datetime(2026, 3, 29, 12, tzinfo=ZoneInfo("Europe/Berlin"))))
    assert slot is not None
    local = from_micros(slot.start_at).astimezone(ZoneInfo("Europe/Berlin"))
    assert local.isoformat() == "2026-03-29T03:00:00+02:00"


FIRST, SECOND_PASS = "2026-10-25T00:{}+00:00", "2026-10-25T01:{}+00:00"


@pytest.mark.parametrize(
    "expr, asked, last, following",
    [
        ("50 2 * * *", FIRST.format(45), "24 02:50:00+0200", "25 02:50:00+0200"),
        ("50 2 * * *", SECOND_PASS.format(45), "25 02:50:00+0200", "26 02:50:00+0100"),
        ("50 2 * * *", SECOND_PASS.format(10), "25 02:50:00+0200", "26 02:50:00+0100"),
        ("*/50 2 * * *", SECOND_PASS.format(10), "25 02:00:00+0100", "25 02:50:00+0100"),
        ("0 3 * * *", SECOND_PASS.format(10), "24 03:00:00+0200", "25 03:00:00+0100"),
    ],
)
def test_inside_a_repeated_hour_what_ran_in_its_first_pass_is_past(
    expr: str, asked: str, last: str, following: str
) -> None:
    clock = ZoneInfo("Europe/Berlin")
    timetable = build(schedule_spec(expr), timezone="Europe/Berlin", dst="once", start_at=None, end_at=None)
    at = to_micros(datetime.fromisoformat(asked))
    found = [timetable.last_until(at), timetable.next_after(at)]
    shown = [slot and from_micros(slot.due_at).astimezone(clock).strftime("%d %H:%M:%S%z") for slot in found]
    assert shown == [last, following]


@pytest.mark.parametrize(
    "zone, remedy",
    [
        ("Europe/Berln", "Did you mean 'Europe/Berlin'?"),
        ("../etc/passwd", "IANA"),
        ("/etc/passwd", "IANA"),
        ("America", "IANA|Did you mean"),
        ("", "IANA"),
        ("+02:00", "IANA"),
        ("a\0b", "IANA"),
    ],
)
def test_an_unknown_zone_is_refused_with_the_nearest(zone: str, remedy: str) -> None:
    with pytest.raises(InvalidSchedule, match=f"unknown time zone.*({remedy.replace('?', '[?]')})"):
        build({"kind": "none"}, timezone=zone, dst="once", start_at=None, end_at=None)


def test_an_unknown_policy_is_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidSchedule, match=r"unknown dst policy 'onec'.*Did you mean 'once'"):
        build({"kind": "none"}, timezone="UTC", dst="onec", start_at=None, end_at=None)
    spec = schedule_spec("@daily") | {"dst": "never"}
    with pytest.raises(InvalidSchedule, match="once, skip, both"):
        build(spec, timezone="UTC", dst="once", start_at=None, end_at=None)
