"""The timetables that `build` makes: grids cut to the start and end dates, and the kinds that have no grid."""

from __future__ import annotations

from dagd.model.times import Micros
from dagd.timetables.base import Slot, Timetable
from dagd.timetables.dst import FLOOR, HORIZON
from dagd.timetables.grids import Grid


class Never(Timetable):
    """No schedule: runs come by hand or from assets."""

    def next_after(self, at: Micros) -> Slot | None:
        return None

    def last_until(self, at: Micros) -> Slot | None:
        return None

    def first(self) -> Slot | None:
        return None


class _Bounded(Timetable):
    """A timetable between two dates: a slot exists when start_date <= logical date <= end_date."""

    def __init__(self, start_at: Micros | None, end_at: Micros | None) -> None:
        self._start_at = FLOOR if start_at is None else max(FLOOR, start_at)
        self._end_at = HORIZON if end_at is None else min(HORIZON, end_at)
        self._has_start = start_at is not None

    def _within(self, slot: Slot | None) -> Slot | None:
        return slot if slot is not None and self._start_at <= slot.logical_at <= self._end_at else None


class Trailing(_Bounded):
    """The logical date is when the slot falls due; its interval reaches back to the grid's instant before it, which may
    lie before the start date. The first instant of a grid that has one closes an empty interval."""

    def __init__(self, grid: Grid, start_at: Micros | None, end_at: Micros | None) -> None:
        super().__init__(start_at, end_at)
        self._grid = grid

    def next_after(self, at: Micros) -> Slot | None:
        at = max(at, self._start_at - 1)
        return None if at >= self._end_at else self._within(self._slot(self._grid.after(at)))

    def last_until(self, at: Micros) -> Slot | None:
        at = min(at, self._end_at)
        return None if at < self._start_at else self._within(self._slot(self._grid.until(at)))

    def first(self) -> Slot | None:
        return self.next_after(self._start_at - 1) if self._has_start else None

    def _slot(self, due_at: Micros | None) -> Slot | None:
        if due_at is None:
            return None
        before = self._grid.until(due_at - 1)
        return Slot(due_at, due_at, due_at if before is None else before, due_at)


class Listing(Trailing):
    """Event lists and `@once`: they begin by themselves, start date or not."""

    def first(self) -> Slot | None:
        return self.next_after(self._start_at - 1)


class Once(Listing):
    """`@once`."""

    is_once = True


class Leading(_Bounded):
    """Airflow 2's convention: the logical date starts the interval, and the slot falls due at its end."""

    def __init__(self, grid: Grid, start_at: Micros | None, end_at: Micros | None) -> None:
        super().__init__(start_at, end_at)
        self._grid = grid

    def next_after(self, at: Micros) -> Slot | None:
        if at >= HORIZON:
            return None
        due_at = self._grid.after(max(at, FLOOR))
        logical_at = None if due_at is None else self._grid.until(due_at - 1)
        if logical_at is not None and logical_at < self._start_at:
            return self.first()
        return self._within(self._slot(logical_at))

    def last_until(self, at: Micros) -> Slot | None:
        if at < self._start_at or self._end_at < self._start_at:
            return None
        due_at = self._grid.until(min(at, HORIZON))
        logical_at = None if due_at is None else self._grid.until(due_at - 1)
        if logical_at is not None and logical_at > self._end_at:
            logical_at = self._grid.until(self._end_at)
        return self._within(self._slot(logical_at))

    def first(self) -> Slot | None:
        if not self._has_start or self._start_at > self._end_at:
            return None
        return self._within(self._slot(self._grid.after(self._start_at - 1)))

    def _slot(self, logical_at: Micros | None) -> Slot | None:
        due_at = None if logical_at is None else self._grid.after(logical_at)
        return None if logical_at is None or due_at is None else Slot(due_at, logical_at, logical_at, due_at)


class Continuous(_Bounded):
    """A slot is due at any instant; the scheduler takes one when no run is active."""

    is_continuous = True

    def next_after(self, at: Micros) -> Slot | None:
        return self._within(_instant(max(at + 1, self._start_at)))

    def last_until(self, at: Micros) -> Slot | None:
        return self._within(_instant(min(at, self._end_at)))

    def first(self) -> Slot | None:
        return self._within(_instant(self._start_at)) if self._has_start else None


def _instant(at: Micros) -> Slot:
    return Slot(at, at, at, at)
