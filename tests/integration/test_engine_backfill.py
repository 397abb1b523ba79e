"""Backfills in the real scheduler, from the request to the last run: over kills, pauses, edits, beside a schedule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from dagd.model.errors import Doubt
from dagd.model.specs import DagSpec
from dagd.model.states import BackfillState, CommandState, Reprocess, RunKind, RunState
from dagd.model.times import SECOND
from dagd.store import backfills, dialects
from dagd.store.schema import attempt, backfill, command, dag_run
from tests.engine_rig import Rig, check_rebuild
from tests.factories import NOW, spec, task

HOUR = 3600 * SECOND
FIRST = NOW - 30 * HOUR


@pytest.fixture
def rigs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Rig]]:
    made: list[Rig] = []
    monkeypatch.setattr(dialects, "clock", lambda _connection: made[0].clock.at if made else NOW)
    yield made
    for rig in made:
        rig.close()


@pytest.fixture
def rig_of(rigs: list[Rig], tmp_path: Path, database_url: str) -> Any:
    def make(*specs: DagSpec, **more: Any) -> Rig:
        rigs.append(Rig(tmp_path, database_url, *(specs or (hourly(),)), **more))
        rigs[0].settle()
        return rigs[0]

    return make


def hourly(dag_id: str = "sales", isolation: str = "fork", **more: Any) -> DagSpec:
    values: dict[str, Any] = {
        "schedule": {"kind": "delta", "micros": HOUR}, "start_at": NOW - 100 * HOUR, "schedule_text": "every 1:00:00",
    }  # fmt: skip
    return spec(dag_id, task("a", isolation=isolation), **{**values, **more})


def slots(rig: Rig, kind: RunKind | None = RunKind.BACKFILL) -> list[int]:
    """The slots that have a run, as hours from the first, by creation."""
    rows = sorted(rig.rows(dag_run), key=lambda row: int(row.id))
    return [(row.slot - FIRST) // HOUR for row in rows if kind in (None, row.kind)]


def end_all(rig: Rig, outcome: str = "succeed") -> None:
    while rig.agent.live:
        rig.agent.end(min(rig.agent.live), rig.clock.at, outcome)
        rig.settle()


def told(rig: Rig, number: int = 1) -> tuple[str, int, int, int, int]:
    row = next(row for row in rig.rows(backfill) if row.id == number)
    return BackfillState(row.state).word, row.done, row.success, row.failed, row.kept


@pytest.mark.parametrize("is_reverse", [False, True])
def test_thirty_one_slots_run_once_each_although_the_scheduler_dies_on_the_way(rig_of: Any, is_reverse: bool) -> None:
    rig = rig_of()
    rig.backfill(FIRST, NOW, max_active=4, is_reverse=is_reverse)
    rig.pass_time()
    assert slots(rig) == ([30, 29, 28, 27] if is_reverse else [0, 1, 2, 3])
    for ended in range(31):
        assert len(rig.agent.live) == min(4, 31 - ended)
        assert len(rig.runs()) == min(31, ended + 4)
        if ended % 5 == 3:
            rig.crash()
            rig.settle()
        check_rebuild(rig)
        rig.agent.end(min(rig.agent.live), rig.clock.at)
        rig.settle()
    assert sorted(slots(rig)) == list(range(31))
    assert told(rig) == ("done", 31, 31, 0, 0)
    assert rig.agent.overlaps == []
    (row,) = rig.rows(backfill)
    assert (row.started_at, row.ended_at, row.slots) == (rig.clock.at, rig.clock.at, 31)
    assert Counter(CommandState(one.state).name for one in rig.rows(command)) == {"DONE": 1}


def test_a_commit_that_fails_takes_no_slot(rig_of: Any) -> None:
    rig = rig_of()
    committer = rig.scheduler.committer
    submit, failures = committer.submit, [True, True]

    def doubtful(plan: Any, lag_us: int = 0) -> None:
        if plan.new_runs and failures and failures.pop():
            raise Doubt("a test")
        submit(plan, lag_us)

    committer.submit = doubtful
    rig.backfill(FIRST, FIRST + 2 * HOUR)
    for _ in range(3):
        rig.pass_time()
    end_all(rig)
    assert failures == []
    assert slots(rig) == [0, 1, 2]
    assert told(rig) == ("done", 3, 3, 0, 0)


def test_pause_resume_and_cancel_hold_over_a_restart(rig_of: Any) -> None:
    rig = rig_of()
    rig.backfill(FIRST, NOW, max_active=2)
    rig.pass_time()
    rig.ask_backfill("pause", 1)
    rig.pass_time()
    rig.crash()
    end_all(rig)
    assert told(rig) == ("paused", 2, 2, 0, 0)
    assert len(rig.runs()) == 2
    rig.ask_backfill("resume", 1)
    rig.pass_time()
    assert len(rig.agent.live) == 2
    rig.ask_backfill("cancel", 1)
    rig.pass_time()
    assert told(rig) == ("cancelled", 4, 2, 0, 0)
    rig.crash()
    rig.settle()
    assert set(rig.agent.stopping) == set(rig.agent.live)
    end_all(rig, "cancel")
    assert sorted(RunState(state).word for state in rig.run_states().values()) == ["cancelled"] * 2 + ["success"] * 2
    assert told(rig) == ("cancelled", 4, 2, 0, 0)
    with rig.database.read() as connection:
        assert backfills.unended(connection) == []


@pytest.mark.parametrize(
    "reprocess,again", [(Reprocess.NONE, []), (Reprocess.FAILED, [1]), (Reprocess.COMPLETED, [0, 1])]
)
def test_runs_that_are_there_run_again_with_the_version_of_now(
    rig_of: Any, reprocess: Reprocess, again: list[int]
) -> None:
    rig = rig_of()
    for number, outcome in ((0, "succeed"), (1, "fail")):
        rig.backfill(FIRST + number * HOUR, FIRST + number * HOUR)
        rig.pass_time()
        end_all(rig, outcome)
    old = {row.slot: (row.id, row.version_id) for row in rig.runs()}
    rig.store(spec("sales", task("b"), **{name: getattr(hourly(), name) for name in ("schedule", "start_at")}))
    rig.pass_time()
    rig.backfill(FIRST, FIRST + 3 * HOUR, reprocess=reprocess, conf='{"x":1}')
    rig.pass_time()
    while rig.agent.live:
        check_rebuild(rig)
        assert {rig.agent.name(token) for token in rig.agent.live} == {"b"}
        rig.agent.end(min(rig.agent.live), rig.clock.at)
        rig.settle()
    assert told(rig, 3) == ("done", 4, 2 + len(again), 0, 2 - len(again))
    for row in rig.runs():
        hour = (row.slot - FIRST) // HOUR
        assert (row.backfill_id == 3) == (hour in again or hour > 1)
        if hour in again:
            assert (row.id, row.state, row.conf) == (old[row.slot][0], RunState.SUCCESS, '{"x":1}')
            assert row.version_id != old[row.slot][1]
            tries = [(one.task_no, one.superseded_by is None) for one in rig.rows(attempt) if one.run_id == row.id]
            assert tries == [(1, False), (2, True)]


def test_the_schedule_goes_on_beside_a_backfill_of_its_dag_and_is_not_run_twice(rig_of: Any) -> None:
    rig = rig_of(hourly(catchup=True, max_active_runs=1))
    assert len(rig.agent.live) == 1  # catch-up from far back
    rig.backfill(FIRST, NOW, max_active=3, is_reverse=True)
    rig.pass_time()
    assert len(rig.agent.live) == 4
    for _ in range(400):
        if not rig.agent.live:
            break
        rig.agent.end(min(rig.agent.live), rig.clock.at)
        rig.settle()
    assert sorted(slots(rig, None)) == list(range(-70, 31))
    assert told(rig)[0] == "done"
    rig.clock.at += HOUR
    rig.settle()
    assert len(rig.agent.live) == 1
    check_rebuild(rig)


def test_a_dag_beside_it_starts_in_the_turn_of_its_slot(rig_of: Any) -> None:
    rig = rig_of(
        hourly(isolation="engine"), hourly("beside", start_at=NOW, schedule={"kind": "delta", "micros": 60 * SECOND})
    )
    rig.backfill(FIRST - 60 * HOUR, NOW, max_active=16)
    rig.clock.at += 60 * SECOND
    rig.step()
    assert [rig.agent.launches[token]["payload"]["dag_id"] for token in rig.agent.live] == ["beside"]


def test_a_paused_dag_keeps_its_backfill_waiting(rig_of: Any) -> None:
    rig = rig_of()
    rig.set_paused("sales", True)
    rig.backfill(FIRST, FIRST)
    rig.pass_time()
    assert (told(rig)[0], rig.runs()) == ("running", [])
    rig.set_paused("sales", False)
    rig.pass_time()
    end_all(rig)
    assert told(rig) == ("done", 1, 1, 0, 0)


@pytest.mark.parametrize("kind", ["backfill", "catch-up"])
def test_each_turn_over_many_slots_costs_as_few_statements_as_the_first(rig_of: Any, kind: str) -> None:
    most = 2_000
    start = NOW - (most - 1) * SECOND
    many = hourly("many", "engine", schedule={"kind": "delta", "micros": SECOND}, start_at=start, end_at=NOW)
    rig = rig_of()
    rig.store(replace(many, catchup=kind == "catch-up"))
    if kind == "backfill":
        rig.backfill(start, NOW, "many", max_active=16)
    counted: list[tuple[int, int]] = []
    asked = [0]
    event.listen(rig.database.engine, "before_cursor_execute", lambda *_: asked.__setitem__(0, asked[0] + 1))
    rig.clock.at += SECOND
    while not counted or counted[-1][1] < most:
        asked[0] = 0
        rig.step()
        statements = asked[0]
        counted.append((statements, len(rig.runs())))
    made = [now - then for (_, then), (_, now) in pairwise(counted)]
    assert max(made) <= 500
    assert max(statements for statements, _ in counted) < 60
