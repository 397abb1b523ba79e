"""Waits for triggers in the real scheduler: handed over after the commit, again after every loss, taken back once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dagd.model.specs import DagSpec
from dagd.model.states import AttemptState
from dagd.store.schema import attempt
from tests.core_driver import dag
from tests.engine_rig import Rig, check_rebuild

FILE = {"kind": "file", "path": "/in/x.csv"}


@pytest.fixture
def rig_of(tmp_path: Path, database_url: str) -> Iterator[Callable[[DagSpec], Rig]]:
    """Makes the one rig of a test."""
    rigs: list[Rig] = []

    def make(spec: DagSpec) -> Rig:
        rigs.append(Rig(tmp_path, database_url, spec))
        rigs[0].settle()
        return rigs[0]

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def waiting(rig_of: Any) -> Rig:
    """A task that waits for a file, at most ten minutes."""
    rig: Rig = rig_of(dag("sales", tasks={"a": {"retries": 0}, "b": "a"}))
    rig.trigger()
    rig.pass_time()
    rig.finish("a", "defer", trigger=FILE, timeout_us=600_000_000, state={"text": "{}"})
    check_rebuild(rig)
    return rig


def token(rig: Rig) -> str:
    return str(rig.rows(attempt)[0].token)


def test_a_wait_is_handed_over_and_its_firing_resumes_once(waiting: Rig) -> None:
    rig, old = waiting, token(waiting)
    assert rig.agent.waits == {old: FILE}
    rig.agent.fire(old, event={"n": 1})
    rig.agent.fire(old, event={"n": 2})
    rig.settle()
    assert (rig.agent.waits, rig.tries()) == ({}, [(1, 1, "queued")])
    payload = rig.agent.launches[token(rig)]["payload"]
    assert (payload["leg"], payload["state"]) == (2, {"text": "{}", "event": {"n": 1}})
    rig.finish("a")
    rig.finish("b")
    assert rig.tries() == [(1, 1, "success"), (2, 1, "success")]


@pytest.mark.parametrize("loss", ["scheduler", "agent", "both"])
def test_a_wait_is_handed_over_again_after_a_loss(waiting: Rig, loss: str) -> None:
    rig, old = waiting, token(waiting)
    rig.agent.waits.clear()
    if loss != "scheduler":
        rig.agent.hang_up()
    if loss != "agent":
        rig.crash()
    rig.settle()
    assert rig.agent.waits == {old: FILE}
    check_rebuild(rig)
    rig.agent.fire(old, event={})
    rig.settle()
    assert rig.tries() == [(1, 1, "queued")]


def test_a_firing_whose_place_was_not_there_yet_is_not_lost_with_the_scheduler(rig_of: Any) -> None:
    rig: Rig = rig_of(dag("sales", tasks={"a": "", "x": ""}, max_active_tasks=1))
    rig.trigger()
    rig.pass_time()
    rig.finish("a", "defer", trigger=FILE, timeout_us=60_000_000, state={"text": "{}"})
    rig.agent.fire(token(rig), event={"n": 1})
    rig.settle()
    assert rig.tries() == [(1, 1, "deferred"), (2, 1, "queued")]
    rig.crash()
    rig.settle()
    assert rig.agent.waits == {}
    rig.pass_time(3600)  # the wait's timeout means nothing any more
    rig.finish("x")
    assert rig.agent.launches[token(rig)]["payload"]["state"]["event"] == {"n": 1}
    check_rebuild(rig)


def test_a_wait_without_end_runs_into_its_timeout(waiting: Rig) -> None:
    rig = waiting
    rig.pass_time(599)
    assert rig.tries() == [(1, 1, "deferred")]
    rig.crash()
    rig.pass_time(2)
    row = rig.rows(attempt)[0]
    assert (row.state, row.reason) == (AttemptState.FAILED, "defer timeout")
    assert json.loads(row.error)["message"] == "defer timeout: waited for file /in/x.csv"
    assert rig.agent.waits == {}


@pytest.mark.parametrize("kind,states", [("cancel", [13]), ("clear", [13, 1])])
def test_a_stop_takes_the_wait_back(waiting: Rig, kind: str, states: list[int]) -> None:
    rig, old = waiting, token(waiting)
    rig.ask(kind, 1, **({"instances": [["a", None]]} if kind == "clear" else {}))
    rig.pass_time()
    assert rig.agent.waits == {}
    rig.agent.fire(old, event={})
    rig.settle()
    assert [row.state for row in rig.rows(attempt) if row.task_no == 1 and row.try_no] == states
