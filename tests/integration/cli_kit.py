"""A database with a bit of everything in it, and the command line in this process."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dagd.cli.main import cli
from dagd.model.plans import (
    AssetEventRow,
    DeadlineRow,
    End,
    Enqueue,
    Expansion,
    Plan,
    RunMove,
    Settle,
    Start,
    XComRow,
)
from dagd.model.specs import AssetSpec, DagSpec, ExpandSpec, MapSource
from dagd.model.states import Charge, DeadlineState, RunKind
from dagd.store import dialects, shards, turns, versions
from dagd.store.database import Connection, open_database
from tests.factories import run, spec, task

MINUTE = 60_000_000


@dataclass
class World:
    """The command line over a filled database. `now` is the database's clock when it was filled."""

    home: Path
    url: str
    now: int = 0

    def run(self, *words: str, stdin: str | None = None) -> Result:
        """One command; a bug in it is an error here, not exit 1."""
        return CliRunner().invoke(cli, list(words), input=stdin, prog_name="dagd")

    def json(self, *words: str) -> Any:
        """A command's JSON, whatever its exit code."""
        done = self.run(*words, "-o", "json")
        assert done.stdout, (words, done.exit_code, done.stderr)
        return json.loads(done.stdout)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A write transaction for what a test adds."""
        database = open_database(self.url)
        try:
            with database.write() as connection:
                yield connection
        finally:
            database.close()

    def silence(self, connection: Connection) -> None:
        """No scheduler lives any more, so that no command waits for one."""
        for number, _, _ in shards.living(connection):
            shards.resign(connection, number)

    def revive(self, connection: Connection) -> None:
        """A scheduler lives again."""
        shards.register(connection, socket.gethostname(), 1, "/nowhere")

    def end_all(self, connection: Connection) -> None:
        """Every run has ended."""
        put(connection, run_moves=[RunMove(number, "start", self.now) for number in (4, 6)])
        put(connection, run_moves=[RunMove(number, "cancel", self.now) for number in (3, 4, 6)])


def make_world(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A home of its own, the database at `url` filled."""
    home = tmp_path / "home"
    (tmp_path / "dags").mkdir()
    for name, value in {"HOME": home, "DATABASE_URL": url, "DAGS_FOLDER": tmp_path / "dags"}.items():
        monkeypatch.setenv(f"DAGD_{name}", str(value))
    monkeypatch.setenv("DAGD_DATABASE__BUSY_TIMEOUT_S", "0.2")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.chdir(tmp_path)
    world = World(home, url)
    database = open_database(url)
    with database.write() as connection:
        world.now = fill(connection)
    database.close()
    return world


def sales() -> DagSpec:
    """extract -> load -> report, and `one` mapped over what extract returns."""
    over = ExpandSpec("product", ("x",), (MapSource("xcom", task_id="extract"),))
    return spec(
        "sales",
        task("extract", outlets=("raw.orders",), is_setup=False),
        task("load", "extract", retries=1, pool="etl"),
        task("one", "extract", expand=over),
        task("report", "load"),
        schedule={"kind": "cron", "exprs": ["0 6 * * *"], "timezone": None, "dst": None, "seconds": False,
                  "interval": "trailing"},
        schedule_text="0 6 * * *",
        timezone="Europe/Berlin",
        tags=("finance", "daily"),
        owner="ann",
        params={
            "day": {"schema": {"type": "string"}, "description": None, "value": "2026-01-01"},
            "n": {"schema": {}, "description": None, "value": 5},
            "must": {"schema": {"type": "integer", "minimum": 0}, "description": None, "value": 1},
        },
        assets=(AssetSpec("raw.orders"),),
    )  # fmt: skip


def marts() -> DagSpec:
    """A DAG that an asset starts."""
    return spec(
        "marts", task("build", inlets=("raw.orders",)), schedule={"kind": "assets"},
        condition=["asset", "raw.orders"], schedule_text="raw.orders", assets=(AssetSpec("raw.orders"),),
    )  # fmt: skip


def store(connection: Connection, dag: DagSpec, now: int) -> tuple[int, int]:
    """A DAG's row and version."""
    versions.store_spec(connection, dag, {f"/dags/{dag.file}": "x = 1\n"}, now)
    row = versions.known_dags(connection)[dag.dag_id]
    return row.id, row.current_version


def ended(key: tuple[int, int, int], try_no: int, event: str, now: int, **more: Any) -> list[Any]:
    """The rows of a try from its birth to its end: enqueue, end."""
    token = f"{key[0]}.{key[1]}.{key[2]}.{try_no}"
    values = {"started_at": now + 1_000_000, "pid": 77, "exit_code": 0, **more}
    return [
        Enqueue(key, try_no, token, now, "default_pool", 1),
        End(key, try_no, token, event, now + 3_000_000, **values),
    ]


def put(connection: Connection, *rows: Any, **more: Any) -> None:
    """Write rows as the scheduler would, in one turn."""
    plan = Plan(**more)
    for row in rows:
        {Enqueue: plan.enqueues, End: plan.instant_ends, Start: plan.starts, Settle: plan.settles}[type(row)].append(
            row
        )
    turns.write_plan(connection, plan, dialects.clock(connection))


def fill(connection: Connection) -> int:
    """Runs in every state, two DAGs, a broken file, an asset event, a deadline, a scheduler that is alive."""
    now = dialects.clock(connection) - 10 * MINUTE
    dag, version = store(connection, sales(), now)
    mart, mart_version = store(connection, marts(), now)

    def kept(number: int, **more: Any) -> Any:
        return run(dag, version, number, due_at=now + number, created_at=now, logical_at=now + number, **more)

    put(
        connection,
        new_runs=[
            kept(1), kept(2, conf='{"day":"x"}', request_key="k2"), kept(3), kept(4),
            kept(5, run_id="scheduled__2026-11-25T05:00:00Z", kind=RunKind.SCHEDULED, slot=now),
            run(mart, mart_version, 6, due_at=now, created_at=now, kind=RunKind.ASSET, run_id="asset__6"),
        ],
    )  # fmt: skip
    moves = [RunMove(number, "start", now) for number in (1, 2, 3, 5)]
    put(connection, run_moves=moves)
    fail = {"type": "KeyError", "message": "'amount'", "file": "sales.py", "line": 31, "traceback": "Traceback\n..."}
    error = json.dumps(fail)
    for number in (1, 2, 5):
        put(
            connection, *ended((number, 1, -1), 1, "succeed", now),
            xcoms=[XComRow((number, 1, -1), "return_value", "[1,2,3]", None, 3, 7)],
            expansions=[Expansion(number, 3, 3)],
        )  # fmt: skip
        for index in range(3):
            put(connection, *ended((number, 3, index), 1, "succeed", now))
    for number in (1, 5):
        put(connection, *ended((number, 2, -1), 1, "succeed", now), *ended((number, 4, -1), 1, "succeed", now))
    charged = {"charged": Charge.RETRIES, "reason": "exception", "error": error}
    put(connection, *ended((2, 2, -1), 1, "fail", now, next_try_at=now + 4_000_000, **charged))
    put(connection, *ended((2, 2, -1), 2, "fail", now + 4_000_000, **charged))
    put(connection, Settle((2, 4, -1), "upstream_fail", "upstream", now + 8_000_000))
    put(connection, Enqueue((3, 1, -1), 1, "3.1", now, "default_pool", 1))
    put(connection, Start((3, 1, -1), 1, "3.1", 88, "host", now + 1_000_000))
    put(connection, run_moves=[RunMove(1, "succeed", now + 9_000_000), RunMove(2, "fail", now + 9_000_000),
                               RunMove(5, "succeed", now + 9_000_000)])  # fmt: skip
    put(connection, subscriptions=[(mart, ("raw.orders",))])
    event = AssetEventRow(900, "raw.orders", "", 1, dag, 1, 1, -1, 1, "v1", None, '{"rows":3}', "1.1", now)
    put(connection, asset_events=[event])
    put(connection, consumed=[(mart, 6, (900,))])
    for state in (DeadlineState.PENDING, DeadlineState.MISSED):
        put(connection, deadlines=[DeadlineRow(2, 2, "finish after due", dag, now + 5_000_000, state, now + 5_000_000)])
    problem = versions.FileError("broken.py", 14, "DAGD-110", "SyntaxError: '(' was never closed", "Traceback...")
    versions.put_error(connection, problem, now, 5)
    shards.register(connection, socket.gethostname(), 1, "/nowhere")
    return now
