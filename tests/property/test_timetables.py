"""Timetables against an oracle that shares nothing with them: it walks UTC minute by minute, asks zoneinfo what the
clock shows, and reads the page's rule off what it saw. Crons come from a grammar that knows what it means."""

from __future__ import annotations

import os
from calendar import monthrange
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from croniter import croniter
from dateutil.relativedelta import relativedelta
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dagd.model.errors import InvalidSchedule
from dagd.model.times import SECOND, to_micros
from dagd.timetables.base import Timetable
from dagd.timetables.build import build
from dagd.timetables.schedules import Cron, CronDataInterval, Events, MultipleCron, Spec, schedule_spec

EXAMPLES = int(os.environ.get("DAGD_TEST_EXAMPLES", "150"))
ZONES = sorted(available_timezones())
POLICIES = ("once", "skip", "both")
DAY = 86_400
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001
LONGEST = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


# --- the oracle ------------------------------------------------------------------------------------------------------


@dataclass
class Field:
    """What a field of a cron says, and what it means. `nth` holds (weekday, 1 to 5 or 0 for the last)."""

    text: str
    values: frozenset[int]
    is_last_day: bool = False
    nth: frozenset[tuple[int, int]] = frozenset()

    @property
    def is_free(self) -> bool:
        return self.text in ("*", "?")


@dataclass
class Expression:
    """A cron: five fields, and the seconds when they are written."""

    minute: Field
    hour: Field
    day: Field
    month: Field
    weekday: Field
    second: Field | None = None

    @property
    def text(self) -> str:
        fields = [self.minute, self.hour, self.day, self.month, self.weekday]
        return " ".join(each.text for each in ([self.second, *fields] if self.second else fields))

    @property
    def is_fixed(self) -> bool:
        return not set("*/") & set(self.minute.text + self.hour.text)

    @property
    def seconds(self) -> frozenset[int]:
        return self.second.values if self.second else frozenset([0])

    def matches_day(self, day: date) -> bool:
        if day.month not in self.month.values:
            return False
        last = monthrange(day.year, day.month)[1]
        by_day = day.day in self.day.values or (self.day.is_last_day and day.day == last)
        weekday = day.isoweekday() % 7
        counts = [(day.day - 1) // 7 + 1] + ([0] if day.day + 7 > last else [])
        by_weekday = weekday in self.weekday.values or any((weekday, count) in self.weekday.nth for count in counts)
        if self.day.is_free or self.weekday.is_free:
            return (by_day or self.day.is_free) and (by_weekday or self.weekday.is_free)
        return by_day or by_weekday

    def matches(self, wall: datetime) -> bool:
        in_time = wall.hour in self.hour.values and wall.minute in self.minute.values and wall.second in self.seconds
        return in_time and self.matches_day(wall.date())

    def can_fire(self) -> bool:
        if not self.weekday.is_free or self.day.is_free or self.day.is_last_day:
            return True
        return any(day <= LONGEST[month] for month in self.month.values for day in self.day.values)


@dataclass
class Watched:
    """What a clock did between two instants (seconds): each (instant, wall) at a wanted second of the minute in UTC
    order, and each jump forward as (instant, wall before, wall after)."""

    shown: list[tuple[int, datetime]] = field(default_factory=list)
    jumps: list[tuple[int, int, int]] = field(default_factory=list)


def offset(zone: ZoneInfo, at: int) -> int:
    found = datetime.fromtimestamp(at, zone).utcoffset()
    assert found is not None
    return int(found.total_seconds())


def watch(zone: ZoneInfo, begin: int, end: int, seconds: frozenset[int]) -> Watched:
    watched = Watched()
    begun, ahead = begin, offset(zone, begin)
    for minute in range(begin + 60, end + 60, 60):
        later = offset(zone, minute)
        if later == ahead and minute < end:
            continue
        change = next((at for at in range(minute - 59, minute) if offset(zone, at) != ahead), minute)
        for second in seconds:
            first = begun + (second - begun - ahead) % 60
            watched.shown += [(at, EPOCH + timedelta(seconds=at + ahead)) for at in range(first, change, 60)]
        if later > ahead:
            watched.jumps.append((change, change + ahead, change + later))
        begun, ahead = change, later
    watched.shown.sort()
    return watched


def expected_slots(expression: Expression, policy: str, watched: Watched) -> set[int]:
    """The page's rule over what the clock showed."""
    matching = [(at, wall) for at, wall in watched.shown if expression.matches(wall)]
    if not expression.is_fixed:
        return {at for at, _ in matching}
    due, had = set(), set()
    for at, wall in matching:
        if policy == "both" or wall not in had:
            due.add(at)
        had.add(wall)
    days = {wall.date() for _, wall in watched.shown}
    for at, before, after in watched.jumps if policy != "skip" else ():
        skipped = (
            EPOCH + timedelta(seconds=second) for second in range(before, after) if second % 60 in expression.seconds
        )
        if any(expression.matches(wall) and wall.date() in days for wall in skipped):
            due.add(at)
    return due


def changes(zone: ZoneInfo, begin: int, end: int) -> list[int]:
    """The minutes in or after which the offset changes."""
    days = [(at, offset(zone, at)) for at in range(begin, end, DAY)]
    return [
        next(at for at in range(day, day + DAY, 60) if offset(zone, at + 60) != ahead)
        for (day, ahead), (_, later) in pairwise(days)
        if ahead != later
    ]


EVERY_DAY = (Field("*", frozenset()), Field("*", frozenset(range(1, 13))), Field("*", frozenset()))


# --- the grammar -----------------------------------------------------------------------------------------------------

MONTHS = dict(enumerate(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1))
WEEKDAYS = dict(enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"]))


@st.composite
def fields(draw: st.DrawFn, low: int, high: int, names: dict[int, str] | None = None, *, free: int = 1) -> Field:
    """A field of one to three items; `free` weighs the plain star."""
    spell = {value: draw(st.sampled_from([str(value), name])) for value, name in (names or {}).items()}
    texts: list[str] = []
    values: set[int] = set()
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(
            st.sampled_from(["value", "value", "range", "round", "star/n", "range/n", "value/n", *["star"] * free])
        )
        first, second = draw(st.integers(low, high)), draw(st.integers(low, high))
        step = draw(st.integers(1, high + 1 - low))
        a, b = min(first, second), max(first, second)
        one, two = spell.get(a, str(a)), spell.get(b, str(b))
        if kind == "star":
            return Field("*", frozenset(range(low, high + 1)))
        text, meant = {
            "value": (one, range(a, a + 1)),
            "range": (f"{one}-{two}", range(a, b + 1)),
            "round": (f"{two}-{one}", [*range(b, high + 1), *range(low, a + 1)] if b > a else [a]),
            "star/n": (f"*/{step}", range(low, high + 1, step)),
            "range/n": (f"{one}-{two}/{step}", range(a, b + 1, step)),
            "value/n": (f"{one}/{step}", range(a, high + 1, step)),
        }[kind]
        texts.append(text)
        values.update(meant)
    return Field(",".join(texts), frozenset(values))


@st.composite
def month_days(draw: st.DrawFn) -> Field:
    found = draw(st.one_of(st.just(Field("?", frozenset())), fields(1, 31, free=4), fields(1, 31)))
    if not found.is_free and draw(st.integers(0, 4)) == 0:
        return Field(f"{found.text},L", found.values, is_last_day=True)
    return draw(st.sampled_from([found] * 5 + [Field("l", frozenset(), is_last_day=True)]))


@st.composite
def week_days(draw: st.DrawFn) -> Field:
    if draw(st.integers(0, 3)) == 0:
        pairs = draw(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5)), min_size=1, max_size=2))
        text = ",".join(f"{WEEKDAYS[day]}#{count}" if count else f"L{day or 7}" for day, count in pairs)
        return Field(text, frozenset(), nth=frozenset(pairs))
    return draw(st.one_of(fields(0, 6, WEEKDAYS, free=6), st.just(Field("fri-7", frozenset([5, 6, 0])))))


@st.composite
def expressions(draw: st.DrawFn, *, with_seconds: bool = False) -> Expression:
    """Half of them daily, near midnight and the usual hours of change."""
    second = draw(fields(0, 59)) if with_seconds else None
    if second is not None:
        assume(len(second.values) < 4)
    night = st.sampled_from([Field("0", frozenset([0])), Field("2", frozenset([2])), Field("0-3", frozenset(range(4)))])
    if draw(st.booleans()):
        minute = st.one_of(st.just(Field("0-59", frozenset(range(60)))), fields(0, 59, free=0))
        return Expression(draw(minute), draw(night), *EVERY_DAY, second)
    day, weekday = draw(month_days()), draw(week_days())
    # A list that names every day is a restriction to us; croniter takes it for a star in some company and not in other.
    assume(day.is_free or len(day.values) < 31 or weekday.is_free)
    assume(weekday.is_free or len(weekday.values) < 7 or day.is_free)
    month = draw(st.one_of(st.just(Field("*", frozenset(range(1, 13)))), fields(1, 12, MONTHS)))
    return Expression(draw(fields(0, 59)), draw(st.one_of(night, fields(0, 23))), day, month, weekday, second)


@st.composite
def moments(draw: st.DrawFn) -> tuple[str, int]:
    """A zone and an instant (seconds), mostly the minute before a change."""
    name = draw(st.sampled_from(ZONES))
    begin = draw(st.integers(-110, 80)) * 365 * DAY
    found = changes(ZoneInfo(name), begin, begin + 5 * 365 * DAY)
    return name, draw(st.sampled_from(found)) if found else begin


def made(spec: Spec, zone: str, policy: str, start_at: int | None = None, end_at: int | None = None) -> Timetable:
    return build(spec, timezone=zone, dst=policy, start_at=start_at, end_at=end_at)


def cron_spec(expression: Expression) -> Spec:
    return schedule_spec(Cron(expression.text, seconds=expression.second is not None))


def slots_between(timetable: Timetable, begin: int, end: int) -> list[int]:
    """Seconds of the slots due in [begin, end], found forwards; backwards they are the same."""
    forwards, backwards = [], []
    slot = timetable.next_after(begin * SECOND - 1)
    while slot is not None and slot.due_at <= end * SECOND:
        forwards.append(slot.due_at)
        slot = timetable.next_after(slot.due_at)
    slot = timetable.last_until(end * SECOND)
    while slot is not None and slot.due_at >= begin * SECOND:
        backwards.append(slot.due_at)
        slot = timetable.last_until(slot.due_at - 1)
    assert forwards == backwards[::-1]
    return [due_at // SECOND for due_at in forwards]


# --- crons -----------------------------------------------------------------------------------------------------------


@settings(max_examples=EXAMPLES)
@given(moments(), expressions(), st.sampled_from(POLICIES), st.integers(-6 * 3600, 6 * 3600))
def test_slots_are_those_of_the_rule_in_order_none_missing_none_twice(
    moment: tuple[str, int], expression: Expression, policy: str, away: int
) -> None:
    assume(expression.can_fire())
    name, change = moment
    watched = watch(ZoneInfo(name), change // 60 * 60 - 3 * DAY, change // 60 * 60 + 4 * DAY, expression.seconds)
    begin, end = change + away, change + away + 3 * DAY // 2
    expected = {at for at in expected_slots(expression, policy, watched) if begin <= at <= end}
    assert slots_between(made(cron_spec(expression), name, policy), begin, end) == sorted(expected)


@settings(max_examples=EXAMPLES // 3)
@given(moments(), expressions(with_seconds=True), st.sampled_from(POLICIES), st.integers(-3 * 3600, 3600))
def test_the_rule_holds_with_seconds_too(
    moment: tuple[str, int], expression: Expression, policy: str, away: int
) -> None:
    assume(expression.can_fire())
    name, change = moment
    watched = watch(ZoneInfo(name), change - 3 * DAY, change + 3 * DAY, expression.seconds)
    begin, end = change + away, change + away + DAY // 2
    expected = {at for at in expected_slots(expression, policy, watched) if begin <= at <= end}
    assert slots_between(made(cron_spec(expression), name, policy), begin, end) == sorted(expected)


def changes_of(year: int) -> list[Any]:
    """One zone for each way in which a clock changes in a year."""
    begin = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
    known: dict[tuple[tuple[int, int, int], ...], tuple[str, list[int]]] = {}
    for name in ZONES:
        zone = ZoneInfo(name)
        days = changes(zone, begin, begin + 365 * DAY)
        known.setdefault(tuple((day, offset(zone, day), offset(zone, day + DAY)) for day in days), (name, days))
    return [pytest.param(name, day, id=f"{name}-{day}") for name, days in known.values() for day in days]


NIGHTLY = (
    Expression(Field("0,1,30", frozenset([0, 1, 30])), Field("0-3,22-23", frozenset([0, 1, 2, 3, 22, 23])), *EVERY_DAY),
    Expression(Field("*/15", frozenset([0, 15, 30, 45])), Field("*", frozenset(range(24))), *EVERY_DAY),
)


@pytest.mark.parametrize("name, change", [*changes_of(2011), *changes_of(2026)])
def test_every_change_of_a_clock_in_2011_and_2026_follows_every_policy(name: str, change: int) -> None:
    watched = watch(ZoneInfo(name), change - 3 * DAY, change + 3 * DAY, frozenset([0]))
    begin, end = change - DAY, change + DAY
    for expression in NIGHTLY:
        for policy in POLICIES:
            expected = {at for at in expected_slots(expression, policy, watched) if begin <= at <= end}
            assert slots_between(made(cron_spec(expression), name, policy), begin, end) == sorted(expected)


@settings(max_examples=EXAMPLES)
@given(expressions(), st.integers(0, 60 * 365 * DAY))
def test_in_utc_slots_are_those_of_croniter_however_far_apart(expression: Expression, at: int) -> None:
    assume(expression.can_fire())
    # Two of croniter's readings that are not ours: a-a is its whole cycle, and # cuts the days of the month.
    assume(all(len(set(part.split("/")[0].split("-"))) > 1 for part in _ranges(expression)))
    assume(not expression.weekday.nth or expression.day.is_free)
    timetable = made(cron_spec(expression), "UTC", "once")
    theirs = croniter(expression.text, at)
    assert [slot.due_at for slot in islice(timetable.slots_after(at * SECOND), 4)] == [
        int(theirs.get_next(float)) * SECOND for _ in range(4)
    ]


def _ranges(expression: Expression) -> list[str]:
    return [part for part in expression.text.replace(" ", ",").split(",") if "-" in part]


@settings(max_examples=EXAMPLES)
@given(
    st.sets(st.integers(28, 31), min_size=1),
    st.sets(st.sampled_from([2, 4, 6, 9, 11]), min_size=1),
    st.sampled_from(["*", "?", "mon", "fri#5"]),
)
def test_a_cron_is_refused_exactly_when_it_can_never_fire(days: set[int], months: set[int], weekday: str) -> None:
    day, month = Field(",".join(map(str, days)), frozenset(days)), Field(",".join(map(str, months)), frozenset(months))
    expression = Expression(*(Field("0", frozenset([0])),) * 2, day, month, Field(weekday, frozenset()))
    try:
        first = made(cron_spec(expression), "UTC", "once").next_after(0)
    except InvalidSchedule:
        assert not expression.can_fire()
    else:
        assert first is not None
        assert expression.can_fire()


# --- every kind ------------------------------------------------------------------------------------------------------


@st.composite
def schedules(draw: st.DrawFn) -> object:
    """A schedule that has a grid."""
    crons = expressions().filter(Expression.can_fire).map(lambda expression: expression.text)
    instants = st.datetimes(datetime(1960, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
    return draw(
        st.one_of(
            crons,
            crons.map(CronDataInterval),
            st.lists(crons, min_size=2, max_size=3).map(lambda exprs: MultipleCron(*exprs)),
            st.integers(1, 10**6).map(lambda seconds: timedelta(seconds=seconds)),
            st.builds(relativedelta, months=st.integers(1, 30), days=st.integers(0, 40), hours=st.integers(0, 30)),
            st.lists(instants, min_size=1, max_size=6).map(Events),
        )
    )


@settings(max_examples=EXAMPLES * 2)
@given(schedules(), moments(), st.sampled_from(POLICIES), st.data())
def test_forwards_and_backwards_agree_and_stay_between_the_dates(
    schedule: object, moment: tuple[str, int], policy: str, data: st.DataObject
) -> None:
    name, day = moment
    near = st.integers(-400 * DAY * SECOND, 400 * DAY * SECOND).map(lambda away: day * SECOND + away)
    start_at, end_at = data.draw(st.one_of(st.none(), near)), data.draw(st.one_of(st.none(), near))
    timetable = made(schedule_spec(schedule), name, policy, start_at, end_at)
    at = data.draw(near)
    before, after = timetable.last_until(at), timetable.next_after(at)
    if before is not None:
        assert before.due_at <= at
        assert timetable.last_until(before.due_at) == before
        assert timetable.next_after(before.due_at) == after
        assert timetable.next_after(before.due_at - 1) == before
    if after is not None:
        assert after.due_at > at
        assert timetable.last_until(after.due_at) == after
        assert timetable.last_until(after.due_at - 1) == before
        assert timetable.next_after(after.due_at - 1) == after
    first = timetable.first()
    for slot in (before, after, first):
        if slot is not None:
            assert start_at is None or start_at <= slot.logical_at
            assert end_at is None or slot.logical_at <= end_at
            assert slot.start_at <= slot.end_at == slot.due_at
            assert slot.logical_at == (slot.start_at if isinstance(schedule, CronDataInterval) else slot.due_at)
    if before is not None and after is not None:
        assert after.start_at == before.end_at
    if first is not None:
        assert timetable.last_until(first.due_at - 1) is None


@settings(max_examples=EXAMPLES)
@given(moments(), st.integers(-7200, 7200), st.integers(1, 15), st.sampled_from(POLICIES), st.integers(-40, 40))
def test_calendar_steps_are_fixed_times_of_the_anchors_day(
    moment: tuple[str, int], away: int, months: int, policy: str, step: int
) -> None:
    name, change = moment
    zone = ZoneInfo(name)
    target = EPOCH + timedelta(seconds=change + offset(zone, change) + away)
    assume(step != 0 and target.day <= 28)
    anchor = (target - relativedelta(months=months * step)).replace(tzinfo=zone)
    # A start date that names a skipped time is another time on the clock, and that one is the anchor's.
    assume(offset(zone, int(anchor.timestamp())) == int((anchor.utcoffset() or timedelta()).total_seconds()))
    minute, hour, day, month, second = (
        Field(str(value), frozenset([value]))
        for value in (target.minute, target.hour, target.day, target.month, target.second)
    )
    expression = Expression(minute, hour, day, month, Field("*", frozenset()), second)
    watched = watch(zone, change - 3 * DAY, change + 3 * DAY, expression.seconds)
    expected = sorted(expected_slots(expression, policy, watched))
    timetable = made(schedule_spec(relativedelta(months=months)), name, policy, to_micros(anchor))
    if step > 0:
        assert slots_between(timetable, change - 2 * DAY, change + 2 * DAY) == expected
    elif step == -1 and expected:
        first = timetable.first()
        assert first is not None
        assert first.start_at == expected[-1] * SECOND
