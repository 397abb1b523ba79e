"""Backfills: which slots, in which order, how many at once, what of runs that are there; pause, resume, cancel."""

from __future__ import annotations

import random
from typing import Any

import pytest

from dagd.decide import backfills
from dagd.decide.cases import Case
from dagd.decide.core import Inputs, decide
from dagd.decide.explain import why_dag, why_run
from dagd.decide.state import BackfillView
from dagd.decide.turn import Turn
from dagd.model.plans import Plan
from dagd.model.specs import DeadlineSpec
from dagd.model.states import BackfillState, DeadlineState, Reprocess, RunKind, RunState
from dagd.model.times import SECOND
from dagd.timetables.base import Timetable
from dagd.timetables.build import build
from dagd.timetables.kinds import Continuous
from tests.core_driver import T0, Driver, Ticks, dag

H = 3600 * SECOND
FOREVER = Ticks(H, start=T0 - 1000 * H, has_start=False)


def driver_of(timetable: Timetable | None = FOREVER, *, engine: bool = False, **more: Any) -> Driver:
    """A DAG of one task whose schedule has made no run yet."""
    driver = Driver()
    task = {"isolation": "engine"} if engine else {}
    driver.add_dag(1, dag(tasks=more.pop("tasks", {"a": task}), schedule={"kind": "cron"}, **more), timetable)
    driver.turn(dag_changes=[(1, False)])
    return driver


def hours(driver: Driver, *states: RunState, kind: RunKind | None = RunKind.BACKFILL) -> list[int]:
    """The slots of the runs, in the order of their creation, as hours since T0."""
    rows = [row for row in driver.rows.runs.values() if kind in (None, row.kind)]
    return [(row.slot - T0) // H for row in rows if not states or row.state in states]


def told(driver: Driver, number: int = 1) -> tuple[str, int, int, int, int]:
    row = driver.rows.backfills[number]
    return row.state.word, row.done, row.success, row.failed, row.kept


# --- which slots -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first,last,expected",
    [
        (-5, -3, [-5, -4, -3]),
        (-5, -5, [-5]),
        (-5.5, -3.5, [-5, -4]),
        (-2, 5, [-2, -1, 0]),  # what is yet to come is not its
        (1, 5, []),
        (-1200, -999, [-1000, -999]),  # before the schedule began there are no slots
        (-3.9, -3.1, []),
    ],
)
@pytest.mark.parametrize("is_reverse", [False, True])
def test_the_slots_of_a_range_run_in_order_and_both_ends_count(
    first: float, last: float, expected: list[int], is_reverse: bool
) -> None:
    driver = driver_of(engine=True)
    driver.backfill(int(T0 + first * H), int(T0 + last * H), is_reverse=is_reverse, max_active=1)
    assert hours(driver) == (expected[::-1] if is_reverse else expected)
    assert driver.rows.backfills[1].slots == len(expected)
    assert told(driver) == ("done", len(expected), len(expected), 0, 0)


@pytest.mark.parametrize("is_reverse", [False, True])
def test_a_range_is_of_logical_dates_where_they_differ_from_the_due_instants(is_reverse: bool) -> None:
    spec = {"kind": "cron", "exprs": ["0 0 * * *"], "timezone": None, "dst": None, "seconds": False}
    leading = build(
        {**spec, "interval": "start"}, timezone="UTC", dst="once", start_at=None, end_at=None, first_seen_at=0
    )
    day = 24 * H
    first = T0 - T0 % day - 5 * day
    driver = driver_of(leading, engine=True)
    driver.backfill(first, first + 2 * day, is_reverse=is_reverse)
    slots = [row.slot for row in driver.rows.runs.values()]
    assert sorted(slots) == [first + day, first + 2 * day, first + 3 * day]
    assert slots == sorted(slots, reverse=is_reverse)


def test_a_backfill_run_has_its_name_its_kind_its_conf_and_takes_the_slot() -> None:
    driver = driver_of()
    driver.backfill(T0 - H, T0 - H, conf='{"n":1}')
    new = driver.plans[-1].new_runs[0]
    assert (new.run_id, new.kind, new.slot, new.backfill) == (
        "backfill__2027-01-15T07:00:00Z", RunKind.BACKFILL, T0 - H, 1,
    )  # fmt: skip
    assert (new.conf, new.logical_at, new.interval_start) == ('{"n":1}', T0 - H, T0 - 2 * H)
    assert driver.state.runs[new.id].conf == '{"n":1}'


# --- how many at once ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 3])
def test_as_many_run_at_once_as_it_may_and_the_rest_has_no_row(most: int) -> None:
    driver = driver_of()
    driver.backfill(T0 - 9 * H, T0, max_active=most)
    for ended in range(10):
        assert len(hours(driver, RunState.RUNNING)) == min(most, 10 - ended)
        assert len(driver.rows.runs) == min(10, ended + most)
        driver.finish("a")
    assert hours(driver) == list(range(-9, 1))
    assert told(driver) == ("done", 10, 10, 0, 0)
    assert driver.state.dags[1].backfills == {}


def test_it_has_places_of_its_own_beside_those_of_the_dag() -> None:
    driver = driver_of(max_active_runs=1)
    driver.backfill(T0 - 9 * H, T0 - H, max_active=2)
    driver.tick(3600)
    assert hours(driver, RunState.RUNNING) == [-9, -8]
    assert hours(driver, RunState.RUNNING, kind=RunKind.SCHEDULED) == [1]
    assert driver.run_state(driver.trigger()) == "queued"


def test_a_scheduled_run_gets_the_next_free_slot_of_a_pool_before_a_backfill() -> None:
    driver = driver_of(max_active_tasks=1)
    driver.backfill(T0 - 9 * H, T0 - H, max_active=5)
    driver.tick(3600)
    assert len(driver.live) == 1
    driver.finish("a")
    (launch,) = driver.live.values()
    assert driver.rows.runs[launch.key[0]].kind == RunKind.SCHEDULED


def test_ten_thousand_runs_of_empty_tasks_are_taken_in_turns_of_bounded_length() -> None:
    timetable = Ticks(SECOND, start=T0 - 20_000 * SECOND, has_start=False)
    driver = driver_of(timetable, engine=True)
    driver.backfill(T0 - 9_999 * SECOND, T0, max_active=16)
    plans = [driver.plans[-1]]
    while driver.state.dags[1].backfills:
        plans.append(decide(driver.state, Inputs(), driver.now, 1))
    assert {len(plan.new_runs) for plan in plans[:-1]} == {backfills.SLOTS_PER_TURN}
    assert {len(plan.backfills) for plan in plans} == {1}
    assert {len(plan.run_moves) for plan in plans[:-1]} == {2 * backfills.SLOTS_PER_TURN}
    (told_last,) = plans[-1].backfills
    assert (told_last.done, told_last.success, plans[-1].backfill_moves[0].event) == (10_000, 10_000, "finish")
    assert len(driver.state.runs) == 0


def test_a_turn_asks_the_schedule_for_as_many_slots_as_it_starts_runs() -> None:
    class Counting(Ticks):
        asked = 0

        def next_after(self, at: int) -> Any:
            Counting.asked += 1
            return super().next_after(at)

    driver = driver_of(Counting(SECOND, start=T0 - 20_000 * SECOND, has_start=False))
    driver.backfill(T0 - 9_999 * SECOND, T0, max_active=4)
    for _ in range(200):
        Counting.asked = 0
        driver.finish("a")
        assert Counting.asked <= 2
        assert len(driver.state.runs) == 4


# --- beside the schedule ---------------------------------------------------------------------------------------------


def test_s1_catch_up_leaves_out_the_slots_that_a_backfill_has_run() -> None:
    driver = driver_of(catchup=True, max_active_runs=2, timetable=Ticks(H, start=T0 - 10 * H))
    assert hours(driver, kind=RunKind.SCHEDULED) == [-10, -9]
    driver.backfill(T0 - 10 * H, T0, max_active=2, is_reverse=True)
    driver.drain()
    assert sorted(hours(driver, kind=None))[:11] == list(range(-10, 1))
    assert len(set(hours(driver, kind=None))) == len(hours(driver, kind=None))
    assert {0, -1} <= set(hours(driver))
    row = driver.rows.backfills[1]
    assert (row.state, row.done, row.success + row.kept) == (BackfillState.DONE, 11, 11)
    assert driver.state.dags[1].next_due is not None
    assert driver.state.dags[1].next_due > T0
    assert not driver.state.dags[1].taken


def test_s1_the_slot_that_is_due_now_has_one_run_whoever_comes_first() -> None:
    driver = driver_of(engine=True)
    driver.state.dags[1].next_due = T0 - 2 * H  # it was down: the schedule makes the last slot alone
    driver.backfill(T0 - 3 * H, T0)
    assert hours(driver, kind=RunKind.SCHEDULED) == [0]
    assert hours(driver) == [-3, -2, -1]
    assert told(driver) == ("done", 4, 3, 0, 1)


def test_a_paused_dag_starts_no_run_of_a_backfill_until_it_is_unpaused() -> None:
    driver = driver_of()
    driver.state.dags[1].paused = True
    driver.backfill(T0 - 9 * H, T0 - 8 * H)
    assert hours(driver) == []
    driver.state.dags[1].paused = False
    driver.turn(dag_changes=[(1, False)])
    assert hours(driver) == [-9, -8]


def test_failures_of_a_backfill_do_not_pause_the_dag() -> None:
    driver = driver_of(max_consecutive_failed_runs=2)
    driver.backfill(T0 - 4 * H, T0, max_active=1)
    driver.drain({"a": "fail"})
    assert told(driver) == ("done", 5, 0, 5, 0)
    assert not driver.state.dags[1].paused


def test_its_deadlines_count_from_the_creation_of_the_run() -> None:
    promise = DeadlineSpec("finish", "due", 60 * SECOND)
    driver = driver_of(tasks={"a": {"deadlines": (promise,)}})
    driver.backfill(T0 - H, T0 - H)
    (row,) = driver.rows.deadlines.values()
    assert (row.due_at, row.state) == (T0 + 60 * SECOND, DeadlineState.PENDING)


def test_a_new_grid_goes_on_from_where_the_old_one_was() -> None:
    driver = driver_of()
    driver.backfill(T0 - 9 * H, T0, max_active=1)
    driver.finish("a")
    driver.add_dag(1, dag(tasks={"a": ""}, schedule={"kind": "cron"}), Ticks(4 * H, start=T0 - 1000 * H))
    driver.turn(dag_changes=[(1, True)])
    driver.drain()
    assert hours(driver) == [-9, -8, -4, 0]
    assert told(driver)[0] == "done"


def test_a_schedule_that_is_gone_ends_the_backfill_with_its_runs() -> None:
    driver = driver_of()
    driver.backfill(T0 - 9 * H, T0, max_active=1)
    driver.state.dags[1].timetable = None
    driver.finish("a")
    assert told(driver) == ("done", 1, 1, 0, 0)


# --- runs that are there ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reprocess,again,kept",
    [(Reprocess.NONE, [], 4), (Reprocess.FAILED, [-3], 3), (Reprocess.COMPLETED, [-4, -3, -2], 1)],
)
def test_runs_that_are_there_are_kept_or_run_again(reprocess: Reprocess, again: list[int], kept: int) -> None:
    driver = driver_of()
    for at, end in ((-4, "succeed"), (-3, "fail"), (-2, "cancel"), (-1, None)):
        number = driver.backfill(T0 + at * H, T0 + at * H)
        run = list(driver.rows.runs)[-1]
        if end == "cancel":
            driver.command("cancel", run)
            driver.turn(results=[driver.result(driver.token("a", run=run), "cancel")])
        elif end is not None:
            driver.finish("a", end, run=run)
    still = driver.token("a")
    number = driver.backfill(T0 - 5 * H, T0, reprocess=reprocess, max_active=9)
    states = {(row.slot - T0) // H: RunState(row.state).word for row in driver.rows.runs.values()}
    before = {-4: "success", -3: "failed", -2: "cancelled", -1: "running"}
    assert states == {-5: "running", **before, **dict.fromkeys(again, "running"), 0: "running"}
    assert driver.rows.backfills[number].kept == kept
    for run in [row.id for row in driver.rows.runs.values() if row.backfill_id == number]:
        driver.finish("a", run=run)
    assert told(driver, number) == ("done", 6, 2 + len(again), 0, kept)
    assert list(driver.live) == [still]
    for row in driver.rows.runs.values():
        tries = driver.tries("a", run=row.id)
        is_again = row.backfill_id == number and (row.slot - T0) // H in again
        assert [one.superseded_by for one in tries] == ([-number, None] if is_again else [None])  # no request's id


def test_a_run_that_ends_while_the_backfill_is_on_its_way_is_judged_by_its_end() -> None:
    driver = driver_of()
    driver.backfill(T0, T0)
    number = driver.backfill(T0 - 2 * H, T0, reprocess=Reprocess.FAILED, max_active=1)
    last = next(row.id for row in driver.rows.runs.values() if row.slot == T0)
    driver.finish("a", "fail", run=last)
    driver.drain()
    assert told(driver, number) == ("done", 3, 3, 0, 0)
    assert [one.state for one in driver.tries("a", run=last)] == [11, 10]


def test_a_run_again_takes_the_version_of_now_and_the_conf_of_the_backfill() -> None:
    driver = driver_of()
    driver.backfill(T0, T0)
    driver.finish("a")
    driver.backfill(T0, T0, reprocess=Reprocess.COMPLETED, conf='{"x":1}')
    run = next(iter(driver.rows.runs))
    plan = next(plan for plan in reversed(driver.plans) if plan.adoptions)
    assert plan.adoptions == [(run, 2, '{"x":1}')]
    assert plan.pins == [(run, 1)]


def test_a_run_that_ended_in_this_very_turn_runs_again_in_the_next() -> None:
    driver = driver_of(engine=True)
    driver.state.dags[1].next_due = T0
    driver.backfill(T0, T0, reprocess=Reprocess.COMPLETED)
    driver.turn()
    driver.turn()
    assert told(driver) == ("done", 1, 1, 0, 0)
    (run,) = driver.rows.runs
    assert len(driver.tries("a", run=run)) == 2


def test_a_cleared_or_marked_run_is_counted_by_its_last_end() -> None:
    driver = driver_of()
    driver.backfill(T0 - 3 * H, T0, max_active=1)
    driver.finish("a", "fail")
    first = next(iter(driver.rows.runs))
    assert told(driver) == ("running", 1, 0, 1, 0)
    driver.command("clear", first, instances=[["a", None]])
    assert told(driver) == ("running", 0, 0, 0, 0)
    driver.finish("a", run=first)
    assert told(driver) == ("running", 1, 1, 0, 0)
    driver.command("mark_run", first, state="failed")
    assert told(driver) == ("running", 1, 0, 1, 0)
    driver.drain()
    assert told(driver) == ("done", 4, 3, 1, 0)


# --- requests --------------------------------------------------------------------------------------------------------


def test_a_paused_backfill_starts_no_more_runs_and_goes_on_when_resumed() -> None:
    driver = driver_of()
    driver.backfill(T0 - 3 * H, T0, max_active=1)
    assert driver.ask_backfill("pause", 1)[0]
    assert driver.ask_backfill("pause", 1)[0]
    driver.finish("a")
    assert hours(driver) == [-3]
    assert told(driver) == ("paused", 1, 1, 0, 0)
    assert driver.ask_backfill("resume", 1)[0]
    assert hours(driver) == [-3, -2]
    driver.drain()
    assert told(driver) == ("done", 4, 4, 0, 0)


def test_a_backfill_that_is_paused_at_its_last_run_is_done_when_that_ends() -> None:
    driver = driver_of()
    driver.backfill(T0, T0)
    driver.ask_backfill("pause", 1)
    driver.finish("a")
    assert told(driver) == ("done", 1, 1, 0, 0)


def test_a_cancelled_backfill_stops_its_runs_and_starts_no_more() -> None:
    driver = driver_of()
    driver.backfill(T0 - 9 * H, T0, max_active=2)
    driver.finish("a")
    assert driver.ask_backfill("cancel", 1) == (True, '{"state": "cancelled", "stopped": 2}')
    assert set(driver.stopped.values()) == {"cancelled"}
    driver.drain()
    assert told(driver) == ("cancelled", 3, 1, 0, 0)
    assert sorted(RunState(row.state).word for row in driver.rows.runs.values()) == [
        "cancelled",
        "cancelled",
        "success",
    ]


@pytest.mark.parametrize("verb,allowed", [("pause", False), ("resume", False), ("cancel", False)])
def test_what_has_ended_is_not_changed_any_more(verb: str, allowed: bool) -> None:
    driver = driver_of(engine=True)
    driver.backfill(T0, T0)
    is_done, text = driver.ask_backfill(verb, 1)
    assert is_done is allowed
    assert "b-1 has already ended as done" in text


def test_a_cancel_may_be_asked_for_twice() -> None:
    driver = driver_of()
    driver.backfill(T0 - H, T0)
    assert driver.ask_backfill("cancel", 1)[0]
    assert driver.ask_backfill("cancel", 1)[0]


@pytest.mark.parametrize("timetable", [None, Continuous(None, None)])
def test_a_dag_without_slots_cannot_be_backfilled(timetable: Timetable | None) -> None:
    driver = driver_of(timetable)
    driver.backfill(T0 - H, T0)
    is_done, text = next(iter(driver.rows.commands.values()))
    assert not is_done
    assert "no schedule in time" in text
    assert told(driver)[0] == "cancelled"


def test_memory_that_is_dropped_in_mid_backfill_goes_on_with_the_next_slot() -> None:
    driver = driver_of()
    driver.backfill(T0 - 9 * H, T0, max_active=3)
    for _ in range(4):
        driver.finish("a")
    view: BackfillView = driver.rebuild().dags[1].backfills[1]
    mine = driver.state.dags[1].backfills[1]
    assert (view.cursor, view.active, view.done, view.state) == (mine.cursor, mine.active, 4, mine.state)
    driver.check_against_rows()


def test_a_turn_in_which_nothing_of_it_happens_writes_nothing_of_it() -> None:
    driver = driver_of()
    driver.backfill(T0 - 9 * H, T0, max_active=3)
    plan: Plan = driver.tick(1)
    assert plan.backfills == []


# --- why -------------------------------------------------------------------------------------------------------------


def test_why_names_the_backfills_of_a_dag_and_what_holds_them_back() -> None:
    driver = driver_of()
    driver.backfill(T0 - 9 * H, T0, max_active=2)
    driver.finish("a")

    def said() -> str:
        case = Case(Turn(driver.state, driver.now, random.Random(0)), driver.state.dags[1])
        return next(one.message for one in why_dag(case).reasons if one.code == "WHY-BACKFILL")

    assert said() == "backfill b-1 is running: 1 of 10 slots done, 2 of 2 runs active"
    driver.ask_backfill("pause", 1)
    assert said().endswith("; `dagd backfill resume b-1` lets it go on")
    driver.state.dags[1].paused = True
    assert said().endswith("; it waits for the DAG to be unpaused")


def test_why_of_a_run_names_the_backfill_that_made_it_or_runs_it_again() -> None:
    driver = driver_of()
    driver.tick(3600)
    driver.finish("a")
    driver.backfill(T0, T0 + H, reprocess=Reprocess.COMPLETED)
    told = {}
    for run in driver.state.runs.values():
        case = Case(Turn(driver.state, driver.now, random.Random(0)), driver.state.dags[1], run=run)
        told[run.kind] = next(one.message for one in why_run(case).reasons if one.code == "WHY-KIND")
    assert told == {
        RunKind.BACKFILL: "backfill run: backfill b-1 made it",
        RunKind.SCHEDULED: "scheduled run: backfill b-1 runs it again",
    }
