"""A daemon in a temporary home, and what a run of a shape costs it."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from sqlalchemy import text

from dagd.agent.launch import read_description, stop_agent
from dagd.engine.doorbell import ring_all
from dagd.model.settings import Settings, load_settings
from dagd.model.states import ACTIVE_BELOW, AttemptState
from dagd.store import requests
from dagd.store.database import Database, open_database
from dagd.store.migrate import migrate
from tests.benchmark.shapes import Shape

KNOWN = text("SELECT count(*) FROM dag WHERE name LIKE :pattern")
RUNS = text(
    "SELECT r.id, r.state, r.created_at, r.due_at, r.started_at, r.ended_at FROM dag_run r"
    " JOIN dag d ON d.id = r.dag_id"
    " WHERE d.name LIKE :pattern AND r.created_at >= :since"
)
TRIES = text(
    "SELECT a.run_id, a.task_no, a.state, a.queued_at, a.started_at, a.ended_at FROM attempt a"
    " JOIN dag_run r ON r.id = a.run_id JOIN dag d ON d.id = r.dag_id"
    " WHERE d.name LIKE :pattern AND r.created_at >= :since ORDER BY a.run_id, a.task_no"
)
TICKS = os.sysconf("SC_CLK_TCK")


class Daemon:
    """Scheduler, processor and agent of a temporary home."""

    def __init__(self, folder: Path, url: str | None, slots: int, dags: str) -> None:
        self.folder = folder
        (folder / "dags").mkdir()
        (folder / "dags" / "bench.py").write_text(dags)
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

    def await_dags(self, shape: Shape, patience_s: float = 60.0) -> None:
        """Until the file's DAGs are known."""
        wanted = shape.runs if shape.comes_by_itself else 1
        _until(lambda: self._one(KNOWN, pattern=_pattern(shape)) >= wanted, f"the DAGs of {shape.name}", patience_s)

    def run(self, shape: Shape, patience_s: float = 300.0) -> dict[str, Any]:
        """One measurement of a shape."""
        self.await_dags(shape)
        before, since = self.cpu(), time.time_ns() // 1_000_000 * 1000  # SQLite's clock has milliseconds
        if shape.comes_by_itself:
            since = 0
        else:
            for _ in range(1 if shape.name == "consumers" else shape.runs):
                with self.database.write() as connection:
                    requests.trigger_run(connection, shape.dag_id)
            ring_all(self.settings.run_folder)
        _until(lambda: self._is_over(shape, since), f"the runs of {shape.name}", patience_s)
        return self._figures(shape, since, before)

    def _one(self, statement: Any, **values: Any) -> Any:
        with self.database.read() as connection:
            return connection.execute(statement, values).scalar_one()

    def _is_over(self, shape: Shape, since: int) -> bool:
        with self.database.read() as connection:
            rows = connection.execute(RUNS, {"pattern": _pattern(shape), "since": since}).all()
        return len(rows) >= shape.runs and all(row.state >= ACTIVE_BELOW for row in rows)

    def _figures(self, shape: Shape, since: int, before: dict[str, float]) -> dict[str, Any]:
        after = self.cpu()
        with self.database.read() as connection:
            found = {"pattern": _pattern(shape), "since": since}
            runs, tries = connection.execute(RUNS, found).all(), connection.execute(TRIES, found).all()
        bad = [one for one in tries if one.state != AttemptState.SUCCESS]
        assert not bad, f"not all succeeded: {bad[:3]}"
        first = {run.id: min(one.started_at for one in tries if one.run_id == run.id) for run in runs[:100]}
        seconds = (max(run.ended_at for run in runs) - min(run.started_at for run in runs)) / 1e6
        figures = {
            "tasks": len(tries),
            "tasks_per_s": len(tries) / seconds,
            "seconds": seconds,
            **_spread("hop_ms", [(b.started_at - a.ended_at) / 1000 for a, b in pairwise(tries)] or [0.0]),
            **_spread("start_ms", [(first[run.id] - _asked_at(run, shape)) / 1000 for run in runs[:100]]),
            "last_start_ms": (max(first.values()) - min(_asked_at(run, shape) for run in runs)) / 1000,
        }
        spent = {part: 1e6 * (after[part] - before.get(part, 0.0)) / len(tries) for part in after}
        return figures | {f"cpu_us_{part}": used for part, used in spent.items()} | {"cpu_us": sum(spent.values())}

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far: scheduler, agent, and tries with their zygotes."""
        spent: dict[str, float] = defaultdict(float)
        for pid in self.processes():
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            # With the children that it has reaped: forked tries are gone by then.
            spent[self._part_of(pid)] += sum(int(fields[at]) for at in (11, 12, 13, 14)) / TICKS
        return dict(spent)

    def _part_of(self, pid: int) -> str:
        if pid == self.parts[0].pid:
            return "scheduler"
        if pid == self.parts[1].pid:
            return "processor"
        described = read_description(self.settings.home)
        return "agent" if described is not None and pid == described["pid"] else "tries"

    def processes(self) -> list[int]:
        """All processes of the installation."""
        roots = [part.pid for part in self.parts]
        described = read_description(self.settings.home)
        if described is not None:
            roots.append(int(described["keeper_pid"]))
        parents: dict[int, list[int]] = defaultdict(list)
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                except OSError:
                    continue
                parents[parent].append(int(entry.name))
        found: list[int] = []
        while roots:
            pid = roots.pop()
            if pid not in found:
                found.append(pid)
                roots += parents[pid]
        return found

    def pss_mb(self) -> float:
        """Memory of the installation, shared pages counted once."""
        total = 0
        for pid in self.processes():
            try:
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            except OSError:
                continue
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return total / 1024

    def stop(self) -> None:
        """End the parts and the agent."""
        for part in self.parts:
            part.send_signal(signal.SIGTERM)
        for part in self.parts:
            part.wait(10)
        stop_agent(self.settings.home)
        self.database.close()


def _pattern(shape: Shape) -> str:
    return f"{shape.name}.%" if shape.comes_by_itself or shape.name == "consumers" else shape.dag_id


def _asked_at(run: Any, shape: Shape) -> int:
    return int(run.due_at if shape.comes_by_itself else run.created_at)


def _spread(name: str, values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {f"{name}_p50": statistics.median(ordered), f"{name}_p99": ordered[int(len(ordered) * 0.99)]}


def _until(fact: Any, what: str, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while not fact():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {patience_s:g} s")
        time.sleep(0.05)
