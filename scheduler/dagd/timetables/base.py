"""What every timetable answers: the slots at which runs fall due."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from dagd.model.times import Micros


@dataclass(frozen=True, slots=True)
class Slot:
    """One run that is to be: due at `due_at`, known as `logical_at`, for the data of [start_at, end_at)."""

    due_at: Micros
    logical_at: Micros
    start_at: Micros
    end_at: Micros


class Timetable(ABC):
    """The slots of one schedule between its start and end dates, in strictly increasing order of `due_at`.

    Pure: no clock, no memory of what ran. Custom timetables (entry points in `dagd.timetables`) derive from this.
    """

    is_continuous: ClassVar[bool] = False
    """There is no grid: a slot follows at once when no run is active."""
    is_once: ClassVar[bool] = False
    """The one slot is `first`, and waits until the DAG may run."""

    @abstractmethod
    def next_after(self, at: Micros) -> Slot | None:
        """The first slot due strictly after `at`."""

    @abstractmethod
    def last_until(self, at: Micros) -> Slot | None:
        """The last slot due at or before `at`; its cost does not grow with the length of the past."""

    @abstractmethod
    def first(self) -> Slot | None:
        """The first slot at or after the start date; None when nothing bounds the grid from below."""

    def slots_after(self, at: Micros) -> Iterator[Slot]:
        """The slots due strictly after `at`, in order; endless when the schedule is."""
        while (slot := self.next_after(at)) is not None:
            yield slot
            at = slot.due_at
