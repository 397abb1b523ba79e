"""Faults in a random order on real processes, judged from outside. Ends with heal, quiesce, checker, a look for leaks.

DAGD_TEST_CHAOS_SECONDS, DAGD_TEST_CHAOS_SEED, DAGD_TEST_CHAOS_DAGS say how long, which faults, over how many DAGs.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.chaos import faults
from tests.chaos.faults import Fault
from tests.chaos.leaks import Sample, Sampler, measure
from tests.chaos.world import Operator, World, now_us
from tests.e2e.home import wait_for
from tests.postgres import Cluster

SECONDS = float(os.environ.get("DAGD_TEST_CHAOS_SECONDS", "20"))
SEED = int(os.environ.get("DAGD_TEST_CHAOS_SEED", str(int(time.time()))))
DAGS = int(os.environ.get("DAGD_TEST_CHAOS_DAGS", "5"))
EVERY_S = 60.0 if DAGS > 20 else 3.0
REST_S = (0.5, 3.0) if SECONDS < 300 else (5.0, 40.0)
LAG_S, BACK_S = 2.0, 30.0
LONG_S = 1800  # medians of ten minutes can be compared from here on


def strike(world: World, kinds: tuple[Callable[[], Fault], ...], seconds: float) -> list[str]:
    """Fault after fault, with a rest between; returns what was done."""
    deadline, done, slowest = time.monotonic() + seconds, list[str](), 0.0
    while time.monotonic() < deadline:
        rest(world.dice.uniform(*REST_S))
        fault = faults.pick(kinds, world.dice)
        held_s = world.dice.uniform(0, fault.longest_s)
        done.append(f"{fault} {held_s:.1f} s")
        record = {"kind": str(fault), "target": fault.target, "at": now_us()}
        world.faults.append(record)
        try:
            fault.inject(world)
            rest(held_s)
        finally:
            fault.heal(world)
        world.ensure_up()
        healed_us = now_us()
        await_return(world, healed_us, f"seed {SEED}; {done}")
        slowest = max(slowest, (now_us() - healed_us) / 1e6)
        record["until"] = now_us()
    return [*done, f"slowest return {slowest:.1f} s"]


def rest(seconds: float) -> None:
    """Chaos acts at times of its own; there is no fact to wait for."""
    end = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() >= end, seconds + 10)


def await_return(world: World, since_us: int, told: str) -> None:
    """All is as it was, within the time that is promised."""

    def look() -> bool:
        world.ensure_up()  # a scheduler that found no database when it started has ended
        return is_back(world, since_us)

    try:
        wait_for(look, BACK_S)
    except AssertionError:
        rows = world.rows("SELECT id, pid, heartbeat, lag_us FROM scheduler ORDER BY id DESC LIMIT 4")
        raise AssertionError(f"not back {BACK_S} s after {since_us}: {rows}; {told}") from None


def is_back(world: World, since_us: int) -> bool:
    """Whether all schedulers have spoken since that instant, and none is late."""
    statement = "SELECT heartbeat, lag_us FROM scheduler WHERE alive"
    if world.cluster is None:
        statement = statement.replace("WHERE alive", "WHERE alive = 1")
    try:
        rows = world.rows(statement)
    except (psycopg.OperationalError, sqlite3.OperationalError):
        return False
    fresh = [row for row in rows if row["heartbeat"] > since_us]
    return len(fresh) > len(world.more) and all(row["lag_us"] < LAG_S * 1_000_000 for row in fresh)


def settle(world: World) -> Sample:
    """Everything runs, nothing waits: a moment at which two samples can be compared."""
    wait_for(lambda: world.home.run("health").returncode == 0, 60)
    return measure(world)


def run_chaos(world: World, kinds: tuple[Callable[[], Fault], ...], *, schedulers: int = 1, dags: int = DAGS) -> None:
    """The whole of it."""
    world.start(dags, EVERY_S, schedulers)
    wait_for(lambda: world.count("dag") >= dags, 60)
    wait_for(lambda: world.count("attempt WHERE state = 10") >= 3, 60)
    before = settle(world)
    operator = Operator(world, world.dice.getrandbits(32))
    sampler = Sampler(world)
    operator.start()
    sampler.start()
    try:
        done = strike(world, kinds, SECONDS)
    finally:
        operator.finish()
        sampler.finish()
    told = f"seed {SEED}; {done}"
    world.quiesce()
    found = world.violations()
    assert not found, f"{len(found)} violations, first {[str(one) for one in found[:5]]}; {told}"
    assert not operator.problems, f"{operator.problems[:3]}; {told}"
    compare(before, settle(world), told)
    if len(sampler.samples) >= 3:
        told = f"{sampler.drift()}; {len(world.faults)} faults, {len(world.acknowledged)} acknowledged; {told}"
        print(told)
    if SECONDS >= LONG_S:
        assert all(last <= first * 1.05 for first, last in sampler.drift().values()), told


def compare(before: Sample, after: Sample, told: str) -> None:
    """No process, descriptor or file that stays."""
    known = {name for name, _ in before.names} | {"dagd-dag", "dagd-warm", "dagd-root"}
    strangers = [name for name in after.names if name[0] not in known]
    assert not strangers, f"{strangers} beside {before.names}; {told}"
    singles = {name: number for name, number in after.names if name in ("dagd-agent", "dagd-log")}
    assert singles == {"dagd-agent": 1, "dagd-log": 1}, f"{after.names}; {told}"
    assert not after.temporary, f"{after.temporary}; {told}"
    assert after.descriptors <= before.descriptors * 1.5 + 40, f"{before}, then {after}; {told}"


@pytest.mark.short
@pytest.mark.timeout(SECONDS + 400)
def test_nothing_is_lost_or_doubled_on_sqlite(tmp_path: Path) -> None:
    world = World(tmp_path, seed=SEED)
    try:
        run_chaos(world, faults.PROCESSES + faults.FILES + faults.SQLITE)
    finally:
        world.close()


@pytest.mark.short
@pytest.mark.postgres
@pytest.mark.timeout(SECONDS + 400)
def test_nothing_is_lost_or_doubled_on_postgres_with_two_schedulers(tmp_path: Path, cluster: Cluster) -> None:
    world = World(tmp_path, cluster=cluster, seed=SEED)
    try:
        run_chaos(world, faults.PROCESSES + faults.FILES + faults.POSTGRES, schedulers=2)
    finally:
        world.close()


@pytest.mark.timeout(SECONDS + 400)
def test_nothing_is_lost_or_doubled_when_disks_fill_up(tmp_path: Path, small_disk: Path) -> None:
    world = World(tmp_path, disk=small_disk, seed=SEED)
    try:
        run_chaos(world, faults.DISKS)
    finally:
        world.close()
