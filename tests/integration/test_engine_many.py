"""Several schedulers of one Postgres database in this process: shards, pools, hand-over, death."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from dagd.decide.state import State
from dagd.model.states import AttemptState, RunState
from dagd.store import catalog
from dagd.store.schema import attempt, pool_quota, shard
from tests.engine_rig import Agent, Rig, Wound, check_rebuild
from tests.factories import spec, task

pytestmark = pytest.mark.postgres
NAMES = [f"d{at}" for at in range(6)]


class Many:
    """Schedulers that share a database, an agent and a clock."""

    def __init__(self, home: Path, url: str) -> None:
        self.home, self.url = home, url
        self.agent, self.clock = Agent(slots=50), Wound()
        self.rigs: list[Rig] = []

    def add(self, *specs: Any) -> Rig:
        rig = Rig(self.home, self.url, *specs, agent=self.agent, clock=self.clock)
        if self.rigs:
            rig.ids = self.rigs[0].ids
        self.rigs.append(rig)
        return rig

    def pass_time(self, rounds: int = 1) -> None:
        """A second for everybody, in turns, until all rest."""
        for _ in range(rounds):
            self.clock.at += 1_000_001
            for _ in range(3):
                for rig in self.rigs:
                    rig.settle()

    def kill(self, rig: Rig) -> None:
        """Its process dies: its lock proves it to the others of this home."""
        rig.abandon()
        rig.database.close()
        self.rigs.remove(rig)

    def owned(self) -> list[set[int]]:
        return [rig.scheduler.membership.shards for rig in self.rigs]

    def close(self) -> None:
        for rig in list(self.rigs):
            self.kill(rig)
        self.agent.hang_up()


@pytest.fixture
def many(tmp_path: Path, postgres_url: str) -> Iterator[Many]:
    found = Many(tmp_path, postgres_url)
    yield found
    found.close()


def dags(**more: Any) -> list[Any]:
    return [spec(name, task("a", **more), task("b", "a", **more)) for name in NAMES]


def test_a_second_scheduler_gets_half_of_the_shards_and_both_run_their_dags(many: Many) -> None:
    one = many.add(*dags())
    many.pass_time()
    assert [len(each) for each in many.owned()] == [64]
    for name in NAMES:
        one.trigger(name)
    many.pass_time()
    assert len(many.agent.live) == len(NAMES)
    two = many.add()
    many.pass_time(4)
    mine, theirs = many.owned()
    assert (len(mine), len(theirs), mine & theirs) == (32, 32, set())
    assert set(one.scheduler.state.dags).isdisjoint(two.scheduler.state.dags)
    assert two.scheduler.state.dags, "the names above fall into both halves"
    for _ in range(2):
        for token in sorted(many.agent.live):
            many.agent.end(token, many.clock.at)
        many.pass_time(2)
    assert set(one.run_states().values()) == {RunState.SUCCESS}
    assert many.agent.overlaps == []
    assert [row.try_no for row in one.rows(attempt)] == [1] * 2 * len(NAMES)
    for rig in many.rigs:
        check_rebuild(rig)


def test_a_dead_schedulers_tries_are_adopted_and_none_is_launched_twice(many: Many) -> None:
    one = many.add(*dags())
    many.add()
    many.pass_time(4)
    for name in NAMES:
        one.trigger(name)
    many.pass_time(2)
    live = set(many.agent.live)
    assert len(live) == len(NAMES)
    many.kill(one)
    many.pass_time(2)
    (two,) = many.rigs
    assert two.scheduler.membership.shards == set(range(64))
    assert set(many.agent.live) == live
    for token in sorted(live):
        many.agent.end(token, many.clock.at)
    many.pass_time()
    assert many.agent.overlaps == []
    assert not many.agent.spool
    rows = [(row.task_no, row.try_no, row.state) for row in two.rows(attempt)]
    assert sorted(rows) == sorted([(1, 1, AttemptState.SUCCESS), (2, 1, AttemptState.QUEUED)] * len(NAMES))


def test_s9_a_scheduler_whose_lease_lapsed_is_fenced_and_joins_again(many: Many) -> None:
    one = many.add(*dags())
    many.add()
    many.pass_time(4)
    first = one.scheduler.membership.incarnation
    with one.database.write() as connection:
        connection.execute(text("UPDATE scheduler SET heartbeat = 0 WHERE id = :id"), {"id": first})
    two = many.rigs[1]
    two.clock.at += 1_000_001
    two.settle()
    assert two.scheduler.membership.shards == set(range(64))
    one.trigger(NAMES[0])
    many.pass_time(5)
    assert one.scheduler.membership.incarnation != first
    assert [len(each) for each in many.owned()] == [32, 32]
    assert len(many.agent.live) == 1
    owners = {row.owner for row in one.rows(shard)}
    assert owners == {rig.scheduler.membership.incarnation for rig in many.rigs}


def test_s8_a_pool_is_shared_and_never_oversubscribed_over_deaths(many: Many) -> None:
    dice = random.Random(4)
    one = many.add(*dags(pool="narrow", retries=2, retry_delay_us=1))
    with one.database.write() as connection:
        catalog.set_pool(connection, "narrow", 3, None, "ann")
    many.add()
    many.pass_time(4)
    for move in range(40):
        rig = dice.choice(many.rigs)
        if move % 2 == 0:
            rig._run = max(rig.run_states() or [0])
            rig.trigger(dice.choice(NAMES))
        for token in dice.sample(sorted(many.agent.live), len(many.agent.live) // 2):
            many.agent.end(token, many.clock.at, dice.choice(["succeed", "fail"]))
        if move % 13 == 12:
            many.kill(dice.choice(many.rigs))
            many.add()
        if move % 7 == 6:
            rig.scheduler.rebuild()
        many.pass_time()
        live = [row for row in many.rigs[0].rows(attempt) if row.state in (1, 2)]
        assert len(live) <= 3, move
        assert sum(row.slots for row in many.rigs[0].rows(pool_quota) if row.pool_id == 2) <= 3
    assert many.agent.overlaps == []
    assert len(many.rigs[0].run_states()) >= 15


def test_s8_memory_that_is_rebuilt_asks_for_what_its_tries_use(many: Many) -> None:
    """Asked for before the tries were counted, the share went to another scheduler while they still ran."""
    one = many.add(*dags(pool="narrow"))
    with one.database.write() as connection:
        catalog.set_pool(connection, "narrow", 2, None, "ann")
    many.add()
    many.pass_time(4)
    busy = next(name for name in NAMES if one.ids[name] in one.scheduler.state.dags)
    for _ in range(3):
        one.trigger(busy)
    many.pass_time(2)
    assert len(many.agent.live) == 2
    asked: list[int] = []
    shares = one.scheduler.membership.pool_shares

    def noting(state: State) -> Any:
        asked.append(state.pools["narrow"].used if "narrow" in state.pools else 0)
        return shares(state)

    one.scheduler.membership.pool_shares = noting  # type: ignore[method-assign]
    one.scheduler.rebuild()
    assert asked == [2]
    quotas = {row.scheduler_id: row.slots for row in one.rows(pool_quota) if row.pool_id == 2}
    assert quotas[one.scheduler.membership.incarnation] == 2


def test_l1_a_task_that_needs_more_than_a_share_of_its_pool_starts_when_the_others_do_not_need_it(many: Many) -> None:
    """A pool of 2 in three shares of 1: nobody ever had the two slots that one task asks for."""
    one = many.add(*dags(pool="narrow", pool_slots=2))
    with one.database.write() as connection:
        catalog.set_pool(connection, "narrow", 2, None, "ann")
    many.add()
    many.add()
    many.pass_time(6)
    for name in NAMES[:4]:
        one.trigger(name)
    for _ in range(40):
        many.pass_time()
        assert len(many.agent.live) <= 1, "S8"
        for token in sorted(many.agent.live):
            many.agent.end(token, many.clock.at)
    assert set(one.run_states().values()) == {RunState.SUCCESS}
