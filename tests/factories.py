"""Consistent specs, DAGs, runs and plans for tests; a test says only what it is about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import update

from dagd.model.plans import End, Enqueue, InstanceKey, NewRun
from dagd.model.specs import AssetSpec, DagSpec, TaskSpec
from dagd.model.states import RunKind
from dagd.store import shards, transitions, versions
from dagd.store.database import Connection, Database, open_database
from dagd.store.schema import dag as dag_table

NOW = 1_800_000_000_000_000


def task(task_id: str, *upstreams: str, **more: Any) -> TaskSpec:
    """A task with direct upstreams."""
    return replace(TaskSpec(task_id, "python"), upstreams=tuple(sorted(upstreams)), **more)


def spec(dag_id: str = "sales", *tasks: TaskSpec, **more: Any) -> DagSpec:
    """A DAG; one task `load` when none is given."""
    return replace(DagSpec(dag_id, f"{dag_id}.py", tasks or (task("load"),)), **more)


def asset(key: str, **more: Any) -> AssetSpec:
    """An asset that a DAG names."""
    return AssetSpec(key, **more)


def opened(url: str) -> Database:
    """The database at `url`; the caller closes it."""
    return open_database(url)


def store_dag(connection: Connection, dag: DagSpec) -> tuple[int, int]:
    """Store a DAG's version; returns (dag id, version id)."""
    versions.store_spec(connection, dag, {f"/dags/{dag.file}": "# source"}, NOW)
    row = versions.known_dags(connection)[dag.dag_id]
    return row.id, row.current_version


def run(dag: int, version: int, number: int = 1, **more: Any) -> NewRun:
    """A queued run to be inserted."""
    values: dict[str, Any] = {
        "id": number, "dag": dag, "run_id": f"m-{number}", "kind": RunKind.MANUAL, "version": version, "due_at": NOW,
        "logical_at": NOW, "interval_start": NOW, "interval_end": NOW, "slot": None, "created_at": NOW,
    }  # fmt: skip
    return NewRun(**{**values, **more})


def enqueue(key: InstanceKey = (1, 1, -1), try_no: int = 1, token: str = "t1") -> Enqueue:
    """A new try."""
    return Enqueue(key, try_no, token, NOW, "default_pool", 1)


def end(event: str, key: InstanceKey = (1, 1, -1), try_no: int = 1, token: str = "t1", **more: Any) -> End:
    """The end of a try."""
    return End(key, try_no, token, event, NOW + 1, **more)


def dag_update(number: int, **values: Any) -> Any:
    """Change facts of a DAG's row past the verbs."""
    return update(dag_table).where(dag_table.c.id == number).values(**values)


def live_try(connection: Connection, key: InstanceKey = (1, 1, -1), token: str = "t1") -> None:
    """A queued try of a run that need not exist."""
    transitions.enqueue(connection, [enqueue(key, 1, token)])


def incarnation(connection: Connection) -> int:
    """A living scheduler."""
    return shards.register(connection, "host", 1, "/home")
