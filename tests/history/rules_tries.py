"""Tries and their results: S2, S3, S5, S6, S9, S11, S14."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from tests.history.facts import DONE, FAILED, SUCCESS, Dump, Facts, Instance, Row, Violation, word_of

NOBODY, RETRIES, INFRA = 0, 1, 2
LOST = "lost"
FREE = frozenset({"stopped", "not started", "cancelled", "marked", "cleared", "dagrun_timeout", "fail_fast"})
# What a try says when it has ended; none of it ever changes again.
FIXED = ("state", "reason", "ended_at", "token", "leg", "charged", "exit_code", "signal", "next_try_at")


def s2_one_result_a_try_and_one_success_an_instance(facts: Facts) -> Iterator[Violation]:
    """One row a try, one live row and one counting success an instance, one body a token."""
    tokens: dict[str, list[str]] = defaultdict(list)
    for instance, rows in facts.attempts.items():
        numbers = [row["try_no"] for row in rows]
        if len(numbers) != len(set(numbers)):
            yield Violation("S2", facts.name(instance), f"rows of tries {numbers}")
        fine = [row["try_no"] for row in rows if row["state"] == SUCCESS and row["superseded_by"] is None]
        if len(fine) > 1:
            yield Violation("S2", facts.name(instance), f"tries {fine} have both succeeded")
        for row in rows:
            if row["token"] is not None:
                tokens[row["token"]].append(facts.name(instance, row["try_no"]))
    for token, names in tokens.items():
        if len(names) > 1:
            yield Violation("S2", names[0], f"token {token} names {names} too")
    for records in facts.seen.values():
        ends: dict[Any, int] = defaultdict(int)
        for record in records:
            if record["word"] == "end" and record.get("token") is not None:
                ends[record["token"]] += 1
                if ends[record["token"]] == 2:
                    yield Violation("S2", word_of(record), f"token {record['token']} came to its end twice")


def s3_tries_of_an_instance_never_overlap(facts: Facts) -> Iterator[Violation]:
    """No body begins while another of the instance may run, and no try is queued before the one before it has ended."""
    for instance, rows in facts.tries.items():
        live = [row["try_no"] for row in rows if row["state"] < SUCCESS]
        if len(live) > 1:
            yield Violation("S3", facts.name(instance), f"tries {live} are live at once")
        for one, two in pairwise(rows):
            if one["ended_at"] is not None and two["queued_at"] < one["ended_at"] - facts.tolerance_us:
                name = facts.name(instance, two["try_no"])
                yield Violation("S3", name, f"queued {two['queued_at']}, the try before ended {one['ended_at']}")
    ended = {
        row["token"]: row["ended_at"] for rows in facts.tries.values() for row in rows if row["ended_at"] is not None
    }
    for record in facts.journal:
        over = ended.get(record.get("token"))
        if record["word"] == "begin" and over is not None and record["at"] > over + facts.tolerance_us:
            yield Violation("S3", word_of(record), f"began {record['at']}, but its try had ended {over}")
    for records in facts.seen.values():
        ends = {(record["try"], record.get("token")): record["at"] for record in records if record["word"] == "end"}
        begins = [record for record in records if record["word"] == "begin"]
        for one, two in pairwise(begins):
            same = one.get("token") is not None and one.get("token") == two.get("token")
            if same:
                yield Violation("S3", word_of(two), f"token {one['token']} began {one['at']} and again {two['at']}")
            end = ends.get((one["try"], one.get("token")), ended.get(one.get("token")))
            if end is not None and two["at"] < end - facts.tolerance_us and not same:
                yield Violation("S3", word_of(two), f"began {two['at']} while try {one['try']} ran until {end}")


def s5_success_is_final(facts: Facts) -> Iterator[Violation]:
    """A success stays and nothing runs after it, unless a request that was carried out says otherwise."""
    requests = {row["id"]: row for row in facts.rows("command")}
    for instance, rows in facts.attempts.items():
        for row in rows:
            by = row["superseded_by"]
            if by is not None and facts.has("command"):
                if by < 0:
                    yield from _taken_over(facts, instance, row)
                    continue
                request = requests.get(by)
                if request is None or request["state"] != DONE or request["run_id"] != instance[0]:
                    yield Violation("S5", facts.name(instance, row["try_no"]), f"superseded by {by}: {request}")
        fine = [row for row in rows if row["state"] == SUCCESS and row["superseded_by"] is None and row["try_no"]]
        later = [row["try_no"] for row in rows if fine and row["try_no"] > fine[0]["try_no"]]
        if later:
            yield Violation("S5", facts.name(instance, later[0]), f"try {fine[0]['try_no']} had succeeded")
    for dump in facts.earlier:
        now = _by_key(facts.dump)
        for key, row in _by_key(dump).items():
            if row["state"] == SUCCESS and key not in now and (row["try_no"] or key[0] not in facts.rewritten):
                yield Violation("S5", facts.name(key[:3], key[3]), f"a success of {row['ended_at']} is gone")


def _taken_over(facts: Facts, instance: Instance, row: Row) -> Iterator[Violation]:
    """A number below 0 is a backfill of that DAG that runs ended runs again."""
    number, run = -row["superseded_by"], facts.runs.get(instance[0])
    taker = next((one for one in facts.rows("backfill") if one["id"] == number), None)
    if not facts.has("backfill") or run is None:
        return
    if taker is None or not taker["reprocess"] or taker["dag_id"] != run["dag_id"]:
        yield Violation("S5", facts.name(instance, row["try_no"]), f"superseded by backfill {number}: {taker}")


def _by_key(dump: Dump) -> dict[tuple[int, int, int, int], Row]:
    return {
        (row["run_id"], row["task_no"], row["map_index"], row["try_no"]): row
        for row in dump["tables"].get("attempt", ())
    }


def s6_each_end_is_paid_for(facts: Facts) -> Iterator[Violation]:
    """Each end charges the budget that the table of the behaviour page names, and no budget is overdrawn."""
    for instance, rows in facts.tries.items():
        spec = facts.task_of(instance)
        lives: dict[int | None, list[Row]] = defaultdict(list)
        for row in rows:
            lives[row["superseded_by"]].append(row)
        for life in lives.values() if spec is not None else ():
            yield from _charges(facts, instance, spec, life)
            paid = [sum(1 for row in life if row["charged"] == charge) for charge in (NOBODY, RETRIES, INFRA)]
            infra = max(spec["infra_retries"], 1) if spec["on_lost"] == "fail" else spec["infra_retries"]
            if paid[RETRIES] > spec["retries"] + 1 or paid[INFRA] > infra:
                told = f"{paid[RETRIES]} charged to retries ({spec['retries']}), {paid[INFRA]} to infra ({infra})"
                yield Violation("S6", facts.name(instance), told)
    agents = [fault for fault in facts.faults or () if fault.get("target") in ("agent", "host")]
    for instance, rows in facts.tries.items() if facts.faults is not None and not agents else ():
        for row in rows:
            if row["reason"] == LOST:
                yield Violation("S6", facts.name(instance, row["try_no"]), "lost, but nothing was done to an agent")


def _charges(facts: Facts, instance: Instance, spec: Any, life: list[Row]) -> Iterator[Violation]:
    infra = 0
    for row in life:
        name, charged = facts.name(instance, row["try_no"]), row["charged"]
        if row["state"] < SUCCESS or row["state"] != FAILED or row["reason"] in FREE:
            wanted = NOBODY
        elif row["reason"] == LOST and (spec["on_lost"] == "fail" or infra < spec["infra_retries"]):
            wanted = INFRA
        else:
            wanted = RETRIES
        infra += charged == INFRA
        if charged != wanted:
            yield Violation("S6", name, f"state {row['state']} ({row['reason']}) charged {charged}, not {wanted}")
        again = wanted == INFRA and spec["on_lost"] != "fail"
        if again and row["next_try_at"] is None:
            yield Violation("S6", name, "lost with infra_retries left, and yet the last")


def s9_an_old_token_changes_nothing(facts: Facts) -> Iterator[Violation]:
    """What has ended stays as it is, and a row carries the process and the value of its own token."""
    for dump, after in pairwise([*facts.earlier, facts.dump]):
        later = _by_key(after)
        for key, row in _by_key(dump).items():
            if row["state"] < SUCCESS or not key[3] or key not in later:
                continue
            changed = [name for name in FIXED if row.get(name) != later[key].get(name)]
            if changed:
                told = {name: (row.get(name), later[key].get(name)) for name in changed}
                yield Violation("S9", facts.name(key[:3], key[3]), f"changed after its end: {told}")
    for instance, rows in facts.tries.items():
        if instance[0] not in facts.runs:
            continue
        for row in rows:
            for record in facts.seen_of(instance, "begin", row["try_no"]):
                told = record.get("pid"), row["pid"]
                if None not in told and record.get("token") == row["token"] and told[0] != told[1]:
                    yield Violation(
                        "S9", facts.name(instance, row["try_no"]), f"ran as pid {told[0]}, row has {told[1]}"
                    )
        yield from _values(facts, instance, rows)


def _values(facts: Facts, instance: Instance, rows: list[Row]) -> Iterator[Violation]:
    stored = {
        (row["run_id"], row["task_no"], row["map_index"]): row
        for row in facts.rows("xcom")
        if row["key"] == "return_value"
    }.get(instance)
    for row in rows:
        ends = facts.seen_of(instance, "end", row["try_no"])
        if stored is None or stored["body"] is None or row["state"] != SUCCESS or row["superseded_by"] is not None:
            continue
        values = [record["value"] for record in ends if "value" in record]
        if values and json.loads(stored["body"]) not in values:
            told = f"its value is {stored['body']}, its body returned {values}"
            yield Violation("S9", facts.name(instance, row["try_no"]), told)


def s11_a_stored_step_is_never_run_again(facts: Facts) -> Iterator[Violation]:
    """After the call of a durable step has returned, its body never runs again in that life of the instance."""
    lives: dict[tuple[str, str, str, int, int], int | None] = {}
    for instance, rows in facts.tries.items():
        run = facts.runs.get(instance[0])
        for row in rows if run is not None else ():
            task = facts.task_ids.get((run["dag_id"], instance[1]), "")
            lives[facts.dag_of(run), run["run_id"], task, instance[2], row["try_no"]] = row["superseded_by"]
    for place, records in facts.seen.items():
        stored: dict[tuple[str, int | None], int] = {}
        for record in records:
            key = (record.get("step", ""), lives.get((*place, record["try"])))
            if record["word"] == "stored":
                stored.setdefault(key, record["at"])
            elif record["word"] == "step" and key in stored:
                yield Violation("S11", word_of(record), f"step {key[0]!r} ran again, stored since {stored[key]}")


def s14_no_success_without_a_result(facts: Facts) -> Iterator[Violation]:
    """A try that is called a success came to the end of its body, under its own token."""
    for instance, rows in facts.tries.items():
        run, spec = facts.runs.get(instance[0]), facts.task_of(instance)
        if run is None or spec is None or spec["isolation"] == "engine":
            continue
        if not facts.is_witnessed(facts.dag_of(run), spec["task_id"]):
            continue
        for row in rows:
            ends = facts.seen_of(instance, "end", row["try_no"])
            mine = [record for record in ends if record.get("token") in (None, row["token"])]
            if row["state"] == SUCCESS and not mine:
                told = f"success of token {row['token']}, the journal has ends {[one.get('token') for one in ends]}"
                yield Violation("S14", facts.name(instance, row["try_no"]), told)
