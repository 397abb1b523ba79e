"""Cron expressions as rules over wall times: croniter reads the fields, the search is ours.

croniter's own iteration is not used: it mixes time zones into the search and repeats or loses slots at DST changes.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

from dagd.model.errors import InvalidSchedule
from dagd.model.times import SECOND
from dagd.timetables.dst import DAY, FLOOR, HORIZON, Wall
from dagd.timetables.schedules import PRESETS, split_fields

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_YEARS = range(2, 9992)
_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAY_NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LAST = -1


@dataclass(frozen=True, slots=True)
class DayRule:
    """Which days match. None for days of the month or the week: that field is unrestricted; with both restricted a day
    matches either (Vixie's rule). `month_days` may hold -1, the last day; `nth` holds (weekday, 1 to 5 or -1)."""

    months: frozenset[int]
    month_days: frozenset[int] | None
    week_days: frozenset[int] | None
    nth: frozenset[tuple[int, int]]

    def days(self, year: int, month: int) -> tuple[int, ...]:
        """The matching days of a month, in order."""
        return _days(self, year, month) if month in self.months else ()

    def _matches(self, day: int, last: int, week_day: int) -> bool:
        """Whether a day matches, in a month of `last` days."""
        by_month = self.month_days is not None and (
            day in self.month_days or (day == last and _LAST in self.month_days)
        )
        if self.week_days is None and not self.nth:
            return by_month or self.month_days is None
        counted = {(week_day, (day + 6) // 7), (week_day, _LAST if day + 7 > last else 0)}
        by_week = not self.nth.isdisjoint(counted) or (self.week_days is not None and week_day in self.week_days)
        return by_month or by_week


@lru_cache(maxsize=4096)
def _days(rule: DayRule, year: int, month: int) -> tuple[int, ...]:
    first, last = monthrange(year, month)  # Monday is 0 there; Sunday is 0 in a cron
    return tuple(day for day in range(1, last + 1) if rule._matches(day, last, (first + day) % 7))


@dataclass(frozen=True, slots=True)
class CronTimes:
    """The wall times that a cron expression matches. `is_fixed`: minute and hour are numbers, lists or ranges."""

    hours: tuple[int, ...]
    minutes: tuple[int, ...]
    seconds: tuple[int, ...]
    rule: DayRule
    is_fixed: bool

    def next(self, wall: Wall) -> Wall | None:
        """The first match at or after `wall`."""
        if wall >= HORIZON:
            return None
        day, within = divmod(wall, DAY)
        today = day + _EPOCH_DAY
        found = self._day_from(today)
        if found == today:
            time = self._time_from(-(-within // SECOND))
            if time is not None:
                return day * DAY + time * SECOND
            found = self._day_from(today + 1)
        return None if found is None else (found - _EPOCH_DAY) * DAY + self._time(0, 0, 0) * SECOND

    def prev(self, wall: Wall) -> Wall | None:
        """The last match at or before `wall`."""
        if wall < FLOOR:
            return None
        day, within = divmod(wall, DAY)
        today = day + _EPOCH_DAY
        found = self._day_until(today)
        if found == today:
            time = self._time_until(within // SECOND)
            if time is not None:
                return day * DAY + time * SECOND
            found = self._day_until(today - 1)
        return None if found is None else (found - _EPOCH_DAY) * DAY + self._time(-1, -1, -1) * SECOND

    def _time(self, hour: int, minute: int, second: int) -> int:
        """The second of the day at these positions of the three fields."""
        return self.hours[hour] * 3600 + self.minutes[minute] * 60 + self.seconds[second]

    def _time_from(self, second: int) -> int | None:
        """The first matching second of the day at or after `second`."""
        sought = (second // 3600, second // 60 % 60, second % 60)
        hour = bisect_left(self.hours, sought[0])
        if _holds(self.hours, hour, sought[0]):
            minute = bisect_left(self.minutes, sought[1])
            if _holds(self.minutes, minute, sought[1]):
                at = bisect_left(self.seconds, sought[2])
                if at < len(self.seconds):
                    return self._time(hour, minute, at)
                minute += 1
            if minute < len(self.minutes):
                return self._time(hour, minute, 0)
            hour += 1
        return self._time(hour, 0, 0) if hour < len(self.hours) else None

    def _time_until(self, second: int) -> int | None:
        """The last matching second of the day at or before `second`."""
        sought = (second // 3600, second // 60 % 60, second % 60)
        hour = bisect_right(self.hours, sought[0]) - 1
        if _holds(self.hours, hour, sought[0]):
            minute = bisect_right(self.minutes, sought[1]) - 1
            if _holds(self.minutes, minute, sought[1]):
                at = bisect_right(self.seconds, sought[2]) - 1
                if at >= 0:
                    return self._time(hour, minute, at)
                minute -= 1
            if minute >= 0:
                return self._time(hour, minute, -1)
            hour -= 1
        return self._time(hour, -1, -1) if hour >= 0 else None

    def _day_from(self, ordinal: int) -> int | None:
        """The first matching day at or after a date's ordinal."""
        sought = date.fromordinal(ordinal)
        year, month, day = sought.year, sought.month, sought.day
        while year in _YEARS:
            days = self.rule.days(year, month)
            at = bisect_left(days, day)
            if at < len(days):
                return date(year, month, days[at]).toordinal()
            year, month, day = (year, month + 1, 1) if month < 12 else (year + 1, 1, 1)
        return None

    def _day_until(self, ordinal: int) -> int | None:
        """The last matching day at or before a date's ordinal."""
        sought = date.fromordinal(ordinal)
        year, month, day = sought.year, sought.month, sought.day
        while year in _YEARS:
            days = self.rule.days(year, month)
            at = bisect_right(days, day) - 1
            if at >= 0:
                return date(year, month, days[at]).toordinal()
            year, month, day = (year, month - 1, 31) if month > 1 else (year - 1, 12, 31)
        return None


def _holds(values: Sequence[int], position: int, value: int) -> bool:
    return 0 <= position < len(values) and values[position] == value


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Field:
    """One field: its name in messages, its range, what a value and what a whole special token look like."""

    name: str
    low: int
    high: int
    value: str = r"\d{1,2}"
    special: str | None = None
    names: tuple[str, ...] = ()

    def read(self, text: str, expr: str) -> str:
        """The field as croniter takes it; raises InvalidSchedule naming the field."""
        return ",".join(self._read_token(token, text, expr) for token in text.lower().split(","))

    def _read_token(self, token: str, text: str, expr: str) -> str:
        if re.fullmatch(self.special or "(?!)", token, re.ASCII):
            return _last_week_day(token) if self.names is _DAY_NAMES else token
        found = re.fullmatch(rf"(?:\*|({self.value})(?:-({self.value}))?)(?:/(\d+))?", token, re.ASCII)
        if found is None or (found[3] is not None and int(found[3]) == 0):
            raise InvalidSchedule(
                f"cron {expr!r}: the {self.name} field {text!r} cannot be read at {token!r}", remedy=self._remedy()
            )
        for value in found.group(1, 2):
            if value is not None and value.isdecimal() and not self.low <= int(value) <= self.high:
                raise InvalidSchedule(
                    f"cron {expr!r}: {value} is no {self.name}", remedy=f"It goes from {self.low} to {self.high}."
                )
        # croniter takes 9-9 for the whole cycle; to cron it is 9.
        return str(found[1]) if found[1] is not None and found[1] == found[2] else token

    def _remedy(self) -> str:
        if self.names:
            known = f"{self.low} to {self.high} and {self.names[0]} to {self.names[-1]}"
        else:
            known = f"{self.low} to {self.high}"
        return f"It takes {known}, * , lists a,b, ranges a-b and steps */n."


def _last_week_day(token: str) -> str:
    """`5l` and `fril`, as Quartz writes the month's last Friday, in croniter's way: `l5`."""
    day = token[:-1]
    if not day or not token.endswith("l"):
        return token
    return f"l{_DAY_NAMES.index(day) if day in _DAY_NAMES else day}"


_month_name = "|".join(_MONTH_NAMES)
_day_name = "|".join(_DAY_NAMES)
_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31, r"\d{1,2}", r"\?|l|\d{1,2}-l"),
    _Field("month", 1, 12, rf"\d{{1,2}}|{_month_name}", None, _MONTH_NAMES),
    _Field(
        "day of week",
        0,
        7,
        rf"\d|{_day_name}",
        rf"\?|l[0-7]|(?:[0-7]|{_day_name})l|(?:[0-7]|(?:{_day_name})(?:-(?:{_day_name}))?)#[1-5]",
        _DAY_NAMES,
    ),
)
_SECONDS = _Field("second", 0, 59)


@lru_cache(maxsize=4096)
def read_cron(expr: str, seconds: bool = False) -> CronTimes:
    """The times of a cron expression or preset. Raises InvalidSchedule when it cannot be read or can never fire."""
    fields = split_fields(PRESETS.get(expr.strip().lower(), expr), seconds=seconds)
    kinds = (_SECONDS, *_FIELDS) if len(fields) == 6 else _FIELDS
    plain = [kind.read(text, expr) for kind, text in zip(kinds, fields, strict=True)]
    expanded, nth = _expand(plain, expr)
    minute, hour = fields[-5], fields[-4]
    times = CronTimes(
        hours=_values(expanded[1], _FIELDS[1]),
        minutes=_values(expanded[0], _FIELDS[0]),
        seconds=_values(expanded[5], _SECONDS) if len(expanded) == 6 else (0,),
        rule=_day_rule(expanded, nth),
        is_fixed=not re.search(r"[*/]", minute + hour),
    )
    _refuse_impossible(times.rule, fields, expr)
    return times


def _expand(plain: list[str], expr: str) -> tuple[list[list[Any]], dict[int, set[Any]]]:
    """The values of each field, and the counted weekdays; croniter takes these and plain ones in no common list."""
    from croniter import CroniterError, croniter

    *others, week = plain
    counted = [token for token in week.split(",") if "#" in token or token.startswith("l")]
    uncounted = [token for token in week.split(",") if token not in counted]
    try:
        fields = [*others, ",".join(uncounted or counted)]
        expanded, nth = croniter.expand(" ".join(fields), second_at_beginning=len(plain) == 6)
        if counted and uncounted:
            nth = {} if "*" in expanded[4] else croniter.expand(f"0 0 * * {','.join(counted)}")[1]
        elif counted:
            expanded[4] = ["*"]  # croniter names the counted days there as well
    except CroniterError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InvalidSchedule(f"cron {expr!r} cannot be read: {reason}") from error
    return expanded, nth


def _values(expanded: list[Any], field: _Field) -> tuple[int, ...]:
    if "*" in expanded:
        return tuple(range(field.low, field.high + 1))
    return tuple(sorted(int(value) for value in expanded))


def _day_rule(expanded: list[list[Any]], nth: dict[int, set[Any]]) -> DayRule:
    month_days, week_days = expanded[2], expanded[4]
    return DayRule(
        months=frozenset(_values(expanded[3], _FIELDS[3])),
        month_days=None
        if "*" in month_days
        else frozenset(_LAST if value == "l" else int(value) for value in month_days),
        week_days=None if "*" in week_days else frozenset(int(value) for value in week_days),
        nth=frozenset((day, _LAST if n == "l" else int(n)) for day, counts in nth.items() for n in counts),
    )


def _refuse_impossible(rule: DayRule, fields: list[str], expr: str) -> None:
    # 28 years hold every pair of a year's length and the weekday of its first day.
    if any(rule.days(year, month) for year in range(2001, 2029) for month in rule.months):
        return
    raise InvalidSchedule(
        f"cron {expr!r} can never fire: day of month {fields[-3]} does not exist in month {fields[-2]}",
        remedy="Choose a day that the month has, or L for its last day.",
    )
