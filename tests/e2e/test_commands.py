"""Decisions of people at the command line, against a living daemon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.home import Home, wait_for

DAGS = """
    from datetime import timedelta
    import os, signal, threading
    from pathlib import Path
    from dagd import DAG, Connection, Variable, task
    from dagd_operators.bash import BashOperator

    HERE = Path({here!r})

    with DAG("steps", schedule=None):
        @task
        def first():
            return 1

        @task(retries=0)
        def second(x):
            if not (HERE / "mended").exists():
                raise ValueError("not mended yet")
            return x + 1

        @task
        def third(x):
            return x + 1

        third(second(first()))

    with DAG("stubborn", schedule=None):
        @task(cancel_grace=timedelta(seconds=0.5))
        def stay():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            (HERE / "stubborn").write_text(str(os.getpid()))
            threading.Event().wait(60)

        @task
        def after():
            return 1

        stay() >> after()

    with DAG("silent", schedule=None):
        @task(retries=0)
        def leaves():
            os._exit(0)

        leaves()

    with DAG("told", schedule=None, params={{"day": "monday", "n": 3}}):
        @task
        def tell(params=None, dag_run=None):
            print("params", dict(params), "conf", dag_run.conf)
            return dict(params)

        tell()

    with DAG("secretive", schedule=None):
        @task
        def use():
            connection = Connection.get("warehouse")
            print("password is", connection.password, connection.host, connection.port, connection.login)
            print("variable is", Variable.get("colour"))

        use() >> BashOperator(task_id="shell", bash_command="env | grep -c -E 'DAGD_(DATABASE|HOME|SECRETS)' || true")

    with DAG("calls", schedule=None, on_failure_callback=lambda c: (HERE / "dag-failed").write_text(c["run_id"])):
        def tell_failure(context):
            (HERE / "task-failed").write_text(str(context["exception"]))

        @task(on_failure_callback=tell_failure)
        def fail():
            raise ValueError("on purpose")

        fail()

    with DAG("slow_body", schedule=None):
        @task(execution_timeout=timedelta(seconds=0.5), retries=0)
        def sleeps():
            threading.Event().wait(60)

        sleeps()
"""


@pytest.fixture
def living(home: Home) -> Home:
    home.write("commands.py", DAGS.format(here=str(home.folder)))
    home.up()
    wait_for(lambda: home.knows("steps", "stubborn", "silent", "told", "secretive", "calls", "slow_body"))
    return home


def run_of(home: Home, reference: str = "latest") -> dict[str, Any]:
    return dict(home.json("runs", "show", reference))


def states(home: Home, reference: str) -> dict[str, str]:
    return {one["task_id"]: one["state"] for one in run_of(home, reference)["tasks"]}


def end(home: Home, reference: str) -> dict[str, Any]:
    return wait_for(lambda: run if (run := run_of(home, reference))["state"] not in {"queued", "running"} else None)


def test_a_cleared_task_runs_again_with_what_is_below_it(living: Home) -> None:
    assert living.run("trigger", "steps", "--wait").returncode == 1
    assert states(living, "steps/latest") == {"first": "success", "second": "failed", "third": "upstream_failed"}
    Path(living.folder, "mended").touch()
    assert living.run("tasks", "clear", "steps/latest/second+", "-y").returncode == 0
    run = end(living, "steps/latest")
    assert run["state"] == "success"
    tries = {one["task_id"]: one["try"] for one in run["tasks"]}
    assert tries == {"first": 1, "second": 2, "third": 1}
    assert len(living.json("tasks", "tries", "steps/latest/second")) == 2


def test_a_mark_stands_and_what_is_below_follows_it(living: Home) -> None:
    living.run("trigger", "steps", "--wait")
    done = living.run("tasks", "mark", "steps/latest/second", "--state", "success", "-y")
    assert done.returncode == 0, done.stderr
    wait_for(lambda: run_of(living, "steps/latest")["state"] == "failed")  # third finds no value to add to
    assert states(living, "steps/latest") == {"first": "success", "second": "success", "third": "failed"}


def test_cancel_returns_when_durable_and_shows_cancelled_when_the_process_is_dead(living: Home) -> None:
    living.run("trigger", "stubborn")
    marker = Path(living.folder, "stubborn")
    wait_for(lambda: marker.exists() and marker.read_text())
    done = living.run("runs", "cancel", "stubborn/latest", "-y")
    assert done.returncode == 0, done.stderr
    run = end(living, "stubborn/latest")
    assert run["state"] == "cancelled"
    assert not Path("/proc", marker.read_text()).exists()
    assert states(living, "stubborn/latest") == {"stay": "cancelled", "after": "cancelled"}
    again = living.run("runs", "mark", "stubborn/latest", "--state", "success", "-y")
    assert again.returncode == 0, again.stderr
    assert run_of(living, "stubborn/latest")["state"] == "success"


def test_cancelling_an_ended_run_conflicts(living: Home) -> None:
    living.run("trigger", "told", "--wait")
    assert living.run("runs", "cancel", "told/latest", "-y").returncode == 4


def test_s14_exit_code_0_without_a_result_is_failed(living: Home) -> None:
    assert living.run("trigger", "silent", "--wait").returncode == 1
    task = run_of(living, "silent/latest")["tasks"][0]
    assert (task["state"], task["reason"], task["exit_code"]) == ("failed", "no result", 0)


def test_a_key_makes_a_trigger_idempotent_and_another_conf_conflicts(living: Home) -> None:
    first = living.json("trigger", "told", "--key", "k", "-c", '{"n": 4}')
    second = living.json("trigger", "told", "--key", "k", "-c", '{"n": 4}')
    assert (first["created"], second["created"]) == (True, False)
    assert first["run_id"] == second["run_id"]
    assert living.run("trigger", "told", "--key", "k", "-c", '{"n": 5}').returncode == 4
    run = end(living, f"told/{first['run_id']}")
    assert run["conf"] == {"n": 4}
    shown = living.json("tasks", "show", f"told/{first['run_id']}/tell")
    assert shown["xcom"]["return_value"] == {"day": "monday", "n": 4}


def test_secrets_of_a_task_are_masked_in_its_log(living: Home) -> None:
    uri = "postgres://ana:hunter22secret@db.example:5433/sales"
    assert living.run("connections", "set", "warehouse", "--uri", uri).returncode == 0
    assert living.run("variables", "set", "colour", "deep-purple-7").returncode == 0
    assert living.json("connections", "get", "warehouse")["password"] == "***"
    assert living.run("trigger", "secretive", "--wait").returncode == 0
    log = living.run("logs", "secretive/latest/use").stdout
    assert "hunter22secret" not in log
    assert "password is ***" in log
    assert "db.example 5433 ana" in log
    assert living.run("logs", "secretive/latest/shell").stdout.strip() == "0"
    for path in living.path.rglob("*"):
        if path.is_file():
            assert b"hunter22secret" not in path.read_bytes(), path
            assert path.stat().st_mode & 0o077 == 0, path


def test_callbacks_of_users_run(living: Home) -> None:
    assert living.run("trigger", "calls", "--wait").returncode == 1
    wait_for(lambda: Path(living.folder, "task-failed").exists() and Path(living.folder, "dag-failed").exists())
    assert "on purpose" in Path(living.folder, "task-failed").read_text()
    assert Path(living.folder, "dag-failed").read_text().startswith("m-")


def test_an_execution_timeout_kills_and_says_so(living: Home) -> None:
    assert living.run("trigger", "slow_body", "--wait").returncode == 1
    assert "timeout" in run_of(living, "slow_body/latest")["tasks"][0]["reason"]


def test_a_paused_dag_starts_nothing_until_it_is_unpaused(living: Home) -> None:
    assert living.run("dags", "pause", "told").returncode == 0
    made = living.json("trigger", "told")
    assert living.json("dags", "list")
    why = json.dumps(living.json("why", "told"))
    assert "paused" in why
    assert run_of(living, f"told/{made['run_id']}")["state"] == "queued"
    assert living.run("dags", "unpause", "told").returncode == 0
    assert end(living, f"told/{made['run_id']}")["state"] == "success"


PINNED = """
    import threading
    from pathlib import Path
    from dagd import DAG, task

    with DAG("pinned", schedule=None, pin={pin!r}):
        @task
        def first():
            while not Path({gate!r}).exists():
                threading.Event().wait(0.05)

        @task
        def {second}():
            return {second!r}

        first() >> {second}()
"""


def edited_run(home: Home, pin: str) -> dict[str, str]:
    """A run whose DAG's second task is renamed while its first one runs."""
    gate = Path(home.folder, "gate")
    home.write("pinned.py", PINNED.format(pin=pin, gate=str(gate), second="old"))
    home.up()
    wait_for(lambda: home.knows("pinned"))
    home.run("trigger", "pinned")
    wait_for(lambda: states(home, "pinned/latest")["first"] == "running")
    home.write("pinned.py", PINNED.format(pin=pin, gate=str(gate), second="new"))
    wait_for(lambda: home.json("dags", "list")[0]["version"] == 2)
    if pin == "latest":
        wait_for(lambda: run_of(home, "pinned/latest")["version"] == 2)
    gate.touch()
    assert end(home, "pinned/latest")["state"] == "success"
    return states(home, "pinned/latest")


def test_l5_a_run_keeps_the_version_that_it_was_created_with(home: Home) -> None:
    assert edited_run(home, "version") == {"first": "success", "old": "success"}


def test_l5_under_pin_latest_a_task_that_the_new_version_lacks_is_removed(home: Home) -> None:
    assert edited_run(home, "latest") == {"first": "success", "new": "success", "old": "removed"}
