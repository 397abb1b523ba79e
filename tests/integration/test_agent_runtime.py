"""The agent with the real runtime: a DAG file's tasks from the launch frame to their result, in each grade."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dagd.model.states import Reason
from tests.integration.test_agent_rig import Rig, Scheduler, comm, until

DUE = 1_704_067_200_000_000
SOURCE = """
import os, time
from dagd import DAG, Connection, Variable, task

with DAG("d") as dag:
    @task
    def adds(one=1, two=2):
        print("adding", one, two)
        return one + two

    @task
    def fails():
        raise LookupError("no such region")

    @task
    def secret():
        print("password is", Connection.get("db").password)

    @task
    def waits():
        print("waiting", flush=True)
        time.sleep(60)

    adds(), fails(), secret(), waits()
"""
RUN = {
    "run_id": "m-1", "kind": "manual", "logical_date": DUE, "interval_start": DUE, "interval_end": DUE, "due_at": DUE,
    "started_at": DUE, "conf": {}, "params": {}, "events": [], "partition": None,
}  # fmt: skip


@pytest.fixture
def scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scheduler]:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    rig = Rig(tmp_path / "home")
    found = rig.scheduler()
    found.rig = rig  # type: ignore[attr-defined]
    folder = tmp_path / "dags"
    folder.mkdir()
    found.say("version", id=1, dag_id="d", content="d", file="d.py", folder=str(folder), sources={"d.py": SOURCE})
    yield found
    rig.end()


def launch(
    scheduler: Scheduler, token: str, task_id: str, grade: str, dag_id: str = "d", version: int = 1, key: str = "k"
) -> None:
    payload: dict[str, Any] = {
        "dag_id": dag_id, "task_id": task_id, "map_index": -1, "try_no": 1, "max_tries": 1, "leg": 1, "state": None,
        "run": RUN, "xcom": {}, "items": None, "map_sizes": [], "xcom_folder": None, "inline_limit": 65536,
        "xcom_limit": 16 << 20, "started_first_at": None, "callback": None,
    }  # fmt: skip
    scheduler.launch(token, call="", grade=grade, payload=payload, version=version, worker_key=key)


@pytest.mark.parametrize("grade", ["fork", "warm", "spawn"])
def test_a_task_of_a_dag_file_runs_in_every_grade(scheduler: Scheduler, grade: str) -> None:
    rig: Rig = scheduler.rig  # type: ignore[attr-defined]
    launch(scheduler, "a", "adds", grade)
    result = scheduler.result("a")
    assert result["outcome"] == "succeed", result
    assert [entry["text"] for entry in result["frame"]["xcom"]] == ["3"]
    assert rig.log("a") == "adding 1 2\n"
    launch(scheduler, "b", "fails", grade)
    result = scheduler.result("b")
    assert (result["outcome"], result["reason"]) == ("fail", Reason.EXCEPTION)
    assert (result["error"]["type"], result["error"]["message"]) == ("LookupError", "no such region")
    assert "no such region" in rig.log("b")


@pytest.mark.parametrize("grade", ["fork", "warm"])
def test_a_connection_is_asked_for_and_its_password_is_masked(scheduler: Scheduler, grade: str) -> None:
    rig: Rig = scheduler.rig  # type: ignore[attr-defined]
    launch(scheduler, "a", "secret", grade)
    asked = scheduler.frame("request", token="a", kind="connection")
    value = {"conn_id": "db", "conn_type": "http", "password": "hunter22"}
    scheduler.say("reply", token="a", id=asked["id"], ok=True, value=value, mask=["hunter22"])
    result = scheduler.result("a")
    assert result["outcome"] == "succeed", result
    assert rig.log("a") == "password is ***\n"


@pytest.mark.parametrize("grade", ["fork", "warm", "spawn"])
def test_a_cancel_reaches_the_body(scheduler: Scheduler, grade: str) -> None:
    rig: Rig = scheduler.rig  # type: ignore[attr-defined]
    launch(scheduler, "a", "waits", grade)
    until(lambda: rig.log("a").startswith("waiting\n"), "the body runs")
    scheduler.say("cancel", tokens=["a"], grace_us=10_000_000, reason="cancelled")
    result = scheduler.result("a", 5.0)
    assert (result["outcome"], result["reason"]) == ("cancel", Reason.CANCELLED)


def test_the_zygotes_stay_lean_and_single_threaded(scheduler: Scheduler) -> None:
    rig: Rig = scheduler.rig  # type: ignore[attr-defined]
    launch(scheduler, "a", "adds", "fork")
    scheduler.result("a")
    for name in ("dagd-root", "dagd-dag", "dagd-log"):
        pid = rig.zygote(name)
        assert comm(pid) == name
        assert len(os.listdir(f"/proc/{pid}/task")) == 1
        maps = Path(f"/proc/{pid}/maps").read_text()
        assert not [word for word in ("sqlalchemy", "psycopg", "sqlite3") if word in maps]


FACTORY = """
import os
from dagd import DAG, task

for name in ("north", "south"):
    with DAG(name):
        @task
        def parents(name=name):
            return [name, os.getppid(), os.getpid()]

        parents()
"""


def parents(scheduler: Scheduler, grade: str, dag_id: str, version: int) -> list[Any]:
    token = f"{dag_id}.{version}.{len(scheduler.seen)}"
    launch(scheduler, token, "parents", grade, dag_id, version)
    frame = scheduler.result(token)["frame"]
    return list(json.loads(frame["xcom"][0]["text"]))


@pytest.mark.parametrize("grade", ["fork", "warm"])
def test_the_dags_that_one_parse_found_in_a_file_share_processes(scheduler: Scheduler, grade: str) -> None:
    shared = {"file": "f.py", "folder": "/dags", "sources": {"f.py": FACTORY}}
    scheduler.say("version", id=11, dag_id="north", content="5", **shared)
    scheduler.say("version", id=12, dag_id="south", content="5")
    scheduler.say("version", id=13, dag_id="south", content="6", **shared)
    north, south, later = (
        parents(scheduler, grade, *one) for one in (("north", 11), ("south", 12), ("south", 13))
    )  # fmt: skip
    assert (north[0], south[0], later[0]) == ("north", "south", "south")
    assert north[1] == south[1], "one zygote"
    assert (north[2] == south[2]) == (grade == "warm"), "one worker"
    assert later[1] != south[1], "a later parse may have met another world"


@pytest.mark.parametrize("grade", ["fork", "warm"])
def test_a_dag_that_is_no_longer_in_its_file_fails_its_own_tries(scheduler: Scheduler, grade: str) -> None:
    shared = {"file": "f.py", "folder": "/dags", "sources": {"f.py": FACTORY}, "content": "5"}
    for number, name in ((11, "north"), (12, "west")):
        scheduler.say("version", id=number, dag_id=name, **shared)
    assert parents(scheduler, grade, "north", 11)[0] == "north"
    launch(scheduler, "gone", "parents", grade, "west", 12)
    result = scheduler.result("gone")
    assert (result["outcome"], result["error"]["type"]) == ("fail", "NoDagFound")
    assert "'west'" in result["error"]["message"]
    assert parents(scheduler, grade, "north", 11)[0] == "north"
