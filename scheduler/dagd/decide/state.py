"""What the scheduler knows of the runs that are not over: counters, never a copy of history.

Everything here can be dropped and rebuilt from the database (`engine/loader.py`); only `decide` changes it.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dagd.decide.graph import Graph
from dagd.decide.rules import Counts
from dagd.model.specs import TaskSpec
from dagd.model.states import ACTIVE_BELOW, AttemptState, BackfillState, Reprocess, RunKind, RunState
from dagd.timetables.base import Timetable

# States of an instance that are derived, never stored; they share the byte with AttemptState codes.
WAITING, READY, RETRYING, RESUMING = 0, 4, 5, 6
PASTS_KEPT = 32


class Instance:
    """One instance that has begun and not ended: its last try and what its budget has paid."""

    __slots__ = (
        "try_no", "leg", "token", "retries_used", "infra_used", "first_started_at", "stop_reason", "next_try_at",
        "leg_state", "resume_at", "queued_at", "blocked_by", "trigger", "gives_up_at",
    )  # fmt: skip

    def __init__(self) -> None:
        self.try_no = 0
        self.leg = 0
        self.token: str | None = None
        self.retries_used = 0
        self.infra_used = 0
        self.first_started_at: int | None = None
        self.stop_reason: str | None = None
        self.next_try_at: int | None = None
        self.leg_state: str | None = None
        self.resume_at: int | None = None
        self.trigger: str | None = None  # what a deferred leg waits for, as JSON
        self.gives_up_at: int | None = None
        self.queued_at = 0
        self.blocked_by: str | None = None  # token of a superseded try that must end first


class TaskState:
    """One task of one run. `size` is None until a mapped task knows its length; `states` holds one byte an instance."""

    __slots__ = (
        "i", "spec", "no", "size", "is_mapped", "states", "remaining", "outer", "setup", "gates", "inner",
        "inner_setup", "inner_gates", "sources_open", "instances", "is_whole", "past_ok", "rest", "decided",
    )  # fmt: skip

    def __init__(self, graph: Graph, i: int) -> None:
        self.i = i
        self.spec: TaskSpec = graph.tasks[i]
        self.no = graph.nos[i]
        self.is_mapped = graph.expands[i] is not None
        self.size: int | None = None if self.is_mapped else 1
        self.states = bytearray(1)
        self.remaining = 1
        self.is_whole = False  # a mapped task that never expands: one instance, map_index -1
        setups = graph.setups[i]
        self.outer = Counts(open_=sum(1 for up in graph.ups[i] if up not in setups and not graph.same_scope(i, up)))
        self.setup: Counts | None = None
        if self.spec.is_teardown:
            self.setup = Counts(open_=sum(1 for up in setups if not graph.same_scope(i, up)))
        self.gates = sum(1 for gate in graph.gates[i] if not graph.same_scope(i, gate))
        self.inner: list[Counts] | None = None
        self.inner_setup: list[Counts] | None = None
        self.inner_gates: list[int] | None = None
        self.sources_open = len(graph.sources[i])
        self.instances: dict[int, Instance] = {}
        self.past_ok = True
        self.rest: tuple[str, frozenset[int]] | None = None  # reason and positions that the row of index -1 speaks for
        self.decided: dict[int, list[str]] = {}  # what a branch chose by position; [] where a short-circuit stops

    def map_index(self, pos: int) -> int:
        """The stored map_index of position `pos`."""
        return pos if self.is_mapped and not self.is_whole and self.size is not None else -1

    def pos(self, map_index: int) -> int:
        """The position of a stored map_index."""
        return map_index if map_index > 0 else 0

    def instance(self, pos: int) -> Instance:
        """The begun instance at `pos`, created when it has none yet."""
        found = self.instances.get(pos)
        if found is None:
            found = self.instances[pos] = Instance()
        return found

    def is_open(self, pos: int) -> bool:
        """Whether the instance at `pos` has not ended."""
        return self.states[pos] < ACTIVE_BELOW

    def count(self, *states: int) -> int:
        """How many instances stand in one of `states`."""
        return sum(self.states.count(state) for state in states)


class RunView:
    """One queued or running DAG run."""

    __slots__ = (
        "id", "dag", "run_id", "kind", "graph", "state", "verdict", "reason", "due_at", "logical_at",
        "interval_start", "interval_end", "created_at", "started_at", "conf", "partition", "tasks", "open_tasks",
        "active", "events", "slot", "backfill", "previous", "deadlines", "lengths",
    )  # fmt: skip

    def __init__(self, graph: Graph, dag: int, facts: dict[str, Any]) -> None:
        self.id: int = facts["id"]
        self.dag = dag
        self.run_id: str = facts["run_id"]
        self.kind = RunKind(facts["kind"])
        self.graph = graph
        self.state = RunState(facts["state"])
        self.verdict: RunState | None = RunState(facts["verdict"]) if facts.get("verdict") else None
        self.reason: str | None = facts.get("reason")
        self.due_at: int = facts["due_at"]
        self.logical_at: int | None = facts.get("logical_at")
        self.interval_start: int | None = facts.get("interval_start")
        self.interval_end: int | None = facts.get("interval_end")
        self.created_at: int = facts["created_at"]
        self.started_at: int | None = facts.get("started_at")
        self.conf: str = facts.get("conf") or "{}"
        self.partition: str | None = facts.get("partition")
        self.slot: int | None = facts.get("slot")
        self.backfill: int | None = facts.get("backfill_id")
        self.events: list[dict[str, Any]] = []
        self.previous: PastRun | None = None
        self.deadlines: dict[tuple[int, str], int] = {}
        # (task, key) -> items of the value, or how many instances of a mapped task pushed one
        self.lengths: dict[tuple[int, str], int] = {}
        self.tasks: list[TaskState] = []
        self.open_tasks = 0
        self.active = 0

    def lay_out(self) -> None:
        """Create the counters of every task (when the run starts; a queued run has none)."""
        self.tasks = [TaskState(self.graph, i) for i in range(len(self.graph.tasks))]
        self.open_tasks = len(self.tasks)

    @property
    def rank(self) -> int:
        """Interactive runs first, then scheduled and asset runs, then backfills."""
        if self.backfill is not None:
            return 2
        return {RunKind.MANUAL: 0, RunKind.BACKFILL: 2}.get(self.kind, 1)


class PastRun(NamedTuple):
    """The run before, for depends_on_past: `states` are the ended states by task_no, a mapped task's the worst."""

    id: int
    due_at: int
    run_id: str
    states: dict[int, int]


@dataclass(slots=True)
class BackfillView:
    """A range of slots that become runs as places free up. The slots have a logical date from `from_at` to `to_at`,
    both included, and were due by `until`; those up to `cursor` (down to it, in reverse) have been taken."""

    id: int
    dag: int
    state: BackfillState
    from_at: int
    to_at: int
    until: int
    cursor: int
    is_reverse: bool
    max_active: int
    reprocess: Reprocess
    conf: str
    slots: int
    done: int = 0
    success: int = 0
    failed: int = 0
    kept: int = 0
    spent_us: int = 0
    active: set[int] = field(default_factory=set)  # its runs that have not ended
    taken: dict[int, tuple[int, int]] = field(default_factory=dict)  # slot to come -> run that has it, state at its end

    @property
    def name(self) -> str:
        """How people call it."""
        return f"b-{self.id}"

    def is_to_come(self, slot: int) -> bool:
        """Whether the cursor may yet come to a slot."""
        return self.from_at <= slot < self.cursor if self.is_reverse else self.cursor < slot <= self.until


@dataclass(slots=True)
class DagState:
    """One DAG that this scheduler owns."""

    id: int
    name: str
    shard: int
    graph: Graph | None = None
    timetable: Timetable | None = None
    old_timetable: Timetable | None = None  # until the change of schedule has been taken in
    paused: bool = False
    missing: bool = False
    first_seen_at: int = 0
    unpaused_at: int | None = None
    found_again_at: int | None = None
    next_due: int | None = None
    scheduled_version: int | None = None
    last_slot: int | None = None  # slots up to here are settled: the last that ran, or where an old grid was closed
    held: str | None = None
    running: set[int] = field(default_factory=set)  # but for the runs of backfills, which have places of their own
    queued: list[tuple[int, int, int]] = field(default_factory=list)  # heap of (rank, due, run id)
    order: list[int] = field(default_factory=list)  # unended runs in their DAG's order
    active_tasks: int = 0
    task_active: dict[int, int] = field(default_factory=dict)
    open_events: dict[str, dict[int, int]] = field(default_factory=dict)  # asset key -> event id -> ts
    parked: set[tuple[str, tuple[int, int]]] = field(default_factory=set)
    held_items: dict[int, deque[Ready]] = field(default_factory=dict)  # task_no -> at that task's own limit
    pasts: list[PastRun] = field(default_factory=list)  # the last ended runs in their order, where tasks look at them
    subscribed: tuple[str, ...] = ()
    failed_in_row: int = 0
    backfills: dict[int, BackfillView] = field(default_factory=dict)  # those that have not ended
    taken: set[int] = field(default_factory=set)  # slots from `next_due` on of which a backfill has made the run
    row: tuple[Any, ...] = ()

    @property
    def is_schedulable(self) -> bool:
        """Whether slots may become runs now."""
        return not self.paused and not self.missing and self.held is None and self.graph is not None

    def take_place(self, run: RunView) -> None:
        """A run has begun: it counts among its backfill's runs, else among the DAG's."""
        if run.backfill is None:
            self.running.add(run.id)
        elif run.backfill in self.backfills:
            self.backfills[run.backfill].active.add(run.id)

    def give_place(self, run: RunView) -> None:
        """A run counts no longer."""
        self.running.discard(run.id)
        if run.backfill in self.backfills:
            self.backfills[run.backfill].active.discard(run.id)

    def remember_past(self, past: PastRun) -> None:
        """Keep an ended run for those after it."""
        self.pasts = sorted([*self.pasts, past], key=lambda one: (one.due_at, one.id))[-PASTS_KEPT:]

    def past_before(self, run: RunView) -> PastRun | None:
        """The last ended run before `run` in the DAG's order."""
        before = [past for past in self.pasts if (past.due_at, past.id) < (run.due_at, run.id)]
        return before[-1] if before else None

    @property
    def max_runs(self) -> int:
        """How many runs may be running at once."""
        return self.graph.spec.max_active_runs if self.graph else 0


class Ready(NamedTuple):
    """Instances that wait for a place: positions `pos` up to (not including) `end` of one task.

    It holds the run itself: after a clear or a change of version the run is another object, and what waits is stale.
    """

    run: RunView
    task: int
    pos: int
    end: int
    since: int

    def is_current(self, state: State) -> bool:
        """Whether the run is still the one that memory has."""
        return state.runs.get(self.run.id) is self.run and bool(self.run.tasks)


@dataclass(slots=True)
class Pool:
    """A pool: `quota` is what this scheduler may use of it, `used` what it does."""

    name: str
    slots: int
    quota: int
    used: int = 0
    buckets: dict[tuple[int, int], dict[int, deque[Ready]]] = field(default_factory=dict)
    parked: dict[tuple[int, int], dict[int, deque[Ready]]] = field(default_factory=dict)
    aside: list[Ready] = field(default_factory=list)
    wanted: int = 0
    passed: int = 0  # starts that went past a larger request since the last one that was served

    @property
    def free(self) -> int:
        """Slots that a start may take now; negative while a shrunk pool drains."""
        return self.quota - self.used


class Timer(NamedTuple):
    """Something falls due at `at`; `kind` and `key` say what. Stale timers are recognised when they fire."""

    at: int
    seq: int
    kind: str
    key: tuple[Any, ...]


@dataclass(slots=True)
class State:
    """Everything one scheduler incarnation holds in memory."""

    dags: dict[int, DagState] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    runs: dict[int, RunView] = field(default_factory=dict)
    tokens: dict[str, tuple[int, int, int]] = field(default_factory=dict)  # live tries -> run, task, position
    superseded: dict[str, tuple[tuple[int, int, int], int, str]] = field(default_factory=dict)
    pools: dict[str, Pool] = field(default_factory=dict)
    timers: list[Timer] = field(default_factory=list)
    timer_seq: int = 0
    capacity: int = 0
    pace_us: dict[str | None, int] = field(default_factory=dict)  # worker key -> what its tries take unhindered
    outstanding: int = 0
    max_map_length: int = 100_000
    token_prefix: str = ""
    token_seq: int = 0
    id_seq: int = 0
    awake_at: int | None = None  # the last turn of this memory; before it there may have been a downtime

    def set_timer(self, at: int, kind: str, *key: Any) -> None:
        """Remember that `kind` of `key` falls due at `at`."""
        self.timer_seq += 1
        heapq.heappush(self.timers, Timer(at, self.timer_seq, kind, key))

    def due_timers(self, now: int) -> list[Timer]:
        """Take the timers that have fallen due, in order."""
        due: list[Timer] = []
        while self.timers and self.timers[0].at <= now:
            due.append(heapq.heappop(self.timers))
        return due

    def next_timer_at(self) -> int | None:
        """When the next timer falls due."""
        return self.timers[0].at if self.timers else None

    def new_token(self) -> str:
        """A token that no other try of this database has."""
        self.token_seq += 1
        return f"{self.token_prefix}-{self.token_seq:x}"

    def new_id(self, shard: int, now: int) -> int:
        """A 63-bit id: 41 bits of milliseconds, 6 of shard, 16 of a sequence."""
        self.id_seq = (self.id_seq + 1) & 0xFFFF
        return ((now // 1000) & ((1 << 41) - 1)) << 22 | (shard & 63) << 16 | self.id_seq


ENDED = frozenset(state.value for state in AttemptState if not state.is_active)
