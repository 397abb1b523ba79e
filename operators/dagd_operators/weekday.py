"""The day of the week: a branch and a sensor."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Any

from dagd.authoring.ambient import caller_ref
from dagd.authoring.sensor import BaseSensorOperator
from dagd.model.errors import WrongArgument, did_you_mean
from dagd_operators.branch import BaseBranchOperator, as_list


class WeekDay(IntEnum):
    """Days by their ISO number."""

    MONDAY = 1
    TUESDAY = 2
    WEDNESDAY = 3
    THURSDAY = 4
    FRIDAY = 5
    SATURDAY = 6
    SUNDAY = 7


WEEKEND = frozenset({WeekDay.SATURDAY, WeekDay.SUNDAY})
WORKING_DAYS = frozenset(WeekDay) - WEEKEND


def read_days(value: str | WeekDay | Iterable[Any]) -> frozenset[WeekDay]:
    """Days by name or as WeekDay, one or several. Raises WrongArgument."""
    many = [value] if isinstance(value, (str, WeekDay)) else list(value)
    found = set()
    for one in many:
        if isinstance(one, WeekDay):
            found.add(one)
        elif isinstance(one, str) and one.upper() in WeekDay.__members__:
            found.add(WeekDay[one.upper()])
        else:
            names = [day.name.title() for day in WeekDay]
            raise WrongArgument(
                f"week_day {one!r} is no day", where=caller_ref(), remedy=did_you_mean(str(one).title(), names)
            )
    return frozenset(found)


def _today(context: Any, *, use_logical_date: bool) -> WeekDay:
    """The day in the DAG's zone."""
    instant = context["logical_date"] if use_logical_date else context.now()
    return WeekDay(instant.astimezone(context.zone()).isoweekday())


class BranchDayOfWeekOperator(BaseBranchOperator):
    """Goes on with `follow_task_ids_if_true` on the given days, else with `follow_task_ids_if_false`."""

    def __init__(
        self,
        *,
        follow_task_ids_if_true: str | Iterable[str],
        follow_task_ids_if_false: str | Iterable[str],
        week_day: str | WeekDay | Iterable[str | WeekDay],
        use_task_logical_date: bool = False,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.follow_task_ids_if_true = follow_task_ids_if_true
        self.follow_task_ids_if_false = follow_task_ids_if_false
        self.week_day, self.use_task_logical_date = week_day, use_task_logical_date
        self.days = read_days(week_day)

    def choose_branch(self, context: Any) -> list[str]:
        """One side or the other."""
        is_true = _today(context, use_logical_date=self.use_task_logical_date) in self.days
        return as_list(self.follow_task_ids_if_true if is_true else self.follow_task_ids_if_false)


class DayOfWeekSensor(BaseSensorOperator):
    """Waits for one of the given days."""

    default_isolation = "warm"

    def __init__(
        self,
        *,
        week_day: str | WeekDay | Iterable[str | WeekDay],
        use_task_logical_date: bool = False,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.week_day, self.use_task_logical_date = week_day, use_task_logical_date
        self.days = read_days(week_day)

    def poke(self, context: Any) -> bool:
        """Whether it is such a day."""
        return _today(context, use_logical_date=self.use_task_logical_date) in self.days
