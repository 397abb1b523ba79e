"""Slots: catch-up both ways, downtime, pause, schedule changes, @once, @continuous. S1 and S12."""

from __future__ import annotations

from typing import Any

import pytest

from dagd.model.times import SECOND
from dagd.timetables.base import Timetable
from dagd.timetables.build import build
from dagd.timetables.kinds import Continuous
from tests.core_driver import T0, Driver, Ticks, dag

H = 3600 * SECOND


def scheduled(timetable: Timetable | None = None, **more: Any) -> Driver:
    driver = Driver()
    spec = dag(tasks={"a": {"isolation": "engine"}}, schedule=more.pop("schedule", {"kind": "cron"}), **more)
    driver.add_dag(1, spec, timetable or Ticks(H))
    driver.turn(dag_changes=[(1, False)])
    return driver


def slots(driver: Driver) -> list[float]:
    return [(slot - T0) / H for _, slot in driver.rows.slots]


def test_a_slot_becomes_a_run_when_it_falls_due_and_not_before() -> None:
    driver = scheduled()
    driver.tick(3599)
    assert slots(driver) == []
    driver.tick(1)
    assert slots(driver) == [1]
    driver.tick(3600)
    assert slots(driver) == [1, 2]
    run = next(iter(driver.rows.runs.values()))
    assert (run.run_id, run.state) == ("scheduled__2027-01-15T09:00:00Z", 10)


@pytest.mark.parametrize("catchup,expected", [(False, [5]), (True, [0, 1, 2, 3, 4, 5])])
def test_after_downtime_the_latest_slot_runs_once_or_all_of_them_in_order(catchup: bool, expected: list[int]) -> None:
    driver = scheduled(catchup=catchup)
    driver.now = T0 + 5 * H + 60 * SECOND
    driver.turn()
    driver.tick(0)
    assert slots(driver) == expected
    assert driver.state.dags[1].next_due == T0 + 6 * H


@pytest.mark.parametrize("stall, expected", [(3.5, [1, 2, 3]), (5.5, [1, 2, 3, 4, 5]), (6.5, [6])])
def test_a_long_turn_is_no_downtime(stall: float, expected: list[int]) -> None:
    driver = scheduled(Ticks(SECOND))
    driver.tick(stall)
    assert [(slot - T0) // SECOND for _, slot in driver.rows.slots] == expected


def test_a_short_downtime_is_one() -> None:
    driver = scheduled(Ticks(SECOND))
    driver.state.awake_at = None  # memory that was just loaded
    driver.tick(3.5)
    assert [(slot - T0) // SECOND for _, slot in driver.rows.slots] == [3]


def test_a_start_date_in_the_past_makes_no_run_for_the_past_without_catchup() -> None:
    driver = scheduled(Ticks(H, start=T0 - 100 * H))
    assert slots(driver) == []
    driver.tick(3600)
    assert slots(driver) == [1]


def test_catchup_goes_back_to_the_start_date_with_as_many_runs_as_have_a_place() -> None:
    driver = Driver()
    driver.add_dag(
        1, dag(tasks={"a": ""}, schedule={"kind": "cron"}, catchup=True, max_active_runs=3), Ticks(H, start=T0 - 10 * H)
    )
    driver.turn(dag_changes=[(1, False)])
    assert slots(driver) == [-10, -9, -8]
    driver.finish("a")
    assert slots(driver) == [-10, -9, -8, -7]
    driver.drain()
    assert slots(driver)[:11] == list(range(-10, 1))


def test_years_of_slots_of_empty_tasks_are_taken_in_turns_of_bounded_length() -> None:
    driver = scheduled(Ticks(H, start=T0 - 1700 * H), catchup=True)
    assert len(driver.plans[-1].new_runs) == 500
    for _ in range(3):
        driver.turn()
    assert len(slots(driver)) == 1701
    assert slots(driver) == sorted(set(slots(driver)))


@pytest.mark.parametrize("catchup,expected", [(False, [5]), (True, [1, 2, 3, 4, 5])])
def test_slots_missed_while_paused_run_only_with_catchup(catchup: bool, expected: list[int]) -> None:
    driver = scheduled(Ticks(H, start=T0 + H), catchup=catchup)
    found = driver.state.dags[1]
    found.paused = True
    driver.turn(dag_changes=[(1, False)])
    driver.now = T0 + 4 * H + 60 * SECOND
    driver.turn()
    assert slots(driver) == []
    found.paused, found.unpaused_at = False, driver.now
    driver.turn(dag_changes=[(1, False)])
    driver.now = T0 + 5 * H
    driver.turn()
    assert slots(driver) == expected


@pytest.mark.parametrize("catchup,expected", [(False, [5]), (True, [0, 1, 2, 3, 4, 5])])
def test_a_missing_file_counts_as_paused(catchup: bool, expected: list[int]) -> None:
    driver = scheduled(catchup=catchup)
    driver.rows.slots.clear()
    found = driver.state.dags[1]
    if catchup:
        found.last_slot, found.next_due = None, T0
    found.missing = True
    driver.turn(dag_changes=[(1, False)])
    driver.rows.runs.clear()
    driver.now = T0 + 4 * H + 60 * SECOND
    driver.turn()
    found.missing, found.found_again_at = False, driver.now
    driver.turn(dag_changes=[(1, False)])
    driver.now = T0 + 5 * H
    driver.turn()
    assert slots(driver) == expected


@pytest.mark.parametrize("catchup", [False, True])
def test_a_schedule_change_opens_the_new_grid_at_its_next_new_slot(catchup: bool) -> None:
    driver = scheduled(Ticks(H, start=T0 + H), catchup=catchup)
    driver.tick(3600)
    driver.tick(600)  # 01:10, next old slot 02:00
    driver.add_dag(1, driver.graphs[1].spec, Ticks(H // 2, start=T0))
    driver.turn(dag_changes=[(1, True)])
    assert driver.state.dags[1].next_due == T0 + 3 * H // 2
    driver.tick(3600)
    assert slots(driver) in ([1, 2], [1, 1.5, 2])
    driver.tick(3600)
    assert len(set(slots(driver))) == len(slots(driver))


def test_an_old_grid_stays_closed_when_nothing_comes_after_it() -> None:
    """Both grids are over: where the old one was closed must be stored all the same, or a restart opens it again."""
    driver = scheduled(Ticks(H, end=T0 + H), catchup=True)
    driver.tick(3600)
    driver.tick(1800)
    driver.add_dag(1, driver.graphs[1].spec, Ticks(H // 4, end=T0 + 3 * H // 2))
    driver.now = T0 + 3 * H // 2
    plan = driver.turn(dag_changes=[(1, True)])
    assert (plan.next_dues[-1].next_due, plan.next_dues[-1].last_slot) == (None, T0 + 3 * H // 2)


def test_a_grid_that_lost_the_awaited_slot_is_never_early() -> None:
    """S12: next_due comes from a row, the grid from a zone database that may have changed since."""
    for catchup in (False, True):
        driver = scheduled(Ticks(H, start=T0 + 10 * H), catchup=catchup)
        driver.state.dags[1].next_due = T0 + H
        driver.state.set_timer(T0 + H, "slot", 1)
        driver.tick(3600)
        assert slots(driver) == []
        assert driver.state.dags[1].next_due == T0 + 10 * H


def test_once_runs_once() -> None:
    once = build({"kind": "once"}, timezone="UTC", dst="once", start_at=None, end_at=None, first_seen_at=T0)
    driver = scheduled(once)
    for _ in range(3):
        driver.tick(3600)
        driver.turn(dag_changes=[(1, False)])
    assert slots(driver) == [0]


def test_continuous_starts_the_next_run_when_the_last_has_ended_and_stops_at_the_end_date() -> None:
    driver = Driver()
    spec = dag(tasks={"a": ""}, schedule={"kind": "continuous"}, max_active_runs=1)
    driver.add_dag(1, spec, Continuous(None, T0 + 100 * SECOND))
    driver.turn(dag_changes=[(1, False)])
    driver.tick(1)
    for seconds in (5, 70, 30):
        assert len(driver.live) == 1
        driver.now += seconds * SECOND
        driver.finish("a")
        driver.tick(1)
    assert not driver.live
    assert all(slot <= T0 + 100 * SECOND for _, slot in driver.rows.slots)
    driver.tick(1000)
    assert len(driver.rows.runs) == 3


def test_an_end_date_ends_the_slots() -> None:
    driver = scheduled(Ticks(H, end=T0 + 2 * H))
    for _ in range(6):
        driver.tick(3600)
    assert slots(driver) == [1, 2]
    assert driver.state.dags[1].next_due is None


def test_a_manual_run_never_suppresses_a_slot() -> None:
    driver = scheduled()
    driver.trigger(due_at=T0 + H)
    driver.tick(3600)
    assert slots(driver) == [1]


def test_a_held_dag_and_one_without_its_place_make_no_run() -> None:
    driver = scheduled()
    driver.state.dags[1].held = "trouble"
    driver.tick(3600)
    assert slots(driver) == []
