"""Retries, who pays for which end of a try, deferral and its legs."""

from __future__ import annotations

import random
from typing import Any

import pytest

from dagd.decide.retries import retry_delay_us
from dagd.model.specs import TaskSpec
from dagd.model.states import Charge, Reason
from dagd.model.times import SECOND
from tests.core_driver import T0, Driver, dag

M = 60 * SECOND


def retrying(**task: Any) -> Driver:
    driver = Driver(dag(tasks={"a": {"retries": 2, "retry_delay_us": M} | task, "b": "a"}), check_rebuild=True)
    driver.trigger()
    return driver


@pytest.mark.parametrize(
    "spec,delays",
    [
        ({}, [60, 60, 60]),
        ({"retry_factor": 2.0}, [60, 120, 240]),
        ({"retry_factor": 2.0, "max_retry_delay_us": 100 * SECOND}, [60, 100, 100]),
        ({"retry_factor": 0.5}, [60, 30, 15]),
        ({"retry_factor": 1e200}, [60, 100 * 365 * 86400, 100 * 365 * 86400]),
    ],
)
def test_the_delay_grows_by_the_factor_to_the_cap(spec: dict[str, Any], delays: list[int]) -> None:
    task = TaskSpec("a", "Fake", retry_delay_us=M, **spec)
    assert [retry_delay_us(task, n, random.Random(1)) // SECOND for n in (1, 2, 3)] == delays


def test_jitter_is_within_its_bounds_and_the_same_for_the_same_seed() -> None:
    task = TaskSpec("a", "Fake", retry_delay_us=M, retry_jitter=0.5)
    delays = [retry_delay_us(task, 1, random.Random(seed)) for seed in range(50)]
    assert all(M // 2 <= delay <= M + M // 2 for delay in delays)
    assert len(set(delays)) > 40
    assert delays == [retry_delay_us(task, 1, random.Random(seed)) for seed in range(50)]
    capped = TaskSpec("a", "Fake", retry_delay_us=M, retry_jitter=0.5, max_retry_delay_us=M)
    assert max(retry_delay_us(capped, 1, random.Random(seed)) for seed in range(50)) == M


def test_a_failed_try_is_followed_by_others_until_its_budget_is_spent() -> None:
    driver = retrying()
    for expected in (1, 2, 3):
        assert [one.try_no for one in driver.live.values()] == [expected]
        driver.finish("a", "fail", reason="exception")
        driver.tick(59)
        assert not driver.live
        driver.tick(1)
    assert driver.states() == {"a": "failed", "b": "upstream_failed"}
    assert [row.charged for row in driver.tries("a")] == [Charge.RETRIES] * 3
    assert [row.next_try_at for row in driver.tries("a")] == [T0 + M, T0 + 2 * M, None]


CHARGES = [
    (Reason.EXCEPTION, Charge.RETRIES, 3),
    (Reason.EXIT_CODE, Charge.RETRIES, 3),
    (Reason.NO_RESULT, Charge.RETRIES, 3),
    (Reason.SIGNAL, Charge.RETRIES, 3),
    (Reason.TIMEOUT, Charge.RETRIES, 3),
    (Reason.SENSOR_TIMEOUT, Charge.RETRIES, 1),
]


@pytest.mark.parametrize("reason,charge,starts", CHARGES)
def test_each_end_charges_the_budget_of_the_table(reason: str, charge: Charge, starts: int) -> None:
    driver = retrying()
    driver.drain({"a": {"outcome": "fail", "reason": reason}})
    assert [row.charged for row in driver.tries("a")] == [charge] * starts
    assert driver.states()["a"] == "failed"


def test_a_lost_try_is_paid_by_infra_retries_first_and_then_by_retries() -> None:
    driver = retrying(retries=1)
    driver.drain({"a": {"outcome": "fail", "reason": Reason.LOST}})
    assert [row.charged for row in driver.tries("a")] == [Charge.INFRA] * 3 + [Charge.RETRIES] * 2


def test_a_lost_try_without_retries_is_run_again_unless_it_says_fail() -> None:
    driver = retrying(retries=0)
    driver.drain({"a": [{"outcome": "fail", "reason": Reason.LOST}, "succeed"]})
    assert driver.states()["a"] == "success"
    strict = retrying(retries=5, on_lost="fail")
    strict.drain({"a": {"outcome": "fail", "reason": Reason.LOST}})
    assert len(strict.tries("a")) == 1


@pytest.mark.parametrize("outcome,reason", [("cancel", Reason.STOPPED), ("fail", Reason.NOT_STARTED)])
def test_what_the_daemon_stopped_or_never_started_costs_nothing_and_has_no_limit(outcome: str, reason: str) -> None:
    driver = retrying(retries=0)
    for _ in range(20):
        driver.finish("a", outcome, reason=reason)
    driver.finish("a")
    assert driver.states()["a"] == "success"
    assert {row.charged for row in driver.tries("a")[:20]} == {Charge.NOBODY}


def test_a_policy_may_fail_at_once_or_name_the_delay() -> None:
    driver = retrying()
    driver.finish("a", "fail", retry={"action": "retry", "delay_us": 5 * SECOND})
    driver.tick(5)
    driver.finish("a", "fail", retry={"action": "fail"})
    assert driver.states()["a"] == "failed"
    assert retrying().finish("a", "fail", no_retry=True).ends[0].next_try_at is None


def test_a_retry_is_not_early_when_an_older_timer_fires() -> None:
    """S12: the timer of a try before a clear is still set."""
    driver = retrying()
    driver.finish("a", "fail")  # due at 60
    driver.tick(30)
    driver.command("clear", 1, instances=[["a", None], ["b", None]])
    driver.finish("a", "fail")  # due at 90
    driver.tick(30)
    assert not driver.live
    driver.tick(30)
    assert [one.try_no for one in driver.live.values()] == [3]


def test_soft_fail_skips_when_no_try_is_left() -> None:
    driver = retrying()
    driver.drain({"a": {"outcome": "fail", "soft_fail": True, "reason": Reason.SENSOR_TIMEOUT}})
    assert driver.states() == {"a": "skipped", "b": "skipped"}


# --- deferral --------------------------------------------------------------------------------------------------------


def test_a_deferred_try_holds_no_place_and_resumes_as_its_next_leg_with_a_new_token() -> None:
    driver = Driver(dag(tasks={"a": "", "x": "", "b": "a"}), pools={"default_pool": 1}, check_rebuild=True)
    driver.trigger()
    old = driver.token("a")
    driver.finish("a", "defer", until=T0 + M)
    assert [driver.where(token)[0] for token in driver.live] == ["x"]  # the pool's one slot is free
    driver.tick(60)
    assert driver.live.keys() == {driver.token("x")}  # it asks for a place again
    driver.finish("x")
    ((token, launch),) = driver.live.items()
    assert (launch.try_no, launch.leg, launch.leg_state) == (1, 2, "{}")
    assert token != old
    stale = driver.turn(results=[driver.result(old)])
    assert not stale.ends
    assert stale.strays == [old]  # the database says whether it may be forgotten
    driver.finish("a")
    assert driver.states()["a"] == "success"
    assert len(driver.tries("a")) == 1


def test_a_leg_that_is_told_twice_is_deferred_once() -> None:
    """The agent sends a result again until it is acked."""
    driver = Driver(dag(tasks={"a": ""}), check_rebuild=True)
    driver.trigger()
    result = driver.result(driver.token("a"), "defer", poke_every_us=M)
    driver.turn(results=[result])
    again = driver.turn(results=[result])
    assert (again.deferrals, again.acks) == ([], [result["token"]])
    driver.tick(60)
    driver.finish("a")
    assert driver.run_state() == "success"


def test_an_execution_timeout_counts_over_all_legs() -> None:
    driver = retrying(execution_timeout_us=2 * M, retries=0)
    driver.finish("a", "defer", until=T0 + 10 * M)
    driver.tick(119)
    assert driver.states()["a"] == "deferred"
    driver.tick(1)
    assert driver.states() == {"a": "failed", "b": "upstream_failed"}
    assert driver.tries("a")[0].reason == Reason.TIMEOUT
    assert driver.run_state() == "failed"


def test_a_resumed_leg_keeps_the_start_of_its_try() -> None:
    driver = retrying(execution_timeout_us=10 * M)
    driver.finish("a", "defer", until=T0 + M)
    driver.tick(60)
    (launch,) = driver.live.values()
    assert launch.first_started_at == T0


def test_a_stop_ends_a_deferred_try_at_once() -> None:
    driver = retrying()
    driver.finish("a", "defer", until=T0 + M)
    assert driver.command("cancel", 1)[0]
    assert driver.states() == {"a": "cancelled", "b": "cancelled"}
    assert driver.run_state() == "cancelled"
    driver.tick(60)
    assert not driver.live


def test_a_retry_of_a_deferred_try_begins_with_its_first_leg() -> None:
    driver = retrying()
    driver.finish("a", "defer", until=T0)
    driver.tick(0)
    driver.finish("a", "fail")
    driver.tick(60)
    (launch,) = driver.live.values()
    assert (launch.try_no, launch.leg, launch.leg_state) == (2, 1, None)
