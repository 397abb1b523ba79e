"""What templates and tasks find in the context: the run, the task instance, variables, connections, events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dagd.authoring.ambient import AMBIENT, Asker
from dagd.authoring.store_access import Connection, Variable
from dagd.model.errors import NotFound, WrongArgument
from dagd.model.times import from_micros
from dagd.runtime.values import MISSING, RETURN_KEY, Outbox, Values

if TYPE_CHECKING:
    from dagd.authoring.node import TaskNode


def moment(micros: int | None) -> Any:
    """An instant as a pendulum DateTime in UTC, None kept."""
    if micros is None:
        return None
    import pendulum

    return pendulum.instance(from_micros(micros), tz="UTC")


class DagRunView:
    """`dag_run`: the run that this try belongs to."""

    def __init__(self, dag_id: str, run: Mapping[str, Any], channel: Asker) -> None:
        self.dag_id, self._run, self._channel = dag_id, run, channel
        self.run_id: str = run["run_id"]
        self.run_type: str = run.get("kind") or "manual"
        self.conf: dict[str, Any] = run.get("conf") or {}
        self.partition_key: str | None = run.get("partition")
        self.triggering_events: list[dict[str, Any]] = run.get("events") or []

    @property
    def logical_date(self) -> Any:
        """When the slot fell due."""
        return moment(self._run.get("logical_date"))

    @property
    def data_interval_start(self) -> Any:
        """The start of the data interval."""
        return moment(self._run.get("interval_start"))

    @property
    def data_interval_end(self) -> Any:
        """The end of the data interval."""
        return moment(self._run.get("interval_end"))

    @property
    def run_after(self) -> Any:
        """When the run was due."""
        return moment(self._run.get("due_at"))

    @property
    def start_date(self) -> Any:
        """When the run started."""
        return moment(self._run.get("started_at"))

    @property
    def external_trigger(self) -> bool:
        """Whether somebody asked for the run."""
        return self.run_type == "manual"

    def __repr__(self) -> str:
        return f"<DagRun {self.dag_id}/{self.run_id}>"


class TaskInstanceView:
    """`ti`: this try of this task instance."""

    def __init__(
        self, task: TaskNode, launch: Mapping[str, Any], run: DagRunView, values: Values, outbox: Outbox
    ) -> None:
        self.task, self.dag_run = task, run
        self.dag_id: str = launch["dag_id"]
        self.task_id: str = launch["task_id"]
        self.run_id: str = run.run_id
        self.map_index: int = launch.get("map_index", -1)
        self.try_number: int = launch.get("try_no", 1)
        self.max_tries: int = max(launch.get("max_tries", 1) - 1, 0)
        self.rendered_map_index: str | None = None
        self.idempotency_key: str | None = launch.get("idempotency_key")
        self._launch, self._values, self._outbox = launch, values, outbox

    @property
    def start_date(self) -> datetime | None:
        """When this try started for the first time."""
        return moment(self._launch.get("started_first_at"))  # type: ignore[no-any-return]

    @property
    def logical_date(self) -> Any:
        """The run's."""
        return self.dag_run.logical_date

    @property
    def is_mapped(self) -> bool:
        """Whether this is one of several instances."""
        return self.map_index >= 0

    @property
    def key(self) -> str:
        """dag/run/task/map."""
        return f"{self.dag_id}/{self.run_id}/{self.task_id}/{self.map_index}"

    def xcom_push(self, key: str, value: Any) -> None:
        """Keep a value for other tasks under a key; they see it once this try has succeeded."""
        self._outbox.push(key, value)

    def xcom_pull(
        self,
        task_ids: str | Iterable[str] | None = None,
        key: str = RETURN_KEY,
        map_indexes: int | Iterable[int] | None = None,
        default: Any = None,
        *,
        dag_id: str | None = None,
        include_prior_dates: bool = False,
        session: Any = None,
        run_id: str | None = None,
    ) -> Any:
        """One value for one task, a list for several; every returned value of a mapped task. Missing: `default`."""
        del session
        if include_prior_dates and run_id is not None:
            raise WrongArgument("xcom_pull takes run_id or include_prior_dates, not both")
        if task_ids is None:
            task_ids = self.task_id
        if isinstance(task_ids, str):
            return self._pull(task_ids, dag_id, key, map_indexes, default, run_id, include_prior_dates)
        return [self._pull(one, dag_id, key, map_indexes, default, run_id, include_prior_dates) for one in task_ids]

    def _pull(
        self,
        task_id: str,
        dag_id: str | None,
        key: str,
        indexes: int | Iterable[int] | None,
        default: Any,
        run_id: str | None,
        prior: bool,
    ) -> Any:
        dag = dag_id or self.dag_id
        if indexes is not None and not isinstance(indexes, int):
            return [self._pull(task_id, dag_id, key, index, default, run_id, prior) for index in indexes]
        is_own = (dag, task_id) == (self.dag_id, self.task_id) and run_id in {None, self.run_id}
        if is_own and key in self._outbox.values and indexes in {None, self.map_index}:
            return self._outbox.values[key]
        index = indexes if indexes is not None else self._shared_index(dag, task_id)
        found = self._values.pull(dag, run_id, task_id, key, index, prior=prior)
        return default if found is MISSING else found

    def _shared_index(self, dag_id: str, task_id: str) -> int | None:
        """Inside one mapped group a task sees its own index of the others."""
        dag = self.task.dag
        if self.map_index < 0 or dag is None or dag_id != self.dag_id or not dag.has_task(task_id):
            return None
        own = next((group for group in self.task.groups_outward() if group.is_mapped), None)
        if own is None or own not in list(dag.get_task(task_id).groups_outward()):
            return None
        return self.map_index

    def get_template_context(self) -> Any:
        """The context of this try."""
        return AMBIENT.context

    def __repr__(self) -> str:
        return f"<TaskInstance {self.key}>"


class VariableAccessor:
    """`var.value.KEY` and `var.json.KEY`; `.get(key, default)` on both."""

    def __init__(self, *, is_json: bool) -> None:
        self._is_json = is_json

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):
            raise AttributeError(key)
        return Variable.get(key, deserialize_json=self._is_json)

    def __getitem__(self, key: str) -> Any:
        return Variable.get(key, deserialize_json=self._is_json)

    def get(self, key: str, default: Any = None) -> Any:
        """The variable, or `default`."""
        return Variable.get(key, default, deserialize_json=self._is_json)


VAR = {"value": VariableAccessor(is_json=False), "json": VariableAccessor(is_json=True)}


class ConnectionAccessor:
    """`conn.ID`; `conn.get(id, default)`."""

    def __getattr__(self, conn_id: str) -> Connection:
        if conn_id.startswith("__"):
            raise AttributeError(conn_id)
        return Connection.get(conn_id)

    def get(self, conn_id: str, default: Any = None) -> Any:
        """The connection, or `default`."""
        try:
            return Connection.get(conn_id)
        except NotFound:
            return default


class EventsByAsset(Mapping[str, list[dict[str, Any]]]):
    """`triggering_asset_events`: the events that this run consumed, by asset; read by Asset or key."""

    def __init__(self, events: Iterable[Mapping[str, Any]]) -> None:
        self._events: dict[str, list[dict[str, Any]]] = {}
        for event in events:
            shown = dict(event)
            if isinstance(shown.get("metadata"), str):
                shown["metadata"] = json.loads(shown["metadata"])
            self._events.setdefault(event["asset"], []).append(shown)

    def __getitem__(self, asset: Any) -> list[dict[str, Any]]:
        return self._events[getattr(asset, "key", asset)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._events)

    def __len__(self) -> int:
        return len(self._events)


class InletEvents:
    """`inlet_events[asset]`: its last events, the oldest first, with `extra` and what else is known of each."""

    def __init__(self, keys: Iterable[str], channel: Asker) -> None:
        self._keys, self._channel = list(keys), channel

    def __getitem__(self, asset: Any) -> list[InletEvent]:
        key = getattr(asset, "key", asset)
        if key not in self._keys:
            raise NotFound(f"{key!r} is no inlet of this task", remedy="Name it in inlets=.")
        return [InletEvent(event) for event in self._channel.request("asset_events", {"asset": key})]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


class InletEvent:
    """One event of an asset that the task reads."""

    def __init__(self, event: Mapping[str, Any]) -> None:
        said = event.get("metadata")
        self.asset: str = event["asset"]
        self.extra: dict[str, Any] = json.loads(said) if isinstance(said, str) else dict(said or {})
        self.timestamp = moment(event.get("ts"))
        self.data_version, self.partition = event.get("data_version"), event.get("partition")
        self.source_dag_id, self.source_run_id = event.get("dag_id"), event.get("run_id")
        self.source_task_id, self.source_map_index = event.get("task_id"), event.get("map_index")


class OutletEvent:
    """What the task says of one asset that it made."""

    def __init__(self, key: str) -> None:
        self.asset = key
        self.extra: dict[str, Any] = {}
        self.data_version: str | None = None
        self.data_time: datetime | None = None
        self.partition: str | None = None


class OutletEvents:
    """`outlet_events[asset].extra[...] = ...`"""

    def __init__(self, keys: Iterable[str]) -> None:
        self.by_key = {key: OutletEvent(key) for key in keys}

    def __getitem__(self, asset: Any) -> OutletEvent:
        key = getattr(asset, "key", asset)
        if key not in self.by_key:
            raise NotFound(f"{key!r} is no outlet of this task", remedy="Name it in outlets=.")
        return self.by_key[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_key)


__all__ = [
    "VAR", "ConnectionAccessor", "DagRunView", "EventsByAsset", "InletEvents", "OutletEvents", "TaskInstanceView",
    "moment",
]  # fmt: skip
