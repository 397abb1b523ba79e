"""Slots: bounds, intervals, and the kinds of timetables."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import metadata
from itertools import islice, product
from zoneinfo import ZoneInfo

import pytest
from dateutil.relativedelta import relativedelta

from dagd.model.errors import InvalidSchedule
from dagd.model.times import Micros, from_micros, to_micros
from dagd.timetables.base import Slot, Timetable
from dagd.timetables.build import Frame, build
from dagd.timetables.dst import FLOOR, HORIZON
from dagd.timetables.schedules import CronDataInterval, Custom, Events, MultipleCron, schedule_spec


def at(text: str, zone: str = "UTC") -> Micros:
    """The instant of a local time."""
    return to_micros(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)))


def timetable(
    schedule: object,
    start: str | None = None,
    end: str | None = None,
    *,
    seen: str | None = None,
    zone: str = "UTC",
    dst: str = "once",
) -> Timetable:
    """What `build` makes of a schedule."""
    start_at, end_at, seen_at = (None if text is None else at(text, zone) for text in (start, end, seen))
    spec = schedule_spec(schedule)
    return build(spec, timezone=zone, dst=dst, start_at=start_at, end_at=end_at, first_seen_at=seen_at)


def slot(due: str, logical: str, start: str, end: str) -> Slot:
    return Slot(at(due), at(logical), at(start), at(end))


def local(made: Timetable, after: str, count: int, zone: str) -> list[str]:
    """The next due times on the clock of `zone`."""
    slots = islice(made.slots_after(at(after, zone)), count)
    return [from_micros(found.due_at).astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M%z") for found in slots]


# --- bounds and intervals --------------------------------------------------------------------------------------------


def test_the_start_and_end_dates_are_slots_when_they_are_on_the_grid() -> None:
    made = timetable("@daily", "2026-01-01", "2026-01-03")
    first = slot("2026-01-01", "2026-01-01", "2025-12-31", "2026-01-01")
    last = slot("2026-01-03", "2026-01-03", "2026-01-02", "2026-01-03")
    assert made.first() == first
    assert made.next_after(at("2000-01-01")) == first
    assert [found.due_at for found in made.slots_after(0)] == [at("2026-01-01"), at("2026-01-02"), at("2026-01-03")]
    assert made.last_until(at("2030-01-01")) == last
    assert made.last_until(at("2026-01-01")) == first
    assert made.last_until(at("2026-01-01") - 1) is None
    assert made.next_after(at("2026-01-03")) is None


def test_without_a_start_date_there_is_no_first_slot_but_a_next_and_a_last() -> None:
    made = timetable("@daily")
    assert made.first() is None
    assert made.next_after(at("2026-01-01")) == slot("2026-01-02", "2026-01-02", "2026-01-01", "2026-01-02")
    assert made.last_until(at("2026-01-01")) == slot("2026-01-01", "2026-01-01", "2025-12-31", "2026-01-01")


def test_an_end_before_the_start_leaves_no_slot() -> None:
    for schedule in ("@daily", CronDataInterval("@daily"), timedelta(days=1), "@continuous"):
        made = timetable(schedule, "2026-02-01", "2026-01-01")
        assert made.first() is None
        assert made.next_after(at("2025-01-01")) is None
        assert made.last_until(at("2027-01-01")) is None


def test_under_airflow_2s_convention_the_logical_date_starts_the_interval_and_is_bounded() -> None:
    made = timetable(CronDataInterval("@daily"), "2026-01-01", "2026-01-02")
    first = slot("2026-01-02", "2026-01-01", "2026-01-01", "2026-01-02")
    second = slot("2026-01-03", "2026-01-02", "2026-01-02", "2026-01-03")
    assert made.first() == first
    assert list(made.slots_after(at("2025-01-01"))) == [first, second]
    assert made.next_after(at("2026-01-02") - 1) == first
    assert made.next_after(at("2026-01-03")) is None
    assert made.last_until(at("2027-01-01")) == second
    assert made.last_until(at("2026-01-02")) == first
    assert made.last_until(at("2026-01-02") - 1) is None


def test_several_crons_on_one_instant_make_one_slot_and_share_their_intervals() -> None:
    made = timetable(MultipleCron("0 6 * * *", "0 6,18 * * mon", "0 12 5 1 *"), "2026-01-04")
    assert list(islice(made.slots_after(at("2026-01-04")), 4)) == [
        slot("2026-01-04T06:00", "2026-01-04T06:00", "2026-01-03T06:00", "2026-01-04T06:00"),
        slot("2026-01-05T06:00", "2026-01-05T06:00", "2026-01-04T06:00", "2026-01-05T06:00"),
        slot("2026-01-05T12:00", "2026-01-05T12:00", "2026-01-05T06:00", "2026-01-05T12:00"),
        slot("2026-01-05T18:00", "2026-01-05T18:00", "2026-01-05T12:00", "2026-01-05T18:00"),
    ]


def test_a_schedules_own_zone_and_policy_come_before_the_dags() -> None:
    spec = schedule_spec("30 2 * * *") | {"timezone": "Europe/Berlin", "dst": "skip"}
    made = build(spec, timezone="Asia/Tokyo", dst="once", start_at=None, end_at=None)
    assert local(made, "2026-03-28T12:00", 1, "Europe/Berlin") == ["2026-03-30 02:30+0200"]


def test_asking_far_outside_of_all_calendars_finds_nothing() -> None:
    for schedule in ("@daily", "* * * * *", CronDataInterval("@daily"), timedelta(days=1), relativedelta(years=1)):
        made = timetable(schedule)
        assert made.next_after(HORIZON + 10**18) is None
        assert made.last_until(FLOOR - 10**18) is None
        assert made.next_after(FLOOR - 10**18) is not None
        assert made.last_until(HORIZON + 10**18) is not None


# --- steps -----------------------------------------------------------------------------------------------------------


def test_a_timedelta_is_elapsed_time_from_the_start_date() -> None:
    made = timetable(timedelta(hours=12), "2026-03-28T12:00", zone="Europe/Berlin")
    assert made.first() == Slot(
        *(at("2026-03-28T12:00", "Europe/Berlin"),) * 2,
        at("2026-03-28T00:00", "Europe/Berlin"),
        at("2026-03-28T12:00", "Europe/Berlin"),
    )
    assert local(made, "2026-03-28T12:00", 3, "Europe/Berlin") == [
        "2026-03-29 00:00+0100",
        "2026-03-29 13:00+0200",
        "2026-03-30 01:00+0200",
    ]


def test_without_a_start_date_steps_count_from_1970_in_the_dags_zone() -> None:
    assert local(timetable(timedelta(days=1), zone="Asia/Tokyo"), "2026-01-01T00:00", 1, "Asia/Tokyo") == [
        "2026-01-02 00:00+0900"
    ]
    assert local(timetable(relativedelta(years=4), zone="Asia/Tokyo"), "2026-01-01T00:00", 1, "Asia/Tokyo") == [
        "2030-01-01 00:00+0900"
    ]
    # London was on summer time all that winter.
    assert timetable(timedelta(days=1), zone="Europe/London").next_after(-3_600_000_001) == Slot(
        -3_600_000_000, -3_600_000_000, -90_000_000_000, -3_600_000_000
    )


def test_month_ends_do_not_drift() -> None:
    made = timetable(relativedelta(months=1), "2026-01-31T02:30", zone="Europe/Berlin")
    assert local(made, "2026-01-01T00:00", 4, "Europe/Berlin") == [
        "2026-01-31 02:30+0100",
        "2026-02-28 02:30+0100",
        "2026-03-31 02:30+0200",
        "2026-04-30 02:30+0200",
    ]
    first = made.first()
    assert first is not None
    assert first.start_at == at("2025-12-31T02:30", "Europe/Berlin")


@pytest.mark.parametrize(
    "dst, start, expected",
    [
        ("once", "2026-02-28T02:30", ["2026-02-28 02:30+0100", "2026-03-28 02:30+0100", "2026-04-28 02:30+0200"]),
        ("once", "2026-01-29T02:30", ["2026-01-29 02:30+0100", "2026-02-28 02:30+0100", "2026-03-29 03:00+0200"]),
        ("skip", "2026-01-29T02:30", ["2026-01-29 02:30+0100", "2026-02-28 02:30+0100", "2026-04-29 02:30+0200"]),
        ("both", "2026-01-29T02:30", ["2026-01-29 02:30+0100", "2026-02-28 02:30+0100", "2026-03-29 03:00+0200"]),
        ("once", "2026-09-25T02:30", ["2026-09-25 02:30+0200", "2026-10-25 02:30+0200", "2026-11-25 02:30+0100"]),
        ("both", "2026-09-25T02:30", ["2026-09-25 02:30+0200", "2026-10-25 02:30+0200", "2026-10-25 02:30+0100"]),
    ],
)
def test_calendar_steps_are_fixed_times_to_the_policy(dst: str, start: str, expected: list[str]) -> None:
    made = timetable(relativedelta(months=1), start, zone="Europe/Berlin", dst=dst)
    assert local(made, "2026-01-01T00:00", 3, "Europe/Berlin") == expected


def test_the_anchor_is_a_slot_also_in_the_second_pass_of_a_repeated_hour() -> None:
    anchor = at("2026-10-25T01:30")  # 02:30+01:00 in Berlin
    spec = schedule_spec(relativedelta(months=1))
    made = build(spec, timezone="Europe/Berlin", dst="once", start_at=anchor, end_at=None)
    first = made.first()
    assert first is not None
    assert first.due_at == anchor


def test_days_of_a_calendar_step_are_counted_on_the_wall_and_the_rest_is_elapsed() -> None:
    made = timetable(relativedelta(months=1, days=1, hours=1), "2026-01-01T00:00", zone="Europe/Berlin")
    assert local(made, "2025-12-31T00:00", 4, "Europe/Berlin") == [
        "2026-01-01 00:00+0100",
        "2026-02-02 01:00+0100",
        "2026-03-03 02:00+0100",
        "2026-04-04 03:00+0200",
    ]
    assert made.last_until(at("2026-04-04T02:59", "Europe/Berlin")) == made.next_after(at("2026-03-01"))


def test_steps_longer_than_the_calendar_have_their_anchor_alone() -> None:
    made = timetable(relativedelta(years=9000), "2026-01-31")
    assert list(made.slots_after(0)) == [slot("2026-01-31", "2026-01-31", "2026-01-31", "2026-01-31")]
    assert made.last_until(at("2500-01-01")) == made.first()


# --- lists, once, continuous, none -----------------------------------------------------------------------------------


def test_events_have_the_interval_since_the_event_before_and_the_first_an_empty_one() -> None:
    instants = [datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)]
    made = timetable(Events(instants))
    first = slot("2026-01-01", "2026-01-01", "2026-01-01", "2026-01-01")
    second = slot("2026-02-01", "2026-02-01", "2026-01-01", "2026-02-01")
    third = slot("2026-03-01", "2026-03-01", "2026-02-01", "2026-03-01")
    assert made.first() == first
    assert list(made.slots_after(0)) == [first, second, third]
    assert made.last_until(at("2026-02-15")) == second
    assert made.last_until(at("2025-01-01")) is None
    bounded = timetable(Events(instants), "2026-01-15", "2026-02-15")
    assert bounded.first() == second
    assert list(bounded.slots_after(0)) == [second]


def test_an_event_list_may_be_stored_in_any_order() -> None:
    made = build({"kind": "events", "at": [3, 1, 2, 1]}, timezone="UTC", dst="once", start_at=None, end_at=None)
    assert [found.due_at for found in made.slots_after(-1)] == [1, 2, 3]


@pytest.mark.parametrize(
    "start, seen, due",
    [
        ("2026-06-01", "2026-05-01", "2026-06-01"),
        ("2026-04-01", "2026-05-01", "2026-05-01"),
        (None, "2026-05-01", "2026-05-01"),
        ("2026-06-01", None, "2026-06-01"),
    ],
)
def test_once_is_at_the_start_date_or_when_first_seen(start: str | None, seen: str | None, due: str) -> None:
    made = timetable("@once", start, seen=seen)
    expected = slot(due, due, due, due)
    assert made.first() == expected
    assert list(made.slots_after(0)) == [expected]
    assert made.last_until(at(due)) == expected
    assert made.last_until(at(due) - 1) is None


def test_once_without_any_date_or_past_its_end_has_no_slot() -> None:
    assert timetable("@once").first() is None
    assert timetable("@once", end="2026-04-01", seen="2026-05-01").first() is None


def test_continuous_has_a_slot_at_any_instant_between_its_dates() -> None:
    made = timetable("@continuous", "2026-01-01", "2026-02-01")
    begin, middle, end = at("2026-01-01"), at("2026-01-15"), at("2026-02-01")
    assert made.is_continuous
    assert made.first() == Slot(begin, begin, begin, begin)
    assert made.next_after(0) == Slot(begin, begin, begin, begin)
    assert made.next_after(middle) == Slot(middle + 1, middle + 1, middle + 1, middle + 1)
    assert made.last_until(middle) == Slot(middle, middle, middle, middle)
    assert made.next_after(end) is None
    assert made.last_until(end + 5) == Slot(end, end, end, end)
    assert not timetable("@daily").is_continuous


def test_no_schedule_has_no_slots() -> None:
    made = timetable(None, "2026-01-01")
    assert (made.first(), made.next_after(0), made.last_until(HORIZON)) == (None, None, None)


# --- custom ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], None]:
    """Makes a factory the entry point `moon`."""

    class Moon(metadata.EntryPoint):
        factory: object

        def load(self) -> object:
            return factories["moon"]

    factories: dict[str, object] = {}
    points = metadata.EntryPoints([Moon("moon", "package:factory", "dagd.timetables")])
    monkeypatch.setattr(metadata, "entry_points", lambda **_: points)
    return lambda factory: factories.update(moon=factory)


def test_a_custom_timetable_gets_its_dags_frame_and_its_arguments(install: Callable[[object], None]) -> None:
    made = timetable("@daily")
    seen: list[object] = []

    def factory(frame: Frame, phase: int) -> Timetable:
        seen.extend((frame, phase))
        return made

    install(factory)
    found = timetable(Custom("moon", {"phase": 3}), "2026-01-01", zone="Asia/Tokyo")
    assert (found.next_after(5), found.last_until(5), found.first()) == (made.next_after(5), made.last_until(5), None)
    assert seen == [Frame("Asia/Tokyo", "once", at("2026-01-01", "Asia/Tokyo"), None, None), 3]


def test_a_custom_timetable_that_fails_is_a_schedule_error(install: Callable[[object], None]) -> None:
    install(lambda _frame: 1 / 0)
    with pytest.raises(InvalidSchedule, match=r"timetable 'moon' refused .*ZeroDivisionError"):
        timetable(Custom("moon"))
    install(lambda _frame: "no timetable")
    with pytest.raises(InvalidSchedule, match=r"made 'no timetable'.*Derive it"):
        timetable(Custom("moon"))
    with pytest.raises(InvalidSchedule, match=r"'mon'.*Did you mean 'moon'"):
        timetable(Custom("mon"))


# --- the ends of the calendar ----------------------------------------------------------------------------------------

ENDS = ["0001-01-01", "0003-03-01", "1969-12-31", "9989-12-31", "9999-12-31"]


@pytest.mark.parametrize(
    "schedule",
    [
        "@daily", "30 2 29 2 *", CronDataInterval("@monthly"), MultipleCron("@daily", "@hourly"), timedelta(seconds=1),
        timedelta(days=9_999_999), Events([datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)]), "@once",
        "@continuous",
    ],
    ids=str,
)  # fmt: skip
def test_dates_at_the_ends_of_the_calendar_break_nothing(schedule: object) -> None:
    for zone, start, end in product(["UTC", "Asia/Tokyo", "America/New_York"], ENDS, ENDS):
        frame = {"timezone": zone, "dst": "both", "start_at": at(start), "end_at": at(end)}
        made = build(schedule_spec(schedule), **frame, first_seen_at=at("2026-01-01"))  # type: ignore[arg-type]
        for asked in ENDS:
            after, before = made.next_after(at(asked)), made.last_until(at(asked))
            assert after is None or after.due_at > at(asked)
            assert before is None or before.due_at <= at(asked)
        made.first()
