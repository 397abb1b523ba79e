"""What a newcomer does in the first ten minutes, line by line."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path
from typing import Any

from tests.e2e.home import Home, wait_for

FLAKY = """
    from datetime import timedelta
    from dagd import DAG, task

    with DAG("flaky", schedule=None):
        @task(retries=2, retry_delay=timedelta(seconds=0.2))
        def once(ti=None):
            print(f"this is try {ti.try_number}")
            if ti.try_number == 1:
                raise ValueError("not the first time")

        once()
"""
ASSETS = """
    from dagd import DAG, Asset, task

    orders = Asset("raw.orders")

    with DAG("producer", schedule=None):
        @task(outlets=[orders])
        def make():
            return 1

        make()

    with DAG("consumer", schedule=[orders]):
        @task
        def use():
            print("used")

        use()
"""
DAILY = """
    import threading
    from dagd import DAG, task

    with DAG("daily", schedule="@daily"):
        @task
        def work():
            threading.Event().wait(0.3)

        work()
"""
LATE = """
    from datetime import timedelta
    import threading
    from dagd import DAG, task

    with DAG("late", schedule=None):
        @task(sla=timedelta(seconds=1))
        def slow():
            threading.Event().wait(6)

        slow()
"""


def first_task(home: Home, run: str) -> str:
    return str(home.json("runs", "show", run)["tasks"][0]["task_id"])


def ended(home: Home, dag_id: str) -> dict[str, Any] | None:
    done = [one for one in home.runs(dag_id) if one["state"] in {"success", "failed", "cancelled"}]
    return done[0] if done else None


def test_init_up_list_trigger_and_logs(home: Home) -> None:
    said = home.run("init", str(home.folder))
    assert said.returncode == 0
    assert said.stdout.count("dagd ") + said.stderr.count("dagd ") >= 3
    written = list(Path(home.folder, "dags").glob("*.py"))
    assert len(written) == 1
    assert len(written[0].read_text().splitlines()) <= 24
    assert "#" in written[0].read_text()
    home.up()
    listed = wait_for(lambda: home.json("dags", "list"))[0]
    assert listed["dag_id"] == "hello"
    assert listed["paused"] is False
    assert listed["next_due"]
    assert listed["timezone"]
    done = home.run("trigger", "hello", "--wait", "-o", "json")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["state"], answer["created"]) == (0, "success", True)
    log = home.run("logs", f"hello/latest/{first_task(home, 'hello/latest')}")
    assert log.returncode == 0
    assert log.stdout.strip()


def test_a_broken_file_is_told_with_its_line_while_others_run_and_is_forgotten_when_mended(home: Home) -> None:
    home.write("flaky.py", FLAKY)
    home.up()
    home.write("broken.py", "from dagd import DAG\nx = (1,\n\n")
    error = wait_for(lambda: home.json("dags", "errors"), 3)[0]
    assert (error["file"], error["line"]) == ("broken.py", 2)
    assert "never closed" in error["error"]
    assert home.run("dags", "errors").returncode == 1
    assert home.run("trigger", "flaky", "--wait").returncode == 0
    home.write("broken.py", "from dagd import DAG\n")
    wait_for(lambda: home.json("dags", "errors") == [], 3)


def test_a_retry_shows_both_tries_and_their_logs(home: Home) -> None:
    home.write("flaky.py", FLAKY)
    home.up()
    assert home.run("trigger", "flaky", "--wait").returncode == 0
    tries = home.json("tasks", "tries", "flaky/latest/once")
    assert [(one["try"], one["state"]) for one in tries] == [(1, "failed"), (2, "success")]
    assert "not the first time" in str(tries[0]["error"])
    logs = home.run("logs", "flaky/latest/once", "--all-tries").stdout
    assert "this is try 1" in logs
    assert "this is try 2" in logs


def test_an_asset_says_what_it_waits_for_and_its_consumer_follows_in_two_seconds(home: Home) -> None:
    home.write("assets.py", ASSETS)
    home.up()
    wait_for(lambda: home.knows("producer", "consumer"))
    assert "raw.orders" in json.dumps(home.json("why", "consumer"))
    assert home.run("trigger", "producer", "--wait").returncode == 0
    run = wait_for(lambda: ended(home, "consumer"), 3)
    assert (run["state"], run["kind"]) == ("success", "asset")
    assert [one["asset"] for one in run["events"]] == ["raw.orders"]
    assert run["events"][0]["source"].startswith("producer/")


def test_a_missed_sla_is_listed_once_while_the_task_still_runs(home: Home) -> None:
    home.write("late.py", LATE)
    home.up()
    wait_for(lambda: home.knows("late"))
    home.run("trigger", "late")

    def missed() -> list[dict[str, Any]]:
        return [one for one in home.json("deadlines", "list") if one["state"] == "missed"]

    first = wait_for(missed)
    assert home.json("runs", "show", "late/latest")["tasks"][0]["state"] == "running"
    assert [one["task_id"] for one in first] == ["slow"]
    assert first[0]["fired_at"]
    wait_for(lambda: ended(home, "late"))
    assert len(missed()) == 1


def test_a_backfill_shows_its_bar_survives_ctrl_c_and_can_be_watched_again(home: Home) -> None:
    home.write("daily.py", DAILY)
    home.up()
    wait_for(lambda: home.knows("daily"))
    words = ("backfill", "create", "daily", "--from", "2026-10-01", "--to", "2026-10-31", "--max-active", "4")
    process, screen = home.on_a_terminal(*words)
    wait_for(lambda: re.search(r"[1-9]\d*/31", screen()))
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    assert "31 slots: 31 new" in screen()
    assert "come back with: dagd backfill watch b-1" in screen()
    done = home.run("backfill", "watch", "b-1")
    assert done.returncode == 0, done.stderr
    assert "31/31" in done.stdout
    assert [run["state"] for run in home.runs("daily") if run["backfill_id"] == "b-1"] == ["success"] * 31
    shown = home.json("backfill", "show", "b-1")
    assert (shown["state"], shown["done"], shown["new"], shown["existing"]) == ("done", 31, 31, 0)


def test_typos_get_a_suggestion_and_exit_3(home: Home) -> None:
    home.write("flaky.py", FLAKY)
    home.up()
    wait_for(lambda: home.knows("flaky"))
    done = home.run("trigger", "flakky")
    assert done.returncode == 3
    assert "flaky" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_stops_in_two_seconds_and_leaves_no_process(home: Home) -> None:
    home.write("late.py", LATE)
    process = home.up()
    home.run("trigger", "late")
    wait_for(lambda: home.json("runs", "show", "late/latest")["tasks"][0]["state"] == "running")
    asked_at = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.wait(5)
    assert time.monotonic() - asked_at < 3
    assert home.pids() == []
