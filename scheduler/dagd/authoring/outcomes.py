"""What a task may raise or return to end in a way of its own."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from dagd.authoring.instants import plain_duration
from dagd.authoring.triggers import as_trigger


class SkipTask(Exception):
    """Raised in a task: it ends skipped."""


class FailTask(Exception):
    """Raised in a task: it ends failed, and is not tried again."""


class SensorTimeout(FailTask):
    """A sensor waited longer than its own timeout."""


class CommandFailed(Exception):
    """A command ended with an exit code that means failure, or by a signal; one of both is set."""

    def __init__(self, text: str, *, exit_code: int | None = None, signal: int | None = None) -> None:
        super().__init__(text)
        self.exit_code, self.signal = exit_code, signal


class DeferTask(BaseException):
    """Ends this leg of a try; the next leg runs the task again with `state`.

    A BaseException, so that a body's `except Exception` does not swallow it. Exactly one of `until` (an aware instant),
    `every` (a pause) and `trigger` is set; beside a trigger, `every` is the pause to take when the trigger may not be
    stored because a secret is in it. `timeout` ends the try when its trigger has not fired by then.
    """

    def __init__(
        self, *, until: datetime | None = None, every: timedelta | None = None, trigger: Any = None,
        timeout: timedelta | float | None = None, state: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__("deferred")
        if (until is not None) + (every is not None or trigger is not None) != 1:
            raise ValueError("defer needs one of `until`, `every` and `trigger`")
        if until is not None and until.tzinfo is None:
            raise ValueError(f"defer until {until!r}: an instant needs a time zone")
        if timeout is not None and trigger is None:
            raise ValueError("defer(timeout=) is the longest wait for a trigger: give one")
        self.until, self.state = until, dict(state or {})
        self.every = None if every is None else plain_duration(every)
        self.trigger = None if trigger is None else as_trigger(trigger)
        if isinstance(timeout, (int, float)):
            timeout = timedelta(seconds=timeout)
        self.timeout = None if timeout is None else plain_duration(timeout)


class PokeReturnValue:
    """What a sensor's poke may return: whether it is done, and the value of the task then."""

    def __init__(self, is_done: bool, xcom_value: Any = None) -> None:
        self.is_done, self.xcom_value = bool(is_done), xcom_value

    def __bool__(self) -> bool:
        return self.is_done
