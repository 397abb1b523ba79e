"""When turns fail again and again: the DAG that is to blame is set aside, and late answers end nothing."""

from __future__ import annotations

from typing import Any

import pytest

from dagd.decide import core
from dagd.decide.core import Inputs
from dagd.engine import service
from dagd.model.errors import Doubt
from dagd.model.plans import Plan
from dagd.model.states import CommandState
from dagd.store.schema import command, dag
from tests.engine_rig import Rig, check_rebuild
from tests.factories import spec, task
from tests.integration.test_engine_runs import Breaking, chain, rig_of, rigs

__all__ = ["rig_of", "rigs"]


def held(rig: Rig) -> dict[str, str | None]:
    return {row.name: row.held for row in rig.rows(dag)}


def test_a_dag_that_fails_alone_by_chance_is_not_held(rig_of: Any) -> None:
    rig = rig_of(chain())
    rig.trigger()
    rig.pass_time()
    Breaking(rig, *[Doubt("somebody paused it in that moment")] * 4)
    rig.agent.end(rig.agent.token("a"), rig.clock.at)
    for _ in range(4):
        rig.agent.repeat(rig.agent.spool)
        rig.settle()
    assert held(rig) == {"sales": None}
    assert rig.tries() == [(1, 1, "success"), (2, 1, "queued")]


def test_a_request_that_was_carried_out_is_not_asked_of_the_dag_alone_again(rig_of: Any) -> None:
    """The third commit was carried out and reported as failed: its request is done, and no reason to hold the DAG."""
    rig = rig_of(chain())
    run = rig.trigger()
    rig.pass_time()
    number = rig.ask("cancel", run)
    Breaking(rig, Doubt("first"), Doubt("second"))
    for _ in range(2):
        rig.pass_time()
    Breaking(rig, Doubt("third, carried out"), after=True)
    for _ in range(4):
        rig.pass_time()
    assert {row.id: row.state for row in rig.rows(command)} == {number: CommandState.DONE}
    assert held(rig) == {"sales": None}


def test_a_dag_whose_runs_cannot_follow_its_newest_version_is_held(
    rig_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = rig_of(spec("sales", task("a"), pin="latest"), spec("other", task("x")))
    rig.trigger("sales")
    rig.pass_time()

    def refuse(state: Any, inputs: Inputs, now: int, seed: int) -> Plan:
        if inputs.repins:
            raise ValueError("no way from the old version to the new one")
        return core.decide(state, inputs, now, seed)

    monkeypatch.setattr(service, "decide", refuse)
    rig.store(spec("sales", task("a"), task("b", "a"), pin="latest"))
    for _ in range(6):
        rig.pass_time()
    assert held(rig) == {"sales": "no way from the old version to the new one", "other": None}
    rig.trigger("other")
    rig.pass_time()
    rig.finish("x")
    assert sorted(rig.run_states().items())[-1] == (2, 10)


def test_an_answer_from_before_the_launch_ends_nothing(rig_of: Any) -> None:
    """Two rebuilds ask twice; the second answer is read when the try has been launched again, and cleared."""
    rig = rig_of(chain())
    rig.trigger()
    rig.pass_time()
    token = rig.agent.token("a")
    rig.ask("clear", 1, instances=[["a", None]])
    rig.pass_time()
    assert rig.agent.stopping, "the body is told to stop, and has not yet"
    rig.agent.live[token].say("adopted", tries=[{"token": token, "state": "unknown"}])
    rig.pass_time()
    assert list(rig.agent.live) == [token], "nothing else of the instance begins while its body runs"
    rig.agent.end(token, rig.clock.at, "cancel")
    rig.pass_time()
    assert len(rig.agent.live) == 1
    assert not rig.agent.overlaps


def test_a_mark_and_a_clear_in_one_second_leave_what_the_clear_says(rig_of: Any) -> None:
    """What the mark alone would have meant for the tasks below is forgotten with it."""
    rig = rig_of(chain())
    rig.trigger()
    rig.pass_time()
    rig.finish("a", "fail")
    rig.ask("mark_tasks", 1, instances=[["a", None]], state="skipped")
    rig.ask("clear", 1, instances=[["a", None], ["b", None]])
    for _ in range(3):
        rig.pass_time()
    assert [row.state for row in rig.rows(command)] == [CommandState.DONE] * 2
    check_rebuild(rig)
    rig.finish("a")
    rig.finish("b")
    assert rig.run_states() == {1: 10}
