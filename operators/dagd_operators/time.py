"""Waiting for an instant. These wait in one leap, without a poke in between."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time, timedelta, tzinfo
from typing import Any

from dagd.authoring.outcomes import DeferTask
from dagd.authoring.sensor import BaseSensorOperator
from dagd.model.errors import WrongArgument


class _InstantSensor(BaseSensorOperator):
    """Waits for `target(context)`, no longer than the sensor's own timeout."""

    default_isolation = "warm"

    def target(self, context: Any) -> datetime:
        """The instant to wait for."""
        raise TypeError(f"{type(self).__name__} defines no target(context)")

    def poke(self, context: Any) -> bool:
        """Whether it has come."""
        return bool(context.now() >= self.target(context))

    def execute(self, context: Any) -> None:
        """Return at the instant. Raises DeferTask before it."""
        target, now = self.target(context), context.now()
        if now >= target:
            return
        waited = context.elapsed()
        if waited >= self.timeout:
            self.run_out(waited)
        raise DeferTask(until=min(target, now + self.timeout - waited), state=context.state)


class DateTimeSensor(_InstantSensor):
    """Waits for `target_time`: a datetime, or text in ISO 8601 (templated)."""

    template_fields: Sequence[str] = ("target_time",)

    def __init__(self, *, target_time: str | datetime, **arguments: Any) -> None:
        super().__init__(**arguments)
        if not isinstance(target_time, (str, datetime)):
            raise WrongArgument(f"target_time={target_time!r} is no datetime or text", where=self.where)
        self.target_time = target_time.isoformat() if isinstance(target_time, datetime) else target_time

    def target(self, context: Any) -> datetime:
        """The instant; without an offset it is UTC."""
        found = datetime.fromisoformat(self.target_time)
        return found if found.tzinfo is not None else found.replace(tzinfo=context.now().tzinfo)


DateTimeSensorAsync = DateTimeSensor


class TimeSensor(_InstantSensor):
    """Waits for a time of day on the day on which the run is due (in the DAG's zone)."""

    def __init__(self, *, target_time: time, deferrable: bool = False, **arguments: Any) -> None:
        super().__init__(**arguments)
        del deferrable
        if not isinstance(target_time, time):
            raise WrongArgument(f"target_time={target_time!r} is no time", where=self.where)
        self.target_time = target_time

    def target(self, context: Any) -> datetime:
        """The instant."""
        due = context["dag_run"].run_after or context.now()
        zone: tzinfo = self.target_time.tzinfo or context.zone()
        return datetime.combine(due.astimezone(zone).date(), self.target_time.replace(tzinfo=None), tzinfo=zone)


TimeSensorAsync = TimeSensor


class TimeDeltaSensor(_InstantSensor):
    """Waits until `delta` after the end of the run's data interval."""

    def __init__(self, *, delta: timedelta, deferrable: bool = False, **arguments: Any) -> None:
        super().__init__(**arguments)
        del deferrable
        if not isinstance(delta, timedelta):
            raise WrongArgument(f"delta={delta!r} is no timedelta", where=self.where)
        self.delta = delta

    def target(self, context: Any) -> datetime:
        """The instant."""
        end: datetime = context["data_interval_end"] or context["dag_run"].run_after
        return end + self.delta


TimeDeltaSensorAsync = TimeDeltaSensor


class WaitSensor(_InstantSensor):
    """Waits for a while after the task has started."""

    def __init__(self, *, time_to_wait: timedelta | float, deferrable: bool = False, **arguments: Any) -> None:
        super().__init__(**arguments)
        del deferrable
        if isinstance(time_to_wait, (int, float)):
            time_to_wait = timedelta(minutes=time_to_wait)
        self.time_to_wait = time_to_wait

    def target(self, context: Any) -> datetime:
        """The instant."""
        now: datetime = context.now()
        waited: timedelta = context.elapsed()
        return now - waited + self.time_to_wait
