"""depends_on_past and wait_for_downstream: the run before in the DAG's order decides."""

from __future__ import annotations

from typing import Any

import pytest

from dagd.model.states import RunKind
from tests.core_driver import T0, Driver, dag

PAST = {"depends_on_past": True}


def live(driver: Driver) -> list[tuple[int, str]]:
    return [(one.key[0], driver.where(token)[0]) for token, one in driver.live.items()]


def test_a_task_waits_for_itself_in_the_run_before() -> None:
    driver = Driver(dag(tasks={"a": PAST, "b": "a"}), check_rebuild=True)
    driver.trigger()
    driver.trigger()
    assert live(driver) == [(1, "a")]
    driver.finish("a")
    assert live(driver) == [(1, "b"), (2, "a")]


@pytest.mark.parametrize("outcome,goes_on", [("succeed", True), ("skip", True), ("fail", False)])
def test_it_goes_on_after_success_and_skip_alone(outcome: str, goes_on: bool) -> None:
    driver = Driver(dag(tasks={"a": PAST}), check_rebuild=True)
    driver.trigger()
    driver.trigger()
    driver.finish("a", outcome)
    assert live(driver) == ([(2, "a")] if goes_on else [])
    driver.trigger()  # and the third waits for the second
    assert live(driver) == ([(2, "a")] if goes_on else [])


def test_the_run_before_may_have_ended_long_ago() -> None:
    driver = Driver(dag(tasks={"a": PAST}), check_rebuild=True)
    driver.trigger()
    driver.finish("a", "fail")
    driver.trigger()
    assert (driver.run_state(1), live(driver)) == ("failed", [])
    assert driver.command("clear", 1, instances=[["a", None]])[0]
    driver.finish("a", run=1)
    assert live(driver) == [(2, "a")]


def test_wait_for_downstream_waits_for_the_tasks_directly_below_too() -> None:
    tasks: dict[str, Any] = {"a": PAST | {"wait_for_downstream": True}, "b": "a", "c": "b"}
    driver = Driver(dag(tasks=tasks), check_rebuild=True)
    driver.trigger()
    driver.trigger()
    driver.finish("a")
    assert live(driver) == [(1, "b")]
    driver.finish("b")
    assert live(driver) == [(1, "c"), (2, "a")]


def test_the_order_is_by_due_instant_whatever_the_kind() -> None:
    driver = Driver(dag(tasks={"a": PAST}), check_rebuild=True)
    driver.trigger(kind=RunKind.SCHEDULED, due_at=T0)
    driver.trigger(kind=RunKind.MANUAL, due_at=T0 + 5)
    driver.trigger(kind=RunKind.ASSET, due_at=T0 + 9)
    for run in (1, 2, 3):
        assert live(driver) == [(run, "a")]
        driver.finish("a")


def test_a_manual_run_does_not_hold_the_only_place_while_it_waits_for_one_before_it() -> None:
    """It ranks first, but the run that it waits for needs that place."""
    driver = Driver(dag(tasks={"a": PAST}, max_active_runs=1), check_rebuild=True)
    driver.state.dags[1].paused = True
    driver.trigger(kind=RunKind.MANUAL, due_at=T0 + 5)
    driver.trigger(kind=RunKind.SCHEDULED, due_at=T0)
    driver.state.dags[1].paused = False
    driver.turn(dag_changes=[(1, False)])
    driver.drain()
    assert (driver.run_state(1), driver.run_state(2)) == ("success", "success")


def test_a_run_that_comes_late_looks_at_the_one_before_it_not_at_the_last_that_ended() -> None:
    driver = Driver(dag(tasks={"a": PAST}), check_rebuild=True)
    driver.trigger(due_at=T0)
    driver.finish("a", "fail")
    driver.state.dags[1].pasts[0].states.clear()  # as if it had been marked
    driver.trigger(due_at=T0 + 10)
    driver.finish("a", "fail")
    driver.trigger(due_at=T0 + 5, kind=RunKind.BACKFILL)
    assert live(driver) == [(3, "a")]
    driver.finish("a")
    driver.trigger(due_at=T0 + 12)
    assert live(driver) == []


def test_a_task_that_the_run_before_did_not_have_does_not_wait() -> None:
    driver = Driver(dag(tasks={"a": ""}), check_rebuild=False)
    driver.trigger()
    driver.add_dag(1, dag(tasks={"a": "", "n": PAST}))
    driver.trigger()
    assert live(driver) == [(1, "a"), (2, "a"), (2, "n")]
