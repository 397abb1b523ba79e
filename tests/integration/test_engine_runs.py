"""The scheduler in this process, from a trigger to the end of its run, over faults of commits, agents and itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dagd.model.errors import Doubt, Fenced
from dagd.model.plans import Plan
from dagd.model.specs import DagSpec, DeadlineSpec, ExpandSpec, MapSource
from dagd.model.states import AttemptState, CommandState, DeadlineState, RunState
from dagd.model.times import SECOND
from dagd.store import catalog, dialects, outbox, shards
from dagd.store.database import IntegrityError
from dagd.store.schema import attempt, command, dag, dag_run, deadline
from dagd.store.schema import outbox as outbox_table
from dagd.store.schema import xcom as XCOM
from tests.engine_rig import Rig, check_rebuild
from tests.factories import NOW, spec, task

MINUTE = 60 * SECOND


@pytest.fixture
def rigs(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Rig]]:
    """The rigs that a test makes, to be closed."""
    made: list[Rig] = []
    monkeypatch.setattr(dialects, "clock", lambda _connection: made[0].clock.at if made else NOW)
    yield made
    for rig in made:
        rig.close()


@pytest.fixture
def rig_of(rigs: list[Rig], tmp_path: Path, sqlite_url: str) -> Any:
    def make(*specs: DagSpec, **more: Any) -> Rig:
        rigs.append(Rig(tmp_path, sqlite_url, *specs, **more))
        rigs[0].settle()
        return rigs[0]

    return make


def chain(**more: Any) -> DagSpec:
    return spec("sales", task("a", **more), task("b", "a"))


def minutely(**more: Any) -> DagSpec:
    return spec(
        "sales", task("a"), schedule={"kind": "delta", "micros": MINUTE}, start_at=NOW, max_active_runs=2, **more
    )


def slots(rig: Rig) -> list[int]:
    return sorted((row.slot - NOW) // MINUTE for row in rig.rows(dag_run) if row.slot is not None)


# --- from trigger to end ---------------------------------------------------------------------------------------------


def test_a_triggered_run_is_launched_reported_and_ended(rig_of: Any) -> None:
    rig = rig_of(chain())
    rig.trigger()
    rig.pass_time()
    (token,) = rig.agent.live
    launch = rig.agent.launches[token]
    assert (launch["payload"]["task_id"], launch["payload"]["try_no"], launch["payload"]["run"]["run_id"]) == (
        "a", 1, "m-1",
    )  # fmt: skip
    rig.finish("a")
    assert token in rig.agent.acked
    assert rig.run_states() == {1: RunState.RUNNING}
    rig.finish("b")
    assert rig.run_states() == {1: RunState.SUCCESS}
    assert rig.tries() == [(1, 1, "success"), (2, 1, "success")]
    assert rig.agent.spool == {}
    check_rebuild(rig)


def test_a_bare_start_is_stored_within_a_tenth_of_a_second(rig_of: Any) -> None:
    rig = rig_of(chain())
    rig.trigger()
    rig.pass_time(5)
    rig.clock.at += 10 * SECOND  # the last commit is long ago
    commits = rig.scheduler.committer.commits
    rig.agent.start(rig.agent.token("a"), rig.clock.at)
    rig.step()
    assert rig.tries() == [(1, 1, "queued")], "alone it is no reason to commit"
    assert rig.scheduler.carried
    check_rebuild(rig)
    rig.clock.at += 99_999
    rig.step()
    assert rig.tries() == [(1, 1, "queued")]
    rig.clock.at += 1
    rig.step()
    assert rig.tries() == [(1, 1, "running")]
    assert rig.scheduler.carried == []
    assert rig.scheduler.committer.commits - commits <= 2  # its own, and the heart's beat


def test_a_carried_start_rides_with_the_result(rig_of: Any) -> None:
    rig = rig_of(chain())
    rig.trigger()
    rig.pass_time()
    token = rig.agent.token("a")
    rig.agent.start(token, rig.clock.at)
    rig.step()
    commits = rig.scheduler.committer.commits
    rig.agent.end(token, rig.clock.at)
    rig.step()
    assert rig.scheduler.committer.commits == commits + 1
    row = next(row for row in rig.rows(attempt) if row.token == token)
    assert (row.state, row.agent, row.started_at) == (AttemptState.SUCCESS, "agent", rig.clock.at)


# --- trouble ---------------------------------------------------------------------------------------------------------


class Breaking:
    """A committer's `submit` that raises some errors first."""

    def __init__(self, rig: Rig, *errors: Exception, after: bool = False) -> None:
        self.submit, self.errors, self.after = rig.scheduler.committer.submit, list(errors), after
        rig.scheduler.committer.submit = self  # type: ignore[method-assign]

    def __call__(self, plan: Plan, lag_us: int = 0) -> None:
        breaks = self.errors and plan.needs_commit()
        if self.after or not breaks:
            self.submit(plan, lag_us)
        if breaks:
            raise self.errors.pop(0)


@pytest.mark.parametrize(
    "error", [Doubt("1 of 2"), IntegrityError("x", None, Exception("unique"))], ids=["doubt", "integrity"]
)
def test_trouble_drops_memory_and_the_turn_is_taken_again(rig_of: Any, error: Exception) -> None:
    rig = rig_of(chain())
    rig.trigger()
    rig.pass_time()
    token, old = rig.agent.token("a"), rig.scheduler.state
    Breaking(rig, error)
    rig.agent.end(token, rig.clock.at)
    rig.settle()
    assert rig.scheduler.state is not old
    assert rig.tries() == [(1, 1, "success"), (2, 1, "queued")]
    assert rig.agent.acked == [token]
    rig.finish("b")
    assert rig.run_states() == {1: RunState.SUCCESS}


def test_s9_a_fenced_scheduler_takes_a_new_incarnation(rig_of: Any) -> None:
    rig = rig_of(chain())
    rig.trigger()
    rig.pass_time()
    first = rig.scheduler.membership.incarnation
    with rig.database.write() as connection:
        assert shards.bury(connection, 0, 0, alone=True, proven=[]) == [first]
    rig.finish("a")
    assert rig.scheduler.membership.incarnation > first
    rig.finish("b")
    assert rig.run_states() == {1: RunState.SUCCESS}
    assert rig.agent.overlaps == []


def test_a_commit_that_succeeded_and_was_reported_failed_is_not_repeated(rig_of: Any) -> None:
    rig = rig_of(chain())
    rig.trigger()
    rig.pass_time()
    Breaking(rig, Doubt("it was written"), after=True)
    rig.finish("a")
    assert rig.tries() == [(1, 1, "success"), (2, 1, "queued")]
    rig.finish("b")
    assert rig.run_states() == {1: RunState.SUCCESS}
    assert rig.agent.spool == {}


def test_what_fails_alone_is_set_aside_and_everything_else_goes_on(rig_of: Any) -> None:
    rig = rig_of(spec("sales", task("a"), task("b", "a")), spec("other", task("x"), task("y", "x")))
    rig.trigger("sales")
    rig.trigger("other")
    rig.pass_time()
    with rig.database.write() as connection:  # a value that the result will bring is there already
        connection.execute(
            XCOM.insert().values(run_id=1, task_no=1, map_index=-1, key="return_value", body="1", size=1)
        )
    rig.finish("a", value=1)
    for _ in range(8):
        rig.agent.repeat(rig.agent.spool)
        rig.pass_time()
    held = {row.name: row.held for row in rig.rows(dag)}
    assert held["other"] is None
    assert held["sales"]
    rig.finish("x")
    rig.finish("y")
    assert rig.run_states() == {1: RunState.RUNNING, 2: RunState.SUCCESS}
    assert list(rig.agent.spool), "the result is kept: its try is live"
    check_rebuild(rig)
    number = rig.ask("cancel", 1)
    rig.trigger("sales")
    rig.pass_time(2)
    request = next(row for row in rig.rows(command) if row.id == number)
    assert request.state == CommandState.REFUSED
    assert "set aside" in request.result
    assert rig.run_states()[3] == RunState.QUEUED, "nothing of it starts"
    with rig.database.write() as connection:
        connection.execute(XCOM.delete())
    rig.store(spec("sales", task("a"), task("b", "a"), task("c", "b")))
    rig.pass_time(2)
    rig.agent.repeat(rig.agent.spool)
    rig.settle()
    rig.finish("b")
    assert rig.run_states()[1] == RunState.SUCCESS
    assert rig.run_states()[3] == RunState.RUNNING
    check_rebuild(rig)


def test_a_mistake_of_ours_in_one_dag_does_not_stop_the_others(rig_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = rig_of(spec("sales", task("a")), spec("other", task("x")))
    rig.trigger("sales")
    rig.trigger("other")
    rig.pass_time()
    rig.agent.end(rig.agent.token("a"), rig.clock.at, "succeed", xcom=[{"text": "no key"}])
    for _ in range(8):
        rig.pass_time()
        rig.agent.repeat(rig.agent.spool)
    rig.finish("x")
    assert rig.run_states() == {1: RunState.RUNNING, 2: RunState.SUCCESS}
    assert {row.name: bool(row.held) for row in rig.rows(dag)} == {"sales": True, "other": False}


def test_s8_nothing_starts_while_dags_are_decided_one_by_one(rig_of: Any) -> None:
    """Alone in memory a DAG does not see who else uses its pool."""
    narrow = {"pool": "narrow"}
    rig = rig_of(spec("sales", task("a", **narrow)), spec("other", task("x", **narrow)))
    with rig.database.write() as connection:
        catalog.set_pool(connection, "narrow", 1, None, "ann")
    rig.trigger("sales")
    rig.pass_time()
    rig.trigger("other")
    rig.pass_time()
    assert len(rig.agent.live) == 1
    Breaking(rig, *[Doubt("again")] * 3)
    for _ in range(5):
        rig.ask("kill", 2, "other", instances=[["x", None]])
        rig.pass_time()
    assert len(rig.agent.live) == 1
    check_rebuild(rig)


def test_trouble_now_and_then_sets_nothing_aside(rig_of: Any) -> None:
    rig = rig_of(minutely(catchup=True))
    for _ in range(6):
        Breaking(rig, Doubt("now and then"))
        rig.pass_time(61)
    assert [row.held for row in rig.rows(dag)] == [None]


# --- agents ----------------------------------------------------------------------------------------------------------


def test_a_launch_that_the_agent_never_saw_is_launched_again_with_the_same_token(rig_of: Any) -> None:
    rig = rig_of(chain())
    rig.agent.forgetful = True
    rig.trigger()
    rig.pass_time()
    (row,) = rig.rows(attempt)
    assert not rig.agent.launches
    rig.agent.forgetful = False
    rig.agent.hang_up()
    rig.settle()
    assert list(rig.agent.live) == [row.token]
    rig.finish("a")
    rig.finish("b")
    assert rig.tries() == [(1, 1, "success"), (2, 1, "success")]


def test_a_resumed_leg_that_the_agent_never_saw_is_launched_again(rig_of: Any) -> None:
    rig = rig_of(chain())
    rig.trigger()
    rig.pass_time()
    rig.finish("a", "defer", until=rig.clock.at + 5 * SECOND, state={"n": 1})
    assert rig.tries() == [(1, 1, "deferred")]
    assert not rig.agent.live
    rig.agent.forgetful = True
    rig.pass_time(6)
    assert rig.tries() == [(1, 1, "queued")]
    rig.agent.forgetful = False
    rig.agent.hang_up()
    rig.settle()
    (token,) = rig.agent.live
    payload = rig.agent.launches[token]["payload"]
    assert (payload["leg"], payload["state"]) == (2, {"n": 1})
    check_rebuild(rig)


def test_s6_a_lost_try_is_charged_to_the_infrastructure(rig_of: Any) -> None:
    rig = rig_of(chain())
    rig.trigger()
    rig.pass_time()
    for _ in range(3):
        rig.agent.die(rig.clock.at)
        rig.settle()
    assert rig.tries() == [(1, 1, "failed"), (1, 2, "failed"), (1, 3, "failed"), (1, 4, "queued")]
    rig.agent.die(rig.clock.at)
    rig.settle()
    assert rig.run_states() == {1: RunState.FAILED}
    assert rig.agent.overlaps == []


def test_a_stop_is_repeated_after_a_restart(rig_of: Any) -> None:
    rig = rig_of(chain())
    rig.trigger()
    rig.pass_time()
    token = rig.agent.token("a")
    rig.ask("cancel", 1)
    rig.pass_time()
    assert rig.agent.stopping == {token: "cancelled"}
    rig.agent.stopping.clear()
    rig.crash()
    rig.settle()
    assert rig.agent.stopping == {token: "cancelled"}
    rig.agent.end(token, rig.clock.at, "succeed")  # it handled SIGTERM
    rig.settle()
    assert rig.tries() == [(1, 1, "cancelled"), (2, 0, "cancelled")]
    assert rig.run_states() == {1: RunState.CANCELLED}


def test_a_cleared_try_is_asked_to_stop_again_after_a_restart(rig_of: Any) -> None:
    rig = rig_of(chain())
    rig.trigger()
    rig.pass_time()
    token = rig.agent.token("a")
    rig.ask("clear", 1, instances=[["a", None], ["b", None]])
    rig.pass_time()
    rig.agent.stopping.clear()
    rig.crash()
    rig.settle()
    assert rig.agent.stopping == {token: "cleared"}
    assert list(rig.agent.live) == [token], "the next try waits for the end of this one"
    rig.agent.end(token, rig.clock.at, "succeed")
    rig.settle()
    assert rig.tries() == [(1, 1, "cancelled"), (1, 2, "queued")]
    check_rebuild(rig)


def test_a_result_of_another_schedulers_try_is_not_acknowledged_while_it_lives(rig_of: Any) -> None:
    rig = rig_of(chain())
    with rig.database.write() as connection:
        connection.execute(
            attempt.insert().values(run_id=99, task_no=1, map_index=-1, try_no=1, token="theirs", state=2)
        )
    link = rig.agent.links[-1]
    base = {"outcome": "succeed", "frame": {}, "started_at": NOW, "ended_at": NOW}
    for token in ("theirs", "nobody's"):
        link.say("result", tries=[{**base, "token": token}])
    rig.settle()
    assert rig.agent.acked == ["nobody's"]


def test_s2_a_result_that_comes_twice_counts_once(rig_of: Any) -> None:
    rig = rig_of(chain(outlets=("orders",)), spec("reader", task("r"), condition=["asset", "orders"]))
    rig.trigger()
    rig.pass_time()
    token = rig.agent.token("a")
    rig.agent.end(token, rig.clock.at)
    rig.agent.repeat([token])
    rig.agent.repeat([token])
    rig.settle()
    rig.crash()
    rig.settle()
    rig.pass_time()
    assert sorted(rig.run_states().values()) == [RunState.RUNNING] * 2
    assert {row.kind for row in rig.rows(dag_run)} == {2, 4}
    assert len([row for row in rig.rows(dag_run) if row.kind == 4]) == 1


# --- slots -----------------------------------------------------------------------------------------------------------


def test_s1_each_slot_has_one_run_over_restarts(rig_of: Any) -> None:
    rig = rig_of(minutely(catchup=True))
    for _ in range(5):
        rig.crash()
        rig.pass_time(30)
        for token in list(rig.agent.live):
            rig.agent.end(token, rig.clock.at)
        rig.settle()
    assert slots(rig) == [0, 1, 2]


def test_s1_a_pause_that_comes_between_leaves_no_run(rig_of: Any) -> None:
    rig = rig_of(minutely())
    rig.pass_time(30)
    submit, pauses = rig.scheduler.committer.submit, [True]

    def pause_first(plan: Plan, lag_us: int = 0) -> None:
        if plan.new_runs and pauses:
            rig.set_paused("sales", pauses.pop())
        submit(plan, lag_us)

    rig.scheduler.committer.submit = pause_first
    rig.pass_time(31)
    rig.pass_time(120)
    assert slots(rig) == []
    rig.set_paused("sales", False)
    rig.pass_time(2)
    assert slots(rig) == []
    rig.pass_time(60)
    assert len(slots(rig)) == 1


def test_catch_up_takes_slots_as_places_free_up(rig_of: Any) -> None:
    rig = rig_of(minutely(catchup=True))
    rig.pass_time(60 * 100)
    assert slots(rig) == [0, 1]
    for _ in range(4):
        for token in list(rig.agent.live):
            rig.agent.end(token, rig.clock.at)
        rig.settle()
        check_rebuild(rig)
    assert slots(rig) == list(range(10))
    rig.crash()
    rig.settle()
    assert slots(rig) == list(range(10))


# --- deadlines and callbacks -----------------------------------------------------------------------------------------


def test_a_deadline_is_missed_once_over_a_restart(rig_of: Any) -> None:
    late = (DeadlineSpec("finish", "created", 10 * SECOND),)
    rig = rig_of(spec("sales", task("a", deadlines=late), deadlines=late))
    rig.trigger()
    rig.pass_time()
    check_rebuild(rig)
    rig.crash()
    rig.pass_time(11)
    rig.crash()
    rig.pass_time(11)
    rows = rig.rows(deadline)
    assert [row.state for row in rows] == [DeadlineState.MISSED] * 2
    assert len([row for row in rig.rows(outbox_table) if row.topic == "deadline"]) == 2
    check_rebuild(rig)


def test_a_callback_is_launched_and_closed_by_its_result(rig_of: Any) -> None:
    rig = rig_of(spec("sales", task("a", callbacks=("failure",))))
    rig.trigger()
    rig.pass_time()
    rig.finish("a", "fail", error={"message": "boom"})
    (token,) = rig.agent.live
    told = rig.agent.launches[token]["payload"]
    assert token.startswith("cb-")
    assert (told["task_id"], told["callback"]["event"]) == ("a", "failure")
    rig.crash()
    rig.settle()
    assert list(rig.agent.live) == [token]
    rig.agent.end(token, rig.clock.at)
    rig.settle()
    row = next(row for row in rig.rows(outbox_table) if row.topic == outbox.CALLBACK)
    assert (row.tries, row.error) == (1, None)
    assert row.delivered_at is not None
    assert token in rig.agent.acked


def test_a_callback_that_fails_is_tried_three_times(rig_of: Any) -> None:
    rig = rig_of(spec("sales", task("a", callbacks=("success",))))
    rig.trigger()
    rig.pass_time()
    rig.finish("a")
    for _ in range(3):
        (token,) = rig.agent.live
        rig.agent.end(token, rig.clock.at, "fail", error={"message": "boom"})
        rig.settle()
    assert not rig.agent.live
    row = next(row for row in rig.rows(outbox_table) if row.topic == outbox.CALLBACK)
    assert row.tries == 3
    assert row.delivered_at is not None
    assert "boom" in row.error


def test_many_callbacks_are_all_launched_and_those_of_deleted_runs_are_given_up(rig_of: Any) -> None:
    rig = rig_of(spec("sales", task("a")))
    rig.trigger()
    rig.pass_time()
    rig.finish("a")
    with rig.database.write() as connection:
        for number in range(1, 131):
            run = 1 if number > 60 else 999
            body = f'{{"dag_id": "sales", "run": {run}, "run_id": "x", "event": "success", "task_id": null}}'
            connection.execute(
                outbox_table.insert().values(
                    id=number, topic="callback", subject="s", payload=body, created_at=NOW, next_at=NOW, tries=0
                )
            )
    rig.crash()
    rig.settle()
    for _ in range(70):
        if not rig.agent.live:
            break
        rig.agent.end(next(iter(rig.agent.live)), rig.clock.at)
        rig.settle()
    rows = [row for row in rig.rows(outbox_table) if row.topic == "callback"]
    assert [row.id for row in rows if row.delivered_at is None] == []
    assert len([row for row in rows if row.error]) == 60


def test_a_fence_that_falls_while_memory_is_rebuilt_is_a_new_incarnation(
    rig_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = rig_of(chain())
    rig.trigger()
    rig.pass_time()
    errors = [Fenced("dead")]
    shares = rig.scheduler.membership.pool_shares

    def fenced_once(state: Any) -> Any:
        if errors:
            raise errors.pop()
        return shares(state)

    monkeypatch.setattr(rig.scheduler.membership, "pool_shares", fenced_once)
    first = rig.scheduler.membership.incarnation
    Breaking(rig, Doubt("x"))
    rig.finish("a")
    assert rig.scheduler.membership.incarnation > first
    assert rig.tries() == [(1, 1, "success"), (2, 1, "queued")]


def test_a_try_whose_item_is_not_there_fails_alone(rig_of: Any) -> None:
    """The scheduler that raised here raised again at each start: the try was launched again, and again in vain."""
    mapped = task("m", "a", expand=ExpandSpec("product", ("x",), (MapSource("xcom", task_id="a"),)))
    rig = rig_of(spec("sales", task("a"), mapped, max_active_tasks=1))
    rig.trigger()
    rig.pass_time()
    rig.finish("a", value=2)
    with rig.database.write() as connection:
        connection.execute(XCOM.delete())
    rig.crash()
    rig.agent.end(rig.agent.token("m", 0), rig.clock.at)
    rig.settle()
    assert rig.run_states() == {1: RunState.FAILED}
    rows = [row for row in rig.rows(attempt) if row.map_index == 1]
    assert ["its values cannot be read" in row.error for row in rows] == [True]


def test_a_mark_leaves_the_items_of_those_that_wait(rig_of: Any) -> None:
    mapped = task("m", "a", expand=ExpandSpec("product", ("x",), (MapSource("xcom", task_id="a"),)))
    rig = rig_of(spec("sales", task("a"), mapped, max_active_tasks=1))
    rig.trigger()
    rig.pass_time()
    rig.finish("a", value=2)
    rig.ask("mark_tasks", 1, instances=[["a", None]], state="success")
    rig.pass_time()
    rig.crash()
    for index in (0, 1):
        rig.finish("m", index=index)
    assert rig.run_states() == {1: RunState.SUCCESS}
