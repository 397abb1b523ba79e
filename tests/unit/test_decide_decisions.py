"""What a branch or short-circuit decided outlives clears, rebuilds and the map that it is part of."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dagd.model.specs import GroupSpec
from tests.core_driver import Driver, dag, expand, items, over

BRANCH, CIRCUIT = {"decides": "branch"}, {"decides": "short_circuit"}
INSIDE = {"mapped_group": "g", "group": "g"}


def begun(tasks: dict[str, Any], **more: Any) -> Driver:
    driver = Driver(dag(tasks=tasks, **more), check_rebuild=True)
    driver.trigger()
    return driver


@pytest.mark.parametrize(
    "kind,said", [(BRANCH, {"branch": ["x"]}), (BRANCH, {"branch": []}), (CIRCUIT, {"short_circuit": True})]
)
def test_a_task_that_was_left_out_is_left_out_again_when_it_is_cleared_alone(
    kind: dict[str, Any], said: dict[str, Any]
) -> None:
    driver = begun({"b": kind, "x": "b", "y": {"up": "b", "trigger_rule": "all_done"}})
    driver.finish("b", **said)
    driver.drain()
    driver.command("clear", 1, instances=[["y", None]])
    driver.drain()
    assert driver.states()["y"] == "skipped"
    assert not driver.tries("y")
    assert driver.run_state() == "success"


def test_a_branch_that_runs_again_decides_anew() -> None:
    driver = begun({"b": BRANCH, "x": "b", "y": "b"})
    driver.finish("b", branch=["x"])
    driver.drain()
    driver.command("clear", 1, instances=[["b", None], ["x", None], ["y", None]])
    driver.finish("b", branch=["y"])
    driver.drain()
    assert driver.states() == {"b": "success", "x": "skipped", "y": "success"}


def test_a_mapped_branch_leaves_out_what_no_index_chose() -> None:
    driver = begun({"b": BRANCH | {"expand": expand(items(3))}, "x": "b", "y": "b", "z": "b"})
    driver.finish("b", branch=["x"], index=2)
    driver.finish("b", branch=[], index=0)
    assert set(driver.states()) == {"b[0]", "b[1]", "b[2]"}
    driver.finish("b", branch=["y"], index=1)
    driver.drain()
    states = driver.states()
    assert [states[name] for name in "xyz"] == ["success", "success", "skipped"]


@pytest.mark.parametrize("order", [("b", "src"), ("src", "b")])
def test_a_mapped_group_that_was_not_chosen_never_expands(order: tuple[str, str]) -> None:
    group = GroupSpec("g", expand=expand(over("src")))
    tasks = {"b": BRANCH, "src": "", "o": "b", "g.x": {"up": "b src"} | INSIDE, "g.y": {"up": "g.x"} | INSIDE}
    driver = begun(tasks, groups=(group,))
    for name in order:
        driver.finish(name, **({"value": 2} if name == "src" else {"branch": ["o"]}))
    driver.drain()
    assert driver.states() == {"b": "success", "src": "success", "o": "success", "g.x": "skipped", "g.y": "skipped"}
    assert not driver.rows.expansions


def test_a_member_that_runs_whatever_became_of_its_group_gets_its_indices() -> None:
    group = GroupSpec("g", expand=expand(items(2)))
    tasks = {
        "b": BRANCH,
        "o": "b",
        "g.x": {"up": "b"} | INSIDE,
        "g.y": {"up": "g.x", "trigger_rule": "all_done"} | INSIDE,
    }
    driver = begun(tasks, groups=(group,))
    driver.finish("b", branch=["o"])
    driver.drain()
    assert (driver.states()["g.x"], driver.states()["g.y[0]"], driver.states()["g.y[1]"]) == (
        "skipped", "success", "success",
    )  # fmt: skip


def test_a_map_over_more_items_than_are_allowed_fails_and_says_so() -> None:
    driver = Driver(dag(tasks={"src": "", "m": {"expand": expand(over("src"))}}))
    driver.state.max_map_length = 3
    driver.trigger()
    driver.finish("src", value=4)
    assert driver.states()["m"] == "failed"
    assert "4 items" in next(row.reason for row in driver.rows.attempts.values() if row.try_no == 0 and row.reason)


def test_each_end_tells_its_callback() -> None:
    calls = {"callbacks": ("failure", "retry", "skipped", "success")}
    tasks = {
        "a": calls,
        "b": calls | {"retries": 1, "retry_delay_us": 1},
        "c": calls,
        "e": calls | {"isolation": "engine"},
    }
    driver = begun({**tasks, "m": {"up": "a", "expand": expand(over("a"))} | calls})
    driver.drain({"b": "fail", "c": "skip"})
    told = [json.loads(row.payload) for row in driver.rows.outbox if row.topic == "callback"]
    assert sorted((one["task_id"], one["event"]) for one in told) == [
        ("a", "success"), ("b", "failure"), ("b", "retry"), ("c", "skipped"), ("e", "success"), ("m", "failure"),
    ]  # fmt: skip


def test_an_allowed_failure_does_not_fail_fast() -> None:
    driver = begun({"a": {"allow_failure": True}, "b": ""}, fail_fast=True)
    driver.finish("a", "fail")
    assert not driver.stopped
    driver.drain()
    assert driver.run_state() == "success"
