"""The context of a try: Airflow's keys, each made when it is first read, and what only dagd has as methods."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, MutableMapping
from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any

from dagd.authoring.ambient import Asker
from dagd.authoring.outcomes import DeferTask
from dagd.authoring.params import merge_params
from dagd.authoring.zones import dag_zone
from dagd.model.times import from_micros
from dagd.runtime import macros
from dagd.runtime.accessors import (
    VAR,
    ConnectionAccessor,
    DagRunView,
    EventsByAsset,
    InletEvents,
    OutletEvents,
    TaskInstanceView,
    moment,
)
from dagd.runtime.values import Outbox, Values
from dagd.runtime.xcom import decode

if TYPE_CHECKING:
    from dagd.authoring.node import TaskNode
    from dagd.runtime.loading import LoadedDag
    from dagd.runtime.templates import Renderer


class Context(MutableMapping[str, Any]):
    """A mapping with Airflow's keys. `branch` and `is_short_circuited` hold what a decider said."""

    def __init__(self, loaded: LoadedDag, task: TaskNode, launch: dict[str, Any], channel: Asker) -> None:
        self.loaded, self.task, self.launch, self.channel = loaded, task, launch, channel
        self.run: dict[str, Any] = launch["run"]
        self.values_of_run, self.outbox = Values(launch, channel), Outbox(launch)
        self.dag_run = DagRunView(launch["dag_id"], self.run, channel)
        self.ti = TaskInstanceView(task, launch, self.dag_run, self.values_of_run, self.outbox)
        self.outlet_events = OutletEvents(getattr(asset, "key", str(asset)) for asset in task.outlets)
        self.state, self.trigger_event = _read_state(launch.get("state"))
        self.renderer: Renderer | None = None
        self.mapped: frozenset[str] = frozenset()  # the names of the arguments that came from mapping
        self.branch: list[str] | None = None
        self.is_short_circuited: bool | None = None
        self.previous: list[dict[str, Any] | None] = []
        self._made: dict[str, Any] = {}

    # --- the mapping ---------------------------------------------------------------------------------------------

    def __getitem__(self, key: str) -> Any:
        if key not in self._made:
            if key not in _MAKERS:
                raise KeyError(key)
            self._made[key] = _MAKERS[key](self)
        return self._made[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._made[key] = value

    def __delitem__(self, key: str) -> None:
        del self._made[key]

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys([*(key for key in _MAKERS if key not in _ASKING), *self._made])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, key: object) -> bool:
        return key in self._made or key in _MAKERS

    # --- what tasks say ------------------------------------------------------------------------------------------

    def choose(self, chosen: Any) -> None:
        """A branch's choice: ids of tasks or groups, one or several; None or [] skips all. Raises ValueError."""
        names = [] if chosen is None else [chosen] if isinstance(chosen, str) else list(chosen)
        dag = self.loaded.dag
        for name in names:
            if not isinstance(name, str) or not dag.is_taken(name):
                raise ValueError(f"the branch chose {name!r}, which is no task or group of the DAG {dag.dag_id!r}")
        self.branch = names

    def short_circuit(self, is_short: bool) -> None:
        """A short-circuit's decision: True skips what is downstream."""
        self.is_short_circuited = bool(is_short)

    def defer(
        self, *, until: datetime | None = None, every: timedelta | None = None, trigger: Any = None,
        timeout: timedelta | float | None = None, state: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """End this leg without holding a slot; the task runs again at `until`, after `every`, or when `trigger` fires,
        with `context.state` and `context.trigger_event`. Raises DeferTask."""
        raise DeferTask(until=until, every=every, trigger=trigger, timeout=timeout, state=state)

    def elapsed(self) -> timedelta:
        """The time since this try started first, over all its legs."""
        started = self.state.get("started_at") or self.launch.get("started_first_at")
        now = self._now_micros()
        return timedelta(microseconds=max(now - int(started or now), 0))

    def now(self) -> datetime:
        """The present instant: that of `dag.test()` when it says one."""
        return from_micros(self._now_micros())

    def _now_micros(self) -> int:
        simulated = self.launch.get("now")
        return int(simulated) if simulated is not None else time.time_ns() // 1000

    def params(self) -> dict[str, Any]:
        """The run's params, and the task's own ones over them as far as the conf does not say otherwise."""
        own = {name: param.to_json() for name, param in (self.task.params or {}).items()}
        return {**(self.run.get("params") or {}), **merge_params(own, self.dag_run.conf)}

    def zone(self) -> tzinfo:
        """The DAG's time zone."""
        from zoneinfo import ZoneInfo

        return ZoneInfo(dag_zone(self.loaded.dag, self.run.get("timezone") or "UTC"))

    def render_shell(self, text: str) -> Any:
        """A text rendered as a shell command."""
        return self.renderer.text(text, for_shell=True) if self.renderer else text

    def data_version(self, version: Any, asset: Any = None) -> None:
        """The version of the data that this task made, for one outlet or all."""
        for key in [getattr(asset, "key", asset)] if asset is not None else list(self.outlet_events):
            self.outlet_events[key].data_version = str(version)

    def logical_micros(self) -> int | None:
        """The logical date; for a run that has none, when it was due."""
        logical = self.run.get("logical_date")
        return logical if logical is not None else self.run.get("due_at")

    def logical(self) -> datetime:
        """The logical date as a plain datetime in UTC. Raises KeyError when the run has no date at all."""
        micros = self.logical_micros()
        if micros is None:
            raise KeyError("logical_date")
        return from_micros(micros)


def _read_state(state: Any) -> tuple[dict[str, Any], Any]:
    """The state of the deferred leg (a text of ours, or an object), and the event of its trigger."""
    if not state:
        return {}, None
    inner = state.get("text") if isinstance(state, dict) else state
    if isinstance(inner, str):
        found = decode(inner)
        base = {key: value for key, value in state.items() if key != "text"} if isinstance(state, dict) else {}
        event = base.pop("event", None)
        return {**base, **found}, event
    return dict(state), None


def _previous(context: Context, name: str) -> Any:
    """A date of the last successful run before this one, or None."""
    if not context.previous:
        args = {"dag_id": context.launch["dag_id"], "run_id": context.run["run_id"], "state": "success"}
        context.previous.append(context.channel.request("previous_run", args))
    found = context.previous[0]
    return moment(found.get(name)) if found else None


_ASKING = frozenset(
    {
        "prev_data_interval_start_success", "prev_data_interval_end_success", "prev_start_date_success",
        "prev_end_date_success", "context",
    }
)  # fmt: skip

_MAKERS: dict[str, Callable[[Context], Any]] = {
    "conf": lambda c: {},
    "conn": lambda c: ConnectionAccessor(),
    "context": lambda c: c,
    "dag": lambda c: c.loaded.dag,
    "dag_run": lambda c: c.dag_run,
    "data_interval_end": lambda c: moment(c.run.get("interval_end")),
    "data_interval_start": lambda c: moment(c.run.get("interval_start")),
    "ds": lambda c: macros.show_ds(c.logical()),
    "ds_nodash": lambda c: macros.show_ds_nodash(c.logical()),
    "exception": lambda c: None,
    "expanded_ti_count": lambda c: c.launch.get("map_length"),
    "inlet_events": lambda c: InletEvents([getattr(one, "key", str(one)) for one in c.task.inlets], c.channel),
    "inlets": lambda c: list(c.task.inlets),
    "logical_date": lambda c: moment(c.logical_micros()),
    "macros": lambda c: macros.MACROS,
    "map_index": lambda c: c.ti.map_index,
    "map_index_template": lambda c: c.task.map_index_template,
    "outlet_events": lambda c: c.outlet_events,
    "outlets": lambda c: list(c.task.outlets),
    "params": lambda c: c.params(),
    "prev_data_interval_end_success": lambda c: _previous(c, "interval_end"),
    "prev_data_interval_start_success": lambda c: _previous(c, "interval_start"),
    "prev_end_date_success": lambda c: _previous(c, "ended_at"),
    "prev_start_date_success": lambda c: _previous(c, "started_at"),
    "reason": lambda c: None,
    "run_id": lambda c: c.run["run_id"],
    "start_date": lambda c: moment(c.run.get("started_at")),
    "state": lambda c: c.state,
    "task": lambda c: c.task,
    "task_instance": lambda c: c.ti,
    "task_instance_key_str": lambda c: (
        f"{c.launch['dag_id']}__{c.launch['task_id']}__{macros.show_ds_nodash(c.logical())}"
    ),
    "task_reschedule_count": lambda c: max(c.launch.get("leg", 1) - 1, 0),
    "templates_dict": lambda c: None,
    "test_mode": lambda c: bool(c.launch.get("test_mode")),
    "ti": lambda c: c.ti,
    "trigger_event": lambda c: c.trigger_event,
    "triggering_asset_events": lambda c: EventsByAsset(c.run.get("events") or ()),
    "try_number": lambda c: c.ti.try_number,
    "ts": lambda c: macros.show_ts(c.logical()),
    "ts_nodash": lambda c: macros.show_ts_nodash(c.logical()),
    "ts_nodash_with_tz": lambda c: macros.show_ts_nodash_with_tz(c.logical()),
    "var": lambda c: VAR,
}
