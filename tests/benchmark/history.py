"""Flat cost: the same fan in a young database and in one with a long past and many DAGs, measured in turns."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from sqlalchemy import text

from dagd.store.database import Database
from tests.benchmark import shapes
from tests.benchmark.daemon import Daemon
from tests.benchmark.servers import fresh

A_RUN = 1_000  # finished tasks of one run of the past
AT_ONCE = 100  # runs a transaction, so that the scheduler beside it gets its turn
DAGS_A_FILE = 500
SERIES = {
    "sqlite": "WITH RECURSIVE s(n) AS (SELECT :low UNION ALL SELECT n + 1 FROM s WHERE n < :high)",
    "postgresql": "WITH s AS (SELECT n FROM generate_series(CAST(:low AS BIGINT), CAST(:high AS BIGINT)) AS n)",
}
PAST_RUNS = (
    " INSERT INTO dag_run (id, dag_id, run_id, kind, state, version_id, due_at, conf, created_at, started_at, ended_at)"
    " SELECT n, d.id, 'old-' || n, 2, 10, d.current_version, n, '{}', n, n, n + 1 FROM s, dag d WHERE d.name = 'fan'"
)
PAST_TRIES = (
    " INSERT INTO attempt (run_id, task_no, map_index, try_no, token, leg, state, queued_at, started_at, ended_at,"
    " charged) SELECT r.id, s.n, -1, 1, 'old-' || r.id || '-' || s.n, 1, 10, r.id, r.id, r.id + 1, 0"
    " FROM dag_run r, s WHERE r.id >= :first AND r.id <= :last"
)


def add_past(database: Database, tasks: int) -> None:
    """Finished runs of the fan, as if they had run long ago, made by the database itself."""
    dialect = database.engine.dialect.name
    with_clause = SERIES[dialect]
    # SQLite wants the series before the whole statement, Postgres takes it there too.
    for first in range(1, tasks // A_RUN + 1, AT_ONCE):
        last = min(first + AT_ONCE - 1, tasks // A_RUN)
        with database.write() as connection:
            connection.execute(text(with_clause + PAST_RUNS), {"low": first, "high": last})
            values = {"low": 1, "high": A_RUN, "first": first, "last": last}
            connection.execute(text(with_clause + PAST_TRIES), values)
    if dialect == "postgresql":  # a server does it by itself, some time later
        with database.write() as connection:
            connection.execute(text("ANALYZE"))


def add_dags(daemon: Daemon, count: int, patience_s: float = 600.0) -> float:
    """Files with as many DAGs that nobody runs; returns how many seconds it took until all were known."""
    begun = time.monotonic()
    for first in range(0, count, DAGS_A_FILE):
        body = f"""
for number in range({first}, {min(first + DAGS_A_FILE, count)}):
    with dag(f"idle.{{number}}"):
        step() >> step.override(task_id="then")()
"""
        (daemon.folder / "dags" / f"idle{first}.py").write_text(shapes.file_of(None, "fork") + body)
    if count:
        daemon.await_dags(shapes.Shape("idle", "", 0, dags=count), patience_s)
    return time.monotonic() - begun


def compare(tasks: int, dags: int, repeat: int, server: str | None, slots: int) -> dict[str, Any]:
    """Scheduler CPU by task and statements by turn, old beside young, in turns; medians."""
    shape = shapes.fan(5_000)
    files = {"fan": shapes.file_of(shape, "warm")}
    with tempfile.TemporaryDirectory() as name, fresh(server) as young_url, fresh(server) as old_url:
        daemons = []
        try:
            daemons += [Daemon(Path(name) / "young", young_url, slots, files)]
            daemons += [Daemon(Path(name) / "old", old_url, slots, files)]
            for daemon in daemons:
                daemon.run(shape)
            known_s = add_dags(daemons[1], dags)
            begun = time.monotonic()
            add_past(daemons[1].database, tasks)
            filled_s = time.monotonic() - begun
            young, old = _in_turns(daemons, shape, repeat)
            size = _size_mb(daemons[1].database)
        finally:
            for daemon in daemons:
                daemon.stop()
    return {
        "tasks": tasks, "dags": dags, "database_mb": size, "filled_s": filled_s, "dags_known_s": known_s,
        "young": young, "old": old, "ratios": {key: old[key] / young[key] for key in young if young[key]},
    }  # fmt: skip


def _in_turns(daemons: list[Daemon], shape: shapes.Shape, repeat: int) -> list[dict[str, float]]:
    found: list[list[dict[str, float]]] = [[], []]
    for daemon in daemons:
        daemon.run(shape)  # caches are filled again
    for _ in range(repeat):
        for daemon, mine in zip(daemons, found, strict=True):
            before = daemon.counters()
            figures = daemon.run(shape)
            after = daemon.counters()
            turns = after["turns"] - before["turns"]
            figures["statements_a_turn"] = (after["statements"] - before["statements"]) / turns
            mine.append(figures)
    keys = ("cpu_us_scheduler", "statements_a_turn", "tasks_per_s", "start_ms_p50")
    return [{key: statistics.median(one[key] for one in mine) for key in keys} for mine in found]


def _size_mb(database: Database) -> float:
    if database.path is not None:
        return database.path.stat().st_size / 1e6
    with database.read() as connection:
        return float(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one()) / 1e6
