"""What others wrote: DAG facts, requests, runs, asset deliveries, pools. Found by row, when a second has passed."""

from __future__ import annotations

import json
from typing import Any

from dagd.decide.commands import Request
from dagd.decide.core import Inputs
from dagd.decide.state import State
from dagd.engine import loader
from dagd.engine.backfills import find_backfill
from dagd.engine.loader import Graphs
from dagd.store import dialects, facts
from dagd.store.database import Connection, Database

# The rows of all DAGs are read when a mark of them has changed, and with each such sweep in any case.
FULL_EVERY = 10


class Sweeper:
    """Looks for what memory does not know yet. One scheduler alone is spared the look by an unchanged
    `data_version`."""

    def __init__(self, database: Database, graphs: Graphs) -> None:
        self._database, self._graphs = database, graphs
        self._seen_version: int | None = None
        self._connection: Connection | None = None
        self._mark: tuple[Any, ...] | None = None
        self._sweeps = 0
        self.is_released = False  # a DAG that was set aside is to be loaded again

    def has_news(self) -> bool:
        """False only when it is certain that nobody else has written."""
        if self._database.is_shared:
            return True
        if self._connection is None:
            self._connection = self._database.engine.connect()
        version = dialects.data_version(self._connection)
        self._connection.rollback()
        news = version != self._seen_version
        self._seen_version = version
        return news

    def start_afresh(self) -> None:
        """Memory was dropped: what it had been told and had not written is to be found again."""
        self.is_released, self._seen_version, self._mark = False, None, None

    def close(self) -> None:
        """Give the watching connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def sweep(self, state: State, shards: set[int], inputs: Inputs) -> None:
        """Add to `inputs` what is new in `shards`; new DAGs and new versions enter `state` at once."""
        with self._database.read() as connection:
            self._sweep_dags(connection, state, shards, inputs)
            for row in facts.queued_runs(connection, shards):
                dag = state.dags.get(row.dag_id)
                if row.id not in state.runs and dag is not None and dag.held is None:
                    inputs.arrivals.append(loader.new_run(connection, self._graphs, row))
            for row in facts.new_commands(connection, shards):
                inputs.commands.append(self._request(connection, state, row))
            self.sweep_deliveries(connection, state, shards, inputs)
            if not self._database.is_shared:
                self._sweep_pools(connection, state, inputs)

    def _sweep_dags(self, connection: Connection, state: State, shards: set[int], inputs: Inputs) -> None:
        mark = facts.dags_mark(connection, shards)
        self._sweeps += 1
        if mark == self._mark and self._sweeps % FULL_EVERY:
            return
        for row in facts.dags_of(connection, shards):
            dag = state.dags.get(row.id)
            if dag is None:
                continue
            if dag.held is not None and dag.row != loader.facts_of(row):
                self.is_released = self.is_released or row.held is None
                loader.take_dag_row(connection, self._graphs, dag, row)
            elif dag.row != loader.facts_of(row):
                inputs.dag_changes.append((dag.id, loader.take_dag_row(connection, self._graphs, dag, row)))
        inputs.dag_changes += loader.load_dags(connection, self._graphs, state, shards)
        self._mark = mark

    def sweep_deliveries(self, connection: Connection, state: State, shards: set[int], inputs: Inputs) -> None:
        """Open deliveries that memory does not have."""
        for dag_id, asset, event, ts in facts.open_deliveries(connection, shards):
            dag = state.dags.get(dag_id)
            if dag is not None and event not in dag.open_events.get(asset, {}):
                inputs.deliveries.append((dag_id, asset, event, ts))

    def _sweep_pools(self, connection: Connection, state: State, inputs: Inputs) -> None:
        """One scheduler alone may use all of a pool; several share it (`membership.pool_shares`)."""
        stored = {name: slots for _, name, slots in facts.pools(connection)}
        for name in {*stored, *state.pools}:
            slots, known = stored.get(name, 0), state.pools.get(name)  # a deleted pool has no slots any more
            if known is None or known.slots != slots:
                inputs.pools.append((name, slots, slots))

    def _request(self, connection: Connection, state: State, row: Any) -> Request:
        run = state.runs.get(row.run_id) if row.run_id is not None else None
        if run is None and row.run_id is not None and row.dag_id in state.dags:
            stored = facts.run_row(connection, row.run_id)
            run = None if stored is None else loader.ended_run(connection, self._graphs, state, stored)
        payload = json.loads(row.payload)
        view = find_backfill(connection, state, payload["backfill"]) if row.kind.startswith("backfill_") else None
        return Request(row.id, row.kind, run, payload, view)
