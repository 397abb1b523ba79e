"""Commands that change something: durable when they return, told to the scheduler, written to the audit log."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dagd.model.plans import CommandDone
from dagd.store import facts, transitions
from tests.integration.cli_kit import World, make_world


@pytest.fixture
def world(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Filled, and without a living scheduler: no command waits."""
    made = make_world(database_url, tmp_path, monkeypatch)
    with made.write() as connection:
        made.silence(connection)
    return made


@contextmanager
def scheduler(world: World, *, refuses: str | None = None) -> Iterator[list[Any]]:
    """A scheduler that lives and closes every request: done, or refused with a sentence. Yields what was asked."""
    seen: list[Any] = []
    stop = threading.Event()

    def serve() -> None:
        while not stop.wait(0.02):
            with world.write() as connection:
                for row in facts.new_commands(connection, range(64)):
                    seen.append((row.kind, json.loads(row.payload)))
                    result = json.dumps({"error": refuses} if refuses else {"fine": True})
                    transitions.close_command(connection, CommandDone(row.id, not refuses, result), world.now)

    with world.write() as connection:
        world.revive(connection)
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


# --- trigger ---------------------------------------------------------------------------------------------------------


def test_a_triggered_run_is_found_at_once(world: World) -> None:
    answer = world.json("trigger", "sales", "-p", "day=2026-11-19", "-p", "n=7", "-p", "other=7")
    assert set(answer) == {"dag_id", "run_id", "created"}
    run = world.json("runs", "show", f"sales/{answer['run_id']}")
    assert (run["state"], run["kind"]) == ("queued", "manual")
    assert run["conf"] == {"day": "2026-11-19", "n": 7, "other": "7"}
    assert answer["run_id"].startswith("m-")


def test_a_key_names_one_run(world: World) -> None:
    first = world.json("trigger", "sales", "--key", "a", "-c", '{"n": 1, "x": [1.0]}')
    again = world.json("trigger", "sales", "--key", "a", "-c", '{"x": [1], "n": 1}')
    assert (first["created"], again["created"]) == (True, False)
    assert first["run_id"] == again["run_id"]
    assert world.run("trigger", "sales", "--key", "a", "-c", '{"n": 2}').exit_code == 4
    assert len(world.json("runs", "list", "sales", "--key", "a")) == 1


def test_a_run_takes_the_id_and_the_logical_date_that_it_is_given(world: World) -> None:
    answer = world.json("trigger", "sales", "--run-id", "mine", "--logical-date", "2026-03-01T06:00:00+01:00")
    assert answer["run_id"] == "mine"
    assert world.json("runs", "show", "sales/mine")["logical_date"] == "2026-03-01T05:00:00Z"


def test_a_refused_trigger_leaves_no_run(world: World) -> None:
    before = len(world.json("runs", "list"))
    assert world.run("trigger", "sales", "-p", "must=-1").exit_code == 4
    assert len(world.json("runs", "list")) == before


def test_waiting_ends_with_the_run(world: World) -> None:
    done = world.run("trigger", "sales", "--key", "k2", "-c", '{"day":"x"}', "--wait", "-o", "json")
    assert (done.exit_code, json.loads(done.stdout)["state"]) == (1, "failed")


def test_a_timeout_is_exit_6_and_says_how_to_come_back(world: World) -> None:
    done = world.run("trigger", "sales", "--run-id", "w", "--wait", "--timeout", "0.1", "-o", "json")
    assert (done.exit_code, json.loads(done.stdout)["state"]) == (6, "queued")
    assert "dagd runs watch sales/w" in done.stderr


DELETE = "runs delete sales/m-1"

# --- requests --------------------------------------------------------------------------------------------------------

REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("runs cancel sales/m-3 -y", "cancel", {}),
    ("runs mark sales/m-1 --state failed -y", "mark_run", {"state": "failed"}),
    ("tasks clear sales/m-2/load -y", "clear", {"instances": [["load", None]]}),
    ("tasks clear sales/m-2/load+ -y", "clear", {"instances": [["load", None], ["report", None]]}),
    ("tasks clear sales/m-2/+load -y --only", "clear", {"instances": [["extract", None], ["load", None]]}),
    ("tasks clear sales/m-2/one/1 -y", "clear", {"instances": [["one", 1]]}),
    ("tasks clear sales/m-2/extract+ --failed -y", "clear", {"instances": [["load", None], ["report", None]]}),
    ("runs clear sales/m-2 --failed -y", "clear", {"instances": [["load", None], ["report", None]]}),
    ("tasks mark sales/m-2/load --state success -y", "mark_tasks", {"instances": [["load", None]], "state": "success"}),
    ("tasks kill sales/m-3/extract -y", "kill", {"instances": [["extract", None]]}),
]


@pytest.mark.parametrize("words,kind,payload", REQUESTS, ids=[words for words, _, _ in REQUESTS])
def test_a_request_names_exactly_what_was_meant(world: World, words: str, kind: str, payload: dict[str, Any]) -> None:
    with scheduler(world) as seen:
        done = world.run(*words.split())
    assert done.exit_code == 0, done.output
    assert seen == [(kind, payload)]


def test_a_refused_request_is_exit_4_with_the_reason(world: World) -> None:
    with scheduler(world, refuses="no try of it is running"):
        done = world.run("tasks", "kill", "sales/m-3/extract", "-y")
    assert done.exit_code == 4
    assert "no try of it is running" in done.stderr


def test_without_a_scheduler_a_request_is_queued(world: World) -> None:
    done = world.run("runs", "cancel", "sales/m-3", "-y")
    assert (done.exit_code, done.stdout) == (0, "sales/m-3: queued, no scheduler running\n")
    assert world.json("runs", "cancel", "sales/m-3", "-y")["state"] == "queued"


def test_a_dry_run_asks_for_nothing(world: World) -> None:
    with scheduler(world) as seen:
        for words in (
            "runs cancel sales/m-3",
            "runs clear sales/m-1",
            "tasks clear sales/m-2/load+",
            "runs delete sales/m-1",
        ):
            assert world.run(*words.split(), "--dry-run").exit_code == 0
    assert seen == []
    assert world.run("runs", "show", "sales/m-1").exit_code == 0


# --- facts -----------------------------------------------------------------------------------------------------------


def test_a_pause_is_seen_at_once_and_audited_once(world: World) -> None:
    for verb, paused in (("pause", True), ("pause", True), ("unpause", False)):
        assert world.json("dags", verb, "sales")["paused"] is paused
        assert world.json("dags", "show", "sales")["paused"] is paused
    assert [one["action"] for one in world.json("audit", "list", "sales")][:2] == ["unpause", "pause"]
    assert len(world.json("audit", "list", "sales", "--action", "pause")) == 1
    assert world.json("dags", "show", "sales")["unpaused_at"] is not None


def test_a_pool_is_made_changed_and_removed(world: World) -> None:
    assert world.json("pools", "set", "etl", "2", "--description", "slow ones")["created"] is True
    assert world.json("pools", "set", "etl", "5")["created"] is False
    pool = next(one for one in world.json("pools", "list") if one["name"] == "etl")
    assert (pool["slots"], pool["description"]) == (5, "slow ones")
    assert world.run("pools", "delete", "etl").exit_code == 2
    assert world.run("pools", "delete", "etl", "-y").exit_code == 0
    assert "etl" not in {one["name"] for one in world.json("pools", "list") if not one.get("missing")}


@pytest.mark.parametrize("text", ["plain", "", " spaces ", "-5", "ünï 🦄", '{"a": 1}', "1", "a\nb", "--x"])
def test_a_variable_is_the_text_that_it_is(world: World, text: str) -> None:
    assert world.run("variables", "set", "k", "--", text).exit_code == 0
    assert world.json("variables", "get", "k") == {"key": "k", "value": text, "description": None}


def test_variables_go_out_and_come_back(world: World) -> None:
    world.run("variables", "import", "-", stdin='{"a": "text", "b": {"c": [1]}}')
    assert json.loads(world.run("variables", "export").stdout) == {"a": "text", "b": '{"c": [1]}'}
    assert world.run("variables", "delete", "a", "-y").exit_code == 0
    assert [one["key"] for one in world.json("variables", "list")] == ["b"]


def test_a_connections_secrets_are_hidden_until_they_are_asked_for(world: World) -> None:
    uri = "postgres://ann:p%40ss%2Fword@db.example:5433/wh?sslmode=require&api_token=t0p"
    assert world.run("connections", "set", "wh", "--uri", uri).exit_code == 0
    for words in (("connections", "list"), ("connections", "get", "wh"), ("connections", "export"), ("audit", "list")):
        said = world.run(*words, *([] if words[1] == "export" else ["-o", "json"])).stdout
        assert "p@ss/word" not in said
        assert "t0p" not in said
    shown = world.json("connections", "get", "wh")
    assert (shown["conn_type"], shown["host"], shown["port"], shown["login"]) == ("postgres", "db.example", 5433, "ann")
    assert shown["password"] == "***"
    open_ = world.json("connections", "get", "wh", "--reveal")
    assert (open_["password"], json.loads(open_["extra"])["api_token"]) == ("p@ss/word", "t0p")
    assert world.json("audit", "list", "wh")[0]["action"] == "connections reveal"


def test_connections_go_out_and_come_back(world: World) -> None:
    given = {
        "a": "http://u:s3cret@h/",
        "b": {"conn_type": "smtp", "host": "m", "password": "pw", "description": "mail"},
    }
    assert world.run("connections", "import", "-", stdin=json.dumps(given)).exit_code == 0
    out = world.run("connections", "export", "--reveal").stdout
    assert world.run("connections", "import", "-", stdin=out).exit_code == 0
    back = json.loads(world.run("connections", "export", "--reveal").stdout)
    assert (back["a"]["password"], back["b"]["password"], back["b"]["description"]) == ("s3cret", "pw", "mail")


# --- deleting --------------------------------------------------------------------------------------------------------


def test_a_deleted_run_is_gone_and_its_key_is_free(world: World) -> None:
    assert world.run("runs", "delete", "sales/m-2", "-y").exit_code == 0
    assert world.run("runs", "show", "sales/m-2").exit_code == 3
    assert world.json("trigger", "sales", "--key", "k2")["created"] is True
    assert world.json("assets", "events", "raw.orders")[0]["event_id"] == 900


def test_a_dag_is_deleted_when_its_file_is_gone_and_its_runs_have_ended(world: World, tmp_path: Path) -> None:
    path = tmp_path / "dags" / "sales.py"
    path.write_text("x = 1")
    assert world.run("dags", "delete", "sales", "-y").exit_code == 4
    path.unlink()
    assert world.run("dags", "delete", "sales", "-y").exit_code == 4
    with world.write() as connection:
        world.end_all(connection)
    assert world.run("dags", "delete", "sales", "-y").exit_code == 0
    assert [one["dag_id"] for one in world.json("dags", "list")] == ["marts"]
    assert world.run("runs", "list", "sales").exit_code == 3


def test_old_runs_are_cleaned(world: World) -> None:
    assert world.json("db", "clean", "--before", "1d", "-y") == {"runs": 0, "deleted": 0}
    assert world.json("db", "clean", "--before", "1m", "-y") == {"runs": 3, "deleted": 3}
    assert {one["state"] for one in world.json("runs", "list")} == {"queued", "running"}


# --- the database ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["dags list", "trigger sales", "pools set p 1", "runs cancel sales/m-3 -y"])
def test_migrating_a_database_that_is_there_changes_nothing(world: World, words: str) -> None:
    before = world.json("db", "stats")["tables"]
    assert world.run("db", "migrate").exit_code == 0
    assert [one["rows"] for one in world.json("db", "stats")["tables"]] == [one["rows"] for one in before]
    assert world.run(*words.split()).exit_code == 0


def test_a_backup_is_a_database_of_its_own(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(sqlite_url, tmp_path, monkeypatch)
    target = tmp_path / "copy.db"
    assert world.run("db", "backup", str(target)).exit_code == 0
    assert target.stat().st_mode & 0o077 == 0
    assert world.run("db", "backup", str(target)).exit_code == 4
    monkeypatch.setenv("DAGD_DATABASE_URL", f"sqlite:///{target}")
    assert len(world.json("runs", "list")) == 6


def test_a_locked_database_is_exit_5_after_the_wait(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(sqlite_url, tmp_path, monkeypatch)
    with world.write():
        done = world.run("trigger", "sales")
    assert done.exit_code == 5
    assert "locked" in done.stderr
    assert world.run("trigger", "sales").exit_code == 0


def test_a_database_that_is_locked_for_a_moment_is_waited_for(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(sqlite_url, tmp_path, monkeypatch)
    monkeypatch.setenv("DAGD_DATABASE__BUSY_TIMEOUT_S", "20")
    held, answers = threading.Event(), []

    def ask() -> None:
        held.wait()
        answers.append(world.run("trigger", "sales", "--run-id", "late").exit_code)

    thread = threading.Thread(target=ask)
    thread.start()
    with world.write():
        held.set()
        thread.join(0.5)
        assert answers == []
    thread.join()
    assert answers == [0]
