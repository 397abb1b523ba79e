"""Clear and mark: what is superseded, what runs again, late results of superseded tries, rows of index -1."""

from __future__ import annotations

from typing import Any

import pytest

from dagd.decide.commands import Request
from dagd.decide.core import Inputs, decide
from dagd.decide.state import RunView
from dagd.model.specs import GroupSpec
from dagd.model.states import RunKind
from dagd.model.times import SECOND
from tests.core_driver import T0, Driver, dag, expand, items, over

CHAIN: dict[str, Any] = {"a": "", "b": {"up": "a", "retries": 1, "retry_delay_us": SECOND}, "c": "b"}


def chain(script: dict[str, Any] | None = None, **more: Any) -> Driver:
    driver = Driver(dag(tasks=CHAIN, **more), check_rebuild=True)
    driver.trigger()
    driver.drain(script)
    return driver


def names(*pairs: Any) -> list[list[Any]]:
    return [list(pair) if isinstance(pair, tuple) else [pair, None] for pair in pairs]


def test_a_clear_runs_a_failed_task_and_what_is_below_again_and_numbering_goes_on() -> None:
    driver = chain({"b": "fail"})
    assert driver.run_state() == "failed"
    assert driver.command("clear", 1, instances=names("b", "c"))[0]
    assert driver.run_state() == "running"
    assert driver.states() == {"a": "success", "b": "queued"}
    driver.drain()
    assert driver.states() == {"a": "success", "b": "success", "c": "success"}
    assert [row.try_no for row in driver.tries("b")] == [1, 2, 3]
    assert driver.run_state() == "success"


def test_a_clear_starts_budgets_afresh() -> None:
    driver = chain({"b": "fail"})
    driver.command("clear", 1, instances=names("b", "c"))
    driver.drain({"b": "fail"})
    assert len(driver.tries("b")) == 4


def test_a_clear_of_one_instance_leaves_those_below_as_they_are() -> None:
    driver = chain()
    driver.command("clear", 1, instances=names("a"))
    driver.drain()
    assert [len(driver.tries(name)) for name in "abc"] == [2, 1, 1]


def test_a_late_result_of_a_superseded_try_moves_its_own_row_only_and_the_next_try_starts_after_it() -> None:
    """S3 and S9."""
    driver = Driver(dag(tasks=CHAIN), check_rebuild=True)
    driver.trigger()
    old = driver.token("a")
    driver.command("clear", 1, instances=names("a", "b", "c"))
    assert driver.stopped == {old: "cleared"}
    assert driver.live.keys() == {old}
    driver.turn(results=[driver.result(old, "succeed", value=3)])
    assert driver.rows.values == {}
    assert [row.state for row in driver.tries("a")] == [13, 1]
    driver.drain()
    assert driver.run_state() == "success"
    assert len(driver.tries("a")) == 2


def test_a_superseded_try_holds_its_place_until_it_is_dead() -> None:
    """S8: its process still runs."""
    driver = Driver(dag(tasks={"a": {"pool": "p"}, "x": {"pool": "p"}}), pools={"p": 1})
    driver.trigger()
    driver.command("clear", 1, instances=names("a"))
    assert [driver.where(token)[0] for token in driver.live] == ["a"]
    driver.command("clear", 1, instances=names("a"))
    driver.turn(results=[driver.result(driver.token("a"), "cancel")])
    assert len(driver.live) == 1
    driver.drain()
    assert driver.run_state() == "success"


def test_a_cancel_after_a_clear_ends_the_run_only_when_the_superseded_try_is_dead() -> None:
    driver = Driver(dag(tasks={"a": ""}), check_rebuild=True)
    driver.trigger()
    driver.command("clear", 1, instances=names("a"))
    driver.command("cancel", 1)
    assert driver.run_state() == "running"
    driver.drain()
    assert driver.run_state() == "cancelled"


def test_a_clear_of_a_source_lets_the_map_find_its_length_again() -> None:
    tasks = {"a": "", "m": {"up": "a", "expand": expand(over("a"))}, "z": "m"}
    driver = Driver(dag(tasks=tasks), check_rebuild=True)
    driver.trigger()
    driver.drain({"a": {"outcome": "succeed", "value": 2}})
    driver.command("clear", 1, instances=names("a", "m", "z"))
    driver.drain({"a": {"outcome": "succeed", "value": 3}})
    assert driver.states() == {"a": "success", "z": "success"} | {f"m[{at}]": "success" for at in range(3)}


def test_a_cleared_map_waits_for_the_upstream_that_was_cleared_with_it() -> None:
    """S4: its length stands, but its rule is to be met anew."""
    tasks = {"src": "", "a": "", "m": {"up": "a src", "expand": expand(over("src"))}}
    driver = Driver(dag(tasks=tasks), check_rebuild=True)
    driver.trigger()
    driver.drain({"src": {"outcome": "succeed", "value": 2}})
    driver.command("clear", 1, instances=names("a", "m"))
    assert [driver.where(token)[0] for token in driver.live] == ["a"]
    driver.finish("a", "fail")
    assert driver.states() == {"src": "success", "a": "failed", "m[0]": "upstream_failed", "m[1]": "upstream_failed"}
    driver.command("clear", 1, instances=names("a", ("m", 1)))
    driver.finish("a")
    assert driver.live.keys() == {driver.token("m", 1)}


def test_a_clear_of_an_index_that_the_row_of_minus_one_speaks_for_leaves_the_others_as_they_are() -> None:
    driver = Driver(dag(tasks={"m": {"expand": expand(items(6))}}), pools={"default_pool": 1}, check_rebuild=True)
    driver.trigger()
    driver.command("cancel", 1)
    driver.drain()
    assert driver.states() == {"m": "cancelled", "m[0]": "cancelled"}
    driver.command("clear", 1, instances=names(("m", 3)))
    assert driver.live.keys() == {driver.token("m", 3)}
    driver.drain()
    assert driver.states() == {f"m[{at}]": "success" if at == 3 else "cancelled" for at in range(6)}
    driver.command("clear", 1, instances=names(("m", 0), ("m", 5)))
    driver.drain()
    assert [driver.states()[f"m[{at}]"] for at in (0, 5)] == ["success", "success"]


@pytest.mark.parametrize("state,below", [("success", "success"), ("failed", "upstream_failed"), ("skipped", "skipped")])
def test_a_mark_kills_a_running_task_and_those_below_follow_it(state: str, below: str) -> None:
    driver = Driver(dag(tasks=CHAIN), check_rebuild=True)
    driver.trigger()
    driver.command("mark_tasks", 1, instances=names("a"), state=state)
    assert set(driver.stopped.values()) == {"marked"}
    driver.drain()
    assert driver.states() == {"a": state, "b": below, "c": below}
    assert driver.tries("a")[0].state == 13


def test_a_mark_stands_until_the_next_clear_or_mark() -> None:
    driver = chain({"b": "fail"})
    driver.command("mark_tasks", 1, instances=names("b"), state="success")
    driver.drain()
    assert driver.states() == {"a": "success", "b": "success", "c": "success"}
    driver.command("mark_tasks", 1, instances=names("b"), state="failed")
    assert driver.states()["c"] == "success"
    driver.command("clear", 1, instances=names("b", "c"))
    driver.drain()
    assert driver.states() == {"a": "success", "b": "success", "c": "success"}
    assert driver.run_state() == "success"


def test_skipped_tasks_follow_a_mark_of_what_is_above() -> None:
    driver = chain({"a": "skip"})
    assert driver.states() == {"a": "skipped", "b": "skipped", "c": "skipped"}
    driver.command("mark_tasks", 1, instances=names("a"), state="success")
    driver.drain()
    assert driver.states() == {"a": "success", "b": "success", "c": "success"}
    driver = chain({"a": "skip"})
    driver.command("mark_tasks", 1, instances=names("a"), state="failed")
    driver.drain()
    assert driver.states() == {"a": "failed", "b": "upstream_failed", "c": "upstream_failed"}
    assert driver.run_state() == "failed"


def test_what_skipped_itself_or_was_marked_or_not_chosen_does_not_follow_a_mark() -> None:
    driver = chain({"b": "skip"})
    driver.command("mark_tasks", 1, instances=names("c"), state="skipped")
    driver.command("mark_tasks", 2, instances=names("a"), state="success")
    driver.drain()
    assert driver.states() == {"a": "success", "b": "skipped", "c": "skipped"}
    tasks: dict[str, Any] = {"x": "", "br": {"up": "x", "decides": "branch"}, "yes": "br", "no": "br", "end": "no"}
    driver = Driver(dag(tasks=tasks), check_rebuild=True)
    driver.trigger()
    driver.drain({"br": {"outcome": "succeed", "branch": ["yes"]}})
    before = driver.states()
    assert (before["yes"], before["no"], before["end"]) == ("success", "skipped", "skipped")
    driver.command("mark_tasks", 1, instances=names("x"), state="success")
    driver.drain()
    assert driver.states() == before


def test_a_mark_of_a_whole_map_speaks_for_begun_and_waiting_indices() -> None:
    driver = Driver(dag(tasks={"m": {"expand": expand(items(5))}}), pools={"default_pool": 2}, check_rebuild=True)
    driver.trigger()
    driver.finish("m", "fail", index=0)
    driver.command("mark_tasks", 1, instances=names("m"), state="success")
    driver.drain()
    assert set(driver.states().values()) == {"success"}
    assert driver.run_state() == "success"


def test_marking_and_clearing_a_map_of_a_group() -> None:
    inside = {"mapped_group": "g", "group": "g"}
    tasks = {"g.x": {"retries": 0} | inside, "g.y": {"up": "g.x"} | inside}
    driver = Driver(dag(tasks=tasks, groups=(GroupSpec("g", expand=expand(items(3))),)), check_rebuild=True)
    driver.trigger()
    driver.drain({"g.x[1]": "fail"})
    assert driver.states()["g.y[1]"] == "upstream_failed"
    driver.command("clear", 1, instances=names(("g.x", 1), ("g.y", 1)))
    driver.drain()
    assert set(driver.states().values()) == {"success"}
    assert [len(driver.tries("g.x", at)) for at in range(3)] == [1, 2, 1]


def test_requests_that_cannot_be_are_refused_with_a_sentence() -> None:
    driver = Driver(dag(tasks={"a": ""}))
    driver.turn(commands=[Request(1, "cancel", None, {}), Request(2, "nonsense", None, {})])
    assert [done for done, _ in driver.rows.commands.values()] == [False, False]


def test_two_requests_of_one_sweep_see_the_run_as_the_first_left_it() -> None:
    driver = Driver(dag(tasks=CHAIN), check_rebuild=True)
    driver.trigger()
    view = driver.state.runs[1]
    for number in (1, 2):
        driver.turn(commands=[Request(number, "clear", view, {"instances": names("a")})])
    driver.drain()
    assert driver.run_state() == "success"


def test_a_clear_begins_dagrun_timeout_anew() -> None:
    driver = Driver(dag(tasks={"a": ""}, dagrun_timeout_us=60 * SECOND))
    driver.trigger()
    driver.finish("a", "fail")
    driver.tick(3600)
    driver.command("clear", 1, instances=names("a"))
    assert driver.run_state() == "running"
    assert driver.rows.runs[1].started_at == T0 + 3600 * SECOND
    driver.tick(59)
    driver.finish("a")
    assert driver.run_state() == "success"


def test_a_run_that_is_found_together_with_its_cancel_never_waits_for_a_place() -> None:
    driver = Driver(dag(tasks=CHAIN), check_rebuild=True)
    driver.rows.insert_run(1, 1, "m-1", RunKind.MANUAL, T0, T0)
    found, named = (RunView(driver.graphs[1], 1, vars(driver.rows.runs[1])) for _ in range(2))
    driver.turn(arrivals=[found], commands=[Request(1, "cancel", named, {})])
    assert driver.run_state() == "cancelled"
    assert driver.state.runs == {}
    assert (driver.state.dags[1].queued, driver.state.dags[1].order) == ([], [])


def test_s3_after_a_rebuild_the_next_try_still_waits_for_the_end_of_the_one_that_was_cleared() -> None:
    driver = Driver(dag(tasks=CHAIN), check_rebuild=True)
    driver.trigger()
    driver.command("clear", 1, instances=names("a", "b", "c"))
    fresh = driver.rebuild()
    fresh.capacity = 16
    plan = decide(fresh, Inputs(rebuilt=list(fresh.runs.values())), driver.now, 0)
    assert plan.enqueues == []
