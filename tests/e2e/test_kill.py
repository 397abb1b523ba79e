"""`kill -9` of parts and of everything: nothing lost, nothing doubled, no run stuck."""

from __future__ import annotations

import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.home import Home, wait_for

TWENTY = """
    from dagd import DAG, task
    import os, threading

    with DAG("twenty", schedule=None, max_active_tasks=40):
        @task(retries=0)
        def work(number):
            with open({journal!r}, "a") as file:
                file.write(f"start {{number}}\\n")
            threading.Event().wait(3)
            with open({journal!r}, "a") as file:
                file.write(f"end {{number}}\\n")
            return number

        work.expand(number=list(range(20)))
"""


def journal_of(home: Home) -> Path:
    return home.folder / "journal"


def started(home: Home) -> int:
    path = journal_of(home)
    return path.read_text().count("start ") if path.exists() else 0


def begin_twenty(home: Home) -> None:
    home.write("twenty.py", TWENTY.format(journal=str(journal_of(home))))
    wait_for(lambda: home.knows("twenty"))
    assert home.run("trigger", "twenty").returncode == 0
    wait_for(lambda: started(home) == 20)


def ended_run(home: Home) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        done = home.runs("twenty")
        return done[0] if done and done[0]["state"] in {"success", "failed"} else None

    wait_for(look, 40)
    return dict(home.json("runs", "show", "twenty/latest"))


def test_a_killed_scheduler_finds_its_twenty_tasks_again_with_one_try_each(any_home: Home) -> None:
    any_home.up()
    begin_twenty(any_home)
    assert any_home.kill("engine.part scheduler") == 1
    run = ended_run(any_home)
    assert run["state"] == "success"
    assert [one["try"] for one in run["tasks"]] == [1] * 20
    assert journal_of(any_home).read_text().count("end ") == 20


def test_after_a_kill_of_everything_each_task_has_at_most_one_more_try(any_home: Home) -> None:
    any_home.up()
    begin_twenty(any_home)
    any_home.kill("")
    any_home.up()
    run = ended_run(any_home)
    assert run["state"] == "success"
    assert all(one["try"] <= 2 for one in run["tasks"])
    tries = any_home.json("tasks", "tries", "twenty/latest/work/0")
    assert [one["reason"] for one in tries if one["state"] == "failed"] in ([], ["lost"])


@pytest.mark.parametrize("part", ["agent.main", "agent.keeper"])
def test_a_killed_agent_costs_one_more_try_and_nothing_survives_it(home: Home, part: str) -> None:
    home.up()
    begin_twenty(home)
    home.kill(part)
    run = ended_run(home)
    assert run["state"] == "success"
    assert all(one["try"] <= 2 for one in run["tasks"])


def test_up_that_is_killed_is_adopted_by_the_next(home: Home) -> None:
    first = home.up()
    begin_twenty(home)
    first.kill()
    first.wait()
    wait_for(lambda: not home.pids("engine.part"))
    home.up()
    run = ended_run(home)
    assert (run["state"], [one["try"] for one in run["tasks"]]) == ("success", [1] * 20)


def test_ctrl_c_stops_everything_in_two_seconds_and_the_tries_run_again(home: Home) -> None:
    process = home.up()
    begin_twenty(home)
    process.send_signal(signal.SIGINT)
    process.wait(2.5)
    assert home.pids() == []
    journal_of(home).write_text("")
    home.up()
    run = ended_run(home)
    assert (run["state"], {one["try"] for one in run["tasks"]}) == ("success", {2})
    tries = home.json("tasks", "tries", "twenty/latest/work/0")
    assert (tries[0]["reason"], tries[0]["charged"]) == ("stopped", "nobody")


def test_an_up_that_finds_no_database_leaves_the_tries_of_the_one_before(home: Home) -> None:
    first = home.up()
    begin_twenty(home)
    first.kill()
    first.wait()
    wait_for(lambda: not home.pids("engine.part"))
    lost = home.path / "dagd.db"
    lost.rename(home.path / "aside")
    (home.path / "dagd.db").mkdir()
    done = home.run("up")
    assert done.returncode != 0
    lost.rmdir()
    (home.path / "aside").rename(lost)
    home.up()
    run = ended_run(home)
    assert (run["state"], [one["try"] for one in run["tasks"]]) == ("success", [1] * 20)


def test_a_scheduler_that_cannot_start_again_says_why_in_one_line(home: Home) -> None:
    process = home.up()
    with sqlite3.connect(home.path / "dagd.db") as connection:  # a newer release has migrated
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    home.kill("engine.part scheduler")
    wait_for(lambda: "dagd scheduler: DAGD" in home.output(process))
    assert "schema 9999, newer than" in home.output(process)
    assert "Traceback" not in home.output(process)
