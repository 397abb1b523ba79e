"""Callbacks of users: launches of their own, due from outbox rows, at most a minute each, at least once."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from typing import Any

from dagd.decide.state import DagState, RunView, State
from dagd.engine import loader
from dagd.engine.launcher import Launcher
from dagd.engine.loader import Graphs
from dagd.executors.protocol import Executor
from dagd.model.specs import DagSpec
from dagd.observe.logs import ids
from dagd.store import facts, outbox
from dagd.store.database import Database, LazyRead, Row

LOG = logging.getLogger("dagd.callbacks")
PREFIX = "cb-"
LIMIT_US = 60_000_000
GRACE_US = 5_000_000
BATCH = 50
TRIES = 3


def is_callback(token: str) -> bool:
    """Whether a token is of a callback's launch."""
    return token.startswith(PREFIX)


class Callbacks:
    """Launches open callback rows of this scheduler's DAGs, and closes them by their results."""

    def __init__(self, database: Database, graphs: Graphs, launcher: Launcher) -> None:
        self._database, self._graphs, self._launcher = database, graphs, launcher
        # By token the run, number and index of whom it is told: as such it asks for variables and connections.
        self._in_flight: dict[str, tuple[tuple[int, int, int], DagSpec]] = {}
        self.is_due = True

    def launch(self, state: State, executor: Executor) -> None:
        """Launch what is open and not in flight."""
        self.is_due = False
        tries: list[dict[str, Any]] = []
        orphans: list[Row[Any]] = []
        with self._database.lazy_read() as read:
            for row in self._open_rows(read):
                payload = json.loads(row.payload)
                token = f"{PREFIX}{row.id}-{row.tries}"
                dag = state.dags.get(state.names.get(payload["dag_id"], -1))
                if dag is None or token in self._in_flight:
                    continue
                frame = self._frame(read, dag, row, payload, token, executor)
                if frame is None:
                    orphans.append(row)
                    continue
                tries.append(frame)
        executor.submit(tries)
        if orphans:
            self._give_up(orphans)

    def _open_rows(self, read: LazyRead) -> Iterator[Row[Any]]:
        """Open rows while there is room: those of other schedulers' DAGs must not stand before ours."""
        after = 0
        while len(self._in_flight) < BATCH:
            rows = outbox.open_callbacks(read.connection, BATCH, after)
            for row in rows:
                if len(self._in_flight) < BATCH:
                    yield row
            if len(rows) < BATCH:
                return
            after = rows[-1].id

    def _give_up(self, rows: list[Row[Any]]) -> None:
        with self._database.write() as connection:
            for row in rows:
                outbox.close_callback(connection, row.id, row.tries, "its run has been deleted", give_up=True)

    def _frame(
        self, read: LazyRead, dag: DagState, row: Row[Any], payload: dict[str, Any], token: str,
        executor: Executor,
    ) -> dict[str, Any] | None:  # fmt: skip
        stored = facts.run_row(read.connection, payload["run"])
        if stored is None:
            return None
        run = loader.new_run(read.connection, self._graphs, stored)
        self._launcher.tell_version(read, dag, run, executor)
        self._in_flight[token] = (_place_of(run, payload), run.graph.spec)
        return {
            "token": token,
            "grade": "fork",
            "version": run.graph.version,
            "worker_key": "",
            "timeout_us": LIMIT_US,
            "grace_us": GRACE_US,
            "log": f"{dag.id}/{run.id}/callback.{row.id}.log",
            "payload": self._launcher.callback_payload(read, dag, run, payload),
        }

    def place_of(self, token: str) -> tuple[int, int, int] | None:
        """For whom a callback in flight speaks: (run, task_no, map_index); task 0 is the run itself."""
        found = self._in_flight.get(token)
        return None if found is None else found[0]

    def spec_of(self, token: str) -> DagSpec | None:
        """The DAG of a callback in flight."""
        found = self._in_flight.get(token)
        return None if found is None else found[1]

    def finish(self, results: Iterable[dict[str, Any]]) -> list[str]:
        """Close the rows of ended callbacks; returns the tokens to acknowledge. A failed one is tried again, thrice."""
        tokens: list[str] = []
        self.is_due = True  # one that failed is tried again, others have waited for room
        with self._database.write() as connection:
            for result in results:
                token = result["token"]
                row_id, tried = (int(part) for part in token.removeprefix(PREFIX).split("-"))
                failed = result["outcome"] != "succeed"
                error = json.dumps(result.get("error") or result.get("reason")) if failed else None
                if failed:
                    LOG.warning("a callback failed: %s", error, extra=ids(token=token))
                outbox.close_callback(connection, row_id, tried, error, give_up=tried + 1 >= TRIES)
                self._in_flight.pop(token, None)
                tokens.append(token)
        return tokens

    def forget(self) -> None:
        """The agent may have lost them: look at the rows again. A token that it knows is not started twice."""
        self._in_flight.clear()
        self.is_due = True


def _place_of(run: RunView, payload: dict[str, Any]) -> tuple[int, int, int]:
    at = run.graph.index.get(payload.get("task_id") or "")
    index = payload.get("map_index")
    return run.id, 0 if at is None else run.graph.nos[at], -1 if index is None else index
