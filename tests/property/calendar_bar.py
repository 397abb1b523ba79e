"""The bar for crons: random crons over thirty zones that have every shape of clock change, slot by slot.

    python -m tests.property.calendar_bar [--crons 500] [--each 30] [--jobs 2] [--seed 1]

`--each` is the number of zones for each cron, by turns. Crons of at most 24 slots a day are compared over ten years,
denser ones for three days around each clock change: strictly increasing, each where the policy wants it, none missing,
none twice, each interval from the slot before. The oracle shares nothing with the timetables: it asks zoneinfo what the
clock shows, second by second where it changes, and reads the page.
"""

from __future__ import annotations

import argparse
import random
import sys
from calendar import monthrange
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from zoneinfo import ZoneInfo

from dagd.model.times import SECOND
from dagd.timetables.build import build
from dagd.timetables.schedules import schedule_spec

DAY = 86_400
EPOCH = date(1970, 1, 1).toordinal()
POLICIES = ("once", "skip", "both")
ZONES = [  # each with the first of its ten years
    ("Europe/Berlin", 2017), ("America/New_York", 2017), ("Europe/London", 2017), ("UTC", 2017),
    ("Asia/Kolkata", 2017),
    ("Europe/Dublin", 2017),  # winter is the exception
    ("Australia/Lord_Howe", 2017),  # half an hour
    ("Antarctica/Troll", 2017),  # two hours
    ("Africa/Casablanca", 2017), ("Africa/El_Aaiun", 2020),  # back for Ramadan
    ("Asia/Beirut", 2017), ("America/Havana", 2017), ("America/Santiago", 2017),  # at midnight, both ways
    ("America/Sao_Paulo", 2010), ("America/Asuncion", 2015), ("Africa/Cairo", 2017), ("Asia/Tehran", 2014),
    ("America/Nuuk", 2017), ("America/Scoresbysund", 2017), ("Atlantic/Azores", 2017),  # at 24:00 and near it
    ("America/St_Johns", 2004),  # a minute after midnight
    ("Pacific/Apia", 2005), ("Pacific/Kwajalein", 1988), ("Pacific/Kiritimati", 1990),  # a day that is not
    ("Antarctica/Casey", 2015), ("Asia/Pyongyang", 2013), ("America/Caracas", 2010),  # the offset itself moves
    ("Africa/Monrovia", 1967), ("Europe/Amsterdam", 1932),  # odd seconds
    ("Pacific/Norfolk", 2014),  # a zone that begins to change
]  # fmt: skip


@dataclass(frozen=True)
class Named:
    """A cron: what it says, and what that means."""

    text: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    month_days: frozenset[int] | None  # 0 is the last
    months: frozenset[int]
    week_days: frozenset[int] | None  # Sunday is 0
    nth: tuple[int, int] | None = None  # weekday and count, 0 the last

    @property
    def is_fixed(self) -> bool:
        return not set("*/") & set("".join(self.text.split()[:2]))

    @property
    def a_day(self) -> int:
        return len(self.minutes) * len(self.hours)


@lru_cache(maxsize=20_000)
def matches_day(cron: Named, ordinal: int) -> bool:
    day = date.fromordinal(ordinal)
    if day.month not in cron.months:
        return False
    last = monthrange(day.year, day.month)[1]
    weekday = day.isoweekday() % 7
    by_week = weekday in (cron.week_days or ())
    if cron.nth is not None:
        wanted, count = cron.nth
        by_week = weekday == wanted and (day.day + 7 > last if count == 0 else (day.day + 6) // 7 == count)
    by_month = day.day in (cron.month_days or ()) or (day.day == last and 0 in (cron.month_days or ()))
    week_free, month_free = cron.week_days is None and cron.nth is None, cron.month_days is None
    if week_free or month_free:
        return (by_week or week_free) and (by_month or month_free)
    return by_week or by_month


# --- the clock -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Piece:
    """Seconds [begin, end) of UTC during which the clock is `ahead` seconds ahead."""

    begin: int
    end: int
    ahead: int


@cache
def pieces(zone: str, begin: int, end: int) -> list[Piece]:
    info, found = ZoneInfo(zone), []

    def ahead(at: int) -> int:
        offset = datetime.fromtimestamp(at, info).utcoffset()
        assert offset is not None
        return round(offset.total_seconds())

    since, known = begin, ahead(begin)
    for probe in range(begin + 900, end + 900, 900):
        at = min(probe, end)
        if ahead(at) != known:
            change = next(second for second in range(at - 900, at + 1) if ahead(second) != known)
            found.append(Piece(since, change, known))
            since, known = change, ahead(change)
    return [*found, Piece(since, end, known)]


def walls_of(cron: Named, low: int, high: int) -> list[int]:
    """The matching wall times in [low, high), in seconds since the wall's 1970."""
    return [
        wall
        for day in range(low // DAY, (high - 1) // DAY + 1)
        if matches_day(cron, day + EPOCH)
        for hour in cron.hours
        for minute in cron.minutes
        if low <= (wall := day * DAY + hour * 3600 + minute * 60) < high
    ]


def expected_slots(cron: Named, policy: str, clock: list[Piece]) -> list[int]:
    """The page's rule: what the clock showed, first showings for fixed times, and what it jumped over."""
    due: set[int] = set()
    shown: set[int] = set()
    for at, piece in enumerate(clock):
        found = walls_of(cron, piece.begin + piece.ahead, piece.end + piece.ahead)
        due.update(wall - piece.ahead for wall in found if not (cron.is_fixed and policy != "both" and wall in shown))
        shown.update(found)
        gap = (clock[at - 1].ahead, piece.ahead) if at else (0, 0)
        if cron.is_fixed and policy != "skip" and gap[0] < gap[1]:
            skipped = walls_of(cron, piece.begin + gap[0], piece.begin + gap[1])
            if any(_has_day(wall // DAY, clock[max(0, at - 2) : at + 2]) for wall in skipped):
                due.add(piece.begin)
    return sorted(due)


def _has_day(day: int, near: list[Piece]) -> bool:
    """Whether the clock showed any time of this local day."""
    return any(piece.begin + piece.ahead < (day + 1) * DAY and day * DAY < piece.end + piece.ahead for piece in near)


# --- the grammar -----------------------------------------------------------------------------------------------------

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


def field(pick: random.Random, low: int, high: int, names: dict[int, str], kinds: str) -> tuple[str, list[int]]:
    """A field of one or two items: its text and its values. `kinds`: n number, r range, w wrapped, s step, / all."""
    texts, values = [], set()
    for _ in range(pick.choice([1, 1, 2])):
        a, b = sorted(pick.sample(range(low, high + 1), 2))
        step = pick.randint(2, max(2, (high - low) // 2))
        say = [names.get(value, str(value)) if pick.random() < 0.5 else str(value) for value in (a, b)]
        match pick.choice(kinds):
            case "n":
                text, meant = say[0], [a]
            case "r":
                text, meant = f"{say[0]}-{say[1]}", list(range(a, b + 1))
            case "w":
                text, meant = f"{say[1]}-{say[0]}", [*range(b, high + 1), *range(low, a + 1)]
            case "s":
                text, meant = f"{say[0]}-{say[1]}/{step}", list(range(a, b + 1, step))
            case _:
                text, meant = f"*/{step}", list(range(low, high + 1, step))
        texts.append(text)
        values.update(meant)
    return ",".join(texts), sorted(values)


def make_cron(pick: random.Random) -> Named:
    """A random cron that can fire."""
    while True:
        cron = draw_cron(pick)
        if any(matches_day(cron, EPOCH + day) for day in range(366 * 8)):
            return cron


def draw_cron(pick: random.Random) -> Named:
    """Most name their times, half of those near the hours of change."""
    every = [str(each) for each in range(60)]
    minute, minutes = field(pick, 0, 59, {}, pick.choice(["n", "n", "nnr", "nrws/"]))
    hour, hours = field(pick, 0, 23, {}, pick.choice(["n", "nr", "nrws/"]))
    if pick.random() < 0.4:
        hours = sorted(pick.sample([0, 1, 2, 3, 23], pick.choice([1, 1, 2, 3])))
        hour = ",".join(every[value] for value in hours)
    if pick.random() < 0.15:
        hour, hours = "*", list(range(24))
    if pick.random() < 0.05:
        minute, minutes = "*", list(range(60))
    day, month, weekday = "*", "*", "*"
    month_days, week_days, nth = None, None, None
    months = frozenset(range(1, 13))
    kind = pick.random()
    if kind < 0.2:
        day, found = field(pick, 1, 31, {}, "nnrws/")
        month_days = frozenset(found)
    elif kind < 0.3:
        day, month_days = pick.choice([("L", frozenset([0])), ("15,L", frozenset([15, 0])), ("31", frozenset([31]))])
    if 0.25 < kind < 0.45:
        weekday, found = field(pick, 0, 6, dict(enumerate(WEEKDAYS)), "nnrw")
        week_days = frozenset(found)
    elif 0.45 < kind < 0.55:
        nth = (pick.randrange(7), pick.randrange(6))
        weekday = f"{WEEKDAYS[nth[0]]}#{nth[1]}" if nth[1] else f"L{nth[0] or 7}"
    elif kind > 0.97:
        weekday, week_days = "7", frozenset([0])
    if pick.random() < 0.2:
        month, found = field(pick, 1, 12, dict(enumerate(MONTHS, 1)), "nrws")
        months = frozenset(found) | ({1} if day == "31" else set())
        month = f"{month},1" if day == "31" else month
    text = f"{minute} {hour} {day} {month} {weekday}"
    return Named(text, tuple(minutes), tuple(hours), month_days, months, week_days, nth)


# --- the comparison --------------------------------------------------------------------------------------------------


def found_slots(cron: Named, zone: str, policy: str, begin: int, end: int) -> list[int]:
    """The timetable's slots in [begin, end]; they increase, and each interval starts at the slot before."""
    timetable = build(schedule_spec(cron.text), timezone=zone, dst=policy, start_at=None, end_at=None)
    found, before = [], None
    for slot in timetable.slots_after(begin * SECOND - 1):
        if slot.due_at > end * SECOND:
            break
        assert slot.due_at == slot.logical_at == slot.end_at
        assert before is None or (before < slot.due_at and slot.start_at == before), (cron.text, zone, policy, slot)
        before = slot.due_at
        found.append(slot.due_at // SECOND)
    return found


def compare(cron: Named, zone: str, year: int, policy: str, years: int = 10) -> tuple[int, list[str]]:
    """How many slots were compared, and what is wrong."""
    begin, end = (int(datetime(each, 1, 1, tzinfo=UTC).timestamp()) for each in (year, year + years))
    clock = pieces(zone, begin - 4 * DAY, end + 4 * DAY)
    if cron.a_day <= 24:
        windows = [(begin, end)]
    else:
        windows = [(piece.begin - 3 * DAY // 2, piece.begin + 3 * DAY // 2) for piece in clock[1:]]
    wrong, count = [], 0
    for low, high in windows:
        near = [
            Piece(max(piece.begin, low - 3 * DAY), min(piece.end, high + 3 * DAY), piece.ahead)
            for piece in clock
            if piece.end > low - 3 * DAY and piece.begin < high + 3 * DAY
        ]
        wanted = [at for at in expected_slots(cron, policy, near) if low <= at <= high]
        got = found_slots(cron, zone, policy, low, high)
        count += len(wanted)
        if wanted != got:
            missing, extra = sorted(set(wanted) - set(got)), sorted(set(got) - set(wanted))
            shown = [str(datetime.fromtimestamp(at, UTC)) for at in (missing + extra)[:3]]
            wrong.append(f"{cron.text!r} {zone} {policy}: {len(missing)} missing, {len(extra)} too many: {shown}")
    return count, wrong


def compare_all(cron: Named, zones: list[tuple[str, int]], turn: int) -> tuple[int, list[str]]:
    """One cron over the zones, the policies by turns."""
    total, wrong = 0, []
    for at, (zone, year) in enumerate(zones):
        count, found = compare(cron, zone, year, POLICIES[(turn + at) % 3])
        total += count
        wrong += found
    return total, wrong


def main() -> int:
    """Compare, say how far it is, exit 1 when a slot is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crons", type=int, default=500)
    parser.add_argument("--each", type=int, default=len(ZONES))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    pick = random.Random(given.seed)
    crons = [make_cron(pick) for _ in range(given.crons)]
    began, total, wrong = datetime.now(UTC), 0, 0
    with ProcessPoolExecutor(given.jobs) as pool:
        turns = [(cron, (ZONES * 2)[at % 30 : at % 30 + given.each], at // 30) for at, cron in enumerate(crons)]
        runs = [pool.submit(compare_all, *turn) for turn in turns]
        for done, run in enumerate(runs, 1):
            count, found = run.result()
            total, wrong = total + count, wrong + len(found)
            sys.stdout.write("".join(f"{line}\n" for line in found))
            if done % 10 == 0 or done == len(runs):
                took = timedelta(seconds=(datetime.now(UTC) - began).seconds)
                sys.stdout.write(f"{took} {done} crons x {given.each} zones, {total:,} slots, {wrong} wrong\n")
                sys.stdout.flush()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
