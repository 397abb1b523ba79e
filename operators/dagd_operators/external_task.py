"""Waiting for tasks and runs of other DAGs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from dagd.authoring.empty import EmptyOperator
from dagd.authoring.instants import exact_micros
from dagd.authoring.outcomes import SkipTask
from dagd.authoring.sensor import BaseSensorOperator
from dagd.model.errors import WrongArgument

TASK_STATES = ("success", "failed", "skipped", "upstream_failed", "cancelled", "removed")
RUN_STATES = ("success", "failed", "cancelled")


class ExternalTaskFailed(Exception):
    """What a sensor waited for ended in one of its `failed_states`."""


class ExternalTaskSensor(BaseSensorOperator):
    """Waits for the run of `external_dag_id` with the same logical date (minus `execution_delta`), or tasks of it."""

    template_fields: Sequence[str] = (
        "external_dag_id",
        "external_task_id",
        "external_task_ids",
        "external_task_group_id",
    )
    default_isolation = "warm"

    def __init__(
        self,
        *,
        external_dag_id: str,
        external_task_id: str | None = None,
        external_task_ids: Sequence[str] | None = None,
        external_task_group_id: str | None = None,
        allowed_states: Iterable[str] | None = None,
        skipped_states: Iterable[str] | None = None,
        failed_states: Iterable[str] | None = None,
        execution_delta: timedelta | None = None,
        execution_date_fn: Callable[..., Any] | None = None,
        check_existence: bool = False,
        deferrable: bool = False,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        del check_existence, deferrable
        named = [one for one in (external_task_id, external_task_ids, external_task_group_id) if one is not None]
        if len(named) > 1:
            what = "give one of external_task_id, external_task_ids and external_task_group_id"
            raise WrongArgument(what, where=self.where)
        if execution_delta is not None and execution_date_fn is not None:
            raise WrongArgument("give execution_delta or execution_date_fn, not both", where=self.where)
        self.external_dag_id, self.external_task_id = external_dag_id, external_task_id
        self.external_task_ids, self.external_task_group_id = external_task_ids, external_task_group_id
        self.allowed_states = list(allowed_states) if allowed_states is not None else ["success"]
        self.skipped_states, self.failed_states = list(skipped_states or ()), list(failed_states or ())
        self.execution_delta, self.execution_date_fn = execution_delta, execution_date_fn
        self._check_states(bool(named))

    def _check_states(self, over_tasks: bool) -> None:
        known = TASK_STATES if over_tasks else RUN_STATES
        for state in [*self.allowed_states, *self.skipped_states, *self.failed_states]:
            if state not in known:
                raise WrongArgument(
                    f"the state {state!r} is unknown", where=self.where, remedy=f"Known: {', '.join(known)}"
                )
        if set(self.allowed_states) & {*self.skipped_states, *self.failed_states}:
            raise WrongArgument("a state is both allowed and not", where=self.where)

    def depends_on_user_code(self) -> bool:
        """When a function of the user's computes the dates."""
        return self.execution_date_fn is not None

    def dates(self, context: Any) -> list[datetime]:
        """The logical dates of the runs that are waited for."""
        own = context["logical_date"]
        if self.execution_delta is not None:
            return [own - self.execution_delta]
        if self.execution_date_fn is not None:
            found = self.execution_date_fn(own)
            return list(found) if isinstance(found, (list, tuple, set)) else [found]
        return [own]

    def poke(self, context: Any) -> bool:
        """Whether all that is waited for is in an allowed state. Raises ExternalTaskFailed, SkipTask."""
        return all(self._is_there(context, date) for date in self.dates(context))

    def _is_there(self, context: Any, date: datetime) -> bool:
        args = {"dag_id": self.external_dag_id, "logical_date": exact_micros(date)}
        found = context.channel.request("run_state", args)
        if found is None:
            return False
        states = self._states_of(found)
        place = f"{self.external_dag_id}/{found['run_id']}"
        if any(state in self.failed_states for state in states):
            raise ExternalTaskFailed(f"{place} ended {', '.join(sorted(set(states)))}")
        if any(state in self.skipped_states for state in states):
            raise SkipTask(f"{place} ended {', '.join(sorted(set(states)))}")
        return bool(states) and all(state in self.allowed_states for state in states)

    def _states_of(self, found: dict[str, Any]) -> list[str]:
        tasks: dict[str, list[str]] = found.get("tasks") or {}
        if self.external_task_group_id is not None:
            prefix = f"{self.external_task_group_id}."
            inside = [states or ["none"] for name, states in tasks.items() if name.startswith(prefix)]
            return [state for states in inside for state in states]
        names = self.external_task_ids if self.external_task_ids is not None else [self.external_task_id]
        if names == [None]:
            return [found["state"]]
        return [state for name in names for state in tasks.get(str(name)) or ["none"]]


class ExternalTaskMarker(EmptyOperator):
    """Says that a task of another DAG waits for this one."""

    template_fields: Sequence[str] = ("external_dag_id", "external_task_id", "logical_date")

    def __init__(
        self,
        *,
        external_dag_id: str,
        external_task_id: str,
        logical_date: str | datetime | None = None,
        recursion_depth: int = 10,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.external_dag_id, self.external_task_id = external_dag_id, external_task_id
        self.logical_date, self.recursion_depth = logical_date, recursion_depth
