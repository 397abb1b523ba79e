"""Backfills in memory: those of a scheduler's DAGs that have not ended, and the slots that have their run already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dagd.decide.backfills import bounds_to_come
from dagd.decide.state import BackfillView, DagState, State
from dagd.model.states import BackfillState, Reprocess
from dagd.store import backfills
from dagd.store.database import Connection, Row


def load_backfills(connection: Connection, state: State, dag_ids: Sequence[int]) -> None:
    """Load the unended backfills of DAGs that are in `state`; their runs come after them."""
    for row in backfills.active(connection, dag_ids):
        dag = state.dags[row.dag_id]
        dag.backfills[row.id] = view_of(connection, dag, row)
    for dag_id, slot in backfills.slots_ahead(connection, dag_ids):
        state.dags[dag_id].taken.add(slot)


def view_of(connection: Connection, dag: DagState, row: Row[Any]) -> BackfillView:
    """A backfill's memory from its row."""
    view = BackfillView(
        row.id, row.dag_id, BackfillState(row.state), row.from_at, row.to_at, row.created_at, row.cursor,
        bool(row.is_reverse), row.max_active, Reprocess(row.reprocess), row.conf, row.slots, row.done, row.success,
        row.failed, row.kept, row.spent_us,
    )  # fmt: skip
    if view.state.is_active and dag.timetable is not None and not dag.timetable.is_continuous:
        low, high = bounds_to_come(dag.timetable, view)
        view.taken = backfills.runs_in(connection, dag.id, low, high)
    return view


def find_backfill(connection: Connection, state: State, number: Any) -> BackfillView | None:
    """The backfill that a request names, ended ones too; None when there is none of a DAG in `state`."""
    row = backfills.row_of(connection, number)
    dag = None if row is None else state.dags.get(row.dag_id)
    if row is None or dag is None:
        return None
    return dag.backfills.get(row.id) or view_of(connection, dag, row)
