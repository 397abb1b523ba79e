"""`make bench`: no-op Python tasks through the real daemon parts, beside the machine's own limits in the same run."""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from sqlalchemy import text

from dagd.agent.launch import stop_agent
from dagd.engine.doorbell import ring_all
from dagd.model.settings import Settings, load_settings
from dagd.model.states import ACTIVE_BELOW, AttemptState
from dagd.store import requests
from dagd.store.database import Database, open_database
from dagd.store.migrate import migrate
from tests.benchmark import ceiling

DAGS = """
from dagd import DAG, task

def make(dag_id, isolation, width=0, length=0):
    with DAG(dag_id, schedule=None, max_active_tasks=100_000) as dag:
        @task(isolation=isolation)
        def step():
            return None
        if length:
            before = step.override(task_id="t0")()
            for number in range(1, length):
                after = step.override(task_id=f"t{number}")()
                before >> after
                before = after
        else:
            first, last = step.override(task_id="first")(), step.override(task_id="last")()
            for number in range(width):
                first >> step.override(task_id=f"t{number}")() >> last
    return dag

warm_fan = make("warm_fan", "warm", width=1000)
warm_chain = make("warm_chain", "warm", length=200)
fork_fan = make("fork_fan", "fork", width=300)
fork_chain = make("fork_chain", "fork", length=50)
"""

RUN = text("SELECT state, started_at, ended_at FROM dag_run WHERE id = :id")
TRIES = text("SELECT task_no, state, queued_at, started_at, ended_at FROM attempt WHERE run_id = :id ORDER BY task_no")


class Daemon:
    """Scheduler, processor and agent of a temporary home."""

    def __init__(self, folder: Path, url: str | None, slots: int) -> None:
        self.folder = folder
        (folder / "dags").mkdir()
        (folder / "dags" / "bench.py").write_text(textwrap.dedent(DAGS))
        environment = {
            **os.environ, "DAGD_HOME": str(folder / "home"), "DAGD_DAGS_FOLDER": str(folder / "dags"),
            "DAGD_AGENT__SLOTS": str(slots),
        }  # fmt: skip
        if url:
            environment["DAGD_DATABASE_URL"] = url
        self.settings: Settings = load_settings(environment, folder)
        self.database: Database = open_database(self.settings.database_url)
        migrate(self.database)
        self.parts = [self._start(name, environment) for name in ("scheduler", "processor")]

    def _start(self, name: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        reading, writing = os.pipe()
        command = [sys.executable, "-m", "dagd.engine.part", name]
        command += ["--ready-fd", str(writing), "--parent", str(os.getpid())]
        part = subprocess.Popen(command, env=environment, pass_fds=[writing], stdout=subprocess.DEVNULL)
        os.close(writing)
        assert os.read(reading, 65536), f"{name} did not start"
        os.close(reading)
        return part

    def cpu_s(self) -> float:
        """CPU seconds of the scheduler process so far."""
        fields = Path(f"/proc/{self.parts[0].pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def run(self, dag_id: str, patience_s: float = 120.0) -> dict[str, Any]:
        """One run to its end: tasks/s, hops, scheduler CPU per task."""
        before = self.cpu_s()
        with self.database.write() as connection:
            made = requests.trigger_run(connection, dag_id)
        ring_all(self.settings.run_folder)
        deadline = time.monotonic() + patience_s
        while True:
            with self.database.read() as connection:
                row = connection.execute(RUN, {"id": made.id}).one()
            if row.state >= ACTIVE_BELOW:
                break
            if time.monotonic() > deadline:
                raise TimeoutError(dag_id)
            time.sleep(0.05)
        return self._figures(made.id, row, self.cpu_s() - before)

    def _figures(self, run_id: int, row: Any, cpu_s: float) -> dict[str, Any]:
        with self.database.read() as connection:
            tries = connection.execute(TRIES, {"id": run_id}).all()
        bad = [one for one in tries if one.state != AttemptState.SUCCESS]
        assert not bad, f"not all succeeded: {bad[:3]}"
        hops = [(after.started_at - before.ended_at) / 1000 for before, after in pairwise(tries)]
        return {
            "tasks": len(tries),
            "tasks_per_s": len(tries) / ((row.ended_at - row.started_at) / 1e6),
            "hop_ms_p50": statistics.median(hops) if hops else 0.0,
            "hop_ms_p99": sorted(hops)[int(len(hops) * 0.99)] if hops else 0.0,
            "scheduler_cpu_ms_per_task": 1000 * cpu_s / len(tries),
        }

    def stop(self) -> None:
        """End the parts and the agent."""
        for part in self.parts:
            part.send_signal(signal.SIGTERM)
        for part in self.parts:
            part.wait(10)
        stop_agent(self.settings.home)
        self.database.close()


def add_history(database: Database, tasks: int) -> None:
    """Finished runs of 1,000 tasks each, as if they had run long ago."""
    with database.write() as connection:
        dag = connection.execute(text("SELECT id, current_version FROM dag WHERE name = 'warm_fan'")).one()
        for number in range(1, tasks // 1000 + 1):
            connection.execute(
                text(
                    "INSERT INTO dag_run (id, dag_id, run_id, kind, state, version_id, due_at, conf, created_at,"
                    " started_at, ended_at) VALUES (:id, :dag, :name, 1, 10, :version, :id, '{}', 1, 1, 2)"
                ),
                {"id": number, "dag": dag.id, "name": f"old-{number}", "version": dag.current_version},
            )
            connection.execute(
                text(
                    "INSERT INTO attempt (run_id, task_no, map_index, try_no, token, leg, state, queued_at, started_at,"
                    " ended_at, charged) VALUES (:run, :task, -1, 1, :token, 1, 10, 1, 1, 2, 0)"
                ),
                [{"run": number, "task": task, "token": f"old-{number}-{task}"} for task in range(1, 1001)],
            )


def compare_history(tasks: int, repeat: int) -> dict[str, Any]:
    """Scheduler CPU per task of the warm fan, before and after a long history."""
    with tempfile.TemporaryDirectory() as name:
        daemon = Daemon(Path(name), None, 32)
        try:
            daemon.run("warm_fan")
            before = [daemon.run("warm_fan") for _ in range(repeat)]
            add_history(daemon.database, tasks)
            daemon.run("warm_fan")
            after = [daemon.run("warm_fan") for _ in range(repeat)]
        finally:
            daemon.stop()
    key = "scheduler_cpu_ms_per_task"
    medians = [statistics.median(one[key] for one in runs) for runs in (before, after)]
    return {"history": tasks, "cpu_ms_before": medians[0], "cpu_ms_after": medians[1], "ratio": medians[1] / medians[0]}


def run_all(slots: int, url: str | None, shapes: list[str], repeat: int) -> dict[str, Any]:
    """Every shape, `repeat` times; the medians."""
    with tempfile.TemporaryDirectory() as name:
        daemon = Daemon(Path(name), url, slots)
        try:
            found: dict[str, Any] = {}
            for shape in shapes:
                runs = [daemon.run(shape) for _ in range(repeat)]
                found[shape] = {key: statistics.median(one[key] for one in runs) for key in runs[0]}
            return found
        finally:
            daemon.stop()


def main() -> None:
    """Print figures and ratios as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--database", default=None)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--shapes", default="warm_fan,warm_chain,fork_fan,fork_chain")
    parser.add_argument("--history", type=int, default=0, help="also compare with so many finished tasks")
    options = parser.parse_args()
    figures = run_all(options.slots, options.database, options.shapes.split(","), options.repeat)
    with tempfile.TemporaryDirectory() as name:
        limits = {
            "ceiling_fan": ceiling.measure(Path(name), ceiling.fan(1000), "fan"),
            "ceiling_chain": ceiling.measure(Path(name), ceiling.chain(200), "chain"),
            "bare_forks_per_s": ceiling.bare_forks_per_s(),
        }
    ratios = {}
    if "warm_fan" in figures:
        ratios["warm fan / ceiling"] = figures["warm_fan"]["tasks_per_s"] / limits["ceiling_fan"]["tasks_per_s"]
    if "fork_fan" in figures:
        ratios["fork fan / bare fork+wait"] = figures["fork_fan"]["tasks_per_s"] / limits["bare_forks_per_s"]
    if "warm_chain" in figures:
        ratios["warm hop / ceiling hop"] = figures["warm_chain"]["hop_ms_p50"] / limits["ceiling_chain"]["hop_ms_p50"]
    answer: dict[str, Any] = {"figures": figures, "limits": limits, "ratios": ratios}
    if options.history:
        answer["history"] = compare_history(options.history, options.repeat)
    print(json.dumps(answer, indent=2))


if __name__ == "__main__":
    main()
