"""Every move of the table moves, every other changes nothing, on both databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import IntegrityError

from dagd.model.plans import CommandDone, Deferral, Firing, Resume, RunMove, Settle, Start
from dagd.model.states import ATTEMPT_MOVES, RUN_MOVES, AttemptState, RunState
from dagd.store import transitions
from dagd.store.database import Connection, Database
from dagd.store.schema import attempt, command, dag_run
from tests import factories as make

KEY = (1, 1, -1)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = make.opened(database_url)
    yield found
    found.close()


def put(connection: Connection, state: AttemptState, token: str = "t1") -> None:
    """A try in `state`, written past the moves."""
    connection.execute(text("DELETE FROM attempt"))
    make.live_try(connection, KEY, token)
    connection.execute(text("UPDATE attempt SET state = :state"), {"state": int(state)})


def state_of(connection: Connection) -> AttemptState:
    return AttemptState(connection.execute(select(attempt.c.state)).scalar_one())


def attempt_move(connection: Connection, event: str, token: str = "t1") -> int:
    if event == "start":
        return transitions.start(connection, [Start(KEY, 1, token, 42, "host", make.NOW)])
    if event == "defer":
        return transitions.defer(connection, [Deferral(KEY, 1, token, make.NOW, 42, make.NOW + 5, "{}")])
    if event == "resume":
        return transitions.resume(connection, [Resume(KEY, 1, token, 2, "t2", make.NOW)])
    return transitions.end(connection, [make.end(event, token=token)])


@pytest.mark.parametrize("state", AttemptState)
def test_only_a_try_that_waits_takes_a_firing(database: Database, state: AttemptState) -> None:
    with database.write() as connection:
        put(connection, state)
        moved = transitions.fire(connection, [Firing(KEY, 1, "t1", make.NOW, "{}")])
        assert moved == (1 if state is AttemptState.DEFERRED else 0)
        assert state_of(connection) is state
        assert transitions.fire(connection, [Firing(KEY, 1, "old", make.NOW, "{}")]) == 0


UPDATES = [event for event, move in ATTEMPT_MOVES.items() if move.sources]


@pytest.mark.parametrize("event", UPDATES)
def test_an_attempt_moves_from_its_sources_and_from_nowhere_else(database: Database, event: str) -> None:
    move = ATTEMPT_MOVES[event]
    with database.write() as connection:
        for state in AttemptState:
            put(connection, state)
            moved = attempt_move(connection, event)
            assert moved == (1 if state in move.sources else 0), (event, state)
            assert state_of(connection) == (move.target if state in move.sources else state)


@pytest.mark.parametrize("event", UPDATES)
def test_s9_a_write_with_an_old_token_changes_nothing(database: Database, event: str) -> None:
    with database.write() as connection:
        for state in ATTEMPT_MOVES[event].sources:
            put(connection, AttemptState(state), "new")
            assert attempt_move(connection, event, "old") == 0
            assert state_of(connection) == state


@pytest.mark.parametrize("name", [name for name, move in RUN_MOVES.items() if move.sources])
def test_a_run_moves_from_its_sources_and_from_nowhere_else(database: Database, name: str) -> None:
    move = RUN_MOVES[name]
    with database.write() as connection:
        dag, version = make.store_dag(connection, make.spec())
        transitions.insert_runs(connection, [make.run(dag, version)])
        for state in RunState:
            connection.execute(text("UPDATE dag_run SET state = :state"), {"state": int(state)})
            assert transitions.move_runs(connection, [RunMove(1, name, make.NOW)]) == (
                1 if state in move.sources else 0
            )
            expected = move.target if state in move.sources else state
            assert connection.execute(select(dag_run.c.state)).scalar_one() == expected


def test_the_moves_of_a_run_keep_their_order_and_those_of_many_go_together(database: Database) -> None:
    with database.write() as connection:
        dag, version = make.store_dag(connection, make.spec())
        transitions.insert_runs(connection, [make.run(dag, version, number) for number in (1, 2, 3)])
        moves = [
            RunMove(1, "start", 5), RunMove(2, "start", 6), RunMove(1, "fail", 7, "why"), RunMove(3, "cancel", 8),
            RunMove(1, "reopen", 9), RunMove(2, "succeed", 10), RunMove(1, "succeed", 11),
        ]  # fmt: skip
        told: list[str] = []
        event.listen(connection, "before_cursor_execute", lambda *given: told.append(given[2]))
        assert transitions.move_runs(connection, moves) == len(moves)
        assert len(told) == 6
        columns = (dag_run.c.state, dag_run.c.started_at, dag_run.c.ended_at, dag_run.c.reason)
        rows = connection.execute(select(*columns).order_by(dag_run.c.id)).all()
        assert [tuple(row) for row in rows] == [(10, 9, 11, None), (10, 6, 10, None), (13, None, 8, None)]


def test_every_state_that_is_not_terminal_has_a_way_out() -> None:
    for state in AttemptState:
        ways = [move for move in ATTEMPT_MOVES.values() if state in move.sources]
        assert bool(ways) == state.is_active
    for state in RunState:
        assert [move for move in RUN_MOVES.values() if state in move.sources]


def test_s3_an_instance_has_one_live_try(database: Database) -> None:
    with database.write() as connection:
        make.live_try(connection)
        with pytest.raises(IntegrityError), connection.begin_nested():
            transitions.enqueue(connection, [make.enqueue(KEY, 2, "t2")])


def test_s2_an_instance_succeeds_once(database: Database) -> None:
    with database.write() as connection:
        make.live_try(connection)
        transitions.end(connection, [make.end("succeed")])
        transitions.enqueue(connection, [make.enqueue(KEY, 2, "t2")])
        with pytest.raises(IntegrityError), connection.begin_nested():
            transitions.end(connection, [make.end("succeed", try_no=2, token="t2")])


def test_s1_a_slot_has_one_run(database: Database) -> None:
    with database.write() as connection:
        dag, version = make.store_dag(connection, make.spec())
        transitions.insert_runs(connection, [make.run(dag, version, 1, slot=make.NOW)])
        with pytest.raises(IntegrityError), connection.begin_nested():
            transitions.insert_runs(connection, [make.run(dag, version, 2, slot=make.NOW)])
        transitions.insert_runs(connection, [make.run(dag, version, 3, slot=None)])


def test_a_token_is_of_one_try(database: Database) -> None:
    with database.write() as connection:
        make.live_try(connection, (1, 1, -1), "same")
        with pytest.raises(IntegrityError), connection.begin_nested():
            make.live_try(connection, (1, 2, -1), "same")


def test_a_settled_instance_is_one_row_with_try_0(database: Database) -> None:
    with database.write() as connection:
        transitions.settle(connection, [Settle(KEY, "skip", "upstream", make.NOW)])
        row = connection.execute(select(attempt)).one()
        assert (row.try_no, row.state, row.token, row.reason) == (0, AttemptState.SKIPPED, None, "upstream")


def test_a_request_is_closed_once(database: Database) -> None:
    with database.write() as connection:
        values = {"kind": "cancel", "dag_id": 1, "run_id": 1, "payload": "{}", "created_at": make.NOW}
        number = transitions.insert_command(connection, values)
        assert transitions.close_command(connection, CommandDone(number, True, "{}"), make.NOW) == 1
        assert transitions.close_command(connection, CommandDone(number, False, "{}"), make.NOW) == 0
        assert connection.execute(select(command.c.result)).scalar_one() == "{}"
