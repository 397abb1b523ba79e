"""What `explain` is asked about, and the shape of its answers. Codes are stable; sentences are for people."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple
from zoneinfo import ZoneInfo

from dagd.decide.state import READY, RESUMING, RETRYING, WAITING, DagState, RunView, State
from dagd.decide.turn import Turn
from dagd.model.states import AttemptState
from dagd.model.times import Micros, from_micros
from dagd.observe.talk import duration_text

MOST = 8  # names in one sentence, tasks in the answer for a run
WORDS = {WAITING: "none", READY: "scheduled", RETRYING: "up_for_retry", RESUMING: "deferred"}
BAD = frozenset({AttemptState.FAILED, AttemptState.UPSTREAM_FAILED, AttemptState.CANCELLED})


class Because(NamedTuple):
    """One reason."""

    code: str
    message: str
    blocking: bool = True


class Answer(NamedTuple):
    """The subject's state, its reasons, the first one the nearest, and what comes or must be done next."""

    state: str
    reasons: list[Because]
    next: str | None = None


class Ended(NamedTuple):
    """What the rows say of an instance: how many tries, the reason, the error and its place."""

    tries: int
    reason: str | None
    error: str | None
    place: str | None
    is_marked: bool = False


@dataclass(slots=True)
class Case:
    """What is asked about, with all that the core would look at. `ends` is by (task, position)."""

    turn: Turn
    dag: DagState
    run: RunView | None = None
    ends: dict[tuple[int, int], Ended] = field(default_factory=dict)
    pool_users: dict[str, list[str]] = field(default_factory=dict)
    missing_pools: set[str] = field(default_factory=set)
    has_scheduler: bool = True
    workers: int | None = None  # slots of the agent, where it is known
    busy: int = 0  # live tries of every DAG
    file_error: str | None = None

    @property
    def state(self) -> State:
        """The memory."""
        return self.turn.state

    def when(self, at: Micros) -> str:
        """An instant in the DAG's zone, and how far away it is."""
        zone = ZoneInfo(self.dag.graph.spec.timezone if self.dag.graph else "UTC")
        there = from_micros(at).astimezone(zone)
        is_today = there.date() == from_micros(self.turn.now).astimezone(zone).date()
        text = there.strftime("%H:%M:%S %Z" if is_today else "%Y-%m-%d %H:%M:%S %Z")
        distance = duration_text(abs(at - self.turn.now))
        return f"{text} (in {distance})" if at > self.turn.now else f"{text} ({distance} ago)"


def names(words: list[str]) -> str:
    """A list as people write it, not too long."""
    shown = ", ".join(words[:MOST])
    return shown if len(words) <= MOST else f"{shown} and {len(words) - MOST} more"


def word_of(code: int) -> str:
    """An instance's state as people know it, the derived ones too."""
    return WORDS.get(code) or AttemptState(code).word
