"""Deadlines: met, missed once at the moment they pass, cancelled; never missed by what was done in time."""

from __future__ import annotations

from typing import Any

import pytest

from dagd.model.specs import DeadlineSpec
from dagd.model.states import RunKind
from dagd.model.times import SECOND
from tests.core_driver import T0, Driver, dag

M = 60 * SECOND


def sla(by: str = "finish", after: str = "due", within: int = M, **more: Any) -> tuple[DeadlineSpec, ...]:
    return (DeadlineSpec(by, after, within, **more),)


def words(driver: Driver) -> list[str]:
    return [row.state.word for row in driver.rows.deadlines.values()]


def told(driver: Driver) -> list[str]:
    return [row.topic for row in driver.rows.outbox if row.topic == "deadline"]


def test_a_deadline_is_missed_once_at_the_moment_it_passes_while_the_task_runs() -> None:
    driver = Driver(dag(tasks={"a": {"deadlines": sla()}}))
    driver.trigger()
    driver.started("a")
    driver.tick(59)
    assert words(driver) == ["pending"]
    driver.tick(1)
    assert (words(driver), told(driver)) == (["missed"], ["deadline"])
    driver.tick(60)
    driver.finish("a")
    assert (words(driver), told(driver)) == (["missed"], ["deadline"])


def test_it_is_missed_even_when_the_task_never_started() -> None:
    driver = Driver(dag(tasks={"a": {"pool": "nowhere", "deadlines": sla()}}))
    driver.trigger()
    driver.tick(60)
    assert words(driver) == ["missed"]


@pytest.mark.parametrize("outcome,word", [("succeed", "met"), ("skip", "met"), ("fail", "cancelled")])
def test_an_end_in_time_closes_it(outcome: str, word: str) -> None:
    driver = Driver(dag(tasks={"a": {"deadlines": sla()}}))
    driver.trigger()
    driver.tick(30)
    driver.finish("a", outcome)
    assert words(driver) == [word]
    driver.tick(60)
    assert (words(driver), told(driver)) == ([word], [])


def test_a_result_that_lay_in_the_spool_counts_from_when_it_ended() -> None:
    driver = Driver(dag(tasks={"a": {"deadlines": sla()}}))
    driver.trigger()
    driver.now += 10 * M
    driver.finish("a", ended_at=T0 + M)
    assert words(driver) == ["met"]
    assert next(iter(driver.rows.deadlines.values())).at == T0 + M


def test_a_failure_may_keep_it() -> None:
    driver = Driver(dag(tasks={"a": {"deadlines": sla(even_if_failed=True)}}, deadlines=sla(even_if_failed=True)))
    driver.trigger()
    driver.finish("a", "fail")
    assert (driver.run_state(), words(driver)) == ("failed", ["pending", "pending"])
    driver.tick(60)
    assert words(driver) == ["missed", "missed"]
    assert not driver.state.runs


def test_scheduled_runs_count_from_the_slot_and_others_from_their_creation() -> None:
    driver = Driver(dag(tasks={"a": ""}, deadlines=sla()))
    driver.trigger(kind=RunKind.SCHEDULED, due_at=T0 - 10 * SECOND)
    driver.trigger(kind=RunKind.MANUAL, due_at=T0 - 10 * SECOND)
    assert [row.due_at for row in driver.rows.deadlines.values()] == [T0 - 10 * SECOND + M, T0 + M]


def test_a_promise_to_start_is_met_by_the_start_of_the_run_or_task() -> None:
    driver = Driver(dag(tasks={"a": {"deadlines": sla("start")}}, deadlines=sla("start")))
    driver.trigger()
    assert words(driver) == ["met", "pending"]
    driver.started("a")
    assert words(driver) == ["met", "met"]
    driver.tick(120)
    assert not told(driver)


def test_a_promise_about_duration_counts_from_the_start() -> None:
    driver = Driver(dag(tasks={"a": {"deadlines": sla("duration")}, "b": {"deadlines": sla("finish", "started")}}))
    driver.trigger()
    driver.tick(100)
    assert not words(driver)
    driver.started("a")
    driver.started("b")
    driver.tick(59)
    driver.finish("b")
    driver.tick(1)
    assert words(driver) == ["missed", "met"]


def test_the_end_of_a_run_closes_what_is_open() -> None:
    for outcome, words_then in (("succeed", ["met", "met"]), ("fail", ["cancelled", "cancelled"])):
        driver = Driver(dag(tasks={"a": "", "b": {"up": "a", "deadlines": sla()}}, deadlines=sla()))
        driver.trigger()
        driver.finish("a", outcome)
        driver.drain()
        assert words(driver) == words_then


def test_a_queued_run_that_is_cancelled_keeps_no_promise() -> None:
    driver = Driver(dag(tasks={"a": ""}, deadlines=sla(), max_active_runs=1))
    driver.trigger()
    driver.trigger()
    driver.command("cancel", 2)
    assert words(driver) == ["pending", "cancelled"]
    driver.tick(60)
    assert words(driver) == ["missed", "cancelled"]


def test_several_deadlines_of_a_task_are_told_apart() -> None:
    both = (DeadlineSpec("finish", "due", M), DeadlineSpec("finish", "due", 2 * M))
    driver = Driver(dag(tasks={"a": {"deadlines": both}}))
    driver.trigger()
    driver.tick(90)
    driver.finish("a")
    assert words(driver) == ["missed", "met"]
