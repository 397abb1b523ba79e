"""Runs and requests: S1, S10, S12, and that all ends (L1, L2)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from tests.history.facts import (
    ASSET,
    DEFERRED,
    DONE,
    NEW,
    REWRITES,
    SCHEDULED,
    SUCCESS,
    WORDS,
    Facts,
    Record,
    Row,
    Violation,
)

OWNED_WITHIN_US = 10_000_000
CALLBACK_TRIES = 3


def s1_each_slot_has_one_run(facts: Facts) -> Iterator[Violation]:
    """A slot, a run id and a request key have one run each; slots lie on the grid, and catch-up leaves none out."""
    for column in ("slot", "run_id", "request_key"):
        owners: dict[tuple[int, Any], list[Row]] = defaultdict(list)
        for run in facts.rows("dag_run"):
            if run[column] is not None:
                owners[run["dag_id"], run[column]].append(run)
        for (_, value), runs in owners.items():
            if len(runs) > 1:
                yield Violation("S1", facts.dag_of(runs[0]), f"{column} {value} has runs {[run['id'] for run in runs]}")
    for number, dag in facts.dags.items():
        runs = [run for run in facts.rows("dag_run") if run["dag_id"] == number and run["kind"] == SCHEDULED]
        for run in runs:
            if run["slot"] is None:
                yield Violation("S1", facts.run_name(run["id"]), "a scheduled run has no slot")
        yield from _grid(facts, dag, sorted(run["slot"] for run in runs if run["slot"] is not None))


def _grid(facts: Facts, dag: Row, slots: list[int]) -> Iterator[Violation]:
    specs = facts.specs_of_dag(dag["id"])
    if len(specs) != 1 or specs[0]["schedule"].get("kind") != "delta" or not slots:
        return  # another grid, or one that changed
    spec = specs[0]
    step, anchor = spec["schedule"]["micros"], spec.get("start_at") or 0
    for slot in slots:
        if (slot - anchor) % step:
            yield Violation("S1", dag["name"], f"slot {slot} is none of every {step} from {anchor}")
        if spec.get("start_at") is not None and slot < spec["start_at"]:
            yield Violation("S1", dag["name"], f"slot {slot} lies before the start {anchor}")
        if not spec.get("catchup") and slot <= dag["first_seen_at"]:
            yield Violation("S1", dag["name"], f"slot {slot} lies before the DAG was seen: {dag['first_seen_at']}")
    if spec.get("catchup"):
        taken = {run["slot"] for run in facts.rows("dag_run") if run["dag_id"] == dag["id"]}  # by backfills, too
        missing = sorted(set(range(slots[0], slots[-1], step)) - taken)
        if missing:
            yield Violation("S1", dag["name"], f"no run for slots {missing[:5]} between {slots[0]} and {slots[-1]}")
        if dag.get("last_slot") is not None and dag["last_slot"] > slots[-1]:
            yield Violation("S1", dag["name"], f"no run for its last slot {dag['last_slot']}")


def s10_what_was_acknowledged_is_there(facts: Facts) -> Iterator[Violation]:
    """Runs, requests, pauses, pools, variables and shown states that somebody was told of."""
    keys: dict[tuple[str, str], str] = {}
    for told in facts.acknowledged:
        op = told["op"]
        if op == "trigger":
            yield from _triggered(facts, told, keys)
        elif op in REWRITES | {"cancel", "kill"}:
            rows = [row for row in facts.rows("command") if row["id"] == told["command"]]
            if facts.has("command") and [row["kind"] for row in rows] != [op]:
                yield Violation("S10", f"request {told['command']}", f"{op} was acknowledged, stored is {rows}")
        elif op in ("seen_run", "seen_try"):
            yield from _shown(facts, told)
    yield from _last_words(facts, "set_pool", "pool", "name", "pool", "slots", "slots")
    yield from _last_words(facts, "set_variable", "key", "key", "variable", "value", "value")
    yield from _pauses(facts)


def _triggered(facts: Facts, told: Record, keys: dict[tuple[str, str], str]) -> Iterator[Violation]:
    subject, key = f"{told['dag']}/{told['run']}", told.get("key")
    run = facts.run_ids.get((told["dag"], told["run"]))
    if run is None:
        yield Violation("S10", subject, f"acknowledged at {told['at']}, but there is no such run")
    elif key is not None and facts.runs[run]["request_key"] != key:
        yield Violation("S10", subject, f"answered for key {key!r}, its row has {facts.runs[run]['request_key']!r}")
    if key is not None and keys.setdefault((told["dag"], key), told["run"]) != told["run"]:
        yield Violation("S1", subject, f"key {key!r} was answered with run {keys[told['dag'], key]} before")


def _last_words(
    facts: Facts, op: str, said_key: str, stored_key: str, table: str, said: str, stored: str
) -> Iterator[Violation]:
    last = {told[said_key]: told for told in sorted(facts.acknowledged, key=_at) if told["op"] == op}
    rows = {row[stored_key]: row for row in facts.rows(table)}
    for name, told in last.items() if facts.has(table) else ():
        if name not in rows:
            yield Violation("S10", f"{table} {name}", f"set at {told['at']}, but there is none")
        elif rows[name][stored] != told[said]:
            yield Violation("S10", f"{table} {name}", f"set to {told[said]!r}, stored is {rows[name][stored]!r}")


def _at(record: Record) -> int:
    return int(record["at"])


def _shown(facts: Facts, told: Record) -> Iterator[Violation]:
    """An ended state that was shown stands until somebody clears or marks."""
    state = WORDS[told["state"]]
    run = facts.run_ids.get((told["dag"], told["run"]))
    subject = f"{told['dag']}/{told['run']}"
    if run is None:
        yield Violation("S10", subject, f"was shown as {told['state']}, but there is no such run")
    elif told["op"] == "seen_run":
        if facts.runs[run]["state"] != state and run not in facts.rewritten:
            yield Violation("S10", subject, f"was shown as {told['state']}, stored is {facts.runs[run]['state']}")
    else:
        instance = facts.instance_of(told)
        rows = [row for row in facts.attempts.get(instance or (0, 0, 0), ()) if row["try_no"] == told["try"]]
        subject = f"{subject}/{told['task']}[{told.get('index', -1)}] try {told['try']}"
        if not rows:
            yield Violation("S5" if state == SUCCESS else "S10", subject, f"was shown as {told['state']}; it is gone")
        elif rows[0]["state"] != state:
            which = "S5" if state == SUCCESS else "S10"
            yield Violation(which, subject, f"was shown as {told['state']}, stored is {rows[0]['state']}")


def _pauses(facts: Facts) -> Iterator[Violation]:
    """A pause that was acknowledged is never overtaken by a slot or by asset events."""
    by_dag: dict[str, list[Record]] = defaultdict(list)
    for told in sorted(facts.acknowledged, key=_at):
        if told["op"] in ("pause", "unpause"):
            by_dag[told["dag"]].append(told)
    for name, words in by_dag.items():
        dag = facts.dag_names.get(name)
        if dag is None:
            yield Violation("S10", name, "was paused, but there is no such DAG")
            continue
        if bool(dag["paused"]) < (words[-1]["op"] == "pause"):
            yield Violation("S10", name, f"paused at {words[-1]['at']}, but its row says otherwise")
        for number, told in enumerate(words):
            until = words[number + 1]["at"] if number + 1 < len(words) else facts.dump["at"] + 1
            made = [
                run["run_id"]
                for run in facts.rows("dag_run")
                if run["dag_id"] == dag["id"] and run["kind"] in (SCHEDULED, ASSET)
                and told["at"] + facts.tolerance_us < run["created_at"] < until - facts.tolerance_us
            ]  # fmt: skip
            if told["op"] == "pause" and made:
                yield Violation("S10", name, f"paused at {told['at']}, yet runs were created: {made}")


def s12_nothing_fires_early(facts: Facts) -> Iterator[Violation]:
    """No run before it is due, no try before its run or its retry delay, no body before its try, no early miss."""
    slack = facts.tolerance_us
    for run in facts.rows("dag_run"):
        if run["kind"] == SCHEDULED and run["created_at"] < run["due_at"] - slack:
            yield Violation("S12", facts.run_name(run["id"]), f"created {run['created_at']}, due {run['due_at']}")
        if run["started_at"] is not None and run["started_at"] < run["due_at"] - slack and run["kind"] == SCHEDULED:
            yield Violation("S12", facts.run_name(run["id"]), f"started {run['started_at']}, due {run['due_at']}")
    for instance, rows in facts.tries.items():
        started = facts.runs.get(instance[0], {}).get("started_at")
        before = None
        for row in rows:
            name, queued = facts.name(instance, row["try_no"]), row["queued_at"]
            if queued is not None and started is not None and instance[0] not in facts.rewritten:
                if queued < started - slack:
                    yield Violation("S12", name, f"queued {queued}, its run started {started}")
            due = None if before is None or before["superseded_by"] != row["superseded_by"] else before["next_try_at"]
            if due is not None and queued is not None and queued < due - slack:
                yield Violation("S12", name, f"queued {queued}, its retry was due {due}")
            for record in facts.seen_of(instance, "begin", row["try_no"]) if instance[0] in facts.runs else ():
                if queued is not None and record["at"] < queued - slack:
                    yield Violation("S12", name, f"its body began {record['at']}, it was queued {queued}")
            before = row
    for row in facts.rows("deadline"):
        if row["fired_at"] is not None and row["fired_at"] < row["due_at"] - slack:
            subject = f"{facts.run_name(row['run_id'])} deadline {row['kind']}"
            yield Violation("S12", subject, f"missed {row['fired_at']}, due {row['due_at']}")


def l1_everything_ends(facts: Facts) -> Iterator[Violation]:
    """In quiet all runs that may go on have ended, and with them tries, requests and callbacks."""
    if not facts.quiet:
        return
    for number, run in facts.runs.items():
        if run["state"] < SUCCESS and not may_wait(facts, run):
            yield Violation("L1", facts.run_name(number), f"still in state {run['state']}, started {run['started_at']}")
    for instance, rows in facts.attempts.items():
        run = facts.runs.get(instance[0])
        for row in rows:
            if row["state"] < SUCCESS and (run is None or run["state"] >= SUCCESS):
                yield Violation("L1", facts.name(instance, row["try_no"]), f"in state {row['state']}, its run is over")
    for row in facts.rows("command"):
        if row["state"] == NEW:
            yield Violation("L1", f"request {row['id']}", f"{row['kind']} of {row['created_at']} was never answered")
        elif row["state"] == DONE and row["done_at"] is None:
            yield Violation("L1", f"request {row['id']}", "done at no instant")
    for row in facts.rows("outbox"):
        if row["topic"] == "callback" and row["delivered_at"] is None and row["tries"] < CALLBACK_TRIES:
            yield Violation("L1", f"callback {row['id']}", f"of {row['created_at']} was neither delivered nor given up")


def may_wait(facts: Facts, run: Row) -> bool:
    """A run that nothing but a person moves: its DAG is paused or set aside, it waits for a past that went wrong, or
    for a pool that cannot hold its task."""
    dag, spec = facts.dags[run["dag_id"]], facts.specs.get(run["version_id"])
    if dag["held"] is not None or spec is None or (dag["paused"] and run["started_at"] is None):
        return True
    siblings = [other for other in facts.rows("dag_run") if other["dag_id"] == run["dag_id"]]
    before = [one for one in siblings if (one["due_at"], one["id"]) < (run["due_at"], run["id"])]
    stuck = any(one["state"] != SUCCESS or one["id"] in facts.marred for one in before)
    pools = {row["name"]: row["slots"] for row in facts.rows("pool")}
    if any(task.get("depends_on_past") or task.get("wait_for_downstream") for task in spec["tasks"]) and stuck:
        return True
    if run["started_at"] is None:  # its place is taken by one that may wait
        full = sum(1 for one in siblings if one["state"] < SUCCESS and one["started_at"] is not None)
        return full >= spec.get("max_active_runs", 16) and all(
            may_wait(facts, one) for one in siblings if one["state"] < SUCCESS and one["started_at"] is not None
        )
    return any(task.get("pool_slots", 1) > pools.get(task.get("pool"), 0) for task in spec["tasks"]) and bool(pools)


def l2_nothing_waits_without_an_owner(facts: Facts) -> Iterator[Violation]:
    """Each live try has a scheduler that was heard of within 10 s, and an agent that knows it."""
    if not facts.quiet:
        return
    at = facts.dump["at"]
    beats = {row["id"]: row["heartbeat"] for row in facts.rows("scheduler") if row["alive"]}
    owners = {row["id"]: row["owner"] for row in facts.rows("shard")}
    live = facts.dump.get("live")
    for instance, rows in facts.attempts.items():
        run = facts.runs.get(instance[0])
        for row in rows:
            if row["state"] >= SUCCESS or run is None:
                continue
            name = facts.name(instance, row["try_no"])
            if facts.has("shard") and facts.has("scheduler"):
                owner = owners.get(facts.dags[run["dag_id"]]["shard"])
                if owner not in beats:
                    yield Violation("L2", name, f"its shard belongs to {owner}, which is not alive")
                elif at - beats[owner] > OWNED_WITHIN_US + facts.tolerance_us:
                    yield Violation("L2", name, f"its scheduler {owner} was last heard of {at - beats[owner]} us ago")
            waits = row["state"] == DEFERRED or row["leg"] > 1  # no process, or one since an instant that is not kept
            if live is None or waits or row["token"] in live or at - row["queued_at"] <= OWNED_WITHIN_US:
                continue
            yield Violation("L2", name, f"no agent knows its token {row['token']}, queued {row['queued_at']}")
