"""What the command line acknowledged is there after any crash: `kill -9` at any point, and copies of the SQLite files
as a power loss would leave them."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.e2e.home import Home, wait_for

SECONDS = float(os.environ.get("DAGD_TEST_CHAOS_SECONDS", "15"))
SEED = int(os.environ.get("DAGD_TEST_CHAOS_SEED", str(int(time.time()))))
DAG = """
    from dagd import DAG, task
    with DAG("d", schedule=None):
        @task
        def a():
            return 1
        a()
"""
WAL_HEADER, FRAME_HEADER = 32, 24


class Writers:
    """People at terminals: each command that is acknowledged is noted, and some are killed on their way."""

    def __init__(self, home: Home, dice: random.Random) -> None:
        self.home, self.dice = home, dice
        self.acknowledged: list[str] = []
        self.is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(2)]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, number: int) -> None:
        at = 0
        while not self.is_over.is_set():
            at += 1
            key = f"k{number}-{at}"
            words = ["trigger", "d", "--key", key] if self.dice.random() < 0.7 else ["variables", "set", key, key]
            process = subprocess.Popen(
                [sys.executable, "-m", "dagd", *words], env=self.home.environment,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            if self.dice.random() < 0.2:
                try:
                    process.wait(self.dice.uniform(0.1, 0.6))
                except subprocess.TimeoutExpired:
                    process.kill()
            if process.wait(60) == 0:
                self.acknowledged.append(key)


def stored(path: Path) -> set[str]:
    """Request keys of runs and keys of variables in a SQLite file, which must open clean."""
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        runs = connection.execute("SELECT request_key FROM dag_run").fetchall()
        return {key for (key,) in runs + connection.execute("SELECT key FROM variable").fetchall()}
    finally:
        connection.close()


def freeze_and_copy(home: Home, target: Path) -> None:
    """The files as they are at one instant: every process of the home is stopped meanwhile, wherever it is."""
    target.mkdir()
    pids = home.pids()
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        if number == signal.SIGSTOP:
            for name in ("dagd.db", "dagd.db-wal"):
                if (home.path / name).exists():
                    shutil.copyfile(home.path / name, target / name)


def tear(wal: Path, dice: random.Random) -> None:
    """What the disk may hold of a WAL after a power loss: all frames up to the last commit, which was synced, and of
    what follows any part, with any bytes."""
    raw = wal.read_bytes() if wal.exists() else b""
    if len(raw) < WAL_HEADER:
        return
    size = FRAME_HEADER + int.from_bytes(raw[8:12], "big")
    salt, end = raw[16:24], WAL_HEADER
    for start in range(WAL_HEADER, len(raw) - size + 1, size):
        if raw[start + 8 : start + 16] != salt:
            break  # left from before the last checkpoint
        if struct.unpack(">I", raw[start + 4 : start + 8])[0]:
            end = start + size
    tail = bytearray(raw[end : end + dice.randint(0, len(raw) - end)])
    for _ in range(min(len(tail), 20)):
        tail[dice.randrange(len(tail))] ^= 0xFF
    wal.write_bytes(raw[:end] + bytes(tail) + dice.randbytes(dice.randint(0, 3 * size)))


@pytest.mark.timeout(SECONDS + 120)
def test_copies_at_any_point_open_clean_and_hold_all_that_was_acknowledged(home: Home) -> None:
    dice = random.Random(SEED)
    home.write("d.py", DAG)
    home.up()
    wait_for(lambda: home.knows("d"))
    copies: list[tuple[Path, set[str]]] = []
    with Writers(home, dice) as writers:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            threading.Event().wait(dice.uniform(0.01, 0.3))
            known = set(writers.acknowledged)
            target = home.folder / f"copy-{len(copies)}"
            freeze_and_copy(home, target)
            copies.append((target / "dagd.db", known))
    assert len(writers.acknowledged) > 5
    for path, known in copies:
        tear(path.with_name("dagd.db-wal"), dice)
        missing = known - stored(path)
        assert not missing, f"seed {SEED}, {path}: {sorted(missing)}"


@pytest.mark.timeout(SECONDS + 180)
def test_what_was_acknowledged_survives_kills_of_everything_at_any_point(home: Home) -> None:
    dice = random.Random(SEED)
    home.write("d.py", DAG)
    home.up()
    wait_for(lambda: home.knows("d"))
    with Writers(home, dice) as writers:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            threading.Event().wait(dice.uniform(0.5, 4))
            for part in ("dagd up", "engine.part", "agent.") if dice.random() < 0.7 else ("",):
                home.kill(part)  # the last one takes the commands along
            home.start("up")
    wait_for(lambda: home.run("health").returncode == 0)
    known = set(writers.acknowledged)
    assert len(known) > 5
    shown = {run["request_key"] for run in home.runs("d")} | {one["key"] for one in home.json("variables", "list")}
    assert not known - shown, f"seed {SEED}: {sorted(known - shown)}"
    wait_for(lambda: all(run["state"] == "success" for run in home.runs("d")), 60)


def test_sqlite_is_written_with_full_synchronisation(home: Home) -> None:
    """Else the copies above would prove nothing: WAL alone syncs at checkpoints."""
    script = (
        "from dagd.store.database import open_database\n"
        "import sys, json\n"
        "with open_database(sys.argv[1]).write() as connection:\n"
        "    print(json.dumps(connection.exec_driver_sql('PRAGMA synchronous').scalar_one()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, f"sqlite:///{home.folder / 'x.db'}"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == 2
