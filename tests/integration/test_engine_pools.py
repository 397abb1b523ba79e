"""Pools under a crowd: a full one holds up nobody else, and a request for many slots is not passed over for ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dagd.model.specs import DagSpec, ExpandSpec, MapSource, TaskSpec
from dagd.store import catalog, dialects
from tests.engine_rig import Rig
from tests.factories import NOW, spec, task

CROWD = 1000
AGING_S = 5  # a request that was passed over for so long has the next free slots kept for it


@pytest.fixture
def rig_of(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    made: list[Rig] = []
    monkeypatch.setattr(dialects, "clock", lambda _connection: made[0].clock.at if made else NOW)

    def make(*specs: DagSpec, **pools: int) -> Rig:
        made.append(Rig(tmp_path, sqlite_url, *specs, slots=5000))
        with made[0].database.write() as connection:
            for name, slots in pools.items():
                catalog.set_pool(connection, name, slots, None, "ann")
        made[0].pass_time(2)
        return made[0]

    yield make
    for rig in made:
        rig.close()


def many(count: int, **more: Any) -> TaskSpec:
    return task("crowd", expand=ExpandSpec("product", ("x",), (MapSource("literal", count),)), **more)


def live(rig: Rig) -> list[str]:
    return [rig.agent.name(token) for token in rig.agent.live]


def steps_until(rig: Rig, task_id: str) -> int:
    """How many steps of the loop a new run's task takes until the agent has it."""
    rig.trigger("other")
    rig.clock.at += 1_000_000  # the sweep that finds the run is due
    for steps in range(1, 20):
        rig.step()
        if task_id in live(rig):
            return steps
    raise AssertionError(f"{task_id} does not start; the agent has {len(live(rig))} tries")


CROWDS: dict[str, DagSpec] = {
    "instances of one task": spec("sales", many(CROWD + 2, pool="narrow"), max_active_tasks=5000),
    "tasks": spec("sales", *(task(f"crowd{n}", pool="narrow") for n in range(CROWD + 2)), max_active_tasks=5000),
}


@pytest.mark.parametrize("crowd", CROWDS.values(), ids=CROWDS)
def test_a_full_pool_with_1000_waiting_tasks_delays_no_task_of_another(rig_of: Any, crowd: DagSpec) -> None:
    other = spec("other", task("first"), task("second", "first", pool="wide"))
    rig = rig_of(crowd, other, narrow=2, wide=2)
    alone = steps_until(rig, "first")
    rig.agent.end(rig.agent.token("first"), rig.clock.at)
    rig.settle()
    rig.agent.end(rig.agent.token("second"), rig.clock.at)
    rig.settle()
    rig.trigger("sales")
    rig.pass_time()
    assert len(live(rig)) == 2, "the crowd has its pool's slots, and the rest of it waits"
    assert steps_until(rig, "first") == alone
    rig.agent.end(rig.agent.token("first"), rig.clock.at)
    rig.settle()
    assert sorted(live(rig))[-1] == "second"
    assert len(live(rig)) == 3


def test_within_one_dag_a_full_pool_delays_no_task_of_another_pool(rig_of: Any) -> None:
    rig = rig_of(
        spec("sales", many(CROWD, pool="narrow", priority=9), task("free", pool="wide"), max_active_tasks=5000),
        narrow=2, wide=2,
    )  # fmt: skip
    rig.trigger("sales")
    rig.pass_time()
    assert sorted(live(rig)) == ["crowd", "crowd", "free"]


def test_a_task_of_3_slots_starts_within_a_bounded_number_of_finishes(rig_of: Any) -> None:
    rig = rig_of(
        spec("sales", many(CROWD, pool="tight"), max_active_tasks=5000),
        spec("other", task("big", pool="tight", pool_slots=3)), tight=3,
    )  # fmt: skip
    rig.trigger("sales")
    rig.pass_time()
    rig.trigger("other")
    rig.pass_time()
    assert live(rig) == ["crowd"] * 3
    finishes = 0
    while "big" not in live(rig):
        assert finishes <= AGING_S + 1 + 3, "one a second until it has aged, then the three that were running"
        rig.agent.end(next(iter(rig.agent.live)), rig.clock.at)
        finishes += 1
        rig.pass_time()
    assert live(rig) == ["big"]
    assert finishes >= 3
    rig.agent.end(rig.agent.token("big"), rig.clock.at)
    rig.settle()
    assert live(rig) == ["crowd"] * 3
