"""A daemon in a temporary home, and what a run of a shape costs it."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from sqlalchemy import text

from dagd.agent.launch import read_description, stop_agent
from dagd.engine.doorbell import ring_all
from dagd.model.settings import Settings, load_settings
from dagd.model.states import AttemptState
from dagd.model.times import SECOND
from dagd.store import requests
from dagd.store.backfills import Wanted
from dagd.store.database import Database, open_database
from dagd.store.migrate import migrate
from tests.benchmark.shapes import BACKFILL_YEAR, Shape
from tests.engine_rig import ask_for_backfill

KNOWN = text("SELECT count(*) FROM dag WHERE name LIKE :pattern")
OVER = text(
    "SELECT count(*) FROM dag_run r JOIN dag d ON d.id = r.dag_id"
    " WHERE d.name LIKE :pattern AND r.created_at >= :since AND r.state >= 10"
)
RUNS = text(
    "SELECT r.id, r.created_at, r.due_at, r.started_at, r.ended_at FROM dag_run r JOIN dag d ON d.id = r.dag_id"
    " WHERE d.name LIKE :pattern AND r.created_at >= :since"
)
TRIES = text(
    "SELECT a.run_id, t.task_id, a.state, a.started_at, a.ended_at FROM dag_run r JOIN dag d ON d.id = r.dag_id"
    " JOIN attempt a ON a.run_id = r.id JOIN task t ON t.dag_id = d.id AND t.task_no = a.task_no"
    " WHERE d.name LIKE :pattern AND r.created_at >= :since ORDER BY a.run_id, a.task_no, a.map_index"
)
MINUTE = 60 * SECOND
TICKS = os.sysconf("SC_CLK_TCK")


class Daemon:
    """Scheduler, processor and agent of a temporary home."""

    def __init__(self, folder: Path, url: str | None, slots: int, files: dict[str, str]) -> None:
        self.folder, self.backfilled = folder, 0
        (folder / "dags").mkdir(parents=True)
        for name, body in files.items():
            (folder / "dags" / f"{name}.py").write_text(body)
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

    def await_dags(self, shape: Shape, patience_s: float = 120.0) -> None:
        """Until the file's DAGs are known."""
        _until(lambda: self._one(KNOWN, pattern=shape.pattern) >= shape.dags, f"the DAGs of {shape.name}", patience_s)

    def run(self, shape: Shape, patience_s: float = 300.0) -> dict[str, float]:
        """One measurement of a shape."""
        self.await_dags(shape)
        before, since = self.cpu(), time.time_ns() // 1_000_000 * 1000  # SQLite's clock has milliseconds
        if shape.asked == "slots":
            since = 0
        else:
            self._ask(shape)
        found = {"pattern": shape.pattern, "since": since}
        _until(lambda: self._one(OVER, **found) >= shape.runs, f"the runs of {shape.name}", patience_s)
        after = self.cpu()
        with self.database.read() as connection:
            runs, tries = connection.execute(RUNS, found).all(), connection.execute(TRIES, found).all()
        bad = [one for one in tries if one.state != AttemptState.SUCCESS]
        assert not bad, f"not all succeeded: {bad[:3]}"
        assert len(tries) == shape.tasks, f"{len(tries)} tries of {shape.tasks} tasks"
        spent = {part: 1e6 * (after[part] - before.get(part, 0.0)) / len(tries) for part in after}
        figures = _figures(shape, runs, tries)
        return figures | {f"cpu_us_{part}": used for part, used in spent.items()} | {"cpu_us": sum(spent.values())}

    def _ask(self, shape: Shape) -> None:
        with self.database.write() as connection:
            if shape.asked == "backfill":
                first = int(datetime(BACKFILL_YEAR, 1, 1, tzinfo=UTC).timestamp()) * SECOND + self.backfilled * MINUTE
                self.backfilled += shape.runs
                last = first + (shape.runs - 1) * MINUTE
                ask_for_backfill(connection, shape.dag_id, Wanted(first, last, last, max_active=1_000))
            for _ in range(shape.runs if shape.asked == "trigger" else shape.asked == "once"):
                requests.trigger_run(connection, shape.dag_id)
        ring_all(self.settings.run_folder)

    def _one(self, statement: Any, **values: Any) -> Any:
        with self.database.read() as connection:
            return connection.execute(statement, values).scalar_one()

    def counters(self, patience_s: float = 20.0) -> dict[str, int]:
        """Statements, commits and turns of the scheduler so far. It writes them down every few seconds."""
        asked_at = time.time()
        path = self.settings.run_folder / f"metrics-scheduler-{self.parts[0].pid}.json"
        _until(lambda: path.exists() and path.stat().st_mtime > asked_at, "the scheduler's metrics", patience_s)
        told = json.loads(path.read_text())
        return {name: int(told[name]) for name in ("statements", "commits", "turns")}

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far: scheduler, agent, and tries with their zygotes."""
        spent: dict[str, float] = defaultdict(float)
        for pid in self.processes():
            try:
                spent[self._part_of(pid)] += _cpu_of(pid)
            except OSError:
                continue
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


def _cpu_of(pid: int) -> float:
    """CPU seconds of a process, to the nanosecond, and of the children that it has reaped, to the tick."""
    own = time.clock_gettime((~pid << 3) | 2)  # the clock of another process: clock_getcpuclockid(3)
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return own + (int(fields[13]) + int(fields[14])) / TICKS


def _figures(shape: Shape, runs: Sequence[Any], tries: Sequence[Any]) -> dict[str, float]:
    asked = {run.id: run.due_at if shape.asked == "slots" else run.created_at for run in runs}
    if shape.asked in ("once", "backfill"):
        asked = dict.fromkeys(asked, min(asked.values()))
    by_run: dict[int, list[Any]] = defaultdict(list)
    for one in tries:
        by_run[one.run_id].append(one)
    first = {run: min(one.started_at for one in mine) for run, mine in by_run.items()}
    last_at = max(run.ended_at for run in runs)
    seconds = (last_at - min(run.started_at for run in runs)) / 1e6
    hops = [hop / 1000 for mine in by_run.values() for hop in HOPS[shape.links](mine)]
    return {
        "tasks": len(tries),
        "seconds": seconds,
        "tasks_per_s": len(tries) / seconds,
        "tasks_per_s_from_request": len(tries) / ((last_at - min(asked.values())) / 1e6),
        **(_spread("hop_ms", hops) if hops else {}),
        **_spread("start_ms", [(first[run] - asked[run]) / 1000 for run in first]),
        "last_start_ms": (max(first.values()) - min(asked.values())) / 1000,
    }


def _hops_of_chain(mine: list[Any]) -> list[int]:
    return [
        after.started_at - before.ended_at for before, after in pairwise(sorted(mine, key=lambda one: one.started_at))
    ]


def _hops_of_fan(mine: list[Any]) -> list[int]:
    """Into the fan, and out of it: what is between waits for workers, not for a decision."""
    ends = {one.task_id: one for one in mine if one.task_id in ("first", "last")}
    inner = [one for one in mine if one.task_id not in ends]
    into = min(one.started_at for one in inner) - ends["first"].ended_at
    return [into, ends["last"].started_at - max(one.ended_at for one in inner)]


HOPS: dict[str, Callable[[list[Any]], list[int]]] = {
    "chain": _hops_of_chain, "fan": _hops_of_fan, "": lambda _: [],
}  # fmt: skip


def _spread(name: str, values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {f"{name}_p50": statistics.median(ordered), f"{name}_p99": ordered[int(len(ordered) * 0.99)]}


def _until(fact: Any, what: str, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while not fact():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {patience_s:g} s")
        time.sleep(0.05)
