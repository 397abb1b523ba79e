"""Waits for triggers, as a user sees them: nothing is held, whatever is killed, and each goes on once."""

from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path
from typing import Any

from tests.e2e.home import Home, wait_for

WAITS = """
    from datetime import timedelta
    from dagd import DAG, FileTrigger, get_current_context, task
    from dagd_operators.filesystem import FileSensor
    from dagd_operators.sql import SqlSensor

    with DAG("waits", schedule=None, max_active_tasks=1000):
        @task(retries=0)
        def own(trigger_event=None):
            if trigger_event is None:
                get_current_context().defer(trigger=FileTrigger({flag!r}, poke_interval=0.2), timeout=600)
            with open({journal!r}, "a") as file:
                file.write("own\\n")
            return trigger_event["path"]

        sensor = FileSensor(task_id="sensor", filepath={flag!r}, poke_interval=0.2, retries=0)
        query = SqlSensor(task_id="query", conn_id="shop", sql="select count(*) from t", poke_interval=0.2, retries=0)
        [own(), sensor, query]
"""
MANY = """
    from dagd import DAG
    from dagd_operators.filesystem import FileSensor

    with DAG("many", schedule=None, max_active_tasks=1000):
        FileSensor.partial(task_id="sensor", poke_interval=1, retries=0).expand(filepath=[{flag!r}] * 500)
"""


def begin(home: Home, dag_id: str, text: str) -> Path:
    """A run of the DAG; the file that it waits for."""
    flag = home.folder / "flag"
    home.write(f"{dag_id}.py", text.format(flag=str(flag), journal=str(home.folder / "journal")))
    wait_for(lambda: home.knows(dag_id))
    assert home.run("trigger", dag_id).returncode == 0
    return flag


def states(home: Home, dag_id: str) -> dict[str, int]:
    """How many instances of the last run stand in which state."""
    found: dict[str, int] = {}
    for row in home.json("tasks", "list", f"{dag_id}/latest"):
        found[row["state"]] = found.get(row["state"], 0) + row.get("count", 1)
    return found


def ask(path: Path, sql: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(sql)
    connection.commit()
    connection.close()


def watching(home: Home) -> list[int]:
    return home.pids("agent.triggering")


def tries(home: Home, task: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = home.json("tasks", "tries", f"waits/latest/{task}")
    return found


def test_a_wait_survives_the_death_of_each_process_and_goes_on_once(any_home: Home) -> None:
    shop = any_home.folder / "shop.db"
    any_home.up()
    assert any_home.run("connections", "set", "shop", "--uri", f"sqlite:////{shop}").returncode == 0
    ask(shop, "create table t (x int)")
    flag = begin(any_home, "waits", WAITS)
    wait_for(lambda: states(any_home, "waits") == {"deferred": 3})
    (first,) = wait_for(lambda: watching(any_home))
    os.kill(first, signal.SIGKILL)
    (second,) = wait_for(lambda: [pid for pid in watching(any_home) if pid != first])
    assert any_home.kill("agent.main") == 1
    wait_for(lambda: [pid for pid in watching(any_home) if pid not in (first, second)])
    assert any_home.kill("engine.part scheduler") == 1
    assert states(any_home, "waits") == {"deferred": 3}
    told = any_home.json("why", "waits/latest/own")["reasons"][0]
    assert (told["code"], str(flag) in told["message"]) == ("WHY-DEFERRED", True)
    waits = any_home.json("tasks", "show", "waits/latest/query")["waits_for"]
    assert (waits["kind"], waits["subject"]) == ("sql", "sql select count(*) from t on shop")
    flag.touch()
    ask(shop, "insert into t values (1)")
    wait_for(lambda: states(any_home, "waits") == {"success": 3}, 40)
    assert [(one["try"], one["leg"]) for task in ("own", "sensor", "query") for one in tries(any_home, task)] == [
        (1, 2)
    ] * 3
    assert (any_home.folder / "journal").read_text() == "own\n"
    assert any_home.json("tasks", "show", "waits/latest/own")["xcom"] == {"return_value": str(flag)}


def test_five_hundred_wait_in_one_process_and_all_go_on(home: Home) -> None:
    home.up()
    flag = begin(home, "many", MANY)
    wait_for(lambda: states(home, "many") == {"deferred": 500}, 60)
    assert len(watching(home)) == 1
    flag.touch()
    wait_for(lambda: states(home, "many") == {"success": 500}, 60)


def test_a_wait_is_cancelled_and_cleared_like_anything_that_runs(home: Home) -> None:
    home.up()
    flag = begin(home, "waits", WAITS)
    wait_for(lambda: states(home, "waits").get("deferred") == 2)  # there is no connection `shop`
    assert tries(home, "query")[0]["state"] == "failed"
    assert home.run("tasks", "clear", "waits/latest/own", "--yes").returncode == 0
    wait_for(lambda: [one["state"] for one in tries(home, "own")] == ["cancelled", "deferred"])
    assert home.run("runs", "cancel", "waits/latest", "-y").returncode == 0
    wait_for(lambda: home.runs("waits")[0]["state"] == "cancelled")
    assert states(home, "waits") == {"cancelled": 2, "failed": 1}
    flag.touch()
    assert home.run("trigger", "waits", "--wait", "--timeout", "30").returncode != 0  # its query fails
    assert states(home, "waits") == {"success": 2, "failed": 1}
    assert (home.folder / "journal").read_text() == "own\n"
