"""Two schedulers on one Postgres, by signals alone: death, sleep, clean stop, an upgrade of one after another."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest

from tests.chaos.load import witness_module
from tests.e2e.home import Home, wait_for
from tests.postgres import conninfo

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(180)]
LEASE_S = 3.0
NUMBER = 8
# How late things may be on this machine for reasons of its own: it is shared while the tests run.
SLACK_S = float(os.environ.get("DAGD_TEST_SLACK_S", "1.5"))
DAGS = """
    from datetime import datetime, timedelta, timezone
    from dagd import DAG, task
    from chaos_witness import say

    for number in range({number}):
        with DAG(f"d{{number}}", schedule=timedelta(seconds=1), catchup=True,
                 start_date=datetime.fromtimestamp({start}, timezone.utc)):
            @task(retries=0)
            def once(ti=None):
                say("begin", ti)
                say("end", ti)

            once()
"""


class Two:
    """A `dagd up` with a `dagd scheduler` beside it, and DAGs with a slot each second, of which each owns some."""

    def __init__(self, home: Home) -> None:
        self.home, self.journal = home, home.folder / "journal.jsonl"
        self.journal.touch()
        home.environment["DAGD_SCHEDULER__LEASE_S"] = str(LEASE_S)
        home.write("chaos_witness.py", witness_module(str(self.journal)))
        home.write("d.py", DAGS.format(number=NUMBER, start=int(time.time()) + 1))
        self.up = home.up()
        self.second = home.start("scheduler")
        wait_for(lambda: sorted(self.shards().values()) == [32, 32])
        self.run_on()

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        url = self.home.environment["DAGD_DATABASE_URL"]
        with psycopg.connect(conninfo(url), autocommit=True) as connection:
            return connection.execute(statement.encode()).fetchall()

    def shards(self) -> dict[object, int]:
        """How many shards each living scheduler owns, by its pid."""
        statement = "SELECT s.pid, count(*) FROM shard JOIN scheduler s ON s.id = owner WHERE alive GROUP BY s.pid"
        return {pid: int(str(count)) for pid, count in self.rows(statement)}

    def records(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.journal.read_text().splitlines() if line.endswith("}")]

    def run_on(self, slots: int = 3) -> float:
        """Wait until each DAG has that many more ends; seconds until the last DAG had its first."""
        begun, since = time.monotonic(), time.time() * 1e6
        first_s = 0.0

        def ended() -> bool:
            nonlocal first_s
            fresh = [str(one["dag"]) for one in self.records() if one["word"] == "end" and int(str(one["at"])) > since]
            if len(set(fresh)) < NUMBER:
                first_s = time.monotonic() - begun
            return all(fresh.count(f"d{number}") >= slots for number in range(NUMBER))

        wait_for(ended, 60)
        return first_s

    def check(self) -> None:
        """No run began twice, no slot is missing."""
        begun = [(one["dag"], one["run"]) for one in self.records() if one["word"] == "begin"]
        assert len(begun) == len(set(begun))
        for number in range(NUMBER):
            slots = [
                int(str(slot))
                for (slot,) in self.rows(
                    f"SELECT slot FROM dag_run JOIN dag ON dag.id = dag_id WHERE name = 'd{number}' ORDER BY slot"
                )
            ]
            assert {after - before for before, after in pairwise(slots)} == {1_000_000}


@pytest.fixture
def two(tmp_path: Path, postgres_url: str) -> Iterator[Two]:
    home = Home(tmp_path, postgres_url)
    try:
        yield Two(home)
    finally:
        home.kill("", signal.SIGCONT)
        home.close()


def seconds_without(two: Two, act: Callable[[], None]) -> float:
    """From `act` until the other scheduler owns everything; each DAG runs on."""
    begun = time.monotonic()
    act()
    wait_for(lambda: list(two.shards().values()) == [64])
    took = time.monotonic() - begun
    assert two.run_on() <= 2 + SLACK_S
    return took


def test_the_dags_of_a_killed_scheduler_go_on_well_within_its_lease(two: Two) -> None:
    assert seconds_without(two, two.second.kill) < LEASE_S
    two.check()


def test_a_clean_stop_hands_over_within_a_second(two: Two) -> None:
    took = seconds_without(two, two.second.terminate)
    assert two.second.wait(10) == 0
    assert took < 1.0 + SLACK_S / 2
    two.check()


@pytest.mark.short
def test_a_scheduler_that_sleeps_beyond_its_lease_is_fenced_when_it_wakes(two: Two) -> None:
    assert seconds_without(two, lambda: two.second.send_signal(signal.SIGSTOP)) < LEASE_S + 2 + SLACK_S
    two.second.send_signal(signal.SIGCONT)
    wait_for(lambda: sorted(two.shards().values()) == [32, 32])
    two.run_on()
    two.check()
    assert two.second.poll() is None, two.home.output(two.second)


def test_schedulers_are_replaced_one_after_another_while_runs_go_on(two: Two) -> None:
    for _ in range(2):
        fresh = two.home.start("scheduler")
        wait_for(lambda: len(two.shards()) == 3)
        two.second.terminate()
        two.second.wait(10)
        two.second = fresh
        two.run_on()
    two.check()


def test_a_scheduler_that_meets_a_newer_schema_stops_and_says_so_while_the_running_ones_go_on(two: Two) -> None:
    """A newer release has migrated; migrations only add."""
    two.rows("UPDATE alembic_version SET version_num = '9999' RETURNING 1")
    for words in ("scheduler", "up"):
        done = two.home.run(words)
        assert (done.returncode, "Traceback" in done.stderr) == (5, False)
        assert "schema 9999, newer than" in done.stderr
    two.run_on()
    two.check()
