"""Random kills of real processes, with a witness that is not dagd's: nothing lost, nothing doubled, all runs end.

DAGD_TEST_CHAOS_SECONDS (60) and DAGD_TEST_CHAOS_SEED choose how long and which kills.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.home import Home, wait_for

SECONDS = int(os.environ.get("DAGD_TEST_CHAOS_SECONDS", "60"))
SEED = int(os.environ.get("DAGD_TEST_CHAOS_SEED", str(int(time.time()))))
VICTIMS = ("engine.part scheduler", "engine.part processor", "agent.main", "agent.keeper", "agent.zygote", "dagd up")

DAGS = """
    from datetime import datetime, timedelta, timezone
    import os, random, time
    from dagd import DAG, task

    def witness(word, ti):
        instance = f"{{ti.dag_id}}|{{ti.run_id}}|{{ti.task_id}}|{{ti.map_index}}"
        line = f"{{word}} {{instance}} {{ti.try_number}} {{time.time_ns()}}\\n"
        with open({journal!r}, "ab", buffering=0) as file:
            file.write(line.encode())

    for number in range(4):
        with DAG(f"chaos_{{number}}", schedule=timedelta(seconds=2), catchup=True, max_active_runs=8,
                 start_date=datetime.fromtimestamp({start}, timezone.utc)):
            @task(retries=3, retry_delay=timedelta(seconds=0.2))
            def first(ti=None):
                witness("begin", ti)
                time.sleep(random.random() / 2)
                witness("end", ti)
                return [1, 2, 3]

            @task(retries=3, retry_delay=timedelta(seconds=0.2))
            def each(n, ti=None):
                witness("begin", ti)
                time.sleep(random.random() / 4)
                witness("end", ti)
                return n

            @task(retries=3, retry_delay=timedelta(seconds=0.2))
            def last(values, ti=None):
                witness("begin", ti)
                assert sorted(values) == [1, 2, 3]
                witness("end", ti)

            last(each.expand(n=first()))
"""


def read_witness(path: Path) -> dict[str, list[tuple[str, int, int]]]:
    """instance -> (word, try, instant) in the order of writing."""
    found: dict[str, list[tuple[str, int, int]]] = defaultdict(list)
    for line in path.read_text().splitlines():
        word, instance, number, at = line.split()
        found[instance].append((word, int(number), int(at)))
    return found


def check_witness(path: Path, successes: set[str]) -> list[str]:
    """What the witness holds against dagd: overlapping tries (S3), successes without a body that ended (S14)."""
    problems = []
    seen = read_witness(path)
    for instance, lines in seen.items():
        for before, after in pairwise(lines):
            if before[0] == "begin" and after[0] == "end" and before[1] != after[1]:
                problems.append(f"tries overlap: {instance} {before} {after}")
    ended = {instance for instance, lines in seen.items() if any(word == "end" for word, _, _ in lines)}
    problems += [f"success without an end of its body: {instance}" for instance in successes - ended]
    return problems


def rows_of(home: Home, statement: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(home.path / "dagd.db") as connection:
        return connection.execute(statement).fetchall()


def strike(home: Home, dice: random.Random) -> str:
    """Kill one kind of process, or everything."""
    victim = dice.choice([*VICTIMS, ""])
    for pid in home.pids(victim):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return victim or "everything"


@pytest.mark.timeout(SECONDS * 3 + 240)
def test_nothing_is_lost_or_doubled_under_random_kills(home: Home) -> None:
    dice, journal = random.Random(SEED), home.folder / "witness"
    journal.touch()
    home.write("chaos.py", DAGS.format(journal=str(journal), start=int(time.time())))
    home.up()
    deadline, struck = time.monotonic() + SECONDS, []
    while time.monotonic() < deadline:
        time.sleep(dice.uniform(0.5, 4))
        struck.append(strike(home, dice))
        if home.processes[-1].poll() is not None:
            home.up()
    for number in range(4):
        wait_for(lambda number=number: home.run("dags", "pause", f"chaos_{number}").returncode == 0)
    told = f"seed {SEED}, struck {struck}"
    wait_for(lambda: rows_of(home, "SELECT count(*) FROM dag_run WHERE state < 10") == [(0,)], 90)
    states = rows_of(home, "SELECT state, count(*) FROM dag_run GROUP BY state")
    assert [state for state, _ in states] == [10], f"not all succeeded: {states}; {told}"
    slots = rows_of(home, "SELECT slot, dag_id FROM dag_run")
    assert len(set(slots)) == len(slots), told
    for dag_id in {dag for _, dag in slots}:
        own = sorted(slot for slot, dag in slots if dag == dag_id)
        assert all(after - before == 2_000_000 for before, after in pairwise(own)), told
    successes = {
        f"{dag}|{run}|{task}|{index}"
        for dag, run, task, index in rows_of(
            home,
            "SELECT dag.name, dag_run.run_id, task.task_id, attempt.map_index FROM attempt"
            " JOIN dag_run ON dag_run.id = attempt.run_id JOIN dag ON dag.id = dag_run.dag_id"
            " JOIN task ON task.dag_id = dag.id AND task.task_no = attempt.task_no WHERE attempt.state = 10",
        )
    }
    assert not (problems := check_witness(journal, successes)), f"{problems[:5]}; {told}"
    assert len(successes) == 5 * len(slots), told


def test_the_checker_finds_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "witness"
    path.write_text("begin d|r|t|-1 1 1\nbegin d|r|t|-1 2 2\nend d|r|t|-1 1 3\n")
    assert [problem.split(":")[0] for problem in check_witness(path, set())] == ["tries overlap"]
    path.write_text("begin d|r|t|-1 1 1\n")
    assert [problem.split(":")[0] for problem in check_witness(path, {"d|r|t|-1"})] == [
        "success without an end of its body"
    ]
