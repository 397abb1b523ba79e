"""A pure function over what an outside witness saw: which invariants does a history break? Imports nothing of dagd.

    python -m tests.history.checker FOLDER     reads journal.jsonl, faults.jsonl, acknowledged.jsonl, dump.json

Instants (`at`) are integer microseconds UTC, durations too. A field marked ? may be absent or null; what needs it is
then not judged. `dag`, `run`, `task` are the names that users see; `index` is the map index (-1 when unmapped), `try`
from 1. Records are plain dicts, a JSON line each.

**Journal**: what the bodies of tasks wrote, each line with one `write` to a file opened for appending.

    {"word": "begin", "at", "dag", "run", "task", "index", "try", "token"?, "pid"?}      first line of the body
    {"word": "end", ... the same, "value"?}      its last line; `value` is what it returns, when that is plain JSON
    {"word": "step", ... the same, "step": name}      the body of a durable step begins to run
    {"word": "stored", ... the same, "step": name}    the step's call has returned to the task

**Faults**: what was done to the system.

    {"kind": word, "at", "until"?, "target"?}

    `target` is scheduler, agent, database, host or network. A try that is called lost asks for an agent or host fault.
    An empty list means that nothing was done; None means that nobody kept a log.

**Acknowledged**: operations whose success somebody was told, `at` the moment of the answer.

    {"op": "trigger", "at", "dag", "run", "key"?}         the run id that was answered, the request key
    {"op": "pause" | "unpause", "at", "dag"}
    {"op": "cancel" | "clear" | "mark_tasks" | "mark_run" | "kill", "at", "command": its row's id}
    {"op": "set_pool", "at", "pool", "slots"}      {"op": "set_variable", "at", "key", "value": as stored}
    {"op": "seen_run", "at", "dag", "run", "state": word}        an ended state that somebody was shown
    {"op": "seen_try", "at", "dag", "run", "task", "index", "try", "state": word}

**Dump**: the rows at the end, columns as stored, and what was known beside them.

    {"at": instant of the dump, "tables": {name: [row, ...]},
     "live"?: [token, ...]}                        the tries that agents run or keep a result of

    Tables: dag, dag_version, dag_run, attempt, task, command, pool, asset, asset_event, asset_sub, asset_delivery,
    xcom, map_expansion, deadline, outbox, scheduler, shard, variable, backfill. A table that is absent is not judged.
    `earlier` dumps, in their order, let the checker see what changed that never may.

`quiet` says that faults have stopped and that everybody had the time to end: L1 and L2 are judged only then.
`witnessed` names the (dag, task) pairs whose bodies write to the journal; by default every task of a DAG that is in it.
`tolerance_us` is how far apart the clocks of schedulers, agents and database may be.

What is judged: S1-S12, S14, of S15 what backfills count, L1, L2 (the design's list; `docs/reliability.md` says what of
each). Not here: S13.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tests.history import rules_backfills, rules_runs, rules_shares, rules_tries
from tests.history.facts import Dump, Facts, Record, Violation

RULES: tuple[Callable[[Facts], Iterator[Violation]], ...] = (
    rules_runs.s1_each_slot_has_one_run,
    rules_backfills.s1_a_backfill_takes_each_slot_once,
    rules_tries.s2_one_result_a_try_and_one_success_an_instance,
    rules_tries.s3_tries_of_an_instance_never_overlap,
    rules_shares.s4_nothing_starts_before_its_rule_is_met,
    rules_tries.s5_success_is_final,
    rules_tries.s6_each_end_is_paid_for,
    rules_shares.s7_each_event_is_consumed_once,
    rules_shares.s8_no_limit_is_exceeded,
    rules_backfills.s8_a_backfill_keeps_to_its_places,
    rules_tries.s9_an_old_token_changes_nothing,
    rules_runs.s10_what_was_acknowledged_is_there,
    rules_tries.s11_a_stored_step_is_never_run_again,
    rules_runs.s12_nothing_fires_early,
    rules_tries.s14_no_success_without_a_result,
    rules_backfills.s15_a_backfill_counts_its_runs,
    rules_runs.l1_everything_ends,
    rules_backfills.l1_every_backfill_ends,
    rules_runs.l2_nothing_waits_without_an_owner,
)


def check(
    journal: Iterable[Record], faults: Iterable[Record] | None, acknowledged: Iterable[Record], dump: Dump, *,
    earlier: Iterable[Dump] = (), quiet: bool = False, witnessed: Iterable[tuple[str, str]] | None = None,
    tolerance_us: int = 0,
) -> list[Violation]:  # fmt: skip
    """Every violation that these records prove, in the order of the rules; none proves nothing beyond them."""
    facts = Facts(
        list(journal), None if faults is None else list(faults), list(acknowledged), dump, list(earlier), quiet,
        None if witnessed is None else set(witnessed), tolerance_us,
    )  # fmt: skip
    return [violation for rule in RULES for violation in rule(facts)]


def check_folder(folder: Path, *, quiet: bool = True, tolerance_us: int = 50_000) -> list[Violation]:
    """`check` over the four files of a folder; without faults.jsonl nobody kept a log."""

    def lines(name: str) -> list[Record]:
        path = folder / name
        return [json.loads(line) for line in path.read_text().splitlines() if line] if path.exists() else []

    faults = lines("faults.jsonl") if (folder / "faults.jsonl").exists() else None
    dump = json.loads((folder / "dump.json").read_text())
    acknowledged = lines("acknowledged.jsonl")
    return check(lines("journal.jsonl"), faults, acknowledged, dump, quiet=quiet, tolerance_us=tolerance_us)


if __name__ == "__main__":
    found = check_folder(Path(sys.argv[1]))
    for one in found:
        print(one)
    print(f"{len(found)} violations")
    sys.exit(bool(found))
