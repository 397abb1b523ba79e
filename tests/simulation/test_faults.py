"""The whole scheduler over random DAGs and faults, on a virtual clock; what must never happen, and that all ends.

Faults: killed before or after a commit, a commit that is reported failed (written or not), Doubt, a database that goes
away, results that come late, twice and in another order, launches that are lost, an agent that dies. A seed is the
whole story: `DAGD_TEST_SEEDS=1000 pytest tests/simulation` tells more of them.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from dagd.model.errors import Doubt
from dagd.model.plans import Plan
from dagd.model.specs import DagSpec
from dagd.model.states import AttemptState, Charge, RunState
from dagd.model.times import SECOND
from dagd.store import catalog, dialects
from dagd.store.database import DBAPIError
from dagd.store.schema import asset_delivery, asset_event, attempt, backfill, dag
from tests.engine_rig import Rig, Wound, check_rebuild
from tests.factories import NOW
from tests.scenarios import POOLS, World, random_dags

SEEDS = int(os.environ.get("DAGD_TEST_SEEDS", "40"))
MOVES = 35
A = AttemptState


class Killed(Exception):
    """The process is killed here."""


class Faults:
    """What goes wrong, and the survivor's part: what `Loop.run` does when the database is away."""

    def __init__(self, rig: Rig, dice: random.Random) -> None:
        self.rig, self.dice = rig, dice
        self.rate = 0.08
        self.told: list[str] = []

    def arm(self) -> None:
        """Let the commits of this incarnation's process fail now and then."""
        committer = self.rig.scheduler.committer
        if hasattr(committer, "armed"):
            return
        submit, dice = committer.submit, self.dice

        def faulty(plan: Plan, lag_us: int = 0) -> None:
            fault = dice.choice(FAULTS) if dice.random() < self.rate else None
            if fault is None:
                submit(plan, lag_us)
                return
            name, is_written, error = fault
            if name.startswith("doubt") and not plan.needs_commit():
                submit(plan, lag_us)  # a heartbeat has no row to doubt
                return
            self.told.append(name)
            if is_written:
                submit(plan, lag_us)
            raise error()

        committer.submit = faulty  # type: ignore[method-assign]
        committer.armed = True  # type: ignore[attr-defined]

    def settle(self) -> None:
        """As `Rig.settle`, through every fault."""
        for _ in range(60):
            self.arm()
            try:
                self.rig.settle()
                return
            except Killed:
                self.restart()
            except DBAPIError:
                self.survive(self.rig.scheduler.rebuild)
        raise AssertionError("it never comes to rest")

    def survive(self, act: Any) -> None:
        try:
            act()
        except Killed:
            self.restart()
        except DBAPIError:
            pass  # the loop tries again

    def restart(self) -> None:
        rate, self.rate = self.rate, 0.0
        self.rig.crash()
        self.rate = rate

    def strike(self) -> None:
        """Something happens to the agent or to the process between two turns."""
        agent, dice = self.rig.agent, self.dice
        kind = dice.randrange(14)
        if kind == 0:
            agent.die(self.rig.clock.at)
        elif kind == 1:
            self.restart()
        elif kind == 2:
            agent.hang_up()
        elif kind == 3:
            agent.forgetful = not agent.forgetful
        elif kind == 4:
            agent.silent = not agent.silent
        elif kind in (5, 6, 7):
            tokens = sorted(agent.spool)
            dice.shuffle(tokens)
            agent.repeat(tokens)

    def stop(self) -> None:
        """No more faults; whatever was lost on the way is asked for again."""
        self.rate = 0.0
        self.rig.agent.forgetful = self.rig.agent.silent = False
        self.rig.agent.hang_up()


def _gone() -> Exception:
    return OperationalError("COMMIT", None, Exception("server closed the connection"), connection_invalidated=True)


FAULTS: list[tuple[str, bool, Any]] = [
    ("killed before", False, Killed), ("killed after", True, Killed), ("gone before", False, _gone),
    ("gone after", True, _gone), ("doubt before", False, lambda: Doubt("x")), ("doubt after", True, lambda: Doubt("x")),
]  # fmt: skip


class Witness:
    """Looks at the rows after every move, and remembers what must not change."""

    def __init__(self, rig: Rig, specs: list[DagSpec]) -> None:
        self.rig = rig
        self.spec_of = {rig.ids[spec.dag_id]: spec for spec in specs}
        self.ended: dict[tuple[int, ...], tuple[Any, ...]] = {}

    def look(self) -> None:
        rig = self.rig
        rows, runs = rig.rows(attempt), {row.id: row for row in rig.runs()}
        self.s2_s5_s9_what_ended_stays(rows)
        self.s3_tries_do_not_overlap(rows)
        self.s8_no_limit_is_exceeded(rows, runs)
        self.s7_events_are_consumed_once(runs)
        for row in rig.rows(dag):
            assert row.held is None, f"{row.name} was set aside: {row.held}"

    def s2_s5_s9_what_ended_stays(self, rows: list[Any]) -> None:
        for row in rows:
            if row.try_no and row.state >= A.SUCCESS:
                key = (row.run_id, row.task_no, row.map_index, row.try_no)
                told = (row.state, row.reason, row.ended_at, row.token, row.charged)
                assert self.ended.setdefault(key, told) == told, f"S9 {key}"
        there = {(row.run_id, row.task_no, row.map_index, row.try_no) for row in rows}
        assert set(self.ended) <= there, "S5 a row of an ended try is gone"

    def s3_tries_do_not_overlap(self, rows: list[Any]) -> None:
        assert self.rig.agent.overlaps == [], "S3"
        live = [(row.run_id, row.task_no, row.map_index) for row in rows if row.state < A.SUCCESS]
        assert len(live) == len(set(live)), "S3"
        fine = self.successes(rows)
        assert len(fine) == len(set(fine)), "S2"

    def successes(self, rows: list[Any]) -> list[tuple[int, ...]]:
        return [
            (row.run_id, row.task_no, row.map_index)
            for row in rows
            if row.state == A.SUCCESS and row.superseded_by is None and row.try_no
        ]

    def s8_no_limit_is_exceeded(self, rows: list[Any], runs: dict[int, Any]) -> None:
        pools: dict[str, int] = defaultdict(int)
        dags: dict[int, int] = defaultdict(int)
        for row in rows:
            if row.state in (A.QUEUED, A.RUNNING):
                number = runs[row.run_id].dag_id
                spec = self.spec_of[number].tasks[row.task_no - 1]
                pools[spec.pool] += spec.pool_slots
                dags[number] += 1
        assert pools["narrow"] <= POOLS["narrow"], "S8 pool"
        for number, spec in self.spec_of.items():
            assert dags[number] <= spec.max_active_tasks, "S8 max_active_tasks"

    def s7_events_are_consumed_once(self, runs: dict[int, Any]) -> None:
        events = {row.id for row in self.rig.rows(asset_event)}
        tokens = [row.source_key for row in self.rig.rows(asset_event)]
        assert len(tokens) == len(set(tokens)), "S7 a success published twice"
        deliveries = self.rig.rows(asset_delivery)
        assert {row.event_id for row in deliveries} == events, "S7 an event without its delivery"
        for row in deliveries:
            assert row.run_id is None or runs[row.run_id].kind == 4, "S7"

    def at_the_end(self) -> None:
        self.s1_each_slot_has_one_run()
        self.backfills_have_counted_their_runs()
        rows = self.rig.rows(attempt)
        self.s6_starts_are_paid_for(rows)
        open_left = [row for row in self.rig.rows(asset_delivery) if row.run_id is None]
        assert open_left == [], "S7 an event was never consumed"
        assert not [row for row in rows if row.state < A.SUCCESS and self.is_over(row.run_id)], "L1 a live row is left"

    def is_over(self, run: int) -> bool:
        return self.rig.run_states()[run] >= RunState.SUCCESS

    def s1_each_slot_has_one_run(self) -> None:
        for number, spec in self.spec_of.items():
            slots = [row.slot for row in self.rig.runs() if row.dag_id == number and row.slot is not None]
            assert len(slots) == len(set(slots)), "S1"
            step = spec.schedule.get("micros")
            assert all(step and (slot - NOW) % step == 0 for slot in slots), "S1 no slot of the grid"
            last = next(row.last_slot for row in self.rig.rows(dag) if row.id == number)
            if last is not None and spec.catchup:
                assert set(range(NOW, last + 1, step or 1)) <= set(slots), "S1 a slot is missing"

    def backfills_have_counted_their_runs(self) -> None:
        rows = self.rig.rows(backfill)
        if any(row.reprocess for row in rows):
            return  # what one has run another may have taken over
        for row in rows:
            ended = [run.state for run in self.rig.runs() if run.backfill_id == row.id and run.state >= 10]
            if row.state < 10:
                told = (row.done - row.kept, row.success, row.failed)
                assert told == (len(ended), ended.count(RunState.SUCCESS), ended.count(RunState.FAILED)), row
            assert row.done <= row.slots, row

    def s6_starts_are_paid_for(self, rows: list[Any]) -> None:
        tries: dict[tuple[int, int, int], list[Any]] = defaultdict(list)
        for row in rows:
            if row.try_no:
                tries[row.run_id, row.task_no, row.map_index].append(row)
        number_of = {row.id: row.dag_id for row in self.rig.runs()}
        for (run, no, _), of_one in tries.items():
            spec = self.spec_of[number_of[run]].tasks[no - 1]
            lives = {row.superseded_by for row in of_one}
            for life in lives:
                paid = [row for row in of_one if row.superseded_by == life]
                charged = [row for row in paid if row.charged == Charge.RETRIES]
                infra = [row for row in paid if row.charged == Charge.INFRA]
                free = len(paid) - len(charged) - len(infra)
                assert len(charged) <= spec.retries + 1, f"S6 {run}/{no}"
                assert len(infra) <= spec.infra_retries, f"S6 {run}/{no}"
                assert len(paid) <= spec.retries + 1 + spec.infra_retries + free, f"S6 {run}/{no}"


def story(seed: int, home: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """One seed from its beginning to the end of all runs; what is stored then, ids apart."""
    dice, clock = random.Random(seed), Wound()
    home.mkdir()
    shutil.copyfile(template, home / "dagd.db")
    entropy = random.Random(seed + 1)
    monkeypatch.setattr(dialects, "clock", lambda _connection: clock.at)
    monkeypatch.setattr("secrets.randbits", entropy.getrandbits)
    monkeypatch.setattr("secrets.token_hex", lambda size: f"{entropy.getrandbits(8 * size):0{2 * size}x}")
    specs = random_dags(dice)
    rig = Rig(home, f"sqlite:///{home / 'dagd.db'}", *specs, clock=clock)
    try:
        return live_through(rig, World(rig, dice, specs), Witness(rig, specs), Faults(rig, dice))
    finally:
        rig.close()


def live_through(rig: Rig, world: World, witness: Witness, faults: Faults) -> list[Any]:
    with rig.database.write() as connection:
        for name, slots in POOLS.items():
            catalog.set_pool(connection, name, slots, None, "ann")
    rig.trigger()
    rig.pass_time()
    for _ in range(MOVES):
        world.act()
        faults.strike()
        rig.clock.at += SECOND
        faults.settle()
        witness.look()
    faults.stop()
    rig.pass_time(1)
    rig.agent.repeat(sorted(rig.agent.spool))
    world.finish()
    witness.look()
    check_rebuild(rig)
    witness.at_the_end()
    return [(row.run_id, row.state, row.due_at) for row in rig.runs() if row.kind != 4]


@pytest.mark.parametrize("first", range(0, SEEDS, 10))
def test_nothing_that_must_not_happen_happens_and_all_runs_end(
    first: int, tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(first, min(first + 10, SEEDS)):
        try:
            with monkeypatch.context() as patched:
                story(seed, tmp_path / str(seed), sqlite_template, patched)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error


def test_a_seed_tells_the_same_story_again(
    tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    for time in ("first", "again"):
        with monkeypatch.context() as patched:
            told.append(story(3, tmp_path / time, sqlite_template, patched))
    assert told[0] == told[1]
    assert told[0]
