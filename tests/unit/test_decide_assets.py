"""Asset triggers: conditions, what a run consumes, pauses, limits; events of a success."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

from dagd.decide.assets import consumed_leaves, is_true, leaves_of
from tests.core_driver import Driver, dag

A, B, C = ["asset", "a"], ["asset", "b"], ["asset", "c"]


@pytest.mark.parametrize(
    "condition,open_keys,consumed",
    [
        (A, "a", "a"),
        (["all", [A, B]], "a", ""),
        (["all", [A, B]], "ab", "ab"),
        (["any", [A, B]], "b", "b"),
        (["any", [A, B]], "ab", "ab"),
        (["any", [["all", [A, B]], C]], "ac", "c"),
        (["any", [["all", [A, B]], C]], "abc", "abc"),
        (["all", [["any", [A, B]], C]], "ac", "ac"),
        (["all", [["any", [A, B]], C]], "ab", ""),
    ],
)
def test_the_open_leaves_of_true_maximal_sub_trees_are_consumed(condition: Any, open_keys: str, consumed: str) -> None:
    assert consumed_leaves(condition, set(open_keys)) == set(consumed)


def test_a_condition_is_true_exactly_when_something_would_be_consumed() -> None:
    condition = ["all", [["any", [A, ["all", [B, C]]]], ["any", [B, C]]]]
    for size in range(4):
        for keys in combinations("abc", size):
            assert is_true(condition, set(keys)) == bool(consumed_leaves(condition, set(keys)))
    assert leaves_of(condition) == ("a", "b", "c")


def consumer(condition: Any, **more: Any) -> Driver:
    driver = Driver(dag("c", tasks={"x": ""}, condition=condition, **more))
    driver.turn(dag_changes=[(1, False)])
    return driver


def open_event(driver: Driver, key: str, event: int) -> None:
    driver.turn(deliveries=[(1, key, event, driver.now)])


def test_events_are_consumed_once_and_the_run_knows_exactly_its_own() -> None:
    driver = consumer(["any", [["all", [A, B]], C]])
    open_event(driver, "a", 1)
    assert not driver.rows.runs
    open_event(driver, "c", 2)
    assert driver.rows.consumed.keys() == {(1, 2)}  # c alone; a waits for b
    open_event(driver, "b", 3)
    runs = {event: run for (_, event), run in driver.rows.consumed.items()}
    assert runs[1] == runs[3] != runs[2]


def test_events_that_wait_at_max_active_runs_go_to_the_next_run_together() -> None:
    driver = consumer(A, max_active_runs=1)
    for event in range(1, 5):
        open_event(driver, "a", event)
    assert len(driver.rows.runs) == 1
    driver.finish("x")
    assert sorted(driver.rows.consumed) == [(1, event) for event in range(1, 5)]
    assert len(set(driver.rows.consumed.values())) == 2


def test_each_mode_makes_one_run_for_each_event() -> None:
    driver = consumer(A, trigger_mode="each")
    driver.turn(deliveries=[(1, "a", event, driver.now) for event in (1, 2, 3)])
    assert len(set(driver.rows.consumed.values())) == 3


def test_a_paused_consumer_accumulates() -> None:
    driver = consumer(A)
    driver.state.dags[1].paused = True
    open_event(driver, "a", 1)
    open_event(driver, "a", 2)
    assert not driver.rows.runs
    driver.state.dags[1].paused = False
    driver.turn(dag_changes=[(1, False)])
    assert len(driver.rows.runs) == 1
    assert len(driver.rows.consumed) == 2


def test_a_changed_condition_drops_the_events_of_assets_that_left_it() -> None:
    driver = consumer(["all", [A, B]])
    open_event(driver, "a", 1)
    driver.add_dag(1, dag("c", tasks={"x": ""}, condition=["all", [B, C]]))
    plan = driver.turn(dag_changes=[(1, False)])
    assert plan.subscriptions == [(1, ("b", "c"))]
    assert driver.state.dags[1].open_events == {}


def test_a_success_publishes_one_event_for_each_outlet_and_nothing_else_does() -> None:
    tasks = {
        "a": {"outlets": ("x", "y")},
        "e": {"outlets": ("z",), "isolation": "engine"},
        "f": {"outlets": ("n",)},
        "k": {"outlets": ("n",)},
    }
    driver = Driver(dag(tasks=tasks))
    driver.trigger()
    driver.finish("a", frame={"assets": [{"asset": "x", "partition": "p", "data_version": "7", "metadata": {"n": 1}}]})
    driver.finish("f", "fail")
    driver.finish("k", "skip")
    found = {row.asset: (row.partition, row.metadata) for row in driver.rows.events}
    assert found == {"x": ("p", '{"n": 1}'), "y": ("", None), "z": ("", None)}
    assert len({row.id for row in driver.rows.events}) == 3
    assert all(row.source_key for row in driver.rows.events)


@pytest.mark.parametrize(
    "policy, runs, consumed, dropped", [("run_once", 1, 2, ()), ("each", 2, 2, ()), ("skip", 0, 0, (1, 2))]
)
def test_what_came_while_paused_runs_once_or_each_or_not_at_all(
    policy: str, runs: int, consumed: int, dropped: tuple[int, ...]
) -> None:
    driver = consumer(A, on_unpause=policy)
    found = driver.state.dags[1]
    found.paused = True
    open_event(driver, "a", 1)
    driver.now += 1
    open_event(driver, "a", 2)
    driver.now += 1
    found.paused, found.unpaused_at = False, driver.now
    plan = driver.turn(dag_changes=[(1, False)])
    assert (len(driver.rows.runs), len(driver.rows.consumed)) == (runs, consumed)
    assert plan.dropped == ([(1, dropped)] if dropped else [])
    driver.now += 1
    driver.turn(deliveries=[(1, "a", event, driver.now) for event in (3, 4)])
    assert len(driver.rows.runs) == runs + 1
