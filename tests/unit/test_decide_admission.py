"""Pools, limits, priorities, fairness: who starts, and that nothing is hidden or forgotten. `Driver.check` holds S8."""

from __future__ import annotations

from typing import Any

from dagd.model.states import RunKind
from tests.core_driver import Driver, dag, expand, items


def live(driver: Driver) -> list[str]:
    return [driver.where(token)[0] for token in driver.live]


def test_a_pool_is_filled_and_never_oversubscribed() -> None:
    tasks = {f"t{at}": {"pool": "p"} for at in range(7)}
    driver = Driver(dag(tasks=tasks), pools={"p": 3}, check_rebuild=True)
    driver.trigger()
    while driver.live:
        assert len(driver.live) <= 3
        driver.finish(live(driver)[0])
    assert driver.run_state() == "success"


def test_a_task_of_several_slots_takes_several() -> None:
    tasks = {"a": {"pool": "p", "pool_slots": 2}, "b": {"pool": "p", "pool_slots": 2}, "c": {"pool": "p"}}
    driver = Driver(dag(tasks=tasks), pools={"p": 3})
    driver.trigger()
    assert live(driver) == ["a", "c"]
    driver.finish("c")
    assert live(driver) == ["a"]
    driver.finish("a")
    assert live(driver) == ["b"]


def test_a_full_pool_hides_no_other() -> None:
    tasks = {f"t{at}": {"pool": "p", "priority": 9} for at in range(5)} | {"x": {"pool": "q"}, "y": {}}
    driver = Driver(dag(tasks=tasks), pools={"p": 1, "q": 1})
    driver.trigger()
    assert sorted(live(driver)) == ["t0", "x", "y"]


def test_what_is_too_big_for_what_is_free_hides_no_smaller_one() -> None:
    big = dag("big", tasks={"b": {"pool": "p", "pool_slots": 2}, "a": {"pool": "p", "priority": 5}})
    small = dag("small", tasks={"s": {"pool": "p"}})
    driver = Driver(big, small, pools={"p": 2})
    driver.trigger(1)
    driver.trigger(2)
    assert live(driver) == ["a", "s"]


def test_a_request_for_several_slots_that_was_passed_over_for_five_seconds_is_served_next() -> None:
    big = dag("big", tasks={"b": {"pool": "p", "pool_slots": 2}})
    small = dag("small", tasks={f"s{at}": {"pool": "p"} for at in range(20)}, max_active_tasks=100)
    driver = Driver(small, big, pools={"p": 2})
    driver.trigger(1)
    driver.trigger(2)
    for _ in range(3):
        driver.finish(live(driver)[0])
        assert "b" not in live(driver)
    driver.now += 6_000_000
    driver.finish(live(driver)[0])
    driver.finish(live(driver)[0])
    assert live(driver) == ["b"]


def test_a_request_for_several_slots_is_served_after_a_bounded_number_of_finishes_however_fast_they_come() -> None:
    tasks = {name: {"pool": "p"} for name in ["s0", "s1", "s2"]} | {"big": {"pool": "p", "pool_slots": 3}}
    tasks |= {f"s{at}": {"pool": "p"} for at in range(3, 200)}
    driver = Driver(dag(tasks=tasks, max_active_tasks=300), pools={"p": 3})
    driver.trigger()
    finishes = 0
    while "big" not in [driver.where(token)[0] for token in driver.live]:
        driver.turn(results=[driver.result(next(iter(driver.live)))])
        finishes += 1
    assert finishes <= 45


def test_a_shrunk_pool_drains_and_what_no_longer_fits_blocks_nobody() -> None:
    tasks = {
        "a": {"pool": "p", "pool_slots": 3},
        "b": {"pool": "p", "pool_slots": 3},
        "c": {"pool": "p", "priority": 0},
    }
    driver = Driver(dag(tasks=tasks), pools={"p": 3})
    driver.trigger()
    assert live(driver) == ["a"]
    driver.turn(pools=[("p", 1, 1)])
    driver.now += 60_000_000
    driver.finish("a")
    assert live(driver) == ["c"]
    driver.turn(pools=[("p", 4, 4)])
    assert live(driver) == ["c", "b"]


def test_a_missing_pool_is_waited_for_aside() -> None:
    driver = Driver(dag(tasks={"a": {"pool": "nowhere"}, "b": ""}))
    driver.trigger()
    assert live(driver) == ["b"]
    driver.turn(pools=[("nowhere", 1, 1)])
    assert live(driver) == ["b", "a"]


def test_a_dag_starts_no_more_than_its_active_tasks_and_forgets_none() -> None:
    tasks: dict[str, Any] = {f"t{at}": {} for at in range(6)} | {f"late{at}": "t0" for at in range(3)}
    driver = Driver(dag(tasks=tasks, max_active_tasks=2), check_rebuild=True)
    driver.trigger()
    driver.finish("t0")
    driver.trigger()  # more of the same DAG becomes ready while it is at its limit
    while driver.live:
        assert len(driver.live) <= 2
        driver.finish(*driver.where(next(iter(driver.live)))[:1])
    assert (driver.run_state(1), driver.run_state(2)) == ("success", "success")


def test_a_dag_at_its_limit_does_not_hold_up_others() -> None:
    one = dag("one", tasks={f"t{at}": {} for at in range(4)}, max_active_tasks=1)
    two = dag("two", tasks={"x": "", "y": ""})
    driver = Driver(one, two)
    driver.trigger(1)
    driver.trigger(2)
    assert sorted(live(driver)) == ["t0", "x", "y"]


def test_limits_of_a_task_over_a_dag_and_over_a_run() -> None:
    tasks = {"a": {"max_active_tis_per_dag": 1}, "m": {"max_active_tis_per_dagrun": 2, "expand": expand(items(5))}}
    driver = Driver(dag(tasks=tasks), check_rebuild=True)
    for _ in range(2):
        driver.trigger()
    assert sorted(live(driver)) == ["a", "m", "m", "m", "m"]
    driver.drain()
    assert (driver.run_state(1), driver.run_state(2)) == ("success", "success")


def test_a_held_task_lets_others_of_its_dag_pass() -> None:
    tasks = {"a": {"max_active_tis_per_dag": 1, "priority": 9}, "b": {}}
    driver = Driver(dag(tasks=tasks))
    driver.trigger()
    driver.trigger()
    assert sorted(live(driver)) == ["a", "b", "b"]
    driver.finish("a")
    assert sorted(live(driver)) == ["a", "b", "b"]


def test_higher_priority_first_and_interactive_before_scheduled_before_backfill() -> None:
    spec = dag(tasks={"low": {"priority": 1}, "high": {"priority": 3}})
    driver = Driver(spec, capacity=0)
    driver.trigger(kind=RunKind.BACKFILL)
    driver.trigger(kind=RunKind.SCHEDULED)
    driver.trigger(kind=RunKind.MANUAL)
    order = []
    for capacity in range(1, 7):
        plan = driver.turn(capacity=capacity)
        order += [(one.key[0], spec.tasks[one.task].task_id) for one in plan.launches]
    assert order == [(3, "high"), (3, "low"), (2, "high"), (2, "low"), (1, "high"), (1, "low")]


def test_ranks_hold_over_pools_when_the_host_is_short() -> None:
    driver = Driver(
        dag(tasks={"a": {"pool": "z"}}), dag("e", tasks={"b": {"pool": "a"}}), pools={"a": 9, "z": 9}, capacity=0
    )
    driver.trigger(2, kind=RunKind.BACKFILL)
    driver.trigger(1, kind=RunKind.MANUAL)
    driver.turn(capacity=1)
    assert live(driver) == ["a"]


def test_dags_take_turns_within_a_pool() -> None:
    specs = [dag(f"d{at}", tasks={f"d{at}t{no}": {} for no in range(3)}) for at in range(3)]
    driver = Driver(*specs, capacity=0)
    for number in (1, 2, 3):
        driver.trigger(number)
    driver.turn(capacity=9)
    assert [name[:2] for name in live(driver)] == ["d0", "d1", "d2"] * 3


def test_no_more_runs_than_max_active_runs() -> None:
    driver = Driver(dag(tasks={"a": ""}, max_active_runs=2), check_rebuild=True)
    for _ in range(5):
        driver.trigger()
    for _ in range(5):
        assert len(driver.state.dags[1].running) <= 2
        driver.finish("a")
    assert {driver.run_state(run) for run in range(1, 6)} == {"success"}


def test_a_paused_dag_starts_no_run_but_ends_those_it_has() -> None:
    driver = Driver(dag(tasks={"a": "", "b": "a"}))
    driver.trigger()
    driver.state.dags[1].paused = True
    driver.trigger()
    driver.finish("a")
    driver.finish("b")
    assert (driver.run_state(1), driver.run_state(2)) == ("success", "queued")
    driver.state.dags[1].paused = False
    driver.turn(dag_changes=[(1, False)])
    assert driver.run_state(2) == "running"


def test_a_full_host_starts_nothing() -> None:
    driver = Driver(dag(tasks={"a": "", "b": ""}), capacity=1)
    driver.trigger()
    assert live(driver) == ["a"]
    driver.finish("a")
    assert live(driver) == ["b"]
