"""Starting a run of another DAG."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from dagd.authoring.instants import exact_micros
from dagd.authoring.operator import BaseOperator
from dagd.authoring.outcomes import DeferTask, SkipTask
from dagd.model.errors import Refused


class TriggerDagRunOperator(BaseOperator):
    """Asks for a run of `trigger_dag_id`. A retry finds the run that the try before made, so there is but one.

    The value is the run id. `wait_for_completion` holds no worker slot. `reset_dag_run` clears the run of that id, or
    of an earlier try, when there is one.
    """

    template_fields: Sequence[str] = ("trigger_dag_id", "trigger_run_id", "logical_date", "conf")
    default_isolation = "warm"
    ui_color = "#ffefeb"

    def __init__(
        self,
        *,
        trigger_dag_id: str,
        trigger_run_id: str | None = None,
        conf: dict[str, Any] | None = None,
        logical_date: str | datetime | None = None,
        reset_dag_run: bool = False,
        wait_for_completion: bool = False,
        poke_interval: float = 60,
        allowed_states: Sequence[str] | None = None,
        failed_states: Sequence[str] | None = None,
        skip_when_already_exists: bool = False,
        fail_when_dag_is_paused: bool = False,
        deferrable: bool = False,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        del deferrable  # waiting never holds a slot
        self.reset_dag_run, self.fail_when_dag_is_paused = reset_dag_run, fail_when_dag_is_paused
        self.trigger_dag_id, self.trigger_run_id, self.conf = trigger_dag_id, trigger_run_id, conf
        self.logical_date = logical_date
        self.wait_for_completion, self.poke_interval = wait_for_completion, timedelta(seconds=poke_interval)
        self.allowed_states = list(allowed_states or ("success",))
        self.failed_states = list(failed_states or ("failed", "cancelled"))
        self.skip_when_already_exists = skip_when_already_exists

    def execute(self, context: Any) -> str:
        """Trigger in the first leg, then look until the run has ended."""
        run_id = context.state.get("run_id") or self.trigger(context)
        if self.wait_for_completion:
            self.look(context, run_id)
        return str(run_id)

    def trigger(self, context: Any) -> str:
        """The id of the run, made now or by an earlier try. Raises SkipTask, Refused."""
        at = self.logical_date
        if isinstance(at, str):
            at = datetime.fromisoformat(at)
        if at is not None and at.tzinfo is None:
            at = at.replace(tzinfo=context["logical_date"].tzinfo)
        args = {
            "dag_id": self.trigger_dag_id,
            "run_id": self.trigger_run_id,
            "conf": self.conf or {},
            "logical_date": None if at is None else exact_micros(at),
            "reset": self.reset_dag_run,
            "refuse_paused": self.fail_when_dag_is_paused,
        }
        try:
            made = context.channel.request("trigger", args)
        except Refused as error:
            if self.skip_when_already_exists:
                raise SkipTask(error.what) from error
            raise
        self.log.info("run %s/%s", self.trigger_dag_id, made["run_id"])
        return str(made["run_id"])

    def look(self, context: Any, run_id: str) -> None:
        """Return when the run ended well. Raises DeferTask while it goes on, RuntimeError when it failed."""
        found = context.channel.request("run_state", {"dag_id": self.trigger_dag_id, "run_id": run_id})
        state = found["state"] if found else None
        if state in self.failed_states:
            raise RuntimeError(f"the run {self.trigger_dag_id}/{run_id} ended {state}")
        if state not in self.allowed_states:
            raise DeferTask(every=self.poke_interval, state={**context.state, "run_id": run_id})
