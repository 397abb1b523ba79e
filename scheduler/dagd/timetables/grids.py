"""Grids: the instants at which a schedule falls due, without beginning or end unless it says so.

Every grid answers two questions for FLOOR <= at < HORIZON, each by search and never by a walk from the anchor.
"""

from __future__ import annotations

from bisect import bisect_right
from calendar import monthrange
from collections.abc import Iterable, Sequence
from datetime import date
from itertools import count
from typing import Protocol

from dagd.model.times import Micros
from dagd.timetables.cron import CronTimes
from dagd.timetables.dst import DAY, FLOOR, HORIZON, MAX_OFFSET, SPREAD, Wall, Zone, unslotted

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MONTH = 30_436_875 * DAY // 1_000_000  # the mean of the Gregorian calendar


class Grid(Protocol):
    """Strictly increasing instants."""

    def after(self, at: Micros) -> Micros | None:
        """The first instant strictly after `at`."""

    def until(self, at: Micros) -> Micros | None:
        """The last instant at or before `at`."""


class NamedTimes:
    """Each matching wall time once, where it lands: the rule for fixed times under `once` and `skip`."""

    def __init__(self, times: CronTimes, zone: Zone, policy: str) -> None:
        self._times, self._zone, self._policy = times, zone, policy

    def after(self, at: Micros) -> Micros | None:
        wall = self._times.next(self._zone.highest(at) + 1)
        while wall is not None:
            landing = self._zone.land(wall)
            dropped = unslotted(landing, wall, self._policy)
            if dropped is None:
                return landing.instant
            wall = self._times.next(dropped[1])
        return None

    def until(self, at: Micros) -> Micros | None:
        wall = self._times.prev(self._zone.highest(at))
        while wall is not None:
            landing = self._zone.land(wall)
            dropped = unslotted(landing, wall, self._policy)
            if dropped is None:
                return landing.instant
            wall = self._times.prev(dropped[0] - 1)
        return None


class ShownTimes:
    """Every instant at which the clock shows a matching time: the rule for a `*` or a step in minute or hour."""

    def __init__(self, times: CronTimes, zone: Zone) -> None:
        self._times, self._zone = times, zone

    def after(self, at: Micros) -> Micros | None:
        at += 1
        while at < HORIZON:
            span = self._zone.span(at)
            wall = self._times.next(at + span.offset)
            if wall is not None and wall < span.end + span.offset:
                return wall - span.offset
            # No later instant shows less than two days before what is shown now, so a far match is reached in one leap.
            far = self._times.next(at + span.offset - SPREAD)
            if far is None:
                return None
            at = max(span.end, far - MAX_OFFSET)
        return None

    def until(self, at: Micros) -> Micros | None:
        while at >= FLOOR:
            span = self._zone.span(at)
            wall = self._times.prev(at + span.offset)
            if wall is not None and wall >= span.start + span.offset:
                return wall - span.offset
            far = self._times.prev(at + span.offset + SPREAD)
            if far is None:
                return None
            at = min(span.start - 1, far + MAX_OFFSET)
        return None


class Merged:
    """Several grids as one; an instant of two of them is one instant."""

    def __init__(self, grids: Iterable[Grid]) -> None:
        self._grids = tuple(grids)

    def after(self, at: Micros) -> Micros | None:
        return min((found for grid in self._grids if (found := grid.after(at)) is not None), default=None)

    def until(self, at: Micros) -> Micros | None:
        return max((found for grid in self._grids if (found := grid.until(at)) is not None), default=None)


class EvenSteps:
    """Elapsed time: anchor + n * step, for n of either sign."""

    def __init__(self, anchor: Micros, step: int) -> None:
        self._anchor, self._step = anchor, step

    def after(self, at: Micros) -> Micros | None:
        found = at + self._step - (at - self._anchor) % self._step
        return found if found < HORIZON else None

    def until(self, at: Micros) -> Micros | None:
        found = at - (at - self._anchor) % self._step
        return found if found >= FLOOR else None


class CalendarSteps:
    """Anchor + n * (months, days, elapsed time), for n of either sign.

    Months and days are counted on the wall from the anchor each time, the day clipped to the month's length, so month
    ends do not drift; the result is a fixed time to the DST policy. `months` is at least 1.
    """

    def __init__(self, anchor: Micros, zone: Zone, policy: str, *, months: int, days: int, elapsed: int) -> None:
        self._anchor, self._zone, self._policy = anchor, zone, policy
        self._months, self._days, self._elapsed = months, days, elapsed
        day, self._time = divmod(zone.wall(anchor), DAY)
        self._date = date.fromordinal(day + _EPOCH_DAY)
        self._mean = months * _MONTH + days * DAY + elapsed

    def after(self, at: Micros) -> Micros | None:
        for n in count((at - self._anchor) // self._mean - 2):
            wall = self._wall(n)
            if n < 0 and (wall is None or wall < FLOOR):
                continue
            if wall is None or wall >= HORIZON:
                return None
            for instant in self._instants(n, wall):
                if instant > at:
                    return instant if instant < HORIZON else None
        return None

    def until(self, at: Micros) -> Micros | None:
        for n in count((at - self._anchor) // self._mean + 2, -1):
            wall = self._wall(n)
            if n > 0 and (wall is None or wall >= HORIZON):
                continue
            if wall is None or wall < FLOOR:
                return None
            for instant in reversed(self._instants(n, wall)):
                if instant <= at:
                    return instant
        return None

    def _wall(self, n: int) -> Wall | None:
        """The wall time of step n; None outside the years that a date has."""
        year, month = divmod(self._date.year * 12 + self._date.month - 1 + n * self._months, 12)
        if not 1 <= year <= 9999:
            return None
        day = min(self._date.day, monthrange(year, month + 1)[1])
        return (date(year, month + 1, day).toordinal() - _EPOCH_DAY + n * self._days) * DAY + self._time

    def _instants(self, n: int, wall: Wall) -> list[Micros]:
        """Where step n lands: none under `skip` in a gap, two under `both` on a repeated time. Step 0 is the anchor."""
        if n == 0:
            return [self._anchor]
        landing = self._zone.land(wall)
        if unslotted(landing, wall, self._policy) is not None:
            return []
        found = {landing.instant}
        if self._policy == "both":
            found.update(self._zone.showings(wall))
        return [instant + n * self._elapsed for instant in sorted(found)]


class Listed:
    """The instants of a list."""

    def __init__(self, instants: Sequence[Micros]) -> None:
        self._instants = sorted(set(instants))

    def after(self, at: Micros) -> Micros | None:
        position = bisect_right(self._instants, at)
        return self._instants[position] if position < len(self._instants) else None

    def until(self, at: Micros) -> Micros | None:
        position = bisect_right(self._instants, at)
        return self._instants[position - 1] if position else None


def cron_grid(times: CronTimes, zone: Zone, policy: str) -> Grid:
    """The grid of one cron: a `*` or a step in minute or hour follows the clock, fixed times follow the policy."""
    if not times.is_fixed:
        return ShownTimes(times, zone)
    if policy == "both":
        return Merged([NamedTimes(times, zone, policy), ShownTimes(times, zone)])
    return NamedTimes(times, zone, policy)
