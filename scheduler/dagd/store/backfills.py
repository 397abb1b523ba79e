"""Backfills: asked for, counted, read, and how far they are. Their state is moved in `transitions` alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, literal_column, select, update

from dagd.model.plans import BackfillProgress
from dagd.model.states import ACTIVE_BELOW, BackfillState, Reprocess
from dagd.model.times import iso
from dagd.store import requests, transitions
from dagd.store.facts import chunks
from dagd.store.schema import backfill, dag, dag_run

LIVE = dag_run.c.state < literal_column(str(ACTIVE_BELOW))  # spelt out, so that the index of live runs serves
PROGRESS = update(backfill).where(backfill.c.id == bindparam("b_id"))


@dataclass(frozen=True, slots=True)
class Wanted:
    """A backfill as it is asked for. `until`: no slot that fell due after this instant is its."""

    from_at: int
    to_at: int
    until: int
    is_reverse: bool = False
    max_active: int = 1
    reprocess: Reprocess = Reprocess.NONE
    conf: str = "{}"


def create(
    connection: Connection,
    dag_id: int,
    name: str,
    wanted: Wanted,
    *,
    cursor: int,
    slots: int,
    existing: int,
    actor: str,
) -> tuple[int, int]:
    """Insert a queued backfill and the request to its owner; returns the ids of both. Its audit row goes along."""
    values = {
        "dag_id": dag_id, "from_at": wanted.from_at, "to_at": wanted.to_at, "cursor": cursor,
        "is_reverse": wanted.is_reverse, "max_active": wanted.max_active, "reprocess": int(wanted.reprocess),
        "conf": wanted.conf, "slots": slots, "existing": existing, "created_at": wanted.until,
    }  # fmt: skip
    number = transitions.insert_backfill(connection, values)
    told = {
        "from": iso(wanted.from_at), "to": iso(wanted.to_at), "slots": slots, "max_active": wanted.max_active,
        "reverse": wanted.is_reverse, "reprocess": wanted.reprocess.word, "conf": json.loads(wanted.conf),
    }  # fmt: skip
    return number, ask(connection, "backfill_create", dag_id, name, number, actor, **told)


def ask(
    connection: Connection, kind: str, dag_id: int, name: str, number: int, actor: str, **told: Any
) -> int:  # fmt: skip
    """A request about a backfill; returns its id. `told` is for the audit log."""
    payload, subject = {"backfill": number, **told}, f"{name}/b-{number}"
    return requests.put_command(connection, kind, dag_id, None, payload, subject=subject, actor=actor)


def active(connection: Connection, dag_ids: Sequence[int]) -> list[Row[Any]]:
    """Running and paused backfills of the DAGs, by id. A queued one waits for its request."""
    found: list[Row[Any]] = []
    for part in chunks(dag_ids):
        found += connection.execute(
            select(backfill).where(
                backfill.c.dag_id.in_(part), backfill.c.state < ACTIVE_BELOW,
                backfill.c.state != int(BackfillState.QUEUED),
            )
        )  # fmt: skip
    return sorted(found, key=lambda row: int(row.id))


def row_of(connection: Connection, number: int) -> Row[Any] | None:
    """One backfill with the name of its DAG."""
    return connection.execute(_shown().where(backfill.c.id == number)).first()


def newest_first(connection: Connection, dag_id: int | None = None, limit: int | None = None) -> list[Row[Any]]:
    """Backfills with the names of their DAGs, the newest first."""
    statement = _shown().order_by(backfill.c.id.desc()).limit(limit)
    return list(connection.execute(statement if dag_id is None else statement.where(backfill.c.dag_id == dag_id)))


def unended(connection: Connection) -> list[Row[Any]]:
    """Every backfill that has not ended, with the name of its DAG, by id."""
    return list(connection.execute(_shown().where(backfill.c.state < ACTIVE_BELOW).order_by(backfill.c.id)))


def _shown() -> Any:
    return select(backfill, dag.c.name.label("dag_name"), dag.c.paused.label("is_dag_paused")).join(
        dag, dag.c.id == backfill.c.dag_id
    )


def runs_in(connection: Connection, dag_id: int, low: int, high: int) -> dict[int, tuple[int, int]]:
    """Slot -> (run, state) of the runs that have the slots between two instants, both included."""
    statement = select(dag_run.c.slot, dag_run.c.id, dag_run.c.state).where(
        dag_run.c.dag_id == dag_id, dag_run.c.slot >= low, dag_run.c.slot <= high
    )
    return {slot: (number, state) for slot, number, state in connection.execute(statement)}


def slots_ahead(connection: Connection, dag_ids: Sequence[int]) -> list[tuple[int, int]]:
    """(dag, slot) of the slots that the schedule has yet to come to, and of which a backfill has made the run."""
    found: list[tuple[int, int]] = []
    for part in chunks(dag_ids):
        after = func.coalesce(dag.c.last_slot, dag.c.next_due - 1, 0)
        rows = connection.execute(
            select(dag_run.c.dag_id, dag_run.c.slot)
            .join(dag, dag.c.id == dag_run.c.dag_id)
            .where(dag_run.c.dag_id.in_(part), dag_run.c.slot > after, dag_run.c.backfill_id.is_not(None))
        )
        found += [(dag_id, slot) for dag_id, slot in rows]
    return found


def running_runs(connection: Connection, dag_ids: Sequence[int]) -> dict[int, int]:
    """How many runs of each backfill of these DAGs have not ended."""
    found: dict[int, int] = {}
    for part in chunks(dag_ids):
        rows = connection.execute(
            select(dag_run.c.backfill_id, func.count())
            .where(dag_run.c.dag_id.in_(part), LIVE, dag_run.c.backfill_id.is_not(None))
            .group_by(dag_run.c.backfill_id)
        )
        found.update({row[0]: row[1] for row in rows})
    return found


def adopt_runs(connection: Connection, rows: Sequence[tuple[int, int, str | None]]) -> None:
    """Runs that were there are run again for a backfill: (run, backfill, conf or None to keep the run's)."""
    for run_id, number, conf in rows:
        values: dict[str, Any] = {"backfill_id": number} | ({} if conf is None else {"conf": conf})
        connection.execute(update(dag_run).where(dag_run.c.id == run_id).values(**values))


def write_progress(connection: Connection, rows: Sequence[BackfillProgress]) -> None:
    """How far backfills are."""
    names = ("cursor", "done", "success", "failed", "kept", "spent_us")
    connection.execute(
        PROGRESS.values({name: bindparam(f"b_{name}") for name in names}),
        [{"b_id": row.backfill} | {f"b_{name}": getattr(row, name) for name in names} for row in rows],
    )
