"""The timetable of a DAG, such that one that fails or hangs hurts its own DAG alone."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from dagd.model.errors import InvalidSchedule
from dagd.model.specs import DagSpec
from dagd.timetables.base import Slot, Timetable
from dagd.timetables.build import build

LONGEST_S = 2.0


def timetable_of(spec: DagSpec, first_seen_at: int) -> Timetable | None:
    """The DAG's timetable; None when time does not start its runs. What is wrong with it shows when it is asked: the
    turn then sets the DAG aside with the error."""
    schedule = spec.schedule.get("time") or spec.schedule
    if schedule["kind"] in {"none", "assets"}:
        return None

    def make() -> Timetable:
        return build(
            schedule, timezone=spec.timezone, dst=spec.dst, start_at=spec.start_at, end_at=spec.end_at,
            first_seen_at=first_seen_at,
        )  # fmt: skip

    if schedule["kind"] == "custom":
        return Contained(make)
    try:
        return make()
    except InvalidSchedule:  # it was good when the file was parsed: a zone has left the machine since
        return Contained(make)


class Contained(Timetable):
    """A timetable that is made when it is first asked, and stopped when an answer takes too long."""

    def __init__(self, make: Callable[[], Timetable]) -> None:
        self._make, self._made = make, None

    _made: Timetable | None

    def next_after(self, at: int) -> Slot | None:
        with limited():
            return self._timetable().next_after(at)

    def last_until(self, at: int) -> Slot | None:
        with limited():
            return self._timetable().last_until(at)

    def first(self) -> Slot | None:
        with limited():
            return self._timetable().first()

    def _timetable(self) -> Timetable:
        if self._made is None:
            self._made = self._make()
        return self._made


class _TimeUp(BaseException):
    """No `except Exception` of a timetable may swallow it."""


@contextmanager
def limited() -> Iterator[None]:
    """Raises InvalidSchedule when the block takes longer. Only a main thread has alarms; others go unlimited."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
    try:
        yield
    except _TimeUp:
        raise InvalidSchedule(f"the timetable took longer than {LONGEST_S:g} s for one answer") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _ring(_number: int, _frame: FrameType | None) -> None:
    raise _TimeUp
