"""`dagd backfill`: what is counted and refused before anything starts, what is shown, how it is followed and left."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dagd.cli import backfill_watch
from dagd.model.plans import BackfillMove, BackfillProgress, RunMove
from dagd.model.states import RunKind
from dagd.model.times import SECOND, to_micros
from tests.factories import run, spec, task
from tests.integration.cli_kit import World, make_world, put, store
from tests.integration.test_cli_changes import scheduler

DAY = 24 * 3600 * SECOND
KEYS = {
    "backfill_id", "dag_id", "from", "to", "slots", "new", "existing", "done", "success", "failed", "running", "state",
}  # fmt: skip
OCTOBER = ("--from", "2026-10-01", "--to", "2026-10-31T06:00")
FIRST_SLOT = to_micros(datetime(2026, 10, 1, 4, tzinfo=UTC))  # six o'clock in Berlin


@pytest.fixture
def world(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Filled, and without a living scheduler: no command waits. `sales` runs at 6 o'clock in Berlin."""
    made = make_world(database_url, tmp_path, monkeypatch)
    with made.write() as connection:
        made.silence(connection)
    return made


def progress(world: World, event: str | None, *counts: int, number: int = 1) -> None:
    """The scheduler moves a backfill, and says how far it is: done, success, failed, kept, spent."""
    with world.write() as connection:
        moves = [BackfillMove(number, event, world.now)] if event is not None else []
        told = [BackfillProgress(number, 0, *counts)] if counts else []
        put(connection, backfill_moves=moves, backfills=told)


def test_it_is_found_at_once_with_its_slots_counted(world: World) -> None:
    made = world.json("backfill", "create", "sales", *OCTOBER)
    assert set(made) >= KEYS
    assert (made["backfill_id"], made["dag_id"], made["slots"], made["new"], made["existing"]) == (
        "b-1", "sales", 31, 31, 0,
    )  # fmt: skip
    assert (made["from"], made["to"], made["state"]) == ("2026-09-30T22:00:00Z", "2026-10-31T05:00:00Z", "queued")
    assert [one["backfill_id"] for one in world.json("backfill", "list")] == ["b-1"]
    assert world.json("backfill", "list", "marts") == []
    for name in ("b-1", "1"):
        assert world.json("backfill", "show", name)["slots"] == 31
    assert world.json("backfills", "list", "sales", "--limit", "0") == []
    audit = world.json("audit", "list", "--limit", "1")[0]
    assert audit["subject"] == "sales/b-1"
    assert "2026-09-30T22:00:00Z" in json.dumps(audit)


def test_a_person_is_told_what_the_slots_are_and_how_to_come_back(world: World) -> None:
    said = world.run("backfill", "create", "sales", *OCTOBER, "--max-active", "4")
    assert said.exit_code == 0
    assert said.stdout.splitlines() == ["31 slots: 31 new", "backfill b-1: queued, no scheduler running"]
    assert "dagd backfill watch b-1" in said.stderr
    with scheduler(world):
        said = world.run("backfill", "create", "sales", *OCTOBER)
    assert said.stdout.splitlines()[1].startswith("backfill b-2")


def test_runs_that_are_there_are_counted_by_their_state(world: World) -> None:
    with world.write() as connection:
        for number, state in ((71, "succeed"), (72, "fail"), (73, "succeed")):
            slot = FIRST_SLOT + (number - 71) * DAY
            new = run(1, 1, number, slot=slot, due_at=slot, kind=RunKind.SCHEDULED)
            put(connection, new_runs=[new], run_moves=[RunMove(number, event, world.now) for event in ("start", state)])
    said = world.run("backfill", "create", "sales", *OCTOBER, "--dry-run")
    told = "31 slots: 28 new, 3 exist (2 success, 1 failed, kept; --reprocess failed|all)"
    assert said.stdout.splitlines() == [told]
    assert world.json("backfill", "list") == []
    for form, again, words in (
        ("failed", 1, "2 success, 1 failed, 1 run again, the rest kept"), ("all", 3, "2 success, 1 failed, run again"),
        ("completed", 3, "2 success, 1 failed, run again"), ("none", 0, "kept; --reprocess failed|all"),
    ):  # fmt: skip
        plan = world.json("backfill", "create", "sales", *OCTOBER, "--dry-run", "--reprocess", form)
        assert (plan["slots"], plan["new"], plan["existing"], plan["run_again"]) == (31, 28, 3, again)
        assert words in world.run("backfill", "create", "sales", *OCTOBER, "--dry-run", "--reprocess", form).stdout


@pytest.mark.parametrize(
    "code,words,said",
    [
        (3, "backfill create salse --from 2026-10-01 --to 2026-10-31", "sales"),
        (4, "backfill create marts --from 2026-10-01 --to 2026-10-31", "has no slots"),
        (4, "backfill create sales --from 2999-01-01 --to 2999-02-01", "no slot"),
        (4, "backfill create sales --from 2026-10-01T07:00 --to 2026-10-01T08:00", "no slot"),
        (4, "backfill create sales --from 1600-01-01 --to 2026-10-01", "100,000"),
        (4, "backfill create sales --from 2026-10-01 --to 2026-10-31 -p must=no", "must"),
        (4, "backfill create sales --from 2026-10-01 --to 2026-10-31 -c 3", "no JSON object"),
        (2, "backfill create sales --from 2026-10-01 --to 2026-10-31 -c {", "no JSON"),
        (2, "backfill create sales --from 2026-10-02 --to 2026-10-01", "before"),
        (2, "backfill create sales --from yesterday --to 2026-10-01", "no instant"),
        (2, "backfill create sales --from 2026-10-01", "--to"),
        (2, "backfill create sales --from 2026-10-01 --to 2026-10-31 --max-active 0", "max-active"),
        (2, "backfill create sales --from 2026-10-01 --to 2026-10-31 --reprocess some", "some"),
        (3, "backfill show b-9", "b-9"),
        (3, "backfill show nonsense", "nonsense"),
        (3, "backfill watch ²", "²"),
        (3, "backfill pause 99999999999999999999999", "999"),
        (3, "backfill cancel b- -y", "b-"),
        (3, "backfill list nope", "nope"),
        (3, "runs list sales --backfill b-7", "b-7"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(world: World, code: int, words: str, said: str) -> None:
    done = world.run(*words.split())
    assert done.exit_code == code, done.output
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dag_that_looks_at_its_past_is_not_backfilled_in_reverse(world: World) -> None:
    with world.write() as connection:
        schedule = {"kind": "delta", "micros": DAY}
        dag = spec("past", task("a", depends_on_past=True), schedule=schedule, start_at=world.now - 30 * DAY)
        store(connection, dag, world.now)
    done = world.run("backfill", "create", "past", *OCTOBER, "--reverse")
    assert done.exit_code == 4
    assert "a looks at the run before it" in done.stderr


def test_its_conf_and_its_runs_carry_its_name(world: World) -> None:
    made = world.json("backfill", "create", "sales", *OCTOBER, "-c", '{"n": 7}', "-p", "day=x", "--reverse")
    assert (made["reverse"], made["reprocess"], made["max_active"]) == (True, "none", 10)
    with world.write() as connection:
        new = run(1, 1, 81, slot=FIRST_SLOT, due_at=FIRST_SLOT, kind=RunKind.BACKFILL, backfill=1)
        put(connection, new_runs=[new])
    (shown,) = world.json("runs", "list", "sales", "--backfill", "b-1")
    assert (shown["backfill_id"], shown["kind"]) == ("b-1", "backfill")
    assert world.json("backfill", "show", "b-1")["running"] == 1


def test_requests_wait_for_their_scheduler_and_what_is_over_is_refused(world: World) -> None:
    world.run("backfill", "create", "sales", *OCTOBER)
    for verb in (["pause"], ["resume"], ["cancel", "-y"]):
        done = world.run("backfill", verb[0], "b-1", *verb[1:])
        assert (done.exit_code, done.stdout) == (0, "b-1: queued, no scheduler running\n")
    with scheduler(world) as seen:
        assert world.run("backfill", "pause", "b-1").stdout.startswith("b-1: paused")
        assert world.run("backfill", "resume", "b-1").stdout == "b-1: goes on\n"
        assert world.run("backfill", "cancel", "b-1", "-y").stdout == "b-1: cancelled\n"
    assert [kind for kind, _ in seen][-1] == "backfill_cancel"
    assert world.run("backfill", "cancel", "b-1").exit_code == 2
    dry = world.run("backfill", "cancel", "b-1", "--dry-run")
    assert (dry.exit_code, dry.stdout) == (
        0, "backfill b-1 of sales would be cancelled (0 of 31 slots done, 0 running)\n",
    )  # fmt: skip
    progress(world, "start")
    progress(world, "finish")
    for verb in (["pause"], ["resume"], ["cancel", "-y"]):
        done = world.run("backfill", verb[0], "b-1", *verb[1:])
        assert done.exit_code == 4
        assert "has already ended as done" in done.stderr


def test_the_bar_says_how_far_it_is_and_how_long_it_will_take(world: World) -> None:
    world.run("backfill", "create", "sales", *OCTOBER, "--max-active", "2")
    progress(world, "start", 17, 15, 1, 1, 16 * 10_000_000)
    shown = world.json("backfill", "show", "b-1")
    assert (shown["done"], shown["success"], shown["failed"], shown["kept"]) == (17, 15, 1, 1)
    assert shown["left_s"] == 14 * 10 / 2
    said = world.run("backfill", "show", "b-1").stdout
    assert said.startswith("backfill b-1  █████████░░░░░░░░░ 17/31  ✓15 ✗1 1 kept")
    assert "about 1m10s left" in said
    assert "17/31" in world.run("status").stdout
    assert world.json("status")["backfills"][0]["backfill_id"] == "b-1"
    (reason,) = [one for one in world.json("why", "sales")["reasons"] if one["code"] == "WHY-BACKFILL"]
    assert "b-1 is running: 17 of 31 slots done" in reason["message"]


@pytest.mark.parametrize(
    "counts,event,code",
    [((31, 31, 0, 0, 9), "finish", 0), ((31, 30, 1, 0, 9), "finish", 1), ((3, 3, 0, 0, 9), "cancel", 1)],
)
def test_watching_ends_with_it_and_says_by_its_exit_code_how(
    world: World, counts: tuple[int, ...], event: str, code: int
) -> None:
    world.run("backfill", "create", "sales", *OCTOBER)
    progress(world, "start", *counts)
    progress(world, event)
    done = world.run("backfill", "watch", "b-1")
    assert done.exit_code == code
    assert f"{counts[0]}/31" in done.stdout
    assert ("--state failed" in done.stdout) == bool(counts[2])
    assert world.json("backfill", "watch", "b-1")["done"] == counts[0]


def test_watching_may_end_before_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.run("backfill", "create", "sales", *OCTOBER)
    done = world.run("backfill", "watch", "b-1", "--timeout", "0.05")
    assert done.exit_code == 6
    assert "0 of 31 slots" in done.stderr
    done = world.run("backfill", "create", "sales", *OCTOBER, "--wait", "--timeout", "0.05", "-o", "json")
    assert done.exit_code == 6
    assert json.loads(done.stdout)["state"] == "queued"

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(backfill_watch.time, "sleep", interrupt)
    done = world.run("backfill", "watch", "b-1")
    assert done.exit_code == 130
    assert "come back with: dagd backfill watch b-1" in done.stderr


def test_a_paused_dag_and_a_range_without_slots_are_noted(world: World) -> None:
    world.run("dags", "pause", "sales")
    said = world.run("backfill", "create", "sales", "--from", "2026-11-01", "--to", "2999-01-01", "--dry-run")
    assert "left to the schedule" in said.stderr
    said = world.run("backfill", "create", "sales", *OCTOBER)
    assert "waits for dagd dags unpause sales" in said.stderr
