"""A branch over the time of day or a span of instants."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, time, timedelta
from typing import Any

from dagd.model.errors import WrongArgument
from dagd_operators.branch import BaseBranchOperator, as_list


class BranchDateTimeOperator(BaseBranchOperator):
    """Goes on with `follow_task_ids_if_true` between `target_lower` and `target_upper`, else with the other.

    Both ends are datetimes, or both are times of day (in UTC; an upper end before the lower one is on the next day).
    """

    def __init__(
        self,
        *,
        follow_task_ids_if_true: str | Iterable[str],
        follow_task_ids_if_false: str | Iterable[str],
        target_lower: datetime | time | None,
        target_upper: datetime | time | None,
        use_task_logical_date: bool = False,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        if target_lower is None and target_upper is None:
            raise WrongArgument("both target_lower and target_upper are None", where=self.where)
        self.target_lower, self.target_upper = target_lower, target_upper
        self.follow_task_ids_if_true = follow_task_ids_if_true
        self.follow_task_ids_if_false = follow_task_ids_if_false
        self.use_task_logical_date = use_task_logical_date

    def choose_branch(self, context: Any) -> list[str]:
        """One side or the other."""
        now = context["logical_date"] if self.use_task_logical_date else context.now()
        lower, upper = _instant(self.target_lower, now), _instant(self.target_upper, now)
        if isinstance(self.target_upper, time) and lower is not None and upper is not None and upper < lower:
            upper += timedelta(days=1)
        is_inside = (lower is None or lower <= now) and (upper is None or now <= upper)
        return as_list(self.follow_task_ids_if_true if is_inside else self.follow_task_ids_if_false)


def _instant(end: datetime | time | None, now: datetime) -> datetime | None:
    if isinstance(end, time):
        return datetime.combine(now.date(), end.replace(tzinfo=None), tzinfo=end.tzinfo or now.tzinfo)
    if end is not None and end.tzinfo is None:
        return end.replace(tzinfo=now.tzinfo)
    return end
