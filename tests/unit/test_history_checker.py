"""The checker of histories: it has nothing to say of a good one, and names the invariant that a bad one breaks."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.history import checker
from tests.history.factories import NOW, S, Story, attempt

Spoil = Callable[[Story], object]
FOLDER = Path(checker.__file__).parent
INVARIANTS = [*(f"S{number}" for number in range(1, 13)), "S14", "S15", "L1", "L2"]


def run_of(story: Story, number: int, **more: object) -> None:
    story.one("dag_run", number).update(more)


def try_of(story: Story, run: int, no: int, number: int, **more: object) -> None:
    story.row(run, no, number).update(more)


def clear_first(story: Story) -> None:
    story.request()
    try_of(story, 11, 1, 2, superseded_by=1)


def again(story: Story, **more: object) -> None:
    """Task a of the first run has a third try."""
    row = attempt(11, 1, 3, 4, 5)
    row.update(more)
    story.tables["attempt"].append(row)
    story.tables["asset_event"].append(story.event(33, 11, 3, 5))
    story.tables["asset_delivery"].append({"dag_id": 2, "event_id": 33, "run_id": 21, "dropped_at": None})
    story.body(row)


def seen_changes(story: Story, **more: object) -> None:
    story.remember()
    try_of(story, 11, 1, 1, **more)


def lose(story: Story) -> None:
    story.faults = [{"kind": "kill", "at": NOW, "target": "agent"}]
    try_of(story, 11, 1, 1, reason="lost", charged=2)


def step_twice(story: Story, name: str = "load", later: int = 2) -> None:
    story.say("step", S, 1, step=name)
    story.say("stored", S + 1, 1, step=name)
    story.say("step", 2 * S, later, step=name)


def deadline(story: Story, fired: int) -> None:
    row = {"run_id": 11, "task_no": -1, "kind": "finish", "due_at": NOW + 9 * S, "fired_at": NOW + fired * S}
    story.tables["deadline"].append(row)


def still(story: Story, state: int = 2) -> None:
    """The last try of the first run is still live."""
    run_of(story, 11, state=2, ended_at=None)
    try_of(story, 11, 2, 1, state=state, ended_at=None)


def callback(story: Story) -> None:
    row = {"id": 1, "topic": "callback", "delivered_at": None, "tries": 1, "created_at": NOW}
    story.tables["outbox"].append(row)


def backfill(story: Story, **more: object) -> None:
    """The first slot of sales was a backfill's."""
    run_of(story, 11, backfill_id=1)
    story.backfill(**more)


def take_over(story: Story, by: int = -1, **more: object) -> None:
    """Task a of the first run has run again for a backfill."""
    backfill(story, **{"slots": 1, "done": 1, "kept": 0, "reprocess": 2, **more})
    try_of(story, 11, 1, 2, superseded_by=by)
    again(story)


def half_done(story: Story, **more: object) -> None:
    """A backfill of two slots has done the first."""
    backfill(story, **{"slots": 2, "kept": 0, "done": 1, "success": 1, "state": 2, "ended_at": None, **more})


def both(story: Story, **more: object) -> None:
    """Both slots were of a backfill with one place, in two runs that do not meet."""
    run_of(story, 12, backfill_id=1)
    backfill(story, slots=2, done=2, success=2, kept=0, max_active=1, **more)


def two(*spoils: Spoil) -> Spoil:
    return lambda story: [spoil(story) for spoil in spoils]


BAD: list[tuple[str, str, Spoil]] = [
    ("S1", "two runs of one slot", lambda s: run_of(s, 12, slot=NOW)),
    ("S1", "a slot off the grid", lambda s: run_of(s, 12, slot=NOW + 3 * S)),
    ("S1", "a slot left out", lambda s: [run_of(s, 12, slot=NOW + 20 * S), s.one("dag", 1).update(last_slot=None)]),
    ("S1", "the last slot without its run", lambda s: s.one("dag", 1).update(last_slot=NOW + 20 * S)),
    ("S1", "a request key with two runs", lambda s: [run_of(s, one, request_key="k") for one in (11, 12)]),
    ("S1", "a key that was answered twice", two(
        lambda s: run_of(s, 11, request_key="k"), lambda s: s.tell("trigger", dag="sales", run="r11", key="k"),
        lambda s: s.tell("trigger", dag="sales", run="r12", key="k"))),
    ("S1", "a scheduled run without a slot", lambda s: run_of(s, 11, slot=None)),
    ("S1", "a backfill that is done too early", lambda s: backfill(s, slots=3)),
    ("S1", "a backfill with more slots than there are", lambda s: backfill(s, done=3, kept=2)),
    ("S1", "a backfill on its way with more slots than there are", lambda s: half_done(s, done=3, kept=2)),
    ("S2", "two successes of an instance", lambda s: try_of(s, 11, 1, 1, state=10, charged=0, reason=None)),
    ("S2", "a settled row beside a success", lambda s: s.tables["attempt"].append(attempt(11, 1, 0, 2, 3, token=None))),
    ("S2", "one token of two tries", lambda s: try_of(s, 11, 2, 1, token="t11.1.2")),
    ("S2", "two rows of one try", lambda s: s.tables["attempt"].append(attempt(11, 1, 1, 0, 1, 13, token=None))),
    ("S2", "a body that ends twice", lambda s: s.say("end", 3 * S)),
    ("S3", "two live tries", lambda s: [try_of(s, 11, 1, number, state=2, ended_at=None) for number in (1, 2)]),
    ("S3", "a try queued before the last had ended", lambda s: try_of(s, 11, 1, 1, ended_at=NOW + 3 * S)),
    ("S3", "a token that is begun twice", lambda s: s.say("begin", 2 * S + 5000)),
    ("S3", "a body that begins within another", lambda s: s.say("begin", S + 5000, 2)),
    ("S3", "a body that begins after its try", lambda s: s.journal[3].update(at=NOW + 4 * S + 1)),
    ("S4", "queued before its upstream ended", lambda s: try_of(s, 11, 2, 1, queued_at=NOW + 2 * S)),
    ("S4", "an upstream that failed", lambda s: try_of(s, 12, 1, 1, state=11, reason="exception", charged=1)),
    ("S4", "an upstream without a row", lambda s: s.drop("attempt", 4)),
    ("S4", "no failure for one_failed", lambda s: s.spec(trigger_rule="one_failed")),
    ("S4", "a skip above none_skipped", two(
        lambda s: s.spec(trigger_rule="none_skipped"), lambda s: try_of(s, 12, 1, 1, state=12))),
    ("S5", "a try after a success", again),
    ("S5", "superseded by nobody", lambda s: try_of(s, 11, 1, 2, superseded_by=9)),
    ("S5", "superseded by a refused request", lambda s: [clear_first(s), s.one("command", 1).update(state=11)]),
    ("S5", "a success that is gone", lambda s: [s.remember(), s.drop("attempt", 1)]),
    ("S5", "a success that was shown and is none", two(
        lambda s: s.tell("seen_try", 9, dag="sales", run="r11", task="b", index=-1, **{"try": 1}, state="success"),
        lambda s: try_of(s, 11, 2, 1, state=11, reason="exception", charged=1))),
    ("S5", "taken over by no backfill", lambda s: take_over(s, -2)),
    ("S5", "taken over by a backfill that keeps what is there", lambda s: take_over(s, reprocess=0)),
    ("S5", "taken over by a backfill of another DAG", lambda s: take_over(s, dag_id=2)),
    ("S5", "superseded by a backfill as if it were a request", lambda s: take_over(s, 1)),
    ("S6", "a failure that nobody pays", lambda s: try_of(s, 11, 1, 1, charged=0)),
    ("S6", "a stop that is paid", lambda s: try_of(s, 11, 1, 1, state=13, reason="stopped")),
    ("S6", "more failures than retries", lambda s: s.spec(retries=-1)),
    ("S6", "a loss paid by retries", lambda s: [lose(s), try_of(s, 11, 1, 1, charged=1)]),
    ("S6", "a loss without a cause", lambda s: [lose(s), setattr(s, "faults", [])]),
    ("S6", "a loss that is final too early", lambda s: [lose(s), try_of(s, 11, 1, 1, next_try_at=None)]),
    ("S7", "two events of one success", lambda s: s.tables["asset_event"].append(s.event(33, 11, 2, 3))),
    ("S7", "a success without its event", lambda s: s.drop("asset_event", 0)),
    ("S7", "an event consumed twice", lambda s: s.tables["asset_delivery"].append(
        {"dag_id": 2, "event_id": 31, "run_id": 22, "dropped_at": None})),
    ("S7", "an event that a subscriber never got", lambda s: s.drop("asset_delivery", 1)),
    ("S7", "an event consumed by a scheduled run", lambda s: s.tables["asset_delivery"][0].update(run_id=12)),
    ("S7", "an event that nobody consumed", lambda s: s.tables["asset_delivery"][0].update(run_id=None)),
    ("S7", "an event of a failure", lambda s: s.tables["asset_event"][0].update(try_no=1)),
    ("S8", "a pool of one with two", lambda s: try_of(s, 21, 1, 1, queued_at=NOW + 3 * S)),
    ("S8", "too many slots of a pool", lambda s: s.spec(pool_slots=2)),
    ("S8", "two runs of a DAG that may have one", lambda s: run_of(s, 12, started_at=NOW + 4 * S)),
    ("S8", "a task at its own limit", lambda s: s.spec(max_active_tis_per_dag=0)),
    ("S8", "rows of one moment over a pool", lambda s: [
        try_of(s, 11, 1, 2, state=2, leg=2), s.remember(), try_of(s, 11, 1, 2, state=10),
        s.earlier[0]["tables"]["attempt"][2].update(state=1, leg=2)]),
    ("S8", "two runs of a backfill that may have one", lambda s: [both(s), run_of(s, 12, started_at=NOW + 4 * S)]),
    ("S8", "a run of a backfill that has no place", lambda s: [both(s), s.one("backfill", 1).update(max_active=0)]),
    ("S8", "rows of one moment over a backfill's places", lambda s: [
        both(s), s.remember(), *[one.update(state=2) for one in s.earlier[0]["tables"]["dag_run"][:2]]]),
    ("S9", "an end that changes", lambda s: seen_changes(s, reason="exit code")),
    ("S9", "a token that changes", lambda s: seen_changes(s, token="other")),
    ("S9", "a process of another token", lambda s: try_of(s, 11, 1, 2, pid=8)),
    ("S9", "a value that its body did not return", two(
        lambda s: s.journal[2].update(value=2),
        lambda s: s.tables["xcom"].append(
            {"run_id": 11, "task_no": 1, "map_index": -1, "key": "return_value", "body": "1"}))),
    ("S10", "a run that is not there", lambda s: s.tell("trigger", dag="sales", run="m-lost")),
    ("S10", "a run under another key", lambda s: s.tell("trigger", dag="sales", run="r11", key="k")),
    ("S10", "a request that is not there", lambda s: s.tell("cancel", command=3)),
    ("S10", "a run after a pause", lambda s: [s.tell("pause", 5, dag="sales"), s.one("dag", 1).update(paused=True)]),
    ("S10", "a pause that is forgotten", lambda s: s.tell("pause", 50, dag="sales")),
    ("S10", "a pool of another size", lambda s: s.tell("set_pool", pool="narrow", slots=3)),
    ("S10", "a variable that is not there", lambda s: s.tell("set_variable", key="v", value="1")),
    ("S10", "a run that was shown as failed", lambda s: s.tell("seen_run", dag="sales", run="r11", state="failed")),
    ("S11", "a step of the try before", step_twice),
    ("S11", "a step of the same try", lambda s: step_twice(s, later=1)),
    ("S11", "the second of two steps", lambda s: [s.say("stored", S - 1, 1, step="read"), step_twice(s)]),
    ("S12", "a run before it is due", lambda s: run_of(s, 11, created_at=NOW - 1)),
    ("S12", "a run that starts before it is due", lambda s: run_of(s, 12, started_at=NOW + 9 * S)),
    ("S12", "a retry before its delay", lambda s: try_of(s, 11, 1, 1, next_try_at=NOW + 2 * S + 1)),
    ("S12", "a body before its try", lambda s: s.journal[0].update(at=NOW)),
    ("S12", "a try before its run", lambda s: run_of(s, 11, started_at=NOW + 2 * S)),
    ("S12", "a deadline missed too early", lambda s: deadline(s, 8)),
    ("S14", "a success without an end", lambda s: s.journal.pop(2)),
    ("S14", "a success of another token", lambda s: s.journal[2].update(token="t11.1.1")),
    ("S14", "a success that never ran", lambda s: [s.journal.pop(3), s.journal.pop(3)]),
    ("S15", "a run that was taken over and is not counted", lambda s: take_over(s, success=0)),
    ("S15", "more than was lost to a later backfill", lambda s: [
        take_over(s), s.backfill(id=2, slots=3, done=3, success=2)]),
    ("S15", "a backfill that counts a success as a failure", lambda s: backfill(s, success=0, failed=1)),
    ("S15", "a backfill that forgets an end", lambda s: half_done(s, success=0, done=0)),
    ("S15", "a backfill that counts an end twice", lambda s: half_done(s, success=2, done=2)),
    ("S15", "a backfill that counts more ends than slots", lambda s: backfill(s, success=2)),
    ("S15", "a backfill that counts below none", lambda s: half_done(s, success=-1)),
    ("L1", "a backfill that was never taken up", lambda s: half_done(s, state=1)),
    ("L1", "a backfill that never ends", half_done),
    ("L1", "a backfill that ended at no instant", lambda s: backfill(s, ended_at=None)),
    ("L1", "a run that never ends", still),
    ("L1", "a live try of an ended run", lambda s: try_of(s, 11, 2, 1, state=2, ended_at=None)),
    ("L1", "a request without an answer", lambda s: s.request("cancel", 1)),
    ("L1", "a callback that nobody ran", callback),
    ("L2", "the owner is dead", lambda s: [still(s), s.one("scheduler", 5).update(alive=False)]),
    ("L2", "the owner is silent", lambda s: [still(s), s.one("scheduler", 5).update(heartbeat=NOW + 80 * S)]),
    ("L2", "no agent knows of it", lambda s: [still(s), s.dump.update(live=[])]),
    ("L2", "its shard is nobody's", lambda s: [still(s, 1), s.one("shard", 1).update(owner=None)]),
]  # fmt: skip


GOOD: list[tuple[str, Spoil]] = [
    ("as it is", lambda s: None),
    ("a try that is cleared runs again", lambda s: [clear_first(s), again(s)]),
    ("a lost try costs nothing of retries", lose),
    ("nobody kept a log of faults", lambda s: [lose(s), setattr(s, "faults", None)]),
    ("a cleared step runs again", lambda s: [s.request(), try_of(s, 11, 1, 1, superseded_by=1), step_twice(s)]),
    ("an event that a dropped subscription had", lambda s: s.tables["asset_delivery"].append(
        {"dag_id": 1, "event_id": 31, "run_id": None, "dropped_at": NOW})),
    ("a queued run of a paused DAG", lambda s: [
        s.tables["dag_run"].append(s.run(41, 1, 20, None, None, state=1)), s.one("dag", 1).update(paused=True)]),
    ("a run whose past went wrong", lambda s: [
        s.spec(depends_on_past=True), try_of(s, 11, 2, 1, state=13, reason="cancelled"),
        run_of(s, 12, state=2, ended_at=None)]),
    ("what was told is there", lambda s: [
        s.tell("trigger", dag="sales", run="r11"), s.tell("pause", 20, dag="sales"), s.tell("unpause", 21, dag="sales"),
        s.tell("seen_run", 9, dag="sales", run="r11", state="success"), s.tell("set_pool", pool="narrow", slots=1)]),
    ("a try that was deferred meanwhile", lambda s: try_of(s, 11, 2, 1, ended_at=NOW + 5 * S + 9, resume_at=NOW)),
    ("a backfill that is done", backfill),
    ("a backfill of one run after the other", both),
    ("a backfill that is held up by a person", lambda s: half_done(s, state=3)),
    ("a backfill of a paused DAG", lambda s: [half_done(s), s.one("dag", 1).update(paused=True)]),
    ("a cancelled backfill", lambda s: half_done(s, state=13, done=2, ended_at=NOW + 9 * S)),
    ("a run that a backfill has taken over", take_over),
    ("a backfill that lost a run to a later one", lambda s: [take_over(s), s.backfill(id=2, max_active=1)]),
    ("a deadline that passed", lambda s: deadline(s, 9)),
]  # fmt: skip


@pytest.mark.parametrize("invariant, what, spoil", BAD, ids=[f"{one}-{what}" for one, what, _ in BAD])
def test_a_bad_history_breaks_its_invariant(invariant: str, what: str, spoil: Spoil) -> None:
    story = Story()
    spoil(story)
    found = story.judge()
    assert invariant in {one.invariant for one in found}, found
    assert all(one.subject and one.evidence for one in found)


@pytest.mark.parametrize("what, change", GOOD, ids=[what for what, _ in GOOD])
def test_a_good_history_breaks_nothing(what: str, change: Spoil) -> None:
    story = Story()
    change(story)
    assert story.judge() == []


def test_each_invariant_has_three_bad_histories() -> None:
    counted = Counter(invariant for invariant, _, _ in BAD)
    assert {name: counted[name] >= 3 for name in INVARIANTS} == dict.fromkeys(INVARIANTS, True)


def test_what_lies_within_the_tolerance_of_the_clocks_is_no_violation() -> None:
    story = Story()
    try_of(story, 11, 2, 1, queued_at=NOW + 3 * S - 500)
    assert [one.invariant for one in story.judge()] == ["S4", "S8"]
    assert story.judge(tolerance_us=1000) == []


def test_liveness_is_judged_in_quiet_alone() -> None:
    story = Story()
    story.request("cancel", 1)
    assert [one.invariant for one in story.judge()] == ["L1"]
    assert story.judge(quiet=False) == []


def test_witnessed_tasks_are_those_that_are_named() -> None:
    story = Story()
    story.journal.clear()
    assert story.judge(witnessed=[("sales", "b")])[0].invariant == "S14"
    assert story.judge(witnessed=[]) == []


def test_the_checker_imports_nothing_of_dagd() -> None:
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [one.name for one in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                ours = name.startswith("tests.history")
                assert ours or name.split(".")[0] in {*sys.stdlib_module_names, "__future__"}, (path, name)


def test_a_folder_of_records_is_judged_from_the_command_line(tmp_path: Path) -> None:
    story = Story()
    story.journal.pop(2)
    (tmp_path / "journal.jsonl").write_text("".join(json.dumps(record) + "\n" for record in story.journal))
    (tmp_path / "dump.json").write_text(json.dumps(story.dump))
    command = [sys.executable, "-m", "tests.history.checker", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER.parents[1], check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines()[0].startswith("S14 sales/r11/a try 2: success of token t11.1.2")
    assert done.stdout.splitlines()[-1] == "1 violations"
