"""One turn in the making: the memory it changes, the plan it fills, the instances whose end has yet to spread.

`decide` draws conclusions one after the other; each is applied to memory at once and recorded in the plan, so that the
next sees it. Nothing outside memory changes before the plan is committed; if that fails, memory is dropped.
"""

from __future__ import annotations

import json
import random
from collections import deque
from typing import Any

from dagd.decide.state import BackfillView, DagState, RunView, State, TaskState
from dagd.model.plans import InstanceKey, OutboxRow, Plan


class Turn:
    """Working set of one turn. `now` is in microseconds by the database's clock; `jitter` is seeded by the caller."""

    __slots__ = (
        "state", "plan", "now", "happened_at", "ended", "jitter", "touched_runs", "failures", "engine_successes",
        "backfills", "slots_backfilled", "slots_caught_up",
    )  # fmt: skip

    def __init__(self, state: State, now: int, jitter: random.Random) -> None:
        self.state = state
        self.plan = Plan()
        self.now = now
        self.happened_at = now  # when that happened of which conclusions are drawn: a result may have been spooled
        self.jitter = jitter
        self.ended: deque[tuple[RunView, TaskState, int, int, bool]] = deque()
        self.touched_runs: dict[int, RunView] = {}
        self.failures: dict[int, RunView] = {}  # runs of which a task failed for good
        self.backfills: dict[int, BackfillView] = {}  # those whose row is to be written
        self.slots_backfilled = self.slots_caught_up = 0
        self.engine_successes: list[tuple[RunView, TaskState, int, str, int]] = []

    def dag(self, run: RunView) -> DagState:
        """The DAG of a run."""
        return self.state.dags[run.dag]

    def key(self, run: RunView, task: TaskState, pos: int) -> InstanceKey:
        """The stored key of an instance."""
        return (run.id, task.no, task.map_index(pos))

    def tell(self, topic: str, subject: str, run: RunView, **payload: Any) -> None:
        """Write an outbox row in this turn's transaction."""
        dag = self.dag(run)
        body = {"dag_id": dag.name, "run": run.id, "run_id": run.run_id, **payload}
        row_id = self.state.new_id(dag.shard, self.now)
        self.plan.outbox.append(OutboxRow(row_id, topic, subject, json.dumps(body), self.now))
