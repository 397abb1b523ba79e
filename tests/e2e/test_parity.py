"""The same folder gives the same runs and states on SQLite, on Postgres, and on Postgres with two schedulers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.home import Home, wait_for

FOLDER = """
    from datetime import timedelta
    from dagd import DAG, Asset, SkipTask, task, setup, teardown
    from dagd_operators.bash import BashOperator
    from dagd_operators.empty import EmptyOperator

    with DAG("branching", schedule=None):
        @task.branch
        def choose():
            return "left"

        @task
        def left():
            return 1

        @task
        def right():
            return 2

        @task(trigger_rule="none_failed_min_one_success")
        def join():
            return 3

        choose() >> [left(), right()] >> join()

    with DAG("mapping", schedule=None):
        @task
        def numbers():
            return [1, 2, 3, 4]

        @task
        def square(n):
            if n == 3:
                raise SkipTask("no three")
            return n * n

        @task(trigger_rule="all_done", outlets=[Asset("squares")])
        def total(values):
            return sum(values)

        total(square.expand(n=numbers()))

    with DAG("failing", schedule=None):
        @task(retries=1, retry_delay=timedelta(0))
        def bad():
            raise ValueError("always")

        @task
        def never():
            return 0

        @task(trigger_rule="all_done")
        def after():
            return 1

        bad() >> never() >> after()

    with DAG("shell", schedule=None):
        BashOperator(task_id="skips", bash_command="exit 99") >> EmptyOperator(task_id="end")
        BashOperator(task_id="says", bash_command="echo one; echo two")

    with DAG("guarded", schedule=None):
        @setup
        def make():
            return 1

        @task
        def work():
            raise RuntimeError("work fails")

        @teardown
        def remove():
            return 2

        make() >> work() >> remove()

    with DAG("waiting", schedule=None):
        @task.sensor(poke_interval=0.2, timeout=20)
        def third_time(ti=None):
            import pathlib, tempfile
            path = pathlib.Path(tempfile.gettempdir()) / f"parity-{ti.run_id}"
            path.write_text(path.read_text() + "x" if path.exists() else "x")
            return len(path.read_text()) >= 3

        third_time()

    with DAG("consumer", schedule=[Asset("squares")]):
        @task
        def use():
            return "used"

        use()
"""
TRIGGERED = ("branching", "mapping", "failing", "shell", "guarded", "waiting")


def start_one(home: Home) -> None:
    home.up()


def start_two(home: Home) -> None:
    home.up()
    home.start("scheduler")
    wait_for(lambda: sum(one["name"] == "scheduler" for one in home.json("health")["components"]) == 2)


def outcome(home: Home, start: Callable[[Home], None]) -> dict[str, Any]:
    home.write("parity.py", FOLDER)
    start(home)
    wait_for(lambda: home.knows(*TRIGGERED, "consumer"))
    for dag_id in TRIGGERED:
        assert home.run("trigger", dag_id, "--run-id", "one").returncode == 0
    wait_for(lambda: ended(home, *TRIGGERED, "consumer"), 60)
    found: dict[str, Any] = {}
    for dag_id in (*TRIGGERED, "consumer"):
        run = home.json("runs", "show", f"{dag_id}/latest")
        tasks = {(one["task_id"], one["map_index"]): (one["state"], one["try"]) for one in run["tasks"]}
        found[dag_id] = (run["state"], run["kind"], tasks)
    return found


def ended(home: Home, *dag_ids: str) -> bool:
    runs = home.json("runs", "list")
    return sorted(one["dag_id"] for one in runs if one["state"] in {"success", "failed"}) == sorted(dag_ids)


EXPECTED = {
    "branching": ("success", {"left": "success", "right": "skipped", "join": "success"}),
    "failing": ("failed", {"bad": "failed", "never": "upstream_failed", "after": "success"}),
    "guarded": ("failed", {"make": "success", "work": "failed", "remove": "success"}),
    "shell": ("success", {"skips": "skipped", "end": "skipped", "says": "success"}),
    "waiting": ("success", {"third_time": "success"}),
    "consumer": ("success", {"use": "success"}),
}


@pytest.mark.parametrize("start", [start_one, start_two])
def test_the_same_folder_gives_the_same_states_everywhere(
    start: Callable[[Home], None], tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for name, url, begin in (("sqlite", None, start_one), ("postgres", postgres_url, start)):
        (tmp_path / name).mkdir()
        home = Home(tmp_path / name, url)
        home.environment["TMPDIR"] = str(tmp_path / name)
        try:
            found[name] = outcome(home, begin)
        finally:
            home.close()
    assert found["sqlite"] == found["postgres"]
    for dag_id, (state, tasks) in EXPECTED.items():
        assert found["sqlite"][dag_id][0] == state, dag_id
        states = {task_id: one for (task_id, _), (one, _) in found["sqlite"][dag_id][2].items()}
        assert {task_id: states[task_id] for task_id in tasks} == tasks
