"""Incarnations, leases, shards and shares of pools: a shard has one living owner, a pool is never given out twice."""

from __future__ import annotations

import random

import pytest
from sqlalchemy import Connection, func, select, text

from dagd.store import catalog, facts, reads, shards
from dagd.store.schema import pool_quota, shard
from tests import factories as make

LEASE = 10_000_000
ALL = set(range(64))


def age(connection: Connection, scheduler: int, microseconds: int) -> None:
    """The scheduler's heart beat this long ago last."""
    connection.execute(
        text("UPDATE scheduler SET heartbeat = heartbeat - :age WHERE id = :id"), {"age": microseconds, "id": scheduler}
    )


def bury(connection: Connection, me: int, *proven: int, alone: bool = False) -> list[int]:
    return shards.bury(connection, LEASE, me, alone=alone, proven=list(proven))


def names(connection: Connection) -> list[int]:
    return [number for number, _, _ in shards.living(connection)]


def test_a_new_incarnation_lives(connection: Connection) -> None:
    me = shards.register(connection, "here", 7, "/home")
    other = shards.register(connection, "there", 8, "/other")
    assert other > me
    assert shards.living(connection) == [(me, "here", "/home"), (other, "there", "/other")]
    assert [(row.pid, row.lag_us) for row in reads.schedulers(connection)] == [(7, 0), (8, 0)]
    assert shards.owned(connection, me) == set()


def test_only_a_lapsed_lease_or_a_proof_makes_dead(connection: Connection) -> None:
    me, fresh, late, proven = (make.incarnation(connection) for _ in range(4))
    age(connection, late, LEASE + 1_000_000)
    age(connection, fresh, LEASE - 5_000_000)
    age(connection, me, 10 * LEASE)
    assert set(bury(connection, me, proven)) == {late, proven}
    assert names(connection) == [me, fresh]
    assert bury(connection, me, proven) == []
    assert bury(connection, me, me) == []


def test_alone_every_other_is_dead(connection: Connection) -> None:
    others = [make.incarnation(connection) for _ in range(2)]
    me = make.incarnation(connection)
    assert sorted(bury(connection, me, alone=True)) == others
    assert names(connection) == [me]


def test_one_takes_every_shard_and_asks_nobody(connection: Connection) -> None:
    me = make.incarnation(connection)
    assert shards.claim(connection, me) == (ALL, False)
    assert shards.owned(connection, me) == ALL
    assert shards.claim(connection, me) == (ALL, False)


def test_a_shard_is_not_taken_from_the_living(connection: Connection) -> None:
    one, two = make.incarnation(connection), make.incarnation(connection)
    bury_two_later = shards.claim(connection, one)
    assert len(bury_two_later[0]) == 32
    assert shards.claim(connection, two)[0] == ALL - bury_two_later[0]


def test_a_newcomer_asks_and_gets_its_fair_share_at_the_owners_time(connection: Connection) -> None:
    one = make.incarnation(connection)
    shards.claim(connection, one)
    two = make.incarnation(connection)
    assert shards.claim(connection, two) == (set(), True)
    assert shards.owned(connection, one) == ALL
    assert shards.claim(connection, two) == (set(), False), "asked once"
    given = shards.release_wanted(connection, one)
    assert len(given) == 32
    assert shards.owned(connection, two) == given
    assert shards.owned(connection, one) == ALL - given
    assert shards.release_wanted(connection, one) == set()
    assert shards.claim(connection, one) == (ALL - given, False)
    assert shards.claim(connection, two) == (given, False)


def test_three_share_fairly_whatever_the_order(connection: Connection) -> None:
    dice = random.Random(5)
    members = [make.incarnation(connection)]
    shards.claim(connection, members[0])
    for size in (2, 3):
        members.append(make.incarnation(connection))
        for _ in range(4):
            for me in dice.sample(members, size):
                shards.release_wanted(connection, me)
                shards.claim(connection, me)
        held = [shards.owned(connection, me) for me in members]
        assert set().union(*held) == ALL
        assert sum(len(each) for each in held) == 64
        assert max(len(each) for each in held) - min(len(each) for each in held) <= 2, held


def test_the_shards_of_the_dead_are_taken_after_the_burial_alone(connection: Connection) -> None:
    one, two = make.incarnation(connection), make.incarnation(connection)
    for me in (one, two):
        shards.claim(connection, me)
    age(connection, one, 2 * LEASE)
    assert len(shards.claim(connection, two)[0]) == 32
    assert bury(connection, two) == [one]
    assert shards.claim(connection, two)[0] == ALL


def test_a_shard_that_a_dead_one_wanted_comes_back(connection: Connection) -> None:
    one = make.incarnation(connection)
    shards.claim(connection, one)
    two = make.incarnation(connection)
    shards.claim(connection, two)
    bury(connection, one, two)
    shards.release_wanted(connection, one)
    assert shards.claim(connection, one)[0] == ALL
    assert connection.execute(select(func.count()).where(shard.c.wanted_by.is_not(None))).scalar_one() == 0


def test_who_resigns_leaves_its_shards_free_and_is_dead(connection: Connection) -> None:
    one, two = make.incarnation(connection), make.incarnation(connection)
    shards.claim(connection, one)
    shards.resign(connection, one)
    assert names(connection) == [two]
    assert shards.claim(connection, two)[0] == ALL


# --- pools -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pool(connection: Connection) -> int:
    catalog.set_pool(connection, "etl", 10, None, "ann")
    return next(number for number, name, _ in facts.pools(connection) if name == "etl")


def quotas(connection: Connection) -> dict[int, int]:
    return {row.scheduler_id: row.slots for row in connection.execute(select(pool_quota))}


def test_s8_quotas_never_exceed_the_pool(connection: Connection, pool: int) -> None:
    one, two = make.incarnation(connection), make.incarnation(connection)
    assert shards.set_quotas(connection, one, {pool: 7}) == {pool: 7}
    assert shards.set_quotas(connection, two, {pool: 7}) == {pool: 3}
    assert shards.set_quotas(connection, one, {pool: 4}) == {pool: 4}
    assert shards.set_quotas(connection, two, {pool: 7}) == {pool: 6}
    assert shards.set_quotas(connection, one, {pool: 99, 12345: 1}) == {pool: 4}
    assert quotas(connection) == {one: 4, two: 6}


def test_s8_a_shrunk_pool_only_drains(connection: Connection, pool: int) -> None:
    one, two = make.incarnation(connection), make.incarnation(connection)
    shards.set_quotas(connection, one, {pool: 6})
    shards.set_quotas(connection, two, {pool: 4})
    catalog.set_pool(connection, "etl", 5, None, "ann")
    assert shards.set_quotas(connection, two, {pool: 4}) == {pool: 0}
    assert shards.set_quotas(connection, one, {pool: 6}) == {pool: 5}
    assert shards.set_quotas(connection, two, {pool: 4}) == {pool: 0}


def test_s8_random_wishes_of_three_never_exceed_the_pool(connection: Connection, pool: int) -> None:
    dice = random.Random(9)
    members = [make.incarnation(connection) for _ in range(3)]
    for _ in range(60):
        shards.set_quotas(connection, dice.choice(members), {pool: dice.randrange(14)})
        assert sum(quotas(connection).values()) <= 10


def test_s8_the_share_of_the_dead_is_free_when_their_shards_have_new_owners(connection: Connection, pool: int) -> None:
    """Their tries may live on: until somebody has loaded them, their slots are nobody else's."""
    one, two = make.incarnation(connection), make.incarnation(connection)
    for me in (one, two):
        shards.claim(connection, me)
    shards.set_quotas(connection, one, {pool: 8})
    bury(connection, two, one)
    assert shards.set_quotas(connection, two, {pool: 10}) == {pool: 2}
    shards.claim(connection, two)
    assert shards.set_quotas(connection, two, {pool: 10}) == {pool: 10}


def test_s8_the_share_of_one_that_resigned_is_free_when_its_shards_have_new_owners(
    connection: Connection, pool: int
) -> None:
    one, two = make.incarnation(connection), make.incarnation(connection)
    for me in (one, two):
        shards.claim(connection, me)
    shards.set_quotas(connection, one, {pool: 8})
    shards.resign(connection, one)
    assert shards.set_quotas(connection, two, {pool: 10}) == {pool: 2}
    shards.claim(connection, two)
    assert shards.set_quotas(connection, two, {pool: 10}) == {pool: 10}
