"""Backfills: one row each, written by the request that asks and by the turns of its owner."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, select, text

from dagd.model.errors import Doubt
from dagd.model.plans import (
    EVERY_INDEX,
    EVERY_TASK,
    BackfillMove,
    BackfillProgress,
    Expansion,
    Plan,
    RunMove,
    Supersede,
)
from dagd.model.states import BACKFILL_MOVES, BackfillState, CommandState, Reprocess, RunKind
from dagd.store import backfills, facts, reads, schema_base, transitions, turns, upkeep
from dagd.store.schema import attempt, backfill, dag_run, map_expansion, xcom
from tests import factories as make
from tests.factories import NOW

HOUR = 3_600_000_000


def write(connection: Connection, **parts: Any) -> None:
    turns.write_plan(connection, Plan(**parts), NOW)


def asked(connection: Connection, dag: int, name: str = "sales", **more: Any) -> int:
    wanted = backfills.Wanted(NOW - 9 * HOUR, NOW - HOUR, NOW, **more)
    number, command = backfills.create(
        connection, dag, name, wanted, cursor=NOW - 9 * HOUR - 1, slots=9, existing=2, actor="ann"
    )
    row = reads.command_row(connection, command)
    assert row is not None
    assert (row.kind, row.dag_id, row.state) == ("backfill_create", dag, CommandState.NEW)
    assert f'"backfill":{number}' in row.payload
    return number


def row_of(connection: Connection, number: int) -> Any:
    return connection.execute(select(backfill).where(backfill.c.id == number)).one()


def slot_run(dag: int, version: int, number: int, slot: int, **more: Any) -> Any:
    return make.run(dag, version, number, slot=slot, due_at=slot, **more)


def test_a_backfill_is_asked_for_with_its_request_and_its_line_in_the_audit_log(connection: Connection) -> None:
    number, _ = make.store_dag(connection, make.spec())
    mine = asked(connection, number, is_reverse=True, max_active=7, reprocess=Reprocess.FAILED, conf='{"a":1}')
    row = backfills.row_of(connection, mine)
    assert row is not None
    assert (row.dag_name, row.state, row.slots, row.existing, row.done) == ("sales", BackfillState.QUEUED, 9, 2, 0)
    assert (bool(row.is_reverse), row.max_active, row.reprocess, row.conf) == (True, 7, Reprocess.FAILED, '{"a":1}')
    (audit,) = reads.audit_rows(connection)
    assert (audit.actor, audit.action, audit.subject) == ("ann", "backfill_create", f"sales/b-{mine}")
    assert backfills.row_of(connection, 999) is None


@pytest.mark.parametrize("event", [event for event in BACKFILL_MOVES if event != "enqueue"])
@pytest.mark.parametrize("state", list(BackfillState))
def test_a_backfill_moves_from_the_sources_of_a_move_alone(
    connection: Connection, event: str, state: BackfillState
) -> None:
    number, _ = make.store_dag(connection, make.spec())
    mine = asked(connection, number)
    connection.execute(text("UPDATE backfill SET state = :state"), {"state": int(state)})
    moves = int(state) in BACKFILL_MOVES[event].sources
    assert transitions.move_backfill(connection, BackfillMove(mine, event, NOW + 5)) == int(moves)
    row = row_of(connection, mine)
    assert row.state == (BACKFILL_MOVES[event].target if moves else state)
    assert (row.started_at, row.ended_at) == (
        NOW + 5 if moves and event == "start" else None,
        NOW + 5 if moves and event in ("finish", "cancel") else None,
    )


def test_a_plan_moves_backfills_and_says_how_far_they_are(connection: Connection) -> None:
    number, _ = make.store_dag(connection, make.spec())
    mine, other = asked(connection, number), asked(connection, number)
    write(
        connection, backfill_moves=[BackfillMove(mine, "start", NOW)],
        backfills=[BackfillProgress(mine, 5, 4, 2, 1, 1, 99), BackfillProgress(other, 6, 0, 0, 0, 0, 0)],
    )  # fmt: skip
    row = row_of(connection, mine)
    assert (row.state, row.cursor, row.done, row.success, row.failed, row.kept, row.spent_us) == (2, 5, 4, 2, 1, 1, 99)
    assert (row_of(connection, other).cursor, row_of(connection, other).state) == (6, 1)
    assert [row.id for row in backfills.active(connection, [number])] == [mine]
    with pytest.raises(Doubt, match=f"start of backfill {mine}"), connection.begin_nested():
        write(connection, backfill_moves=[BackfillMove(mine, "start", NOW)])


def test_an_ended_run_is_run_again_for_a_backfill_with_all_that_it_left_gone(connection: Connection) -> None:
    number, version = make.store_dag(connection, make.spec())
    mine = asked(connection, number)
    write(
        connection, new_runs=[make.run(number, version, 1), make.run(number, version, 2)],
        run_moves=[RunMove(1, "start", NOW), RunMove(1, "fail", NOW), RunMove(2, "start", NOW)],
        enqueues=[make.enqueue((1, 1, -1)), make.enqueue((1, 2, 0), token="t2"), make.enqueue((2, 1, -1), token="t3")],
        expansions=[Expansion(1, 2, 1), Expansion(2, 2, 1)],
    )  # fmt: skip
    write(
        connection, supersedes=[Supersede((1, EVERY_TASK, EVERY_INDEX), -mine, drop_expansion=True)],
        run_moves=[RunMove(1, "reopen", NOW)], adoptions=[(1, mine, '{"b":2}'), (2, mine, None)],
    )  # fmt: skip
    runs = {row.id: row for row in connection.execute(select(dag_run))}
    assert (runs[1].backfill_id, runs[1].conf, runs[2].conf) == (mine, '{"b":2}', "{}")
    tries = connection.execute(select(attempt.c.run_id, attempt.c.superseded_by).order_by(attempt.c.token)).all()
    assert [tuple(one) for one in tries] == [(1, -mine), (1, -mine), (2, None)]
    assert [row.run_id for row in connection.execute(select(map_expansion))] == [2]
    assert connection.execute(select(xcom)).all() == []
    assert backfills.running_runs(connection, [number]) == {mine: 2}


def test_the_slots_that_have_a_run_are_found_by_their_range(connection: Connection) -> None:
    number, version = make.store_dag(connection, make.spec())
    other, other_version = make.store_dag(connection, make.spec("other"))
    rows = [slot_run(number, version, at, NOW - at * HOUR) for at in range(1, 6)]
    write(connection, new_runs=[*rows, slot_run(other, other_version, 9, NOW - 2 * HOUR)])
    found = backfills.runs_in(connection, number, NOW - 4 * HOUR, NOW - 2 * HOUR)
    assert found == {NOW - at * HOUR: (at, 1) for at in (4, 3, 2)}


@pytest.mark.parametrize(
    "last,due,expected", [(None, None, [1, 2, 3]), (None, 2, [2, 3]), (2, 3, [3]), (1, None, [2, 3])]
)
def test_the_slots_that_the_schedule_will_come_to_are_those_after_its_last_one(
    connection: Connection, last: int | None, due: int | None, expected: list[int]
) -> None:
    number, version = make.store_dag(connection, make.spec())
    mine = asked(connection, number)
    kind = RunKind.BACKFILL
    write(connection, new_runs=[slot_run(number, version, at, at, kind=kind, backfill=mine) for at in (1, 2, 3)])
    write(connection, new_runs=[slot_run(number, version, 4, 4)])  # the schedule's own
    connection.execute(make.dag_update(number, last_slot=last, next_due=due))
    assert sorted(backfills.slots_ahead(connection, [number])) == [(number, slot) for slot in expected]
    assert backfills.slots_ahead(connection, []) == []


def test_lists_have_the_newest_first_and_a_deleted_dag_takes_its_backfills_along(connection: Connection) -> None:
    number, _ = make.store_dag(connection, make.spec())
    other, _ = make.store_dag(connection, make.spec("other"))
    ids = [asked(connection, number), asked(connection, other, "other"), asked(connection, number)]
    assert [row.id for row in backfills.newest_first(connection)] == ids[::-1]
    assert [row.id for row in backfills.newest_first(connection, number)] == [ids[2], ids[0]]
    assert [row.dag_name for row in backfills.newest_first(connection, limit=2)] == ["sales", "other"]
    write(connection, backfill_moves=[BackfillMove(ids[0], "cancel", NOW)])
    assert [(row.id, row.dag_name) for row in backfills.unended(connection)] == [(ids[1], "other"), (ids[2], "sales")]
    upkeep.delete_dag(connection, number)
    assert [row.id for row in backfills.newest_first(connection)] == [ids[1]]


def test_the_check_of_a_state_lists_its_codes() -> None:
    assert schema_base.codes(BackfillState) == "1, 2, 3, 10, 13"


def test_a_request_names_its_backfill(connection: Connection) -> None:
    number, _ = make.store_dag(connection, make.spec())
    mine = asked(connection, number)
    command = backfills.ask(connection, "backfill_pause", number, "sales", mine, "ann")
    row = reads.command_row(connection, command)
    assert row is not None
    assert (row.kind, row.run_id, row.payload) == ("backfill_pause", None, f'{{"backfill":{mine}}}')


def test_failures_in_a_row_leave_out_the_runs_of_backfills(connection: Connection) -> None:
    number, version = make.store_dag(connection, make.spec())
    mine = asked(connection, number)
    for run, of in ((1, None), (2, mine)):
        write(connection, new_runs=[make.run(number, version, run, backfill=of)])
        write(connection, run_moves=[RunMove(run, "start", NOW), RunMove(run, "fail", NOW + run)])
    assert facts.failed_in_row(connection, number, 5, 0) == 1


def test_progress_and_adoption_write_what_they_are_given(connection: Connection) -> None:
    number, version = make.store_dag(connection, make.spec())
    mine = asked(connection, number)
    backfills.write_progress(connection, [BackfillProgress(mine, 3, 1, 1, 0, 0, 5)])
    assert row_of(connection, mine).cursor == 3
    transitions.insert_runs(connection, [make.run(number, version)])
    backfills.adopt_runs(connection, [(1, mine, None)])
    assert connection.execute(select(dag_run.c.backfill_id)).scalar_one() == mine
    values = {column.name: 0 for column in backfill.c if not column.nullable and column.name not in ("id", "state")}
    for name in ("done", "success", "failed", "kept", "spent_us"):
        del values[name]
    later = transitions.insert_backfill(connection, values | {"conf": "{}", "is_reverse": False})
    assert row_of(connection, later).state == BackfillState.QUEUED
