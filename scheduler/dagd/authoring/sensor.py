"""BaseSensorOperator: a task that looks again and again, and holds no worker slot in between."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from dagd.authoring.instants import plain_duration
from dagd.authoring.operator import BaseOperator
from dagd.authoring.outcomes import DeferTask, FailTask, PokeReturnValue, SensorTimeout, SkipTask
from dagd.authoring.triggers import pace
from dagd.authoring.words import check_word
from dagd.model.errors import SourceRef, WrongArgument
from dagd.model.triggers import Trigger, check_trigger

_MOST_BACKOFF = 2**20


def _duration(name: str, value: Any, where: SourceRef) -> timedelta:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = timedelta(seconds=value)
    if not isinstance(value, timedelta) or value < timedelta(0):
        raise WrongArgument(f"{name}={value!r} is no number of seconds or timedelta", where=where)
    return plain_duration(value)


class BaseSensorOperator(BaseOperator):
    """Subclasses define `poke(context)`; a true result ends the wait. Both modes free the slot between pokes."""

    is_sensor: ClassVar[bool] = True
    ui_color = "#e6f1f2"

    def __init__(
        self,
        *,
        poke_interval: timedelta | float = 60,
        timeout: timedelta | float = 7 * 24 * 3600,
        soft_fail: bool = False,
        mode: str = "poke",
        exponential_backoff: bool = False,
        max_wait: timedelta | float | None = None,
        silent_fail: bool = False,
        never_fail: bool = False,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.poke_interval = _duration("poke_interval", poke_interval, self.where)
        self.timeout = _duration("timeout", timeout, self.where)
        self.max_wait = None if max_wait is None else _duration("max_wait", max_wait, self.where)
        self.mode = check_word("mode", mode, ["poke", "reschedule"], self.where)
        self.soft_fail, self.exponential_backoff = soft_fail, exponential_backoff
        self.silent_fail, self.never_fail = silent_fail, never_fail

    def poke(self, context: Any) -> bool | PokeReturnValue | Any:
        """Look once; something true ends the wait."""
        raise TypeError(f"{type(self).__name__} defines no poke(context)")

    def execute(self, context: Any) -> Any:
        """One poke: the value when it is done, else the next leg after `poke_interval`. Raises DeferTask.

        What a trigger can look at needs no poke any more: the next leg comes when it has fired.
        """
        if context.trigger_event is not None:
            return None
        found = self._poke(context)
        if found:
            return found.xcom_value if isinstance(found, PokeReturnValue) else None
        pokes = int(context.state.get("pokes", 0)) + 1
        waited = context.elapsed()
        if waited >= self.timeout:
            self.run_out(waited)
        left = max(self.timeout - waited, timedelta(0))
        pause, state = min(self.pause_after(pokes), left), {**context.state, "pokes": pokes}
        trigger = self._trigger() if self._waits_by_trigger() else None
        if trigger is None:
            raise DeferTask(every=pause, state=state)
        raise DeferTask(trigger=trigger, every=pause, timeout=left, state=state)

    def wait_trigger(self) -> Trigger | None:
        """What to look at instead of poking again, None when only `poke` can tell."""
        return None

    def _trigger(self) -> Trigger | None:
        """`wait_trigger` with the pace of the pokes; None for one that cannot be stored."""
        looks = pace(self.poke_interval, backoff=self.exponential_backoff, most=self.max_wait, was_checked=True)
        found = self.wait_trigger()
        try:
            return None if found is None else check_trigger({**found, **looks})
        except ValueError:
            return None

    def _waits_by_trigger(self) -> bool:
        """Not when an error of a look is no failure, and not for a subclass that pokes in a way of its own."""
        if self.silent_fail or self.never_fail:
            return False
        of = next(cls for cls in type(self).__mro__ if {"poke", "wait_trigger"} & vars(cls).keys())
        return "wait_trigger" in vars(of)

    def _poke(self, context: Any) -> Any:
        try:
            return self.poke(context)
        except (SkipTask, FailTask):
            raise
        except Exception as error:
            if self.never_fail:
                raise SkipTask(f"poke failed: {error}") from error
            if self.silent_fail:
                self.log.exception("poke failed")
                return False
            raise

    def run_out(self, waited: timedelta) -> None:
        """The sensor's own timeout. Raises SkipTask with soft_fail, else SensorTimeout."""
        text = f"sensor timeout: waited {waited.total_seconds():.0f} s, timeout {self.timeout.total_seconds():.0f} s"
        raise SkipTask(text) if self.soft_fail or self.never_fail else SensorTimeout(text)

    def pause_after(self, pokes: int) -> timedelta:
        """The pause before the next poke: `poke_interval`, doubling up to `max_wait` with exponential_backoff."""
        pause = self.poke_interval
        if self.exponential_backoff:
            pause = min(pause * min(2 ** (pokes - 1), _MOST_BACKOFF), timedelta(days=7))
        return pause if self.max_wait is None else min(pause, self.max_wait)
