"""What tasks share: trigger rules (S4), asset events (S7), pools and limits (S8)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from tests.history.facts import (
    ASSET,
    CANCELLED,
    FAILED,
    QUEUED,
    REMOVED,
    RUNNING,
    SKIPPED,
    SUCCESS,
    UPSTREAM_FAILED,
    Dump,
    Facts,
    Instance,
    Row,
    Violation,
)

BAD = frozenset({FAILED, UPSTREAM_FAILED, CANCELLED})
# What a task that runs says of its upstreams: states that none of them has, for rules that wait for all of them ...
FORBIDDEN: dict[str, frozenset[int]] = {
    "all_success": BAD | {SKIPPED}, "all_failed": frozenset({SUCCESS, SKIPPED}), "all_done": frozenset(),
    "all_done_min_one_success": frozenset({SKIPPED}), "none_failed": BAD, "none_failed_min_one_success": BAD,
    "none_skipped": frozenset({SKIPPED}), "all_skipped": BAD | {SUCCESS},
}  # fmt: skip
# ... and states of which at least one had one.
NEEDED: dict[str, frozenset[int]] = {
    "one_success": frozenset({SUCCESS}), "one_failed": BAD, "one_done": frozenset({SUCCESS, FAILED}),
    "all_done_min_one_success": frozenset({SUCCESS}), "none_failed_min_one_success": frozenset({SUCCESS}),
}  # fmt: skip
Ended = list[tuple[str, int, int | None]]  # (name, state, ended_at) of each upstream instance


def s4_nothing_starts_before_its_rule_is_met(facts: Facts) -> Iterator[Violation]:
    """When a try was queued its upstreams had ended as its rule asks. Runs that somebody rewrote are left out: the
    states of then are not kept."""
    rows_of: dict[tuple[int, int], list[tuple[int, Row]]] = defaultdict(list)
    for (run, no, index), rows in facts.attempts.items():
        rows_of[run, no].append((index, rows[0] if rows[0]["try_no"] == 0 else rows[-1]))
    for instance, rows in facts.tries.items():
        task = facts.task_of(instance)
        if task is None or task["is_teardown"] or instance[0] in facts.rewritten or not rows:
            continue
        ends, missing = _upstreams(facts, instance, task, rows_of)
        yield from _rule(facts, instance, task, rows[0]["queued_at"] + facts.tolerance_us, ends, missing)


def _upstreams(
    facts: Facts, instance: Instance, task: Any, rows_of: dict[tuple[int, int], list[tuple[int, Row]]]
) -> tuple[Ended, list[str]]:
    """How the instances of the direct upstreams ended, and the upstreams that have no row."""
    spec, dag_id = facts.spec_of(instance[0]), facts.runs[instance[0]]["dag_id"]
    ends: Ended = []
    missing: list[str] = []
    for name in task["upstreams"]:
        other = spec["by_id"].get(name) if spec is not None else None
        if other is None:
            continue
        found = rows_of.get((instance[0], facts.task_nos.get((dag_id, name), -1)), [])
        if task["mapped_group"] is not None and task["mapped_group"] == other["mapped_group"]:
            found = [one for one in found if one[0] == instance[2]] or [one for one in found if one[0] == -1]
        if not found:
            missing.append(name)
        ends += [(name, row["state"], row["ended_at"]) for _, row in found if row["state"] != REMOVED]
    return ends, missing


def _rule(facts: Facts, instance: Instance, task: Any, by: int, ends: Ended, missing: list[str]) -> Iterator[Violation]:
    rule, name = task["trigger_rule"], facts.name(instance)
    if rule in FORBIDDEN:
        late = [(up, at) for up, _, at in ends if at is None or at > by] + [(up, None) for up in missing]
        if late:
            yield Violation("S4", name, f"{rule}, queued {by}, but upstreams ended {late}")
        wrong = [(up, state) for up, state, _ in ends if state in FORBIDDEN[rule]]
        if wrong:
            yield Violation("S4", name, f"{rule}, but upstreams ended as {wrong}")
    if rule in NEEDED and (ends or missing):
        if not any(state in NEEDED[rule] and at is not None and at <= by for _, state, at in ends):
            yield Violation("S4", name, f"{rule}, queued {by}, but no upstream of {ends} had ended so")


def s7_each_event_is_consumed_once(facts: Facts) -> Iterator[Violation]:
    """A success of a task with outlets is one event of each; an event reaches each subscriber once, and one run."""
    events = {row["id"]: row for row in facts.rows("asset_event")}
    sources: dict[tuple[Any, ...], int] = {}
    for row in events.values():
        key = (row["source_key"], row["asset_id"], row["partition_key"], row["kind"])
        if sources.setdefault(key, row["id"]) != row["id"]:
            yield Violation("S7", f"event {row['id']}", f"tells the same as event {sources[key]}: {key}")
    taken: dict[tuple[int, int], list[Row]] = defaultdict(list)
    for row in facts.rows("asset_delivery"):
        taken[row["dag_id"], row["event_id"]].append(row)
        run = None if row["run_id"] is None else facts.runs.get(row["run_id"])
        subject = f"event {row['event_id']} for {facts.dags.get(row['dag_id'], {}).get('name', row['dag_id'])}"
        if row["event_id"] not in events:
            yield Violation("S7", subject, "there is no such event")
        if row["run_id"] is not None and (run is None or run["kind"] != ASSET or run["dag_id"] != row["dag_id"]):
            yield Violation("S7", subject, f"consumed by {row['run_id']}, which is no asset run of that DAG")
    for (dag_id, event), rows in taken.items():
        if len(rows) > 1:
            yield Violation("S7", f"event {event} for dag {dag_id}", f"has deliveries {[r['run_id'] for r in rows]}")
    yield from _asset_runs(facts)
    yield from _published(facts, list(events.values()))
    yield from _delivered(facts, list(events.values()), set(taken))


def _asset_runs(facts: Facts) -> Iterator[Violation]:
    eaten: dict[int, int] = defaultdict(int)
    for row in facts.rows("asset_delivery"):
        if row["run_id"] is not None:
            eaten[row["run_id"]] += 1
        elif facts.quiet and row["dropped_at"] is None and _is_hungry(facts, row["dag_id"]):
            name = facts.dags[row["dag_id"]]["name"]
            yield Violation("S7", f"event {row['event_id']} for {name}", "was never consumed")
    for number, run in facts.runs.items():
        spec = facts.specs.get(run["version_id"])
        if run["kind"] == ASSET and not eaten[number]:
            yield Violation("S7", facts.run_name(number), "an asset run without an event")
        elif run["kind"] == ASSET and spec is not None and spec["trigger_mode"] == "each" and eaten[number] > 1:
            yield Violation("S7", facts.run_name(number), f"one event each, but it has {eaten[number]}")


def _is_hungry(facts: Facts, dag_id: int) -> bool:
    """Whether any single open event makes a run of the DAG, and a run can be made."""
    dag = facts.dags[dag_id]
    spec = facts.specs.get(dag["current_version"])
    simple = spec is not None and spec["condition"] is not None and spec["condition"][0] == "asset"
    ended = all(run["state"] >= SUCCESS for run in facts.runs.values() if run["dag_id"] == dag_id)
    return simple and ended and not dag["paused"] and dag["held"] is None and dag["missing_since"] is None


def _published(facts: Facts, events: list[Row]) -> Iterator[Violation]:
    assets = {row["id"]: row["key"] for row in facts.rows("asset")}
    told: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for row in events:
        key = (row["run_id"], row["task_no"], row["map_index"], row["try_no"])
        told[key].add(assets.get(row["asset_id"], ""))
        rows = facts.tries.get(key[:3], [])
        if row["run_id"] in facts.runs and not any(one["try_no"] == key[3] and one["state"] == SUCCESS for one in rows):
            yield Violation("S7", f"event {row['id']}", f"of {facts.name(key[:3], key[3])}, which is no success")
    for instance, rows in facts.tries.items() if facts.has("asset_event") else ():
        task = facts.task_of(instance)
        for row in rows if task is not None else ():
            lacking = set(task["outlets"]) - told[(*instance, row["try_no"])]
            if row["state"] == SUCCESS and lacking:
                yield Violation("S7", facts.name(instance, row["try_no"]), f"succeeded without events of {lacking}")


def _delivered(facts: Facts, events: list[Row], taken: set[tuple[int, int]]) -> Iterator[Violation]:
    """Who was told of an event of an asset, and still listens, is told of each later one."""
    for row in facts.rows("asset_sub"):
        same = sorted((one["ts"], one["id"]) for one in events if one["asset_id"] == row["asset_id"])
        heard = [one for one in same if (row["dag_id"], one[1]) in taken]
        for event in same if heard else ():
            if event > heard[0] and (row["dag_id"], event[1]) not in taken and event[0] > heard[0][0]:
                yield Violation("S7", f"event {event[1]}", f"never reached dag {row['dag_id']}, which listens")


def s8_no_limit_is_exceeded(facts: Facts) -> Iterator[Violation]:
    """Pools, a DAG's tasks and runs, a task's instances: counted from queued to ended, deferred tries left out."""
    pools: dict[str, list[tuple[int, int, int, str]]] = defaultdict(list)
    dags: dict[int, list[tuple[int, int, int, str]]] = defaultdict(list)
    tasks: dict[tuple[int, int], list[tuple[int, int, int, str]]] = defaultdict(list)
    runs: dict[tuple[int, int], list[tuple[int, int, int, str]]] = defaultdict(list)
    for instance, rows in facts.tries.items():
        task, run = facts.task_of(instance), facts.runs.get(instance[0])
        if task is None or run is None or task["isolation"] == "engine":
            continue
        for row in rows:
            if row["leg"] > 1 or row.get("resume_at") is not None or row.get("waits_for") is not None:
                continue  # it was deferred for a time that is not kept
            ended = row["ended_at"] if row["ended_at"] is not None else facts.dump["at"]
            span = (row["queued_at"] + facts.tolerance_us, ended, 1, facts.name(instance, row["try_no"]))
            pools[task["pool"]].append((*span[:2], task["pool_slots"], span[3]))
            dags[run["dag_id"]].append(span)
            tasks[run["dag_id"], instance[1]].append(span)
            runs[instance[0], instance[1]].append(span)
    yield from _pools(facts, pools)
    for number, spans in dags.items():
        limit = max(spec["max_active_tasks"] for spec in facts.specs_of_dag(number))
        yield from most(f"DAG {facts.dags[number]['name']}: max_active_tasks", limit, spans)
    for limit_name, groups in (("max_active_tis_per_dag", tasks), ("max_active_tis_per_dagrun", runs)):
        for (owner, no), spans in groups.items():
            dag_id = facts.runs[owner]["dag_id"] if groups is runs else owner
            name = facts.task_ids[dag_id, no]
            limits = [spec["by_id"].get(name, {}).get(limit_name) for spec in facts.specs_of_dag(dag_id)]
            if limits and None not in limits:
                yield from most(f"task {facts.dags[dag_id]['name']}/{name}: {limit_name}", max(limits), spans)
    yield from _active_runs(facts)
    for dump in [*facts.earlier, facts.dump]:
        yield from _at_once(facts, dump)


def _at_once(facts: Facts, dump: Dump) -> Iterator[Violation]:
    """What the rows of one moment hold of pools and DAGs, tries with several legs too."""
    pools: dict[str, int] = defaultdict(int)
    dags: dict[int, int] = defaultdict(int)
    for row in dump["tables"].get("attempt", ()):
        task = facts.task_of((row["run_id"], row["task_no"], row["map_index"]))
        if row["state"] in (QUEUED, RUNNING) and task is not None:
            pools[task["pool"]] += task["pool_slots"]
            dags[facts.runs[row["run_id"]]["dag_id"]] += 1
    slots = _slots(facts)
    for name, used in pools.items():
        if facts.has("pool") and used > slots[name]:
            yield Violation("S8", f"pool {name}", f"{used} of {slots[name]} in the rows of {dump['at']}")
    for number, used in dags.items():
        limit = max(spec["max_active_tasks"] for spec in facts.specs_of_dag(number))
        if used > limit:
            name = facts.dags[number]["name"]
            yield Violation("S8", f"DAG {name}: max_active_tasks", f"{used} of {limit} in the rows of {dump['at']}")


def _slots(facts: Facts) -> dict[str, int]:
    """The most slots that each pool ever had: one that shrinks only drains."""
    slots: dict[str, int] = defaultdict(int)
    for dump in [*facts.earlier, facts.dump]:
        for row in dump["tables"].get("pool", ()):
            slots[row["name"]] = max(slots[row["name"]], row["slots"])
    for told in facts.acknowledged:
        if told["op"] == "set_pool":
            slots[told["pool"]] = max(slots[told["pool"]], told["slots"])
    return slots


def _pools(facts: Facts, spans: dict[str, list[tuple[int, int, int, str]]]) -> Iterator[Violation]:
    slots = _slots(facts)
    for name, found in spans.items() if facts.has("pool") else ():
        yield from most(f"pool {name}", slots[name], found)


def _active_runs(facts: Facts) -> Iterator[Violation]:
    for number, dag in facts.dags.items():
        specs = facts.specs_of_dag(number)
        own = [run for run in facts.runs.values() if run["dag_id"] == number and run["id"] not in facts.rewritten]
        spans = [
            (run["started_at"] + facts.tolerance_us, run["ended_at"] or facts.dump["at"], 1, run["run_id"])
            for run in own
            if run["started_at"] is not None and not run.get("backfill_id")  # backfills have places of their own
        ]
        if specs:
            limit = max(spec["max_active_runs"] for spec in specs)
            yield from most(f"DAG {dag['name']}: max_active_runs", limit, spans)


def most(subject: str, limit: int, spans: list[tuple[int, int, int, str]]) -> Iterator[Violation]:
    """The first instant at which the spans together weigh more than the limit; an end comes before a start."""
    edges = [(end, 0, -weight, name) for start, end, weight, name in spans if start < end]
    edges += [(start, 1, weight, name) for start, end, weight, name in spans if start < end]
    used, held = 0, set()
    for at, is_start, weight, name in sorted(edges):
        used += weight
        held.add(name) if is_start else held.discard(name)
        if used > limit:
            yield Violation("S8", subject, f"{used} of {limit} at {at}: {sorted(held)}")
            return
