"""Cancel, marks on runs, dagrun_timeout, fail_fast: what is stopped, what still runs, what the run ends as."""

from __future__ import annotations

from typing import Any

import pytest

from dagd.decide.commands import Request
from dagd.model.specs import GroupSpec
from dagd.model.times import SECOND
from tests.core_driver import T0, Driver, dag, expand, items

SETUP = {"is_setup": True}
TASKS: dict[str, Any] = {
    "s": SETUP,
    "w": {"up": "s", "retries": 3},
    "after": "w",
    "t": {"up": "after", "setups": "s"},
    "late": "t",
}


def begun(**more: Any) -> Driver:
    """The setup has succeeded, the work runs."""
    driver = Driver(dag(tasks=TASKS, **more), check_rebuild=True)
    driver.trigger()
    driver.finish("s")
    return driver


@pytest.mark.parametrize(
    "stop,waiting,running,reason,run",
    [
        (("cancel", {}), "cancelled", "cancelled", "cancelled", "cancelled"),
        (("mark_run", {"state": "failed"}), "skipped", "cancelled", "marked", "failed"),
        (("mark_run", {"state": "success"}), "skipped", "cancelled", "marked", "success"),
    ],
)
def test_a_stopped_run_ends_after_the_teardown_whose_setup_succeeded(
    stop: tuple[str, dict[str, str]], waiting: str, running: str, reason: str, run: str
) -> None:
    driver = begun()
    assert driver.command(stop[0], 1, **stop[1])[0]
    assert driver.stopped == {driver.token("w"): reason}
    assert driver.run_state() == "running"
    driver.finish("w")  # it handled SIGTERM and exited 0: stopped all the same, and never retried
    assert driver.run_state() == "running"
    driver.finish("t")
    assert driver.states() == {"s": "success", "w": running, "after": waiting, "t": "success", "late": waiting}
    assert driver.tries("w")[0].reason == reason
    assert driver.run_state() == run


def test_a_run_out_of_time_fails_with_its_running_tasks_and_skips_the_rest() -> None:
    driver = begun(dagrun_timeout_us=60 * SECOND)
    driver.tick(59)
    assert not driver.stopped
    driver.tick(1)
    assert set(driver.stopped.values()) == {"dagrun_timeout"}
    driver.drain()
    assert driver.states() == {"s": "success", "w": "failed", "after": "skipped", "t": "success", "late": "skipped"}
    assert driver.run_state() == "failed"
    assert driver.rows.runs[1].reason == "dagrun_timeout"


def test_a_result_that_is_here_beats_a_cancel_of_the_same_turn() -> None:
    driver = Driver(dag(tasks={"a": "", "b": "a"}), check_rebuild=True)
    run = driver.trigger()
    result = driver.result(driver.token("a"))
    view = driver.state.runs[run]
    driver.turn(results=[result], commands=[Request(1, "cancel", view, {})])
    assert driver.states() == {"a": "success", "b": "cancelled"}
    assert driver.run_state() == "cancelled"


def test_nothing_starts_after_a_cancel_and_ended_tasks_stay() -> None:
    driver = Driver(dag(tasks={"a": "", "b": "a", "x": {"retries": 5, "retry_delay_us": SECOND}}), check_rebuild=True)
    driver.trigger()
    driver.finish("a")
    driver.finish("x", "fail")
    driver.command("cancel", 1)
    driver.tick(10)
    assert driver.live.keys() == driver.stopped.keys()
    driver.drain()
    assert driver.states() == {"a": "success", "b": "cancelled", "x": "cancelled"}


def test_a_cancel_of_what_has_ended_is_refused_and_of_a_cancelled_run_done() -> None:
    driver = Driver(dag(tasks={"a": ""}))
    driver.trigger()
    driver.drain()
    done, text = driver.command("cancel", 1)
    assert not done
    assert "success" in text
    driver.trigger()
    driver.command("cancel", 2)
    driver.drain()
    assert driver.command("cancel", 2)[0]


def test_a_queued_run_is_cancelled_without_starting_and_gives_its_place_to_a_slot() -> None:
    driver = Driver(dag(tasks={"a": ""}, max_active_runs=1))
    driver.trigger()
    driver.trigger()
    assert driver.command("cancel", 2)[0]
    assert driver.run_state(2) == "cancelled"
    assert driver.state.dags[1].queued == []


def test_cancelling_every_queued_run_of_a_paused_dag_leaves_no_ghost() -> None:
    driver = Driver(dag(tasks={"a": ""}, max_active_runs=2))
    driver.state.dags[1].paused = True
    for _ in range(5):
        driver.trigger()
    for run in (3, 1, 5, 2):
        driver.command("cancel", run)
    driver.state.dags[1].paused = False
    driver.turn(dag_changes=[(1, False)])
    assert [driver.run_state(run) for run in range(1, 6)] == ["cancelled"] * 3 + ["running", "cancelled"]


def test_fail_fast_stops_at_the_first_final_failure() -> None:
    driver = begun(fail_fast=True)
    driver.finish("w", "fail")
    assert not driver.stopped  # there are retries
    driver.drain({"w": "fail"})
    assert driver.states() == {"s": "success", "w": "failed", "after": "skipped", "t": "success", "late": "skipped"}
    assert driver.run_state() == "failed"


def test_fail_fast_cancels_what_runs_and_never_ends_in_success() -> None:
    driver = Driver(
        dag(
            tasks={"a": "", "b": "", "c": {"up": "a", "trigger_rule": "all_done"}},
            fail_fast=True,
            success_when="leaves",
        ),
        check_rebuild=True,
    )
    driver.trigger()
    driver.finish("a", "fail")
    assert driver.stopped == {driver.token("b"): "fail_fast"}
    driver.drain()
    assert driver.states() == {"a": "failed", "b": "cancelled", "c": "skipped"}
    assert driver.tries("b")[0].reason == "fail_fast"
    assert driver.run_state() == "failed"


def test_a_failed_teardown_does_not_fail_fast() -> None:
    driver = Driver(dag(tasks={"s": SETUP, "t": {"setups": "s"}, "x": ""}, fail_fast=True), check_rebuild=True)
    driver.trigger()
    driver.finish("s")
    driver.finish("t", "fail")
    assert not driver.stopped


def test_the_verdict_of_a_stop_stands_whatever_the_teardown_does() -> None:
    driver = begun()
    driver.command("cancel", 1)
    driver.drain({"t": "fail"})
    assert driver.states()["t"] == "failed"
    assert driver.run_state() == "cancelled"


def test_a_teardown_that_was_running_goes_on_under_a_cancel() -> None:
    driver = begun()
    driver.finish("w")
    driver.finish("after")
    driver.command("cancel", 1)
    assert not driver.stopped
    driver.finish("t")
    assert driver.run_state() == "cancelled"


def test_a_teardown_of_a_setup_that_is_stopped_is_cancelled_with_it() -> None:
    driver = Driver(dag(tasks=TASKS), check_rebuild=True)
    driver.trigger()
    driver.command("cancel", 1)
    driver.drain()
    assert set(driver.states().values()) == {"cancelled"}


def test_a_cancelled_map_writes_one_row_for_all_that_never_began() -> None:
    driver = Driver(
        dag(tasks={"m": {"expand": expand(items(50)), "retries": 1}}), pools={"default_pool": 3}, check_rebuild=True
    )
    driver.trigger()
    driver.finish("m", "fail", index=1)
    driver.finish("m", index=0)
    driver.command("cancel", 1)
    driver.drain()
    states = driver.states()
    assert driver.run_state() == "cancelled"
    assert states["m[0]"] == "success"
    assert states["m"] == "cancelled"  # index -1 speaks for the others
    assert len(driver.rows.attempts) < 10


def test_due_teardowns_of_a_mapped_group_run_index_by_index_under_a_cancel() -> None:
    inside = {"mapped_group": "g", "group": "g"}
    tasks = {"g.s": SETUP | inside, "g.w": {"up": "g.s"} | inside, "g.t": {"up": "g.w", "setups": "g.s"} | inside}
    driver = Driver(dag(tasks=tasks, groups=(GroupSpec("g", expand=expand(items(2))),)), check_rebuild=True)
    driver.trigger()
    driver.finish("g.s", index=0)
    driver.command("cancel", 1)
    driver.drain()
    states = driver.states()
    assert states["g.t[0]"] == "success"
    assert states["g.t[1]"] in {"cancelled", "upstream_failed"}
    assert driver.run_state() == "cancelled"


def test_kill_ends_one_try_without_retry_and_the_run_goes_on() -> None:
    driver = Driver(dag(tasks={"a": {"retries": 3}, "b": "a", "c": ""}), check_rebuild=True)
    driver.trigger()
    assert driver.command("kill", 1, instances=[["a", None]])[0]
    driver.finish("a", "fail")
    assert driver.states() == {"a": "cancelled", "b": "upstream_failed", "c": "queued"}
    assert not driver.command("kill", 1, instances=[["a", None]])[0]
    driver.finish("c")
    assert driver.run_state() == "failed"


def test_killing_the_last_deferred_try_ends_the_run() -> None:
    driver = Driver(dag(tasks={"a": "", "b": {"up": "a", "trigger_rule": "all_done"}}), check_rebuild=True)
    driver.trigger()
    driver.finish("a", "defer", until=T0 + SECOND)
    driver.command("kill", 1, instances=[["a", None]])
    driver.finish("b")
    assert driver.run_state() == "failed"


def test_an_ended_run_may_be_marked_by_hand() -> None:
    driver = Driver(dag(tasks={"a": ""}))
    driver.trigger()
    driver.finish("a", "fail")
    assert driver.command("mark_run", 1, state="success")[0]
    assert (driver.run_state(), driver.rows.runs[1].reason) == ("success", "marked")
