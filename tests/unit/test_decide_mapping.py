"""Dynamic mapping: lengths, bad sources, groups index by index, zero length, values without items."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from dagd.model.specs import GroupSpec, MapSource
from tests.core_driver import Driver, dag, expand, items, over

INSIDE = {"mapped_group": "g", "group": "g"}


def driven(tasks: dict[str, Any], script: dict[str, Any] | None = None, **more: Any) -> Driver:
    driver = Driver(dag(tasks=tasks, **more), check_rebuild=True)
    driver.trigger()
    driver.drain(script)
    return driver


def value(count: int | None) -> dict[str, Any]:
    return {"outcome": "succeed", "value": count}


@pytest.mark.parametrize(
    "sources,count",
    [
        ((items(3),), 3),
        ((over("a"),), 4),
        ((over("a"), items(2)), 8),
        ((MapSource("zip", parts=(over("a"), items(2))),), 2),
        ((MapSource("zip", parts=(over("a"), items(2)), longest=True),), 4),
        ((MapSource("concat", parts=(over("a"), items(2))),), 6),
    ],
)
def test_a_mapped_task_has_the_length_of_its_sources(sources: tuple[MapSource, ...], count: int) -> None:
    driver = driven({"a": "", "m": {"up": "a", "expand": expand(*sources)}, "z": "m"}, {"a": value(4)})
    assert driver.states() == {"a": "success", "z": "success"} | {f"m[{at}]": "success" for at in range(count)}
    assert driver.run_state() == "success"


@pytest.mark.parametrize(
    "source,rule,mapped,below",
    [
        (value(0), "all_success", "skipped", "skipped"),
        (value(None), "all_success", "failed", "upstream_failed"),
        ("skip", "all_success", "skipped", "skipped"),
        ("skip", "all_done", "skipped", "skipped"),
        ("fail", "all_success", "upstream_failed", "upstream_failed"),
        ("fail", "all_done", "upstream_failed", "upstream_failed"),
        ("fail", "one_failed", "upstream_failed", "upstream_failed"),
        ("skip", "all_skipped", "skipped", "skipped"),
        ("fail", "always", "upstream_failed", "upstream_failed"),
    ],
)
def test_a_mapped_task_that_never_expands_is_one_instance_whatever_its_rule(
    source: Any, rule: str, mapped: str, below: str
) -> None:
    tasks = {"a": "", "m": {"up": "a", "expand": expand(over("a")), "trigger_rule": rule}, "z": "m"}
    states = driven(tasks, {"a": source}).states()
    assert (states["m"], states["z"]) == (mapped, below)


def test_a_value_without_items_names_its_reason_and_fails_fast() -> None:
    driver = Driver(dag(tasks={"a": "", "m": {"up": "a", "expand": expand(over("a"))}, "o": ""}, fail_fast=True))
    driver.trigger()
    driver.finish("a", value=None)
    assert driver.rows.attempts[1, 11, -1, 0].reason == "mapped over a value that is no list or dict"
    assert driver.stopped == {driver.token("o"): "fail_fast"}
    driver.drain()
    assert driver.run_state() == "failed"


@pytest.mark.parametrize("rule", ["all_failed", "none_skipped", "one_success", "all_success", "all_done", "always"])
@pytest.mark.parametrize("ends", [("fail", "succeed"), ("fail", "skip"), ("skip", "fail"), ("skip", "succeed")])
def test_a_bad_source_and_another_upstream_give_one_result_in_either_order(rule: str, ends: tuple[str, str]) -> None:
    found = set()
    for order in permutations(["src", "x"]):
        tasks = {"src": "", "x": "", "m": {"up": "src x", "expand": expand(over("src")), "trigger_rule": rule}}
        driver = Driver(dag(tasks=tasks), check_rebuild=True)
        driver.trigger()
        for name in order:
            driver.finish(name, dict(zip(("src", "x"), ends, strict=True))[name], value=2)
        found.add(driver.states()["m"])
    assert len(found) == 1


def test_a_task_below_a_mapped_one_counts_every_index() -> None:
    tasks = {"m": {"expand": expand(items(3))}, "z": "m", "y": {"up": "m", "trigger_rule": "one_failed"}}
    driver = Driver(dag(tasks=tasks), check_rebuild=True)
    driver.trigger()
    driver.finish("m", index=0)
    assert driver.live.keys() == {driver.token("m", 1), driver.token("m", 2)}
    driver.finish("m", "fail", index=1)
    assert driver.states()["z"] == "upstream_failed"
    driver.drain()
    assert driver.states()["y"] == "success"


def test_mapping_over_a_mapped_task_takes_the_values_that_came_back() -> None:
    tasks = {
        "m": {"expand": expand(items(4)), "trigger_rule": "all_done"},
        "n": {"up": "m", "expand": expand(over("m")), "trigger_rule": "all_done"},
        "k": {"up": "m", "expand": expand(over("m", "extra")), "trigger_rule": "all_done"},
    }
    extra = {"outcome": "succeed", "frame": {"xcom": [{"key": "extra", "text": "1"}]}}
    script = {"m[0]": value(1), "m[1]": value(None), "m[2]": extra, "m[3]": "fail"}
    driver = driven(tasks, script)
    assert [name for name in driver.states() if name.startswith("n")] == ["n[0]", "n[1]"]
    assert [name for name in driver.states() if name.startswith("k")] == ["k[0]"]


def test_members_of_a_mapped_group_meet_index_by_index() -> None:
    tasks = {"a": "", "g.x": {"up": "a"} | INSIDE, "g.y": {"up": "g.x"} | INSIDE, "z": "g.y"}
    driver = Driver(dag(tasks=tasks, groups=(GroupSpec("g", expand=expand(over("a"))),)), check_rebuild=True)
    driver.trigger()
    driver.finish("a", value=3)
    driver.finish("g.x", index=1)
    assert driver.token("g.y", 1)
    driver.drain({"g.x[0]": "fail", "g.x[2]": "skip"})
    states = driver.states()
    assert [states[f"g.y[{at}]"] for at in range(3)] == ["upstream_failed", "success", "skipped"]
    assert states["z"] == "upstream_failed"


@pytest.mark.parametrize(
    "source,members,run",
    [
        (value(0), "skipped", "success"),
        ("skip", "skipped", "success"),
        ("fail", "upstream_failed", "failed"),
        (value(None), "failed", "failed"),
    ],
)
def test_a_mapped_group_that_never_expands_ends_whole(source: Any, members: str, run: str) -> None:
    tasks = {
        "a": "",
        "g.x": {"up": "a"} | INSIDE,
        "g.y": {"up": "g.x"} | INSIDE,
        "z": {"up": "g.y", "trigger_rule": "all_done"},
    }
    driver = driven(tasks, {"a": source}, groups=(GroupSpec("g", expand=expand(over("a"))),))
    states = driver.states()
    assert (states["g.x"], states["g.y"], states["z"], driver.run_state()) == (members, members, "success", run)


def test_a_member_may_have_upstreams_outside_its_group() -> None:
    tasks = {"o": "", "g.x": INSIDE, "g.y": {"up": "g.x o"} | INSIDE}
    driver = Driver(dag(tasks=tasks, groups=(GroupSpec("g", expand=expand(items(2))),)), check_rebuild=True)
    driver.trigger()
    driver.finish("g.x", index=0)
    assert {driver.where(token)[0] for token in driver.live} == {"o", "g.x"}
    driver.finish("o")
    driver.drain()
    assert driver.run_state() == "success"


def test_a_mapped_short_circuit_stops_what_is_below_when_one_index_says_so() -> None:
    tasks = {"c": {"decides": "short_circuit", "expand": expand(items(2))}, "x": "c"}
    driver = driven(
        tasks, {"c[0]": value(1) | {"short_circuit": False}, "c[1]": {"outcome": "succeed", "short_circuit": True}}
    )
    assert driver.states()["x"] == "skipped"


def test_a_hundred_thousand_instances_are_one_expansion_row_until_they_start() -> None:
    driver = Driver(dag(tasks={"m": {"expand": expand(items(100_000))}, "z": "m"}), pools={"default_pool": 10})
    driver.trigger()
    assert len(driver.rows.attempts) == 10
    assert driver.rows.expansions == {(1, 10): 100_000}
    driver.command("cancel", 1)
    driver.drain()
    assert driver.run_state() == "cancelled"
    assert len(driver.rows.attempts) == 12


def test_several_indices_that_end_at_once_open_a_gate_once() -> None:
    inside = INSIDE | {"decides": "branch", "trigger_rule": "all_failed"}
    tasks = {
        "a": "",
        "g.b": {"up": "a"} | inside,
        "o": {"decides": "branch"},
        "x": {"up": "g.b o", "trigger_rule": "always"},
    }
    driver = Driver(dag(tasks=tasks, groups=(GroupSpec("g", expand=expand(items(2))),)), check_rebuild=True)
    driver.trigger()
    driver.finish("a")
    assert "x" not in driver.states()
    driver.finish("o", branch=["x"])
    driver.finish("x")
    assert driver.states()["x"] == "success"
