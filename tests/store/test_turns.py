"""One turn's plan: the fence, then every part of the plan, or nothing of it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import IntegrityError

from dagd.model.errors import Doubt, Fenced
from dagd.model.plans import (
    EVERY_INDEX,
    CommandDone,
    DeadlineRow,
    Deferral,
    Expansion,
    Firing,
    NextDue,
    OutboxRow,
    Plan,
    Resume,
    RunMove,
    Settle,
    Start,
    StopRequest,
    Supersede,
    XComRow,
)
from dagd.model.states import AttemptState, Charge, CommandState, DeadlineState, RunState
from dagd.store import facts, reads, reads_runs, requests, shards, transitions, turns
from dagd.store.database import Database
from dagd.store.schema import attempt, dag, dag_run, deadline, map_expansion, outbox, scheduler, xcom
from tests import factories as make
from tests.factories import NOW

KEY = (1, 1, -1)
A = AttemptState


def write(connection: Connection, **parts: Any) -> None:
    turns.write_plan(connection, Plan(**parts), NOW)


def value(index: int = -1, name: str = "return_value", task_no: int = 1) -> XComRow:
    return XComRow((1, task_no, index), name, "[1]", None, 1, 3)


def rows(connection: Connection, table: Any) -> list[Any]:
    return list(connection.execute(select(table).order_by(*table.primary_key.columns)))


# --- the fence -------------------------------------------------------------------------------------------------------


def test_the_fence_beats_the_heart_and_tells_the_time(connection: Connection) -> None:
    me = make.incarnation(connection)
    connection.execute(text("UPDATE scheduler SET heartbeat = 0"))
    now = turns.fence(connection, me, 7)
    row = connection.execute(select(scheduler)).one()
    assert (row.heartbeat, row.lag_us) == (now, 7)
    assert now > NOW - 10 * 365 * 86_400_000_000


def test_s9_the_fence_stops_a_scheduler_that_was_declared_dead(connection: Connection) -> None:
    me, other = make.incarnation(connection), make.incarnation(connection)
    shards.bury(connection, 0, other, alone=True, proven=[])
    with pytest.raises(Fenced, match=f"incarnation {me} "):
        turns.fence(connection, me)
    with pytest.raises(Fenced):
        turns.fence(connection, 999)
    turns.fence(connection, other)


# --- runs and the DAG's clock ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "paused,due,doubts", [(False, 5, False), (True, 5, True), (False, 6, True), (False, None, True)]
)
def test_a_guarded_slot_needs_the_due_instant_that_memory_has_and_no_pause(
    connection: Connection, paused: bool, due: int | None, doubts: bool
) -> None:
    number, version = make.store_dag(connection, make.spec())
    write(connection, next_dues=[NextDue(number, None, due, version, None, guarded=False)])
    if paused:
        assert facts_set_paused(connection, number)
    plan = Plan(
        next_dues=[NextDue(number, 5, 9, version, 5)],
        new_runs=[make.run(number, version, slot=5)],
    )
    if doubts:
        with pytest.raises(Doubt), connection.begin_nested():
            turns.write_plan(connection, plan, NOW)
    else:
        turns.write_plan(connection, plan, NOW)
    row = connection.execute(select(dag)).one()
    assert (row.next_due, row.last_slot) == ((due, None) if doubts else (9, 5))
    assert len(rows(connection, dag_run)) == (0 if doubts else 1)


def facts_set_paused(connection: Connection, number: int) -> bool:
    connection.execute(text("UPDATE dag SET paused = true WHERE id = :id"), {"id": number})
    return True


def test_an_unguarded_due_is_written_while_paused(connection: Connection) -> None:
    number, version = make.store_dag(connection, make.spec(is_paused_upon_creation=True))
    write(connection, next_dues=[NextDue(number, 3, None, version, 2, guarded=False)])
    row = connection.execute(select(dag)).one()
    assert (row.paused, row.next_due, row.scheduled_version, row.last_slot) == (True, None, version, 2)


def test_a_run_is_born_started_and_ended_by_one_plan(connection: Connection) -> None:
    number, version = make.store_dag(connection, make.spec())
    moves = [RunMove(1, "start", NOW), RunMove(1, "fail", NOW + 5, "because")]
    write(connection, new_runs=[make.run(number, version)], run_moves=moves)
    row = connection.execute(select(dag_run)).one()
    assert (row.state, row.started_at, row.ended_at, row.reason) == (RunState.FAILED, NOW, NOW + 5, "because")
    write(connection, run_moves=[RunMove(1, "reopen", NOW + 9)], verdicts=[(1, 0, None)], pins=[(1, 77)])
    row = connection.execute(select(dag_run)).one()
    assert (row.state, row.started_at, row.ended_at, row.reason, row.verdict, row.version_id) == (
        RunState.RUNNING, NOW + 9, None, None, None, 77,
    )  # fmt: skip
    write(connection, verdicts=[(1, int(RunState.CANCELLED), "cancelled")])
    row = connection.execute(select(dag_run)).one()
    assert (row.verdict, row.reason, row.state) == (RunState.CANCELLED, "cancelled", RunState.RUNNING)


def test_a_run_that_is_not_where_memory_thought_is_doubt(connection: Connection) -> None:
    number, version = make.store_dag(connection, make.spec())
    write(connection, new_runs=[make.run(number, version)])
    with pytest.raises(Doubt, match="moves of runs: 0 of 1"), connection.begin_nested():
        write(connection, run_moves=[RunMove(1, "succeed", NOW)])


# --- tries -----------------------------------------------------------------------------------------------------------


def test_a_try_goes_from_queued_over_legs_to_its_end(connection: Connection) -> None:
    write(connection, enqueues=[make.enqueue()])
    write(connection, starts=[Start(KEY, 1, "t1", 42, "agent", NOW + 1)])
    row = connection.execute(select(attempt)).one()
    assert (row.state, row.pid, row.agent, row.started_at, row.queued_at) == (A.RUNNING, 42, "agent", NOW + 1, NOW)
    write(connection, deferrals=[Deferral(KEY, 1, "t1", NOW + 9, 43, NOW + 60, '{"n":1}')])
    row = connection.execute(select(attempt)).one()
    assert (row.state, row.started_at, row.pid, row.resume_at, row.leg_state) == (
        A.DEFERRED, NOW + 1, 43, NOW + 60, '{"n":1}',
    )  # fmt: skip
    write(connection, resumes=[Resume(KEY, 1, "t1", 2, "t1b", NOW + 60)])
    row = connection.execute(select(attempt)).one()
    assert (row.state, row.leg, row.token, row.resume_at) == (A.QUEUED, 2, "t1b", None)
    end = make.end(
        "fail", token="t1b", started_at=NOW + 70, pid=44, reason="exception", error="{}", exit_code=3, signal=9,
        charged=Charge.RETRIES, next_try_at=NOW + 99, label="two",
    )  # fmt: skip
    write(connection, ends=[end])
    row = connection.execute(select(attempt)).one()
    assert (row.state, row.started_at, row.ended_at, row.pid, row.reason, row.error) == (
        A.FAILED, NOW + 1, NOW + 1, 44, "exception", "{}",
    )  # fmt: skip
    assert (row.exit_code, row.signal, row.charged, row.next_try_at, row.label) == (3, 9, 1, NOW + 99, "two")


def test_a_firing_makes_a_wait_due_with_its_event_and_a_stale_one_changes_nothing(connection: Connection) -> None:
    write(connection, enqueues=[make.enqueue()])
    write(connection, deferrals=[Deferral(KEY, 1, "t1", NOW, 1, None, "{}", '{"kind":"file"}', NOW + 99)])
    row = connection.execute(select(attempt)).one()
    assert (row.state, row.resume_at, row.waits_for, row.gives_up_at) == (A.DEFERRED, None, '{"kind":"file"}', NOW + 99)
    with pytest.raises(Doubt):
        write(connection, firings=[Firing(KEY, 1, "t0", NOW + 5, '{"event":1}')])
    write(connection, firings=[Firing(KEY, 1, "t1", NOW + 5, '{"event":1}')])
    row = connection.execute(select(attempt)).one()
    assert (row.state, row.resume_at, row.waits_for, row.gives_up_at) == (A.DEFERRED, NOW + 5, None, None)
    assert row.leg_state == '{"event":1}'
    write(connection, resumes=[Resume(KEY, 1, "t1", 2, "t1b", NOW + 6)])
    row = connection.execute(select(attempt)).one()
    assert (row.state, row.token, row.leg_state) == (A.QUEUED, "t1b", '{"event":1}')
    write(connection, starts=[Start(KEY, 1, "t1b", 43, "agent", NOW + 7)])
    row = connection.execute(select(attempt)).one()
    assert (row.state, row.started_at) == (A.RUNNING, NOW), "a later leg is the same try"
    with pytest.raises(Doubt):
        write(connection, firings=[Firing(KEY, 1, "t1b", NOW + 7, "{}")])


def test_a_start_and_an_end_of_one_turn_are_written_in_this_order(connection: Connection) -> None:
    write(connection, enqueues=[make.enqueue()])
    write(connection, starts=[Start(KEY, 1, "t1", 42, "agent", NOW)], ends=[make.end("succeed")])
    row = connection.execute(select(attempt)).one()
    assert (row.state, row.agent, row.pid) == (A.SUCCESS, "agent", 42)


def test_a_try_that_defers_may_be_stopped_in_the_same_turn(connection: Connection) -> None:
    write(connection, enqueues=[make.enqueue()])
    write(connection, deferrals=[Deferral(KEY, 1, "t1", NOW, 1, NOW, "{}")], ends=[make.end("cancel")])
    assert connection.execute(select(attempt.c.state)).scalar_one() == A.CANCELLED


def test_a_late_start_is_left_alone(connection: Connection) -> None:
    write(connection, enqueues=[make.enqueue()])
    write(connection, ends=[make.end("succeed")])
    write(connection, starts=[Start(KEY, 1, "t1", 42, "agent", NOW)])
    assert connection.execute(select(attempt.c.state)).scalar_one() == A.SUCCESS


@pytest.mark.parametrize(
    "part",
    [
        {"ends": [make.end("succeed", token="old")]},
        {"ends": [make.end("succeed", try_no=2)]},
        {"instant_ends": [make.end("succeed", token="old")]},
        {"deferrals": [Deferral(KEY, 1, "old", NOW, 1, NOW, None)]},
        {"resumes": [Resume(KEY, 1, "t1", 2, "t1b", NOW)]},
        {"commands": [CommandDone(5, True, "{}")]},
        {"consumed": [(1, 1, (8, 9))]},
    ],
    ids=lambda part: next(iter(part)),
)
def test_s9_a_plan_whose_row_does_not_move_is_doubt(connection: Connection, part: dict[str, Any]) -> None:
    write(connection, enqueues=[make.enqueue()])
    with pytest.raises(Doubt), connection.begin_nested():
        write(connection, **part)
    assert connection.execute(select(attempt.c.state)).scalar_one() == A.QUEUED


def test_a_plan_is_written_whole_or_not_at_all(database: Database) -> None:
    with database.write() as connection:
        number, version = make.store_dag(connection, make.spec())
    plan = Plan(
        new_runs=[make.run(number, version)], enqueues=[make.enqueue()], xcoms=[value()],
        outbox=[OutboxRow(1, "run", "s", "{}", NOW)], ends=[make.end("succeed", token="nobody's")],
    )  # fmt: skip
    with pytest.raises(Doubt), database.write() as connection:
        turns.write_plan(connection, plan, NOW)
    with database.read() as connection:
        for table in (dag_run, attempt, xcom, outbox):
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 0


def test_an_engine_task_is_born_and_ended_by_one_plan(connection: Connection) -> None:
    write(connection, enqueues=[make.enqueue()], instant_ends=[make.end("succeed", started_at=NOW)])
    row = connection.execute(select(attempt)).one()
    assert (row.state, row.try_no, row.started_at) == (A.SUCCESS, 1, NOW)


def test_a_retry_follows_an_end_in_one_plan(connection: Connection) -> None:
    write(connection, enqueues=[make.enqueue()])
    write(connection, ends=[make.end("fail", next_try_at=NOW)], enqueues=[make.enqueue(KEY, 2, "t2")])
    assert [(row.try_no, row.state) for row in rows(connection, attempt)] == [(1, A.FAILED), (2, A.QUEUED)]


def test_a_stop_is_noted_on_its_try_alone(connection: Connection) -> None:
    write(connection, enqueues=[make.enqueue(), make.enqueue((1, 2, -1), 1, "t2")])
    write(connection, stops=[StopRequest(KEY, 1, "t1", "cancelled", 10)])
    assert [row.stop_requested for row in rows(connection, attempt)] == ["cancelled", None]


# --- values, expansions, clear and mark -------------------------------------------------------------------------------


def test_values_and_lengths_are_stored_once(connection: Connection) -> None:
    file = XComRow(KEY, "big", None, "abc", None, 99)
    write(connection, xcoms=[value(), file], expansions=[Expansion(1, 2, 3)])
    assert [(row.key, row.body, row.file, row.length, row.size) for row in rows(connection, xcom)] == [
        ("big", None, "abc", None, 99), ("return_value", "[1]", None, 1, 3),
    ]  # fmt: skip
    assert facts.expansions_of(connection, [1]) == [(1, 2, 3)]
    for again in ({"xcoms": [value()]}, {"expansions": [Expansion(1, 2, 4)]}):
        with pytest.raises(IntegrityError), connection.begin_nested():
            write(connection, **again)


def supersede_some(connection: Connection, gone: Supersede) -> dict[str, list[Any]]:
    """Indices 0 and 1 of task 1, task 2 beside it; what is left after `gone`."""
    tries = [make.enqueue((1, 1, 0), 1, "a"), make.enqueue((1, 1, 1), 1, "b"), make.enqueue((1, 2, -1), 1, "c")]
    write(
        connection, enqueues=tries, xcoms=[value(0), value(1), value(-1, task_no=2)],
        settles=[Settle((1, 1, 7), "skip", "upstream", NOW)], expansions=[Expansion(1, 1, 2), Expansion(1, 2, 5)],
    )  # fmt: skip
    write(connection, supersedes=[gone])
    return {
        "superseded": [row.token for row in rows(connection, attempt) if row.superseded_by == gone.by],
        "settled": [row.map_index for row in rows(connection, attempt) if row.try_no == 0],
        "values": [(row.task_no, row.map_index) for row in rows(connection, xcom)],
        "expansions": [row.task_no for row in rows(connection, map_expansion)],
    }


def test_a_clear_takes_every_index_with_its_values_and_length(connection: Connection) -> None:
    assert supersede_some(connection, Supersede((1, 1, EVERY_INDEX), 9, drop_expansion=True)) == {
        "superseded": ["a", "b"], "settled": [], "values": [(2, -1)], "expansions": [2],
    }  # fmt: skip


def test_a_clear_of_one_index_leaves_the_others(connection: Connection) -> None:
    assert supersede_some(connection, Supersede((1, 1, 1), 9)) == {
        "superseded": ["b"], "settled": [7], "values": [(1, 0), (2, -1)], "expansions": [1, 2],
    }  # fmt: skip


def test_what_was_settled_for_one_reason_goes_alone(connection: Connection) -> None:
    untouched = {"superseded": [], "values": [(1, 0), (1, 1), (2, -1)], "expansions": [1, 2]}
    gone = Supersede((1, 1, EVERY_INDEX), 9, settled_as="marked")
    assert supersede_some(connection, gone) == {**untouched, "settled": [7]}
    write(connection, supersedes=[Supersede((1, 1, EVERY_INDEX), 9, settled_as="upstream")])
    assert [row.try_no for row in rows(connection, attempt)] == [1, 1, 1]


def test_values_may_stay_and_an_earlier_clear_keeps_its_rows(connection: Connection) -> None:
    assert supersede_some(connection, Supersede((1, 1, 0), 9, drop_values=False))["values"] == [(1, 0), (1, 1), (2, -1)]
    write(connection, supersedes=[Supersede((1, 1, EVERY_INDEX), 10)])
    assert [row.superseded_by for row in rows(connection, attempt)] == [9, 10, None]


def test_a_mark_replaces_rows_in_one_plan(connection: Connection) -> None:
    write(connection, enqueues=[make.enqueue()])
    write(connection, ends=[make.end("succeed")])
    for event, by in (("fail", 7), ("succeed", 8)):
        write(connection, supersedes=[Supersede(KEY, by)], settles=[Settle(KEY, event, "marked", NOW)])
    assert [(row.try_no, row.state, row.superseded_by) for row in rows(connection, attempt)] == [
        (0, A.SUCCESS, None), (1, A.SUCCESS, 7),
    ]  # fmt: skip


# --- deadlines, requests, the outbox ----------------------------------------------------------------------------------


def test_deadlines_are_set_once_and_closed_once(connection: Connection) -> None:
    def row(kind: str, state: DeadlineState, at: int = NOW) -> DeadlineRow:
        return DeadlineRow(1, -1, kind, 3, NOW + 50, int(state), at)

    kinds = ["missed", "met", "cancelled", "pending"]
    write(connection, deadlines=[row(kind, DeadlineState.PENDING) for kind in kinds])
    ends = [DeadlineState.MISSED, DeadlineState.MET, DeadlineState.CANCELLED]
    write(connection, deadlines=[row(kind, end, NOW + 1) for kind, end in zip(kinds, ends, strict=False)])
    write(connection, deadlines=[row("missed", DeadlineState.MET, NOW + 2), row("met", DeadlineState.PENDING)])
    found = {one.kind: (one.state, one.fired_at, one.met_at) for one in rows(connection, deadline)}
    assert found == {
        "missed": (DeadlineState.MISSED, NOW + 1, None),
        "met": (DeadlineState.MET, None, NOW + 1),
        "cancelled": (DeadlineState.CANCELLED, None, None),
        "pending": (DeadlineState.PENDING, None, None),
    }
    assert [one.kind for one in facts.pending_deadlines(connection, [3])] == ["pending"]
    transitions.write_deadlines(connection, [row("pending", DeadlineState.MET)])
    assert facts.pending_deadlines(connection, [3]) == []
    assert facts.runs_with_deadlines(connection, [1, 2]) == {1}


def test_a_request_is_done_or_refused_with_its_effect(connection: Connection) -> None:
    number, _ = make.store_dag(connection, make.spec())
    first = requests.put_command(connection, "cancel", number, 1, {}, subject="sales/m-1")
    second = requests.put_command(connection, "kill", number, 1, {}, subject="sales/m-1")
    write(connection, commands=[CommandDone(first, True, "{}"), CommandDone(second, False, '{"error":"no"}')])
    states = [reads.command_row(connection, each) for each in (first, second)]
    assert [(row.state, row.result, row.done_at) for row in states if row] == [
        (CommandState.DONE, "{}", NOW), (CommandState.REFUSED, '{"error":"no"}', NOW),
    ]  # fmt: skip


def test_what_is_to_be_told_is_due_at_once(connection: Connection) -> None:
    write(connection, outbox=[OutboxRow(4, "run", "sales/m-1", "{}", NOW)])
    row = connection.execute(select(outbox)).one()
    assert (row.id, row.topic, row.next_at, row.tries, row.delivered_at) == (4, "run", NOW, 0, None)


def test_every_part_of_a_plan_that_is_stored_is_written_by_some_statement() -> None:
    """A new part of Plan without a statement (and a test here) would be acted on and forgotten."""
    written = {
        "new_runs", "next_dues", "run_moves", "verdicts", "supersedes", "ends", "deferrals", "starts", "settles",
        "firings", "xcoms", "expansions", "enqueues", "instant_ends", "resumes", "stops", "asset_events", "consumed",
        "dropped", "subscriptions", "deadlines", "commands", "outbox", "pins", "pauses", "adoptions",
        "backfill_moves", "backfills",
    }  # fmt: skip
    assert set(Plan.__slots__) - written == {"reloads", "launches", "acks", "strays", "news"}


def test_the_tries_of_a_plan_are_found_again(connection: Connection) -> None:
    write(connection, enqueues=[make.enqueue(), make.enqueue((1, 2, 0), 1, "b"), make.enqueue((2, 1, -1), 1, "c")])
    assert [row.token for row in facts.attempts_of(connection, [1])] == ["t1", "b"]
    assert facts.live_tokens(connection, ["t1", "b", "zz"]) == {"t1", "b"}
    write(connection, ends=[make.end("succeed")])
    assert facts.live_tokens(connection, ["t1", "b", "zz"]) == {"b"}
    assert reads.live_counts(connection) == {A.QUEUED: 2}
    assert reads_runs.indices_of(connection, 1, 2) == [0]


def test_a_pause_by_the_scheduler_is_in_the_audit_log(connection: Connection) -> None:
    dag_id, _ = make.store_dag(connection, make.spec("sales"))
    plan = Plan(pauses=[(dag_id, "3 runs in a row failed")])
    assert plan.needs_commit()
    turns.write_plan(connection, plan, make.NOW)
    assert connection.execute(text("SELECT paused FROM dag")).scalar_one()
    told = connection.execute(text("SELECT actor, action, subject, detail FROM audit")).one()
    assert tuple(told) == ("dagd", "pause", "sales", "3 runs in a row failed")
