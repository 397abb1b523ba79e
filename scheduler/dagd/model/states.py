"""The state machine, once, as data: docs, CHECK constraints, CLI help and tests are generated from these tables.

A *move* is an event with the states it may leave and the one state it reaches. A move with `births` may also create a
row in its target state (an instance settled without running, or a mark by hand). Codes below 10 are active.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

ACTIVE_BELOW = 10


class AttemptState(IntEnum):
    """What a row of `attempt` can be. `none`, `scheduled`, `up_for_retry` are derived, never stored."""

    QUEUED = 1
    RUNNING = 2
    DEFERRED = 3
    SUCCESS = 10
    FAILED = 11
    SKIPPED = 12
    CANCELLED = 13
    UPSTREAM_FAILED = 14
    REMOVED = 15

    @property
    def is_active(self) -> bool:
        """Whether a try in this state may still change."""
        return self.value < ACTIVE_BELOW

    @property
    def word(self) -> str:
        """The lower-case word shown to users."""
        return self.name.lower()


class RunState(IntEnum):
    """What a row of `dag_run` can be."""

    QUEUED = 1
    RUNNING = 2
    SUCCESS = 10
    FAILED = 11
    CANCELLED = 13

    @property
    def is_active(self) -> bool:
        """Whether a run in this state may still change without a clear."""
        return self.value < ACTIVE_BELOW

    @property
    def word(self) -> str:
        """The lower-case word shown to users."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Move:
    """One legal change of state. `births` says that a row may also be inserted in `target`."""

    event: str
    sources: frozenset[int]
    target: int
    births: bool = False


A, R = AttemptState, RunState

ATTEMPT_MOVES: dict[str, Move] = {
    move.event: move
    for move in (
        Move("enqueue", frozenset(), A.QUEUED, births=True),
        Move("start", frozenset({A.QUEUED}), A.RUNNING),
        Move("defer", frozenset({A.QUEUED, A.RUNNING}), A.DEFERRED),
        Move("resume", frozenset({A.DEFERRED}), A.QUEUED),
        Move("succeed", frozenset({A.QUEUED, A.RUNNING}), A.SUCCESS, births=True),
        Move("fail", frozenset({A.QUEUED, A.RUNNING, A.DEFERRED}), A.FAILED, births=True),
        Move("skip", frozenset({A.QUEUED, A.RUNNING, A.DEFERRED}), A.SKIPPED, births=True),
        Move("cancel", frozenset({A.QUEUED, A.RUNNING, A.DEFERRED}), A.CANCELLED, births=True),
        Move("upstream_fail", frozenset(), A.UPSTREAM_FAILED, births=True),
        Move("remove", frozenset(), A.REMOVED, births=True),
    )
}

RUN_MOVES: dict[str, Move] = {
    move.event: move
    for move in (
        Move("enqueue", frozenset(), R.QUEUED, births=True),
        Move("start", frozenset({R.QUEUED}), R.RUNNING),
        Move("succeed", frozenset({R.RUNNING}), R.SUCCESS),
        Move("fail", frozenset({R.QUEUED, R.RUNNING}), R.FAILED),
        Move("cancel", frozenset({R.QUEUED, R.RUNNING}), R.CANCELLED),
        Move("reopen", frozenset({R.SUCCESS, R.FAILED, R.CANCELLED}), R.RUNNING),
    )
}


class BackfillState(IntEnum):
    """What a row of `backfill` can be. A paused one starts no more runs; those that run go on."""

    QUEUED = 1
    RUNNING = 2
    PAUSED = 3
    DONE = 10
    CANCELLED = 13

    @property
    def is_active(self) -> bool:
        """Whether a backfill in this state may still start runs."""
        return self.value < ACTIVE_BELOW

    @property
    def word(self) -> str:
        """The lower-case word shown to users."""
        return self.name.lower()


B = BackfillState

BACKFILL_MOVES: dict[str, Move] = {
    move.event: move
    for move in (
        Move("enqueue", frozenset(), B.QUEUED, births=True),
        Move("start", frozenset({B.QUEUED}), B.RUNNING),
        Move("pause", frozenset({B.RUNNING}), B.PAUSED),
        Move("resume", frozenset({B.PAUSED}), B.RUNNING),
        Move("finish", frozenset({B.RUNNING, B.PAUSED}), B.DONE),
        Move("cancel", frozenset({B.QUEUED, B.RUNNING, B.PAUSED}), B.CANCELLED),
    )
}


class Reprocess(IntEnum):
    """Which runs that are there already a backfill runs again: none, those that failed, every ended one."""

    NONE = 0
    FAILED = 1
    COMPLETED = 2

    @property
    def word(self) -> str:
        """The lower-case word shown to users."""
        return self.name.lower()


class RunKind(IntEnum):
    """Who asked for a run."""

    SCHEDULED = 1
    MANUAL = 2
    BACKFILL = 3
    ASSET = 4
    PLAN = 5

    @property
    def word(self) -> str:
        """The lower-case word shown to users."""
        return self.name.lower()


class Charge(IntEnum):
    """Which budget the end of a try is charged to (the table in the behaviour page)."""

    NOBODY = 0
    RETRIES = 1
    INFRA = 2


class Reason:
    """Words of the `reason` column: why a try or an instance ended as it did."""

    EXCEPTION = "exception"
    EXIT_CODE = "exit code"
    NO_RESULT = "no result"
    SIGNAL = "signal"
    TIMEOUT = "execution_timeout"
    SENSOR_TIMEOUT = "sensor timeout"
    DEFER_TIMEOUT = "defer timeout"
    LOST = "lost"
    STOPPED = "stopped"
    NOT_STARTED = "not started"
    CANCELLED = "cancelled"
    MARKED = "marked"
    CLEARED = "cleared"
    DAGRUN_TIMEOUT = "dagrun_timeout"
    FAIL_FAST = "fail_fast"
    NOT_CHOSEN = "not chosen by the branch"
    SHORT_CIRCUIT = "short-circuited"
    UPSTREAM = "upstream"
    EMPTY_MAP = "mapped over nothing"
    UNMAPPABLE = "mapped over a value that is no list or dict"
    REMOVED = "removed from the DAG"


class CommandState(IntEnum):
    """A request row: new, then done or refused in the transaction of its effect."""

    NEW = 1
    DONE = 10
    REFUSED = 11


class DeadlineState(IntEnum):
    """A deadline of a run or of a task instance."""

    PENDING = 1
    MET = 10
    MISSED = 11
    CANCELLED = 12

    @property
    def word(self) -> str:
        """The lower-case word shown to users."""
        return self.name.lower()
