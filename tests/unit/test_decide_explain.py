"""`why`: the first reason is the nearest one, names what holds something back, and has a stable code."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from dagd.decide.cases import Answer, Because, Case, Ended
from dagd.decide.explain import why_dag, why_instance, why_run
from dagd.decide.state import TaskState
from dagd.decide.turn import Turn
from dagd.model.specs import GroupSpec
from dagd.model.times import SECOND
from tests.core_driver import T0, Driver, Ticks, dag, expand, items, over

H = 3600 * SECOND
EMPTY = {"isolation": "engine"}


def case_of(driver: Driver, run: int | None = None, **more: Any) -> Case:
    case = Case(Turn(driver.state, driver.now, random.Random(0)), driver.state.dags[1], **more)
    case.missing_pools = {name for name, pool in driver.state.pools.items() if not pool.slots}
    if run is None:
        return case
    view = driver.state.runs.get(run) or driver._view(driver.state, run)
    if not view.tasks:
        view.tasks = [TaskState(view.graph, i) for i in range(len(view.graph.tasks))]
    case.run = view
    for key, row in sorted(driver.rows.attempts.items()):
        if key[0] == run and row.superseded_by is None:
            i = view.graph.by_no[key[1]]
            before = case.ends.get((i, max(0, key[2])))
            tries = (before.tries if before else 0) + (key[3] > 0)
            error = json.loads(row.error) if getattr(row, "error", None) else {}
            case.ends[i, max(0, key[2])] = Ended(tries, row.reason, error.get("message"), None, row.reason == "marked")
    return case


def why(driver: Driver, name: str, index: int = -1, run: int = 1, **more: Any) -> Answer:
    case = case_of(driver, run, **more)
    assert case.run is not None
    task = case.run.tasks[case.run.graph.index[name]]
    return why_instance(case, task, task.pos(index))


def first(answer: Answer) -> tuple[str, str, bool]:
    found = answer.reasons[0]
    return found.code, found.message, found.blocking


def begun(tasks: dict[str, Any], **more: Any) -> Driver:
    pools = more.pop("pools", None)
    capacity = more.pop("capacity", 1000)
    driver = Driver(dag(tasks=tasks, **more), pools=pools, capacity=capacity)
    driver.trigger()
    return driver


# --- instances that wait ---------------------------------------------------------------------------------------------


def test_a_task_names_the_upstreams_that_it_waits_for() -> None:
    driver = begun({"a": "", "b": "", "c": {"up": "a b", "trigger_rule": "all_done"}})
    driver.finish("a")
    driver.started("b")
    code, message, blocking = first(why(driver, "c"))
    assert (code, blocking) == ("WHY-UPSTREAM", True)
    assert message == "trigger rule all_done: waits for b (running)"


def test_a_task_below_a_branch_names_it() -> None:
    driver = begun({"b": {"decides": "branch"}, "f": "", "x": {"up": "b f"}})
    driver.finish("f", "fail")
    assert first(why(driver, "x"))[:2] == ("WHY-GATE", "its branch or short-circuit has not ended: b (queued)")


def test_a_map_waits_for_its_source_and_shows_how_many_have_ended() -> None:
    driver = begun({"m": {"expand": expand(items(3))}, "n": {"up": "m", "expand": expand(over("m"))}})
    driver.finish("m", index=1)
    assert first(why(driver, "n"))[1] == "trigger rule all_success: waits for m (1 of 3 ended)"


def test_an_index_of_a_group_waits_for_its_own_upstream() -> None:
    inside = {"mapped_group": "g", "group": "g"}
    driver = begun(
        {"g.x": inside, "g.y": {"up": "g.x"} | inside}, groups=(GroupSpec("g", expand=expand(items(2))),),
    )  # fmt: skip
    assert first(why(driver, "g.y", 1))[1] == "trigger rule all_success: waits for g.x/1 (queued)"


@pytest.mark.parametrize(
    "task,more,code,words",
    [
        ({"pool": "p"}, {"pools": {"p": 1}}, "WHY-POOL", "pool p is full: 1 of 1 slots used"),
        ({"pool": "nope"}, {}, "WHY-POOL-MISSING", "there is no pool 'nope'"),
        ({"pool": "p", "pool_slots": 5}, {"pools": {"p": 2}}, "WHY-POOL-TOO-SMALL", "asks for 5 slots of pool p"),
        ({}, {"max_active_tasks": 1}, "WHY-DAG-LIMIT", "1 of 1 tasks (max_active_tasks)"),
    ],
)
def test_a_ready_task_names_the_limit_that_holds_it(
    task: dict[str, Any], more: dict[str, Any], code: str, words: str
) -> None:
    driver = begun({"a": task, "b": task}, **more)
    answer = why(driver, "b", pool_users={"p": ["d/m-1/a"]})
    assert first(answer)[0] == code
    assert words in first(answer)[1]
    assert answer.reasons[0].blocking
    assert answer.state == "scheduled"
    if code == "WHY-POOL":
        assert first(answer)[1].endswith("by d/m-1/a")


def test_a_task_without_a_worker_slot_says_so_and_names_what_comes_first() -> None:
    driver = begun({"a": {"priority": 3}, "b": {"priority": 2}, "c": ""}, capacity=1)
    answer = why(driver, "c", workers=1, busy=1)
    assert [one.code for one in answer.reasons] == ["WHY-WORKERS", "WHY-PRIORITY"]
    assert "m-1/b (priority 2)" in answer.reasons[1].message
    assert [one.code for one in why(driver, "b", workers=1, busy=1).reasons] == ["WHY-WORKERS"]


def test_a_task_at_its_own_limit_says_so() -> None:
    driver = begun({"m": {"expand": expand(items(3)), "max_active_tis_per_dagrun": 1}})
    assert first(why(driver, "m", 1))[0] == "WHY-TASK-LIMIT"
    driver = begun({"a": {"max_active_tis_per_dag": 1}})
    driver.trigger()
    assert first(why(driver, "a", run=2))[0] == "WHY-TASK-LIMIT"


def test_a_ready_task_that_nothing_holds_starts_soon_or_waits_for_a_scheduler() -> None:
    driver = begun({"a": ""}, capacity=0)
    assert first(why(driver, "a"))[::2] == ("WHY-STARTING", False)
    assert [one.code for one in why(driver, "a", has_scheduler=False).reasons] == ["WHY-STARTING", "WHY-NO-SCHEDULER"]


def test_depends_on_past_names_the_run_before() -> None:
    driver = begun({"a": {"depends_on_past": True}})
    driver.finish("a", "fail")
    driver.trigger()
    code, message, blocking = first(why(driver, "a", run=2))
    assert (code, blocking) == ("WHY-PAST", True)
    assert "m-1" in message


def test_a_pause_before_a_retry_and_a_deferral_say_until_when() -> None:
    driver = begun({"a": {"retries": 1, "retry_delay_us": H}, "b": ""})
    driver.finish("a", "fail", reason="exception", error={"message": "no luck"})
    driver.finish("b", "defer", until=T0 + H)
    answer = why(driver, "a")
    assert (answer.state, answer.next) == ("up_for_retry", "2027-01-15T09:00:00Z")
    assert first(answer)[:2] == ("WHY-RETRY", "try 1 failed: exception; the next one starts 09:00:00 UTC (in 1h00m)")
    assert (why(driver, "b").state, first(why(driver, "b"))[0]) == ("deferred", "WHY-DEFERRED")


def test_a_wait_for_a_trigger_says_what_for_and_how_long_at_most() -> None:
    driver = begun({"a": "", "b": ""})
    driver.finish("a", "defer", trigger={"kind": "file", "path": "/in/x.csv"}, timeout_us=H)
    driver.finish("b", "defer", trigger={"kind": "time", "at": T0 + H})
    told = "it waits for file /in/x.csv, until 09:00:00 UTC (in 1h00m) at most and holds no slot"
    assert first(why(driver, "a"))[:2] == ("WHY-DEFERRED", told)
    assert first(why(driver, "b"))[1] == "it waits until 09:00:00 UTC (in 1h00m) and holds no slot"


def test_live_tries_say_that_they_live() -> None:
    driver = begun({"a": ""})
    assert first(why(driver, "a"))[::2] == ("WHY-QUEUED", False)
    driver.started("a")
    assert first(why(driver, "a"))[::2] == ("WHY-RUNNING", False)


def test_a_cleared_task_waits_for_its_old_try() -> None:
    driver = begun({"a": ""})
    driver.command("clear", 1, instances=[["a", None]])
    assert first(why(driver, "a"))[0] == "WHY-OLD-TRY"


# --- instances that have ended ---------------------------------------------------------------------------------------


def test_what_did_not_run_names_the_rule_the_upstream_and_what_failed_above() -> None:
    driver = begun({"load": {"retries": 3}, "clean": "load", "notify": "clean"})
    driver.drain({"load": "fail"})
    answer = why(driver, "notify")
    assert answer.reasons[0].message == (
        "notify did not run: trigger rule all_success; upstream clean ✗ upstream_failed"
    )
    assert answer.reasons[1].message.startswith("load failed after 4 tries")
    assert answer.next == "dagd tasks clear d/m-1/notify+"
    assert why(driver, "clean").reasons[0].message.endswith("upstream load ✗ failed after 4 tries")


@pytest.mark.parametrize(
    "tasks,script,name,code,words",
    [
        (
            {"b": {"decides": "branch"}, "x": "b"}, {"b": {"outcome": "succeed", "branch": []}}, "x", "WHY-NOT-CHOSEN",
            "the branch b",
        ),
        (
            {"c": {"decides": "short_circuit"}, "x": "c"}, {"c": {"outcome": "succeed", "short_circuit": True}}, "x",
            "WHY-SHORT-CIRCUIT", "c",
        ),
        (
            {"a": "", "x": {"up": "a", "expand": expand(over("a"))}}, {"a": {"outcome": "succeed", "value": 0}}, "x",
            "WHY-EMPTY-MAP", "a gave no items",
        ),
        ({"a": "", "x": "a"}, {"a": "skip"}, "x", "WHY-UPSTREAM", "upstream a skipped"),
        ({"x": ""}, {"x": "skip"}, "x", "WHY-SKIPPED", "skipped itself"),
        ({"x": ""}, {}, "x", "WHY-DONE", "succeeded"),
        ({"x": ""}, {"x": {"outcome": "fail", "reason": "execution_timeout"}}, "x", "WHY-FAILED", "execution_timeout"),
    ],
)  # fmt: skip
def test_an_end_has_its_reason(tasks: dict[str, Any], script: dict[str, Any], name: str, code: str, words: str) -> None:
    driver = begun(tasks)
    driver.drain(script)
    answer = why(driver, name)
    assert first(answer)[0] == code
    assert words in first(answer)[1]


def test_stops_and_marks_are_named() -> None:
    driver = begun({"a": "", "b": "a"})
    driver.command("cancel", 1)
    driver.drain()
    assert (first(why(driver, "a"))[0], first(why(driver, "b"))[0]) == ("WHY-STOPPED", "WHY-STOPPED")
    driver = begun({"a": "", "b": "a"})
    driver.command("mark_tasks", 1, instances=[["b", None]], state="success")
    assert first(why(driver, "b"))[0] == "WHY-MARKED"


# --- runs and DAGs ---------------------------------------------------------------------------------------------------


def codes(answer: Answer) -> list[str]:
    return [one.code for one in answer.reasons]


def test_a_queued_run_names_what_it_waits_for() -> None:
    driver = begun({"a": ""}, max_active_runs=1)
    driver.trigger()
    answer = why_run(case_of(driver, 2))
    assert (answer.state, codes(answer)) == ("queued", ["WHY-ACTIVE-RUNS", "WHY-KIND"])
    assert "m-1" in answer.reasons[0].message
    assert codes(why_run(case_of(driver, 2, has_scheduler=False)))[1] == "WHY-NO-SCHEDULER"
    assert first(why(driver, "a", run=2))[0] == "WHY-RUN-QUEUED"


def test_a_running_run_names_its_open_tasks_and_an_ended_one_what_failed() -> None:
    driver = begun({"a": "", "b": "a", "c": ""})
    driver.finish("c")
    answer = why_run(case_of(driver, 1))
    assert [one.message.partition(":")[0] for one in answer.reasons] == ["a", "b", "manual run"]
    driver.finish("a", "fail")
    answer = why_run(case_of(driver, 1))
    assert (answer.state, answer.next) == ("failed", "dagd tasks clear d/m-1/a+")
    assert codes(answer) == ["WHY-FAILED", "WHY-KIND"]


def test_a_dag_says_its_next_slot_and_that_nothing_blocks_it() -> None:
    driver = Driver()
    driver.add_dag(1, dag(tasks={"a": EMPTY}, schedule={"kind": "cron"}, timezone="Europe/Berlin"), Ticks(H))
    driver.turn(dag_changes=[(1, False)])
    answer = why_dag(case_of(driver))
    assert (answer.state, answer.next) == ("active", "2027-01-15T09:00:00Z")
    assert answer.reasons[0] == Because("WHY-NEXT-SLOT", "next slot 10:00:00 CET (in 1h00m)", False)
    assert answer.reasons[1].message == "not blocked: pool default_pool 0/128, active runs 0/16"


@pytest.mark.parametrize(
    "change,code,state",
    [({"paused": True}, "WHY-PAUSED", "paused"), ({"missing": True}, "WHY-MISSING-FILE", "missing"),
     ({"held": "trouble\nmore"}, "WHY-HELD", "held")],
)  # fmt: skip
def test_a_dag_that_starts_no_runs_says_why(change: dict[str, Any], code: str, state: str) -> None:
    driver = begun({"a": ""})
    for name, value in change.items():
        setattr(driver.state.dags[1], name, value)
    answer = why_dag(case_of(driver))
    assert (answer.state, answer.reasons[0].code, answer.reasons[0].blocking) == (state, code, True)
    assert "WHY-FREE" not in codes(answer)


def test_a_dag_without_a_schedule_and_one_with_a_broken_file() -> None:
    driver = begun({"a": ""})
    assert codes(why_dag(case_of(driver, file_error="SyntaxError"))) == [
        "WHY-NO-SCHEDULE",
        "WHY-BROKEN-FILE",
        "WHY-FREE",
    ]


def test_a_consumer_shows_the_truth_of_each_asset() -> None:
    condition = ["all", [["asset", "raw.orders"], ["asset", "raw.items"]]]
    driver = Driver(dag(tasks={"a": ""}, condition=condition, schedule={"kind": "assets"}))
    driver.turn(deliveries=[(1, "raw.items", 5, T0)])
    answer = why_dag(case_of(driver))
    assert codes(answer) == ["WHY-ASSET-WAITS", "WHY-ASSET-OPEN"]
    assert (answer.reasons[0].blocking, "raw.orders" in answer.reasons[0].message) == (True, True)
