"""Backfills: their places (S8), their slots (S1), what they count (S15), and that they end (L1)."""

from __future__ import annotations

from collections.abc import Iterator

from tests.history.facts import FAILED, REWRITES, SUCCESS, Facts, Row, Violation
from tests.history.rules_runs import may_wait
from tests.history.rules_shares import most

RUNNING_RUN = 2
QUEUED_BACKFILL, PAUSED_BACKFILL, DONE_BACKFILL, CANCELLED_BACKFILL = 1, 3, 10, 13


def s1_a_backfill_takes_each_slot_once(facts: Facts) -> Iterator[Violation]:
    """It has never done more slots than it was asked for, and all of them when it is done; on one schedule."""
    for row in facts.rows("backfill"):
        if len(facts.specs_of_dag(row["dag_id"])) != 1:
            continue
        wrong = row["done"] > row["slots"] or (row["state"] == DONE_BACKFILL and row["done"] != row["slots"])
        if wrong:
            yield Violation("S1", _name(facts, row), f"state {row['state']} with {row['done']} of {row['slots']} slots")


def s8_a_backfill_keeps_to_its_places(facts: Facts) -> Iterator[Violation]:
    """Not more runs at once than `max_active`: over time, and in the rows of each moment. What a person cleared or
    marked has no place."""
    by_hand = {row["run_id"] for row in facts.rows("command") if row["kind"] in REWRITES}
    for row in facts.rows("backfill"):
        name, limit = f"{_name(facts, row)}: max_active", row["max_active"]
        spans = [
            (run["started_at"] + facts.tolerance_us, run["ended_at"] or facts.dump["at"], 1, run["run_id"])
            for run in _runs(facts, row)
            if run["started_at"] is not None and run["id"] not in by_hand
        ]
        yield from most(name, limit, spans)
        for dump in facts.earlier:
            runs = [
                run["run_id"]
                for run in dump["tables"].get("dag_run", ())
                if run.get("backfill_id") == row["id"] and run["state"] == RUNNING_RUN and run["id"] not in by_hand
            ]
            if len(runs) > limit:
                yield Violation("S8", name, f"{len(runs)} of {limit} in the rows of {dump['at']}: {runs}")


def s15_a_backfill_counts_its_runs(facts: Facts) -> Iterator[Violation]:
    """What it counts is what its runs came to. A cancelled one counts what it stops before that ends: only its sums are
    judged."""
    for row in facts.rows("backfill"):
        if min(row[word] for word in ("done", "success", "failed", "kept")) < 0:
            yield Violation("S15", _name(facts, row), f"counts below none: {_counts(row)}")
        if row["success"] + row["failed"] + row["kept"] > row["done"]:
            yield Violation("S15", _name(facts, row), f"counts more ends than slots done: {_counts(row)}")
        if row["state"] != CANCELLED_BACKFILL:
            yield from _counters(facts, row)


def _counters(facts: Facts, row: Row) -> Iterator[Violation]:
    """Each lies between the ended runs that are surely its, and those with what may have been its: runs that a person
    changed, or that another backfill may have taken over."""
    by_hand = {one["run_id"] for one in facts.rows("command") if one["kind"] in REWRITES}
    takers = {one["id"] for one in facts.rows("backfill") if one["reprocess"] and one["id"] != row["id"]}
    own = _runs(facts, row)
    states = [run["state"] for run in own if run["id"] not in by_hand and run["state"] >= SUCCESS]
    doubtful = sum(1 for run in own if run["id"] in by_hand)
    doubtful += sum(1 for run in facts.runs.values() if run.get("backfill_id") in takers)
    told = (row["success"], row["failed"], row["done"] - row["kept"])
    found = (states.count(SUCCESS), states.count(FAILED), len(states))
    if any(not least <= count <= least + doubtful for count, least in zip(told, found, strict=True)):
        yield Violation(
            "S15", _name(facts, row), f"(success, failed, ended) are {found} and {doubtful} in doubt, it counts {told}"
        )


def l1_every_backfill_ends(facts: Facts) -> Iterator[Violation]:
    """In quiet each backfill has ended that no person holds up; what is over has said when."""
    if not facts.quiet:
        return
    for row in facts.rows("backfill"):
        name = _name(facts, row)
        if row["state"] == QUEUED_BACKFILL:
            yield Violation("L1", name, "was never taken up")
        elif row["state"] < SUCCESS and not _is_held_up(facts, row):
            yield Violation("L1", name, f"still in state {row['state']} with {row['done']} of {row['slots']} slots")
        elif row["state"] >= SUCCESS and row["ended_at"] is None:
            yield Violation("L1", name, f"in state {row['state']}, ended at no instant")


def _is_held_up(facts: Facts, row: Row) -> bool:
    dag = facts.dags[row["dag_id"]]
    if row["state"] == PAUSED_BACKFILL or dag["paused"] or dag["held"] is not None or dag["missing_since"] is not None:
        return True
    active = [run for run in _runs(facts, row) if run["state"] < SUCCESS]
    return any(may_wait(facts, run) for run in active)


def _runs(facts: Facts, row: Row) -> list[Row]:
    return [run for run in facts.runs.values() if run.get("backfill_id") == row["id"]]


def _name(facts: Facts, row: Row) -> str:
    return f"backfill {row['id']} of {facts.dags[row['dag_id']]['name']}"


def _counts(row: Row) -> dict[str, int]:
    return {word: row[word] for word in ("slots", "done", "success", "failed", "kept")}
