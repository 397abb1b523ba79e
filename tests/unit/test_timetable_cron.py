"""Cron expressions: what each means in days and times, and why those that cannot be are refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from dagd.model.errors import InvalidSchedule
from dagd.model.times import iso, to_micros
from dagd.timetables.build import build
from dagd.timetables.cron import read_cron
from dagd.timetables.schedules import Cron, schedule_spec


def due(schedule: object, after: str, count: int) -> list[str | None]:
    """The next slots in UTC."""
    timetable = build(schedule_spec(schedule), timezone="UTC", dst="once", start_at=None, end_at=None)
    at = to_micros(datetime.fromisoformat(after).replace(tzinfo=UTC))
    return [iso(slot.due_at) for slot, _ in zip(timetable.slots_after(at), range(count), strict=False)]


def days(expr: str, count: int = 4, after: str = "2026-01-01") -> list[str]:
    """The dates of the next midnights of "0 0 `expr`"."""
    return [str(text)[:10] for text in due(f"0 0 {expr}", f"{after}T00:00:00", count)]


@pytest.mark.parametrize(
    "preset, expected",
    [
        ("@hourly", ["2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z"]),
        ("@daily", ["2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"]),
        ("@midnight", ["2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"]),
        ("@weekly", ["2026-01-04T00:00:00Z", "2026-01-11T00:00:00Z"]),
        ("@monthly", ["2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"]),
        ("@quarterly", ["2026-04-01T00:00:00Z", "2026-07-01T00:00:00Z"]),
        ("@yearly", ["2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z"]),
        ("@annually", ["2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z"]),
        ("@Daily", ["2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"]),
    ],
)
def test_a_preset_is_its_cron(preset: str, expected: list[str]) -> None:
    assert due(preset, "2026-01-01T00:00:00", 2) == expected


@pytest.mark.parametrize(
    "expr, expected",
    [
        ("L * *", ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"]),
        ("15,L * *", ["2026-01-15", "2026-01-31", "2026-02-15", "2026-02-28"]),
        ("29-L * *", ["2026-01-29", "2026-01-30", "2026-01-31", "2026-03-29"]),
        ("* * mon#1", ["2026-01-05", "2026-02-02", "2026-03-02", "2026-04-06"]),
        ("* * 5#5", ["2026-01-30", "2026-05-29", "2026-07-31", "2026-10-30"]),
        ("* * L5", ["2026-01-30", "2026-02-27", "2026-03-27", "2026-04-24"]),
        ("* * 1#1,1#3", ["2026-01-05", "2026-01-19", "2026-02-02", "2026-02-16"]),
        ("* * sat-sun", ["2026-01-03", "2026-01-04", "2026-01-10", "2026-01-11"]),
        ("* * 7", ["2026-01-04", "2026-01-11", "2026-01-18", "2026-01-25"]),
        ("* * 5-7", ["2026-01-02", "2026-01-03", "2026-01-04", "2026-01-09"]),
        ("? * mon", ["2026-01-05", "2026-01-12", "2026-01-19", "2026-01-26"]),
        ("1 FEB-apr/2 *", ["2026-02-01", "2026-04-01", "2027-02-01", "2027-04-01"]),
        ("1 nov-feb *", ["2026-02-01", "2026-11-01", "2026-12-01", "2027-01-01"]),
        ("29 2 *", ["2028-02-29", "2032-02-29", "2036-02-29", "2040-02-29"]),
        ("10-10 * *", ["2026-01-10", "2026-02-10", "2026-03-10", "2026-04-10"]),
        # Vixie's rule: with both restricted, either matches; a star with a step is restricted.
        ("13 * fri", ["2026-01-02", "2026-01-09", "2026-01-13", "2026-01-16"]),
        ("*/15 * mon", ["2026-01-05", "2026-01-12", "2026-01-16", "2026-01-19"]),
        ("1 * mon#1", ["2026-01-05", "2026-02-01", "2026-02-02", "2026-03-01"]),
        ("31 2 mon", ["2026-02-02", "2026-02-09", "2026-02-16", "2026-02-23"]),
    ],
)
def test_day_fields_name_these_days(expr: str, expected: list[str]) -> None:
    assert days(expr) == expected


def test_a_leap_day_is_found_over_a_century_without_one() -> None:
    assert days("29 2 *", 2, after="2096-03-01") == ["2104-02-29", "2108-02-29"]


@pytest.mark.parametrize(
    "expr, expected",
    [
        ("5/20 0 * * *", ["00:05", "00:25", "00:45"]),
        ("59/15 0 * * *", ["00:59"]),
        ("*/40 0 * * *", ["00:00", "00:40"]),
        ("50-10/10 1 * * *", ["01:00", "01:10", "01:50"]),
        ("0 9-9 * * *", ["09:00"]),
        ("0 22-1 * * *", ["00:00", "01:00", "22:00", "23:00"]),
        ("7,3,3,5-6 4 * * *", ["04:03", "04:05", "04:06", "04:07"]),
    ],
)
def test_time_fields_name_these_times(expr: str, expected: list[str]) -> None:
    found = [str(text)[11:16] for text in due(expr, "2025-12-31T23:59:59", len(expected) + 1)]
    assert found == [*expected, expected[0]]


def test_a_slot_due_at_the_instant_itself_is_not_after_it() -> None:
    assert due("0 0 * * *", "2026-01-01T00:00:00", 1) == ["2026-01-02T00:00:00Z"]
    assert due("0 0 * * *", "2025-12-31T23:59:59.999999", 1) == ["2026-01-01T00:00:00Z"]


def test_seconds_stand_at_the_front_and_only_when_asked_for() -> None:
    assert due(Cron("*/20 1 2 * * *", seconds=True), "2026-01-01T00:00:00", 4) == [
        "2026-01-01T02:01:00Z",
        "2026-01-01T02:01:20Z",
        "2026-01-01T02:01:40Z",
        "2026-01-02T02:01:00Z",
    ]
    assert due(Cron("1 2 * * *", seconds=True), "2026-01-01T00:00:00", 1) == ["2026-01-01T02:01:00Z"]


@pytest.mark.parametrize(
    "expr, is_fixed",
    [
        ("0 0 * * *", True),
        ("0,30 9-17 */2 * *", True),
        ("0-59 0-23 * * *", True),
        ("0 * * * *", False),
        ("* 3 * * *", False),
        ("*/5 3 * * *", False),
        ("0 0-23/2 * * *", False),
        ("5/20 3 * * *", False),
        ("@hourly", False),
        ("@daily", True),
    ],
)
def test_a_star_or_a_step_in_minute_or_hour_follows_the_clock(expr: str, is_fixed: bool) -> None:
    assert read_cron(expr).is_fixed is is_fixed


def test_the_seconds_do_not_decide_whether_times_are_fixed() -> None:
    assert read_cron("*/10 0 3 * * *", seconds=True).is_fixed
    assert not read_cron("0 * 3 * * *", seconds=True).is_fixed


@pytest.mark.parametrize(
    "expr, what",
    [
        ("0 0 30 2 *", "can never fire: day of month 30 does not exist in month 2"),
        ("0 0 31 feb,apr,6 *", "can never fire: day of month 31 does not exist in month feb,apr,6"),
        ("60 * * * *", "60 is no minute.*0 to 59"),
        ("0 24 * * *", "24 is no hour.*0 to 23"),
        ("0 0 0 * *", "0 is no day of month.*1 to 31"),
        ("0 0 * 13 *", "13 is no month.*1 to 12"),
        ("0 0 * * 8", "8 is no day of week"),
        ("0 0 * * mon#6", "day of week field 'mon#6' cannot be read"),
        ("0 0 * * mon#0", "day of week field"),
        ("0 0 * * L", "day of week field 'L'"),
        ("0 0 15W * *", "day of month field '15W'"),
        ("0 0 mon * *", "day of month field 'mon'"),
        ("0 0 * fbe *", "month field 'fbe'.*jan to dec"),
        ("*/0 * * * *", "minute field '[*]/0'"),
        ("-5 * * * *", "minute field '-5'"),
        ("1,,2 * * * *", "minute field '1,,2'"),
        ("? * * * *", "minute field"),
        ("r * * * *", "minute field 'r'"),
        ("h h * * *", "minute field 'h'"),
        ("a b c d e", "minute field 'a'"),
        ("٣ * * * *", "minute field"),
        ("* * * *", "4 fields, not 5"),
        ("", "0 fields, not 5"),
        ("0 0 0 * * *", "6 fields.*seconds=True"),
        ("0 0 * * * * 2027", "7 fields.*no year field"),
    ],
)
def test_a_wrong_cron_is_refused_with_its_reason(expr: str, what: str) -> None:
    with pytest.raises(InvalidSchedule, match=what):
        read_cron(expr)


def test_a_year_is_refused_with_seconds_too() -> None:
    with pytest.raises(InvalidSchedule, match="no year field"):
        read_cron("0 0 0 * * * 2027", seconds=True)
