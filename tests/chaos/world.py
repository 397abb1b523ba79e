"""One dagd under chaos: its home, its database, the witness's journal, the logs of faults and acknowledgements."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.chaos import load
from tests.chaos.proxy import Proxy
from tests.e2e.home import Home, wait_for
from tests.history.checker import check
from tests.history.facts import Dump, Record, Violation
from tests.postgres import Cluster, conninfo

TABLES = (
    "dag", "dag_version", "dag_run", "attempt", "task", "command", "pool", "asset", "asset_event", "asset_sub",
    "asset_delivery", "xcom", "map_expansion", "deadline", "outbox", "scheduler", "shard", "variable",
)  # fmt: skip
NARROW = 3


def now_us() -> int:
    return time.time_ns() // 1000


class World:
    """What faults act on."""

    def __init__(
        self, folder: Path, *, disk: Path | None = None, cluster: Cluster | None = None, seed: int = 0
    ) -> None:
        self.dice = random.Random(seed)
        self.folder, self.cluster = folder, cluster
        self.proxy: Proxy | None = None
        url = None
        if cluster is not None:
            self.proxy = Proxy(f"{cluster.folder}/.s.PGSQL.5432")
            url = f"postgresql://postgres@127.0.0.1:{self.proxy.port}/postgres"
        self.home = Home(disk or folder, url)  # the witness has to have room when the disk is full
        self.journal = folder / "journal.jsonl"
        self.journal.touch()
        self.faults: list[Record] = []
        self.acknowledged: list[Record] = []
        self.up: subprocess.Popen[str] | None = None
        self.more: list[subprocess.Popen[str]] = []

    # --- dagd ------------------------------------------------------------------------------------------------------

    def start(self, dags: int, every: float, schedulers: int = 1) -> None:
        """DAG files, the daemon, more schedulers beside it, a narrow pool."""
        self.home.write("chaos_witness.py", load.witness_module(str(self.journal)))
        for name, text in load.dag_files(dags, int(time.time()), every, self.dice).items():
            self.home.write(name, text)
        self.ensure_up()
        self.tell("pools", "set", "narrow", str(NARROW))
        for _ in range(schedulers - 1):
            self.more.append(self.home.start("scheduler"))

    def ensure_up(self) -> None:
        """Start what has ended: `up` never ends by itself, but faults end it."""
        if self.up is None or self.up.poll() is not None:
            self.up = self.home.start("up")
        for number, process in enumerate(self.more):
            if process.poll() is not None:
                self.more[number] = self.home.start("scheduler")

    def tell(self, *words: str) -> Any:
        """A command that has to be acknowledged, however long that takes; its JSON."""

        def acknowledged() -> list[Any] | None:
            done = self.home.run(*words, "-o", "json")
            assert "Traceback" not in done.stderr, f"{words}: {done.stderr}"
            return [json.loads(done.stdout or "null")] if done.returncode == 0 else None

        return wait_for(acknowledged, 60)[0]

    # --- the database, past dagd -----------------------------------------------------------------------------------

    def rows(self, statement: str) -> list[Record]:
        """Rows as stored, read without dagd."""
        if self.cluster is not None:
            with psycopg.connect(conninfo(self.cluster.url), row_factory=dict_row, autocommit=True) as connection:
                return connection.execute(statement).fetchall()  # type: ignore[call-overload]
        connection = sqlite3.connect(self.home.path / "dagd.db", timeout=30)
        connection.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in connection.execute(statement)]
        finally:
            connection.close()

    def dump(self) -> Dump:
        """The rows of all tables that the checker judges."""
        return {"at": now_us(), "tables": {name: self.rows(f"SELECT * FROM {name}") for name in TABLES}}

    def count(self, what: str) -> int:
        """How many rows `what` (FROM ... WHERE ...) has."""
        return int(self.rows(f"SELECT count(*) AS n FROM {what}")[0]["n"])

    # --- the end ---------------------------------------------------------------------------------------------------

    def quiesce(self, patience_s: float = 90.0) -> None:
        """No more runs begin; all that there are end."""
        self.ensure_up()
        for row in self.rows("SELECT name FROM dag"):
            self.tell("dags", "pause", row["name"])
            self.acknowledged.append({"op": "pause", "at": now_us(), "dag": row["name"]})
        wait_for(lambda: self.count("dag_run WHERE state < 10") == 0, patience_s)

    def violations(self) -> list[Violation]:
        """What the checker holds against dagd, after `quiesce`."""
        journal = [json.loads(line) for line in self.journal.read_text().splitlines()]
        return check(journal, self.faults, self.acknowledged, self.dump(), quiet=True, tolerance_us=50_000)

    def close(self) -> None:
        """Stop everything, in order if it goes."""
        self.home.kill("", signal.SIGCONT)
        self.home.close()
        self.home.kill("")
        if self.proxy is not None:
            self.proxy.close()


class Operator(threading.Thread):
    """Somebody at a terminal: triggers, cancels, clears, changes variables, and notes what was acknowledged."""

    def __init__(self, world: World, seed: int) -> None:
        super().__init__(daemon=True)
        self.world, self.dice = world, random.Random(seed)
        self.is_over = threading.Event()
        self.problems: list[str] = []
        self._keys = 0

    def run(self) -> None:
        """Until `is_over`."""
        asked = sorted(path.stem for path in self.world.home.dags.glob("asked_*.py"))
        acts = [self.trigger, self.trigger, self.cancel, self.clear, self.set_variable, self.look]
        while not self.is_over.wait(self.dice.uniform(0.1, 0.6)):
            self.dice.choice(acts)(self.dice.choice(asked))

    def finish(self) -> None:
        """Let the command of the moment end."""
        self.is_over.set()
        self.join(90)

    def _do(self, *words: str) -> Any | None:
        done = self.world.home.run(*words, "-o", "json", patience_s=90)
        if "Traceback" in done.stderr:
            self.problems.append(f"{words}: {done.stderr[-500:]}")
        return json.loads(done.stdout) if done.returncode == 0 and done.stdout else None

    def _note(self, op: str, **more: Any) -> None:
        self.world.acknowledged.append({"op": op, "at": now_us(), **more})

    def trigger(self, dag: str) -> None:
        """A key, sometimes one that was used before: the answer must be the same run."""
        if not self._keys or self.dice.random() < 0.8:
            self._keys += 1
        key = f"k{self._keys}"
        if answer := self._do("trigger", dag, "--key", key):
            self._note("trigger", dag=dag, run=answer["run_id"], key=key)

    def cancel(self, dag: str) -> None:
        """The latest run. An ended one refuses."""
        answer = self._do("runs", "cancel", f"{dag}/latest", "-y")
        if answer and answer.get("command_id"):
            self._note("cancel", command=answer["command_id"])

    def clear(self, dag: str) -> None:
        """One task of the latest run and what is below it."""
        answer = self._do("tasks", "clear", f"{dag}/latest/shaky+", "-y")
        if answer and answer.get("command_id"):
            self._note("clear", command=answer["command_id"])

    def set_variable(self, dag: str) -> None:
        """A new value for one of a few keys."""
        key, value = f"v_{dag}", str(self.dice.random())
        # One that nobody acknowledged may be stored all the same, now or never: then nothing is promised of the key.
        self.world.acknowledged[:] = [told for told in self.world.acknowledged if told.get("key") != key]
        if self._do("variables", "set", key, value) is not None:
            self._note("set_variable", key=key, value=value)

    def look(self, dag: str) -> None:
        """What was shown as ended stays so."""
        for run in self._do("runs", "list", dag, "--limit", "5") or ():
            if run["state"] in ("success", "failed", "cancelled"):
                self._note("seen_run", dag=dag, run=run["run_id"], state=run["state"])
