"""Trigger rules as pure functions of counts.

A terminal conclusion is drawn early only when no later finish could change it, and failure outranks skip: so the
outcome never depends on the order in which upstreams finish.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from dagd.model.states import AttemptState


class Verdict(Enum):
    """What a rule says of an instance."""

    WAIT = "wait"
    RUN = "run"
    SKIP = "skip"
    UPSTREAM_FAIL = "upstream_fail"


class Counts:
    """Outcomes of direct upstream instances: `open` have not ended, `s` succeeded, `f` failed (upstream_failed and
    cancelled too), `k` skipped, `ran` ended by running (success or failed)."""

    __slots__ = ("open", "s", "f", "k", "ran")

    def __init__(self, open_: int = 0, s: int = 0, f: int = 0, k: int = 0, ran: int = 0) -> None:
        self.open, self.s, self.f, self.k, self.ran = open_, s, f, k, ran

    def add(self, state: int) -> None:
        """One upstream instance ended in `state` (removed ones only leave)."""
        self.open -= 1
        if state == AttemptState.SUCCESS:
            self.s += 1
            self.ran += 1
        elif state == AttemptState.FAILED:
            self.f += 1
            self.ran += 1
        elif state == AttemptState.SKIPPED:
            self.k += 1
        elif state != AttemptState.REMOVED:
            self.f += 1

    def plus(self, other: Counts) -> Counts:
        """The sum of two counts."""
        return Counts(
            self.open + other.open, self.s + other.s, self.f + other.f, self.k + other.k, self.ran + other.ran
        )


W, RUN, SKIP, UF = Verdict.WAIT, Verdict.RUN, Verdict.SKIP, Verdict.UPSTREAM_FAIL


def _all_success(c: Counts) -> Verdict:
    if c.f:
        return UF
    if c.open:
        return W
    return SKIP if c.k else RUN


def _all_failed(c: Counts) -> Verdict:
    if c.s or c.k:
        return SKIP
    return W if c.open else RUN


def _all_done(c: Counts) -> Verdict:
    return W if c.open else RUN


def _all_done_min_one_success(c: Counts) -> Verdict:
    if c.s and c.k:
        return SKIP
    if c.open:
        return W
    return RUN if c.s else _all_success(c)


def _one_success(c: Counts) -> Verdict:
    if c.s:
        return RUN
    if c.open:
        return W
    return UF if c.f else SKIP


def _one_failed(c: Counts) -> Verdict:
    if c.f:
        return RUN
    return W if c.open else SKIP


def _one_done(c: Counts) -> Verdict:
    if c.ran:
        return RUN
    return W if c.open else SKIP


def _none_failed(c: Counts) -> Verdict:
    if c.f:
        return UF
    return W if c.open else RUN


def _none_failed_min_one_success(c: Counts) -> Verdict:
    if c.f:
        return UF
    if c.open:
        return W
    return RUN if c.s else SKIP


def _none_skipped(c: Counts) -> Verdict:
    if c.k:
        return SKIP
    return W if c.open else RUN


def _all_skipped(c: Counts) -> Verdict:
    if c.s or c.f:
        return SKIP
    return W if c.open else RUN


def _always(c: Counts) -> Verdict:
    return RUN


RULES: dict[str, Callable[[Counts], Verdict]] = {
    "all_success": _all_success,
    "all_failed": _all_failed,
    "all_done": _all_done,
    "all_done_min_one_success": _all_done_min_one_success,
    "one_success": _one_success,
    "one_failed": _one_failed,
    "one_done": _one_done,
    "none_failed": _none_failed,
    "none_failed_min_one_success": _none_failed_min_one_success,
    "none_skipped": _none_skipped,
    "all_skipped": _all_skipped,
    "always": _always,
}
# Another name that Airflow users write.
RULES["all_done_setup_success"] = _all_done


def apply_rule(rule: str, counts: Counts) -> Verdict:
    """What `rule` says of an instance whose upstreams stand at `counts`. Without upstreams every rule runs."""
    if not (counts.open or counts.s or counts.f or counts.k):
        return RUN
    return RULES[rule](counts)


def teardown_verdict(setups: Counts, work: Counts) -> Verdict:
    """A teardown runs when all above it has ended and at least one of its setups succeeded."""
    if setups.open or work.open:
        return W
    if not (setups.s or setups.f or setups.k):
        return RUN
    if setups.s:
        return RUN
    return UF if setups.f else SKIP
