"""Branches, short-circuits, cascades of skips, setups and teardowns, allowed failures, the verdict of a run."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from dagd.model.specs import GroupSpec
from tests.core_driver import Driver, dag, expand, items, over

BRANCH, CIRCUIT, DIRECT = {"decides": "branch"}, {"decides": "short_circuit"}, {"decides": "short_circuit_direct"}


def ended(tasks: dict[str, Any], script: dict[str, Any] | None = None, **more: Any) -> tuple[dict[str, str], str]:
    """States of all instances and of the run, when everything is over."""
    driver = Driver(dag(tasks=tasks, **more), check_rebuild=True)
    driver.trigger()
    driver.drain(script)
    return driver.states(), driver.run_state()


def chose(*names: str) -> dict[str, Any]:
    return {"outcome": "succeed", "branch": list(names)}


STOP = {"outcome": "succeed", "short_circuit": True}
PASS = {"outcome": "succeed", "short_circuit": False}


def test_a_branch_skips_what_it_does_not_choose_and_the_join_decides_by_its_rule() -> None:
    tasks = {"b": BRANCH, "x": "b", "y": "b", "join": {"up": "x y", "trigger_rule": "none_failed_min_one_success"}}
    states, run = ended(tasks, {"b": chose("x")})
    assert states == {"b": "success", "x": "success", "y": "skipped", "join": "success"}
    assert run == "success"


@pytest.mark.parametrize("chosen", [(), ("join",)])
def test_a_branch_may_choose_nothing_or_what_is_also_below_a_chosen_task(chosen: tuple[str, ...]) -> None:
    tasks = {"b": BRANCH, "x": "b", "join": {"up": "b x", "trigger_rule": "none_failed"}}
    states, _ = ended(tasks, {"b": chose(*chosen)})
    assert states == {"b": "success", "x": "skipped", "join": "success" if chosen else "skipped"}


def test_a_task_below_a_chosen_one_is_kept() -> None:
    tasks = {"b": BRANCH, "x": "b", "join": {"up": "b x", "trigger_rule": "none_failed"}}
    states, _ = ended(tasks, {"b": chose("x")})
    assert states == {"b": "success", "x": "success", "join": "success"}


def test_an_unknown_id_fails_the_branch_without_retry_and_keeps_no_value() -> None:
    driver = Driver(dag(tasks={"b": BRANCH | {"retries": 3}, "x": "b"}))
    driver.trigger()
    driver.finish("b", branch=["nope"], value=3)
    assert driver.states() == {"b": "failed", "x": "upstream_failed"}
    assert not driver.rows.values
    assert len(driver.tries("b")) == 1


def test_a_group_stands_for_its_roots() -> None:
    tasks = {
        "b": BRANCH,
        "g.x": {"up": "b", "group": "g"},
        "g.y": {"up": "b g.x", "group": "g"},
        "g.in.z": {"up": "b", "group": "g.in"},
        "o": "b",
    }
    states, _ = ended(tasks, {"b": chose("g")}, groups=(GroupSpec("g"), GroupSpec("g.in", "g")))
    assert states == {"b": "success", "g.x": "success", "g.y": "success", "g.in.z": "success", "o": "skipped"}


@pytest.mark.parametrize("rule", ["always", "all_done", "one_failed", "one_success", "none_failed", "all_success"])
@pytest.mark.parametrize("order", list(permutations(["b", "f", "s"])))
def test_an_unchosen_task_is_skipped_whatever_its_rule_and_other_upstreams(rule: str, order: tuple[str, ...]) -> None:
    driver = Driver(dag(tasks={"b": BRANCH, "f": "", "s": "", "t": {"up": "b f s", "trigger_rule": rule}, "o": "b"}))
    driver.trigger()
    for name in order:
        assert driver.states().get("t") is None or "b" not in driver.states().values()
        driver.finish(name, "fail" if name == "f" else "succeed", branch=["o"])
    assert driver.states()["t"] == "skipped"


def test_a_short_circuit_skips_everything_below_whatever_its_rule_but_teardowns() -> None:
    tasks = {
        "up": {"is_setup": True},
        "c": CIRCUIT | {"up": "up"},
        "x": "c",
        "deep": {"up": "x", "trigger_rule": "always"},
        "other": "up",
        "join": {"up": "deep other", "trigger_rule": "all_done"},
        "down": {"up": "join", "setups": "up"},
    }
    states, run = ended(tasks, {"c": STOP})
    assert states == {
        "up": "success",
        "c": "success",
        "x": "skipped",
        "deep": "skipped",
        "other": "success",
        "join": "skipped",
        "down": "success",
    }
    assert run == "success"
    assert set(ended(tasks, {"c": PASS})[0].values()) == {"success"}


def test_a_short_circuit_that_respects_rules_skips_only_what_is_directly_below() -> None:
    tasks = {"c": DIRECT, "x": "c", "y": "x", "z": {"up": "x", "trigger_rule": "all_done"}}
    states, _ = ended(tasks, {"c": STOP})
    assert states == {"c": "success", "x": "skipped", "y": "skipped", "z": "success"}


@pytest.mark.parametrize("outcome,below", [("fail", "upstream_failed"), ("skip", "skipped")])
def test_a_decider_that_does_not_succeed_is_an_ordinary_upstream(outcome: str, below: str) -> None:
    for kind in (BRANCH, CIRCUIT, DIRECT):
        states, _ = ended({"b": kind, "x": "b", "y": {"up": "x", "trigger_rule": "all_done"}}, {"b": outcome})
        assert (states["x"], states["y"]) == (below, "success")


def test_decisions_in_a_mapped_group_concern_their_own_index() -> None:
    group = GroupSpec("g", expand=expand(items(3)))
    inside = {"mapped_group": "g", "group": "g"}
    tasks = {
        "g.b": BRANCH | inside,
        "g.x": {"up": "g.b"} | inside,
        "g.y": {"up": "g.b"} | inside,
        "g.c": CIRCUIT | inside,
        "g.z": {"up": "g.c"} | inside,
        "g.deep": {"up": "g.z", "trigger_rule": "always"} | inside,
        "end": {"up": "g.x g.y g.deep", "trigger_rule": "all_done"},
    }
    script = {
        "g.b[0]": chose("g.x"),
        "g.b[1]": chose("g.y"),
        "g.b[2]": chose(),
        "g.c[0]": STOP,
        "g.c[1]": PASS,
        "g.c[2]": PASS,
    }
    states, _ = ended(tasks, script, groups=(group,))
    assert [states[f"g.x[{at}]"] for at in range(3)] == ["success", "skipped", "skipped"]
    assert [states[f"g.y[{at}]"] for at in range(3)] == ["skipped", "success", "skipped"]
    assert [states[f"g.deep[{at}]"] for at in range(3)] == ["skipped", "success", "success"]
    assert states["end"] == "success"


@pytest.mark.parametrize("first", ["b", "src"])
def test_a_mapped_group_below_a_branch_looks_the_same_whichever_ends_first(first: str) -> None:
    group = GroupSpec("g", expand=expand(over("src")))
    inside = {"mapped_group": "g", "group": "g"}
    tasks = {"b": BRANCH, "src": "", "o": "b", "g.x": {"up": "b src"} | inside, "g.y": {"up": "g.x"} | inside}
    driver = Driver(dag(tasks=tasks, groups=(group,)), check_rebuild=True)
    driver.trigger()
    for name in (first, "src" if first == "b" else "b"):
        driver.finish(name, value=2) if name == "src" else driver.finish(name, branch=["o"])
    driver.drain()
    found = {name: state for name, state in driver.states().items() if name.startswith("g.")}
    assert found["g.x"] == "skipped"
    assert set(found.values()) == {"skipped"}


def test_skips_run_through_a_long_chain_in_one_turn() -> None:
    tasks = {"t0": ""} | {f"t{at}": f"t{at - 1}" for at in range(1, 3000)}
    driver = Driver(dag(tasks=tasks))
    driver.trigger()
    driver.finish("t0", "skip")
    assert driver.run_state() == "success"
    assert set(driver.states().values()) == {"skipped"}


# --- setups and teardowns --------------------------------------------------------------------------------------------

SETUP = {"is_setup": True}


@pytest.mark.parametrize(
    "script,work,teardown,run",
    [
        ({}, "success", "success", "success"),
        ({"w": "fail"}, "failed", "success", "failed"),
        ({"w": "skip"}, "skipped", "success", "success"),
        ({"s": "fail"}, "upstream_failed", "upstream_failed", "failed"),
        ({"s": "skip"}, "skipped", "skipped", "success"),
        ({"t": "fail"}, "success", "failed", "success"),
    ],
)
def test_a_teardown_follows_its_setup_and_not_its_work(
    script: dict[str, str], work: str, teardown: str, run: str
) -> None:
    states, found = ended({"s": SETUP, "w": "s", "t": {"up": "w", "setups": "s"}}, script)
    assert (states["w"], states["t"], found) == (work, teardown, run)


def test_one_good_setup_of_two_is_enough_for_the_teardown() -> None:
    tasks = {"s1": SETUP, "s2": SETUP, "w": "s1 s2", "t": {"up": "w", "setups": "s1 s2"}}
    states, run = ended(tasks, {"s1": "fail"})
    assert states == {"s1": "failed", "s2": "success", "w": "upstream_failed", "t": "success"}
    assert run == "failed"


def test_a_teardown_counts_for_the_run_only_when_it_says_so() -> None:
    tasks = {"s": SETUP, "w": "s", "t": {"up": "w", "setups": "s", "on_failure_fail_dagrun": True}}
    assert ended(tasks, {"t": "fail"})[1] == "failed"


def test_a_teardown_waits_for_all_of_its_work() -> None:
    driver = Driver(dag(tasks={"s": SETUP, "w1": "s", "w2": "s", "t": {"up": "w1 w2", "setups": "s"}}))
    driver.trigger()
    driver.finish("s")
    driver.finish("w1", "fail")
    assert [driver.where(token)[0] for token in driver.live] == ["w2"]
    driver.finish("w2")
    driver.finish("t")
    assert driver.run_state() == "failed"


def test_setups_and_teardowns_in_a_mapped_group_meet_index_by_index() -> None:
    inside = {"mapped_group": "g", "group": "g"}
    tasks = {
        "g.s": SETUP | inside,
        "g.w": {"up": "g.s"} | inside,
        "g.t": {"up": "g.w", "setups": "g.s"} | inside,
    }
    states, _ = ended(tasks, {"g.s[1]": "fail", "g.w[0]": "fail"}, groups=(GroupSpec("g", expand=expand(items(2))),))
    assert states == {
        "g.s[0]": "success",
        "g.w[0]": "failed",
        "g.t[0]": "success",
        "g.s[1]": "failed",
        "g.w[1]": "upstream_failed",
        "g.t[1]": "upstream_failed",
    }


# --- the verdict of a run --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failing,more,run",
    [
        ({}, {}, "failed"),
        ({"allow_failure": True}, {}, "success"),
        ({}, {"success_when": "leaves"}, "success"),
    ],
)
def test_a_failure_fails_the_run_unless_allowed_or_leaves_decide(
    failing: dict[str, Any], more: dict[str, Any], run: str
) -> None:
    tasks = {"a": failing, "b": {"up": "a", "trigger_rule": "all_done"}}
    assert ended(tasks, {"a": "fail"}, **more)[1] == run


def test_what_is_upstream_failed_because_of_an_allowed_failure_still_fails_the_run() -> None:
    states, run = ended({"a": {"allow_failure": True}, "b": "a"}, {"a": "fail"})
    assert (states["b"], run) == ("upstream_failed", "failed")


def test_leaves_do_not_count_teardowns() -> None:
    tasks = {"s": SETUP, "w": "s", "t": {"up": "w", "setups": "s"}}
    assert ended(tasks, {"w": "fail"}, success_when="leaves")[1] == "failed"
    assert ended(tasks, {"t": "fail"}, success_when="leaves")[1] == "success"


def test_a_run_without_tasks_and_one_of_empty_tasks_end_as_they_start() -> None:
    assert ended({}) == ({}, "success")
    empty = {"isolation": "engine"}
    assert ended({"a": empty, "b": empty | {"up": "a"}}) == ({"a": "success", "b": "success"}, "success")
