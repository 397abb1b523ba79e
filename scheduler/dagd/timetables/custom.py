"""Timetables from installed packages, by entry point in the group `dagd.timetables`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dagd.model.errors import DagdError, InvalidSchedule, did_you_mean
from dagd.model.times import Micros
from dagd.timetables.base import Slot, Timetable

ENTRY_POINTS = "dagd.timetables"


class Checked(Timetable):
    """Someone else's timetable: what it raises, and slots that cannot be, are InvalidSchedule with its name."""

    def __init__(self, name: str, made: Timetable) -> None:
        self._name, self._made = name, made

    def next_after(self, at: Micros) -> Slot | None:
        slot = self._ask("next_after", self._made.next_after, at)
        if slot is not None and slot.due_at <= at:
            raise self._wrong("next_after", f"{slot} of {at}, which is not later")
        return slot

    def last_until(self, at: Micros) -> Slot | None:
        slot = self._ask("last_until", self._made.last_until, at)
        if slot is not None and slot.due_at > at:
            raise self._wrong("last_until", f"{slot} of {at}, which is later")
        return slot

    def first(self) -> Slot | None:
        return self._ask("first", self._made.first)

    def _ask(self, what: str, question: Callable[..., Any], *args: Micros) -> Slot | None:
        try:
            slot = question(*args)
        except DagdError:
            raise
        except Exception as error:
            message = f"timetable {self._name!r}: {what} raised {type(error).__name__}: {error}"
            raise InvalidSchedule(message) from error
        if slot is None:
            return None
        if not isinstance(slot, Slot) or not all(
            type(field) is int for field in (slot.due_at, slot.logical_at, slot.start_at, slot.end_at)
        ):
            raise self._wrong(what, repr(slot))
        return slot

    def _wrong(self, what: str, answer: str) -> InvalidSchedule:
        return InvalidSchedule(
            f"timetable {self._name!r}: {what} answered {answer}",
            remedy="It answers None or a Slot of microseconds UTC.",
        )


def load_custom(name: str, frame: object, args: dict[str, Any]) -> Timetable:
    """The timetable that the factory of an entry point makes. Raises InvalidSchedule."""
    from importlib.metadata import entry_points  # 20 ms to import, and few projects have a timetable of their own

    known = entry_points(group=ENTRY_POINTS)
    if name not in known.names:
        raise InvalidSchedule(
            f"no installed package has a timetable {name!r}",
            remedy=did_you_mean(name, known.names) or f"Its entry point belongs in the group {ENTRY_POINTS!r}.",
        )
    try:
        made = known[name].load()(frame, **args)
    except DagdError:
        raise
    except Exception as error:
        raise InvalidSchedule(f"timetable {name!r} refused {args!r}: {type(error).__name__}: {error}") from error
    if not isinstance(made, Timetable):
        raise InvalidSchedule(
            f"timetable {name!r} made {made!r}", remedy="Derive it from dagd.timetables.base.Timetable."
        )
    return Checked(name, made)
