"""Deferral with triggers: what ends a wait, what the next leg is told, and who pays when nothing came."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dagd.model.states import Charge, Reason
from dagd.model.times import SECOND
from tests.core_driver import T0, Driver, dag

M = 60 * SECOND
FILE = {"kind": "file", "path": "/in/x.csv", "every_us": SECOND}


def waiting(trigger: dict[str, Any] = FILE, pools: dict[str, int] | None = None, **task: Any) -> Driver:
    """A DAG whose first task waits; `timeout_us` is the wait's own."""
    told = {name: task.pop(name) for name in ("timeout_us",) if name in task}
    driver = Driver(dag(tasks={"a": task, "b": "a"}), pools=pools or {"default_pool": 4}, check_rebuild=True)
    driver.trigger()
    driver.finish("a", "defer", trigger=trigger, state={"text": "{}"}, **told)
    return driver


def fire(driver: Driver, token: str | None = None, **told: Any) -> Any:
    return driver.turn(fired=[{"token": token or driver.tries("a")[-1].token, **told}])


def test_a_wait_for_a_trigger_has_no_end_of_its_own() -> None:
    driver = waiting()
    (row,) = driver.tries("a")
    assert (row.resume_at, row.gives_up_at, json.loads(row.waits_for)) == (None, None, FILE)
    driver.tick(86_400)
    assert driver.states() == {"a": "deferred"}
    assert not driver.live


def test_a_firing_starts_the_next_leg_with_its_event_and_a_new_token() -> None:
    driver = waiting()
    old = driver.tries("a")[0].token
    fire(driver, event={"path": "/in/x.csv"})
    ((token, launch),) = driver.live.items()
    assert (launch.try_no, launch.leg, token != old) == (1, 2, True)
    assert json.loads(launch.leg_state or "") == {"text": "{}", "event": {"path": "/in/x.csv"}}
    assert driver.tries("a")[0].waits_for is None
    driver.finish("a")
    assert driver.states()["a"] == "success"


def test_a_firing_that_is_told_twice_resumes_once() -> None:
    driver = waiting()
    old = driver.tries("a")[0].token
    plan = driver.turn(fired=[{"token": old, "event": {}}, {"token": old, "event": {}}])
    assert len(plan.resumes) == 1
    assert fire(driver, old, event={}).is_empty()
    assert len(driver.live) == 1


def test_a_firing_waits_for_a_place_like_any_other_and_keeps_its_event() -> None:
    driver = Driver(dag(tasks={"a": "", "x": ""}), pools={"default_pool": 1}, check_rebuild=True)
    driver.trigger()
    driver.finish("a", "defer", trigger=FILE, state={"text": "{}"}, timeout_us=M)
    assert [driver.where(token)[0] for token in driver.live] == ["x"]
    fire(driver, event={"n": 1})
    driver.tick(120)  # the wait is over: its timeout means nothing any more
    driver.finish("x")
    (launch,) = driver.live.values()
    assert json.loads(launch.leg_state or "")["event"] == {"n": 1}


def test_a_time_trigger_is_a_timer_and_says_when() -> None:
    driver = waiting({"kind": "time", "at": T0 + M})
    driver.tick(59)
    assert not driver.live
    driver.tick(1)
    (launch,) = driver.live.values()
    assert json.loads(launch.leg_state or "")["event"] == {"at": "2027-01-15T08:01:00Z"}


def test_a_trigger_that_cannot_look_fails_the_try_which_pays_with_its_retries() -> None:
    driver = waiting(retries=1, retry_delay_us=M)
    (end,) = fire(driver, error={"type": "OSError", "message": "no route"}).ends
    assert (end.reason, json.loads(end.error)["message"], end.charged) == ("exception", "no route", Charge.RETRIES)
    driver.tick(60)
    (launch,) = driver.live.values()
    assert (launch.try_no, launch.leg, launch.leg_state) == (2, 1, None)


@pytest.mark.parametrize(
    "task,reason,state",
    [
        ({"retries": 1, "retry_delay_us": M}, Reason.DEFER_TIMEOUT, "failed"),
        ({"retries": 1, "sensor_timeout_us": M}, Reason.SENSOR_TIMEOUT, "failed"),
        ({"retries": 1, "sensor_timeout_us": M, "soft_fail": True}, Reason.SENSOR_TIMEOUT, "skipped"),
    ],
)
def test_a_wait_that_lasts_too_long_fails_with_a_timeout(task: dict[str, Any], reason: str, state: str) -> None:
    driver = waiting(timeout_us=M, **task)
    driver.tick(59)
    assert driver.states() == {"a": "deferred"}
    (end,) = driver.tick(1).ends
    assert (end.reason, "timeout" in reason) == (reason, True)
    assert driver.states()["a"] == state
    assert (end.next_try_at is not None) == (reason == Reason.DEFER_TIMEOUT)
    assert "file /in/x.csv" in json.loads(end.error or "")["message"]


def test_an_execution_timeout_counts_while_a_trigger_is_waited_for() -> None:
    driver = waiting(execution_timeout_us=M)
    driver.tick(60)
    assert driver.tries("a")[0].reason == Reason.TIMEOUT
    assert fire(driver, event={}).is_empty()


def test_a_stop_ends_the_wait_and_a_late_firing_changes_nothing() -> None:
    driver = waiting()
    old = driver.tries("a")[0].token
    assert driver.command("cancel", 1)[0]
    assert driver.states() == {"a": "cancelled", "b": "cancelled"}
    assert fire(driver, old, event={}).is_empty()


def test_a_clear_while_deferred_starts_afresh() -> None:
    driver = waiting()
    old = driver.tries("a")[0].token
    assert driver.command("clear", 1, instances=[["a", None]])[0]
    assert fire(driver, old, event={}).is_empty()
    (launch,) = driver.live.values()
    assert (launch.try_no, launch.leg, launch.leg_state) == (2, 1, None)


def test_the_next_wait_of_a_leg_replaces_the_last_one() -> None:
    driver = waiting(timeout_us=M)
    fire(driver, event={})
    driver.finish("a", "defer", until=T0 + 5 * M, state={"text": "{}"})
    (row,) = driver.tries("a")
    assert (row.waits_for, row.gives_up_at, row.resume_at, row.leg_state) == (None, None, T0 + 5 * M, '{"text": "{}"}')
    driver.tick(120)
    assert driver.states() == {"a": "deferred"}
