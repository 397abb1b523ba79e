"""What one turn concluded, as plain records: the committer writes them, the launcher acts on them after the commit.

An instance key is (run id, task_no, map_index); `map_index` is -1 for an unmapped task. A try is an instance key with a
try_no from 1; rows with try_no 0 settle an instance without a try.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dagd.model.states import Charge, RunKind

InstanceKey = tuple[int, int, int]
EVERY_INDEX = -2  # in a Supersede: every index of the task
EVERY_TASK = -2  # in a Supersede: every task of the run


@dataclass(slots=True)
class Enqueue:
    """A new try, queued."""

    key: InstanceKey
    try_no: int
    token: str
    at: int
    pool: str
    pool_slots: int


@dataclass(slots=True)
class Start:
    """A try's process runs: told by the agent, stored with the next commit."""

    key: InstanceKey
    try_no: int
    token: str
    pid: int | None
    agent: str | None
    started_at: int


@dataclass(slots=True)
class End:
    """A try ended. `event` is a move's name; `next_try_at` is set when another try will follow."""

    key: InstanceKey
    try_no: int
    token: str
    event: str
    ended_at: int
    started_at: int | None = None
    pid: int | None = None
    reason: str | None = None
    error: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    charged: Charge = Charge.NOBODY
    next_try_at: int | None = None
    label: str | None = None
    agent: str | None = None


@dataclass(slots=True)
class Deferral:
    """A leg ended in Defer: the try waits without a process."""

    key: InstanceKey
    try_no: int
    token: str
    started_at: int | None
    pid: int | None
    resume_at: int | None
    state: str | None
    trigger: str | None = None
    gives_up_at: int | None = None


@dataclass(slots=True)
class Firing:
    """What a deferred try waited for has happened: it may go on, and `state` has the event for its next leg."""

    key: InstanceKey
    try_no: int
    token: str
    at: int
    state: str


@dataclass(slots=True)
class Resume:
    """A deferred try is queued again: next leg, new token."""

    key: InstanceKey
    try_no: int
    token: str
    leg: int
    new_token: str
    at: int


@dataclass(slots=True)
class Settle:
    """An instance that ended without a try of its own (or by a mark): one row with try_no 0."""

    key: InstanceKey
    event: str
    reason: str
    at: int


@dataclass(slots=True)
class XComRow:
    """A value that a try pushed; `text` inline or `file` a content hash."""

    key: InstanceKey
    name: str
    text: str | None
    file: str | None
    length: int | None
    size: int


@dataclass(slots=True)
class Expansion:
    """A mapped task or group has its length. Groups are stored under their first task's number."""

    run: int
    task_no: int
    count: int


@dataclass(slots=True)
class NewRun:
    """A run to be inserted. `guard` is the (expected next_due, new next_due, version) of a scheduled slot."""

    id: int
    dag: int
    run_id: str
    kind: RunKind
    version: int
    due_at: int
    logical_at: int | None
    interval_start: int | None
    interval_end: int | None
    slot: int | None
    created_at: int
    conf: str = "{}"
    request_key: str | None = None
    partition: str | None = None
    events: tuple[int, ...] = ()
    backfill: int | None = None


@dataclass(slots=True)
class RunMove:
    """A run changes its state."""

    run: int
    event: str
    at: int
    reason: str | None = None


@dataclass(slots=True)
class BackfillMove:
    """A backfill changes its state."""

    backfill: int
    event: str
    at: int


@dataclass(slots=True)
class BackfillProgress:
    """How far a backfill is: the last slot that it has taken, and what became of its runs."""

    backfill: int
    cursor: int
    done: int
    success: int
    failed: int
    kept: int
    spent_us: int


@dataclass(slots=True)
class NextDue:
    """The DAG's clock moves on. `expected` guards against a pause or an edit that came between."""

    dag: int
    expected: int | None
    next_due: int | None
    version: int | None
    last_slot: int | None
    guarded: bool = True


@dataclass(slots=True)
class AssetEventRow:
    """An asset was materialised by a try."""

    id: int
    asset: str
    partition: str
    kind: int
    dag: int
    run: int
    task_no: int
    map_index: int
    try_no: int
    data_version: str | None
    data_time: int | None
    metadata: str | None
    source_key: str
    ts: int


@dataclass(slots=True)
class DeadlineRow:
    """A deadline is set (state pending) or changes to `state`."""

    run: int
    task_no: int
    kind: str
    dag: int
    due_at: int
    state: int
    at: int


@dataclass(slots=True)
class OutboxRow:
    """Something to be told outside, at least once."""

    id: int
    topic: str
    subject: str
    payload: str
    at: int


@dataclass(slots=True)
class CommandDone:
    """A request was applied or refused; `result` is JSON text."""

    id: int
    is_done: bool
    result: str


@dataclass(slots=True)
class Supersede:
    """Rows of an instance give way: to a clear or mark (`by` is the request's id), or to a backfill that runs an ended
    run again (`by` is its id below zero). `drop_values` removes its XCom. With `settled_as` only its row of try_no 0
    goes, if that has this reason."""

    key: InstanceKey
    by: int
    drop_expansion: bool = False
    drop_values: bool = True
    settled_as: str | None = None


@dataclass(slots=True)
class StopRequest:
    """An active try is asked to stop: durable intent first, then the signal."""

    key: InstanceKey
    try_no: int
    token: str
    reason: str
    grace_us: int


@dataclass(slots=True)
class Launch:
    """A try to hand to the agent after the commit; `leg_state` is the deferred leg's state."""

    key: InstanceKey
    task: int
    try_no: int
    leg: int
    token: str
    leg_state: str | None = None
    first_started_at: int | None = None
    now: int = 0


@dataclass(slots=True)
class Plan:
    """All of one turn. Order of writing is the committer's; order within a list is the order of conclusion."""

    new_runs: list[NewRun] = field(default_factory=list)
    next_dues: list[NextDue] = field(default_factory=list)
    run_moves: list[RunMove] = field(default_factory=list)
    verdicts: list[tuple[int, int, str | None]] = field(default_factory=list)
    supersedes: list[Supersede] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    deferrals: list[Deferral] = field(default_factory=list)
    firings: list[Firing] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    settles: list[Settle] = field(default_factory=list)
    xcoms: list[XComRow] = field(default_factory=list)
    expansions: list[Expansion] = field(default_factory=list)
    enqueues: list[Enqueue] = field(default_factory=list)
    instant_ends: list[End] = field(default_factory=list)
    resumes: list[Resume] = field(default_factory=list)
    stops: list[StopRequest] = field(default_factory=list)
    asset_events: list[AssetEventRow] = field(default_factory=list)
    consumed: list[tuple[int, int, tuple[int, ...]]] = field(default_factory=list)
    dropped: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)  # DAG, events that it passes over
    subscriptions: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)
    deadlines: list[DeadlineRow] = field(default_factory=list)
    commands: list[CommandDone] = field(default_factory=list)
    outbox: list[OutboxRow] = field(default_factory=list)
    pins: list[tuple[int, int]] = field(default_factory=list)
    adoptions: list[tuple[int, int, str | None]] = field(default_factory=list)  # runs that a backfill takes over; conf
    backfill_moves: list[BackfillMove] = field(default_factory=list)
    backfills: list[BackfillProgress] = field(default_factory=list)
    pauses: list[tuple[int, str]] = field(default_factory=list)  # DAG and why, for the audit log
    reloads: list[int] = field(default_factory=list)
    launches: list[Launch] = field(default_factory=list)
    acks: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)  # results of tokens that memory does not know
    news: list[tuple[str, str, str, int]] = field(default_factory=list)  # ended runs: DAG, run, state, duration in us

    def needs_commit(self) -> bool:
        """Whether anything but a bare `started` is to be stored: that alone rides with the next commit."""
        return any(getattr(self, name) for name in STORED)

    def is_empty(self) -> bool:
        """Whether the turn concluded nothing at all."""
        return not any(getattr(self, name) for name in self.__slots__)


# What a plan has to store; the rest is acted on, or rides with the next commit.
STORED = tuple(name for name in Plan.__slots__ if name not in {"starts", "launches", "acks", "news", "strays"})

Facts = dict[str, Any]
