"""Backfills of any shape beside a schedule, with ends, requests and pauses in any order.

Safety: `Rows` (no slot twice, no illegal move), `Driver.check`, memory rebuilt from rows equals memory. Liveness: they
end, each slot of their range has a run, and what they counted is what there is.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dagd.model.states import BackfillState, Reprocess, RunKind, RunState
from dagd.model.times import SECOND
from tests.core_driver import T0, Driver, Ticks, dag

H = 3600 * SECOND
AGO = st.integers(-12, 0)


@st.composite
def ranges(draw: st.DrawFn) -> tuple[int, int, dict[str, object]]:
    first, last = sorted([draw(AGO), draw(AGO)])
    more = {
        "is_reverse": draw(st.booleans()), "max_active": draw(st.integers(1, 3)),
        "reprocess": draw(st.sampled_from(list(Reprocess))),
    }  # fmt: skip
    return first, last, more


def act(driver: Driver, move: int, number: int) -> None:
    """One step: a try ends, an hour passes, somebody asks for something."""
    kind, pick = move % 16, move // 16
    live, runs = list(driver.live), list(driver.rows.runs)
    if kind < 8 and live:
        token = live[pick % len(live)]
        outcome = "cancel" if token in driver.stopped else ["succeed", "succeed", "fail"][kind % 3]
        driver.turn(results=[driver.result(token, outcome)])
    elif kind == 8:
        driver.tick(3600)
    elif kind in (9, 10, 11):
        driver.ask_backfill(["pause", "resume", "resume"][kind - 9], 1 + pick % number)
    elif kind == 12 and pick % 3 == 0:
        driver.ask_backfill("cancel", 1 + pick % number)
    elif kind == 13 and runs:
        driver.command("clear", runs[pick % len(runs)], instances=[["a", None]])
    elif kind == 14 and runs:
        driver.command("mark_run", runs[pick % len(runs)], state=["success", "failed"][pick % 2])
    elif kind == 15:
        driver.state.dags[1].paused = not driver.state.dags[1].paused
        driver.turn(dag_changes=[(1, False)])


@given(
    st.booleans(), st.booleans(), st.integers(1, 2), st.lists(ranges(), min_size=1, max_size=2),
    st.lists(st.integers(0, 400), max_size=25),
)  # fmt: skip
def test_s1_every_slot_of_a_range_has_one_run_whatever_happens(
    catchup: bool, engine: bool, places: int, asked: list[tuple[int, int, dict[str, object]]], moves: list[int]
) -> None:
    driver = Driver()
    task = {"isolation": "engine"} if engine else {}
    spec = dag(tasks={"a": task}, schedule={"kind": "cron"}, catchup=catchup, max_active_runs=places)
    driver.add_dag(1, spec, Ticks(H, start=T0 - 6 * H, has_start=catchup))
    driver.turn(dag_changes=[(1, False)])
    for first, last, more in asked:
        driver.backfill(T0 + first * H, T0 + last * H, **more)
    for move in moves:
        act(driver, move, len(asked))
    driver.state.dags[1].paused = False
    driver.turn(dag_changes=[(1, False)])
    for number, row in driver.rows.backfills.items():
        if row.state is BackfillState.PAUSED:
            driver.ask_backfill("resume", number)
    driver.check_against_rows()
    driver.drain()
    slots = [row.slot for row in driver.rows.runs.values()]
    assert len(set(slots)) == len(slots)
    for row in driver.rows.backfills.values():
        assert not row.state.is_active
        if row.state is BackfillState.DONE:
            assert row.done == row.slots, row
            assert set(range(max(row.from_at, T0 - 6 * H), row.to_at + 1, H)) <= set(slots)
    if all(row.reprocess is Reprocess.NONE for row in driver.rows.backfills.values()):
        for run in driver.rows.runs.values():
            assert (run.kind == RunKind.BACKFILL) == (run.backfill_id is not None)
            assert run.state >= RunState.SUCCESS
