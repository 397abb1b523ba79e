"""What is done to a running dagd. A fault is injected, holds for a while, and is healed; all is logged for the checker.

`target` is what the checker may excuse a lost try with: scheduler, agent, database, host.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg

from tests.chaos.world import World
from tests.e2e.home import Home
from tests.postgres import conninfo


class Fault:
    """One way to harm; `longest_s` is how long it may hold."""

    target = "scheduler"
    longest_s = 0.0

    def inject(self, world: World) -> None:
        """Do it."""

    def heal(self, world: World) -> None:
        """Undo it."""

    def __str__(self) -> str:
        return type(self).__name__


def named(home: Home, name: str) -> list[int]:
    """Processes of a home by the name that `ps` shows: forked ones share their command line. A try that has its zygote's
    name is none."""
    return [pid for pid in home.pids() if name_of(pid) == name != name_of(parent_of(pid))]


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def send(pids: list[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


class Kill(Fault):
    """SIGKILL for every process of a kind."""

    def __init__(self, what: str, target: str, name: str = "") -> None:
        self.what, self.target, self.name = what, target, name

    def __str__(self) -> str:
        return f"Kill({self.name or self.what or 'everything'})"

    def inject(self, world: World) -> None:
        send(named(world.home, self.name) if self.name else world.home.pids(self.what), signal.SIGKILL)

    def heal(self, world: World) -> None:
        world.ensure_up()


class KillOne(Kill):
    """SIGKILL for one of them, so that its siblings see it die."""

    def inject(self, world: World) -> None:
        pids = named(world.home, self.name) if self.name else world.home.pids(self.what)
        if pids:
            send([world.dice.choice(pids)], signal.SIGKILL)


class KillTogether(Kill):
    """Keeper and agent at the same moment: nobody is left to clean up but the next agent."""

    def inject(self, world: World) -> None:
        send(world.home.pids("agent.keeper") + world.home.pids("agent.main"), signal.SIGKILL)


class KillTry(Fault):
    """SIGKILL for the body of one task: its own end, charged to its retries."""

    target = "task"

    def inject(self, world: World) -> None:
        parents = set(named(world.home, "dagd-dag"))
        pids = [pid for pid in world.home.pids() if parent_of(pid) in parents]
        if pids:
            send([world.dice.choice(pids)], signal.SIGKILL)


class Freeze(Fault):
    """SIGSTOP, and SIGCONT later: what wakes up believes that no time has passed."""

    def __init__(self, what: str, target: str, longest_s: float) -> None:
        self.what, self.target, self.longest_s = what, target, longest_s
        self._pids: list[int] = []

    def __str__(self) -> str:
        return f"Freeze({self.what})"

    def inject(self, world: World) -> None:
        pids = world.home.pids(self.what)
        self._pids = [world.dice.choice(pids)] if pids else []
        send(self._pids, signal.SIGSTOP)

    def heal(self, world: World) -> None:
        send(self._pids, signal.SIGCONT)


class StopClean(Fault):
    """SIGTERM for one scheduler beside `up`; it is started again."""

    def inject(self, world: World) -> None:
        if world.more:
            world.dice.choice(world.more).terminate()

    def heal(self, world: World) -> None:
        for process in world.more:
            try:
                process.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
        world.ensure_up()


class EmptyRunFolder(Fault):
    """Somebody takes sockets and locks for rubbish. The agent's journal is data: its loss while no agent lives is one."""

    def inject(self, world: World) -> None:
        for path in (world.home.path / "run").iterdir():
            if path.suffix != ".journal":
                path.unlink(missing_ok=True)


# --- databases ------------------------------------------------------------------------------------------------------


class LockSqlite(Fault):
    """Another program keeps a write transaction open."""

    target, longest_s = "database", 20.0
    _connection: sqlite3.Connection | None = None

    def inject(self, world: World) -> None:
        self._connection = sqlite3.connect(
            world.home.path / "dagd.db", timeout=30, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("BEGIN IMMEDIATE")

    def heal(self, world: World) -> None:
        if self._connection is not None:
            self._connection.execute("ROLLBACK")
            self._connection.close()
            self._connection = None


class TerminateBackends(Fault):
    """The server ends every connection to our database."""

    target = "database"

    def inject(self, world: World) -> None:
        assert world.cluster is not None
        with psycopg.connect(conninfo(world.cluster.url), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


class RestartPostgres(Fault):
    """Our own server stops, or crashes, and comes back."""

    target, longest_s = "database", 6.0

    def __init__(self, how: signal.Signals) -> None:
        self.how = how

    def __str__(self) -> str:
        return f"RestartPostgres({self.how.name})"

    def inject(self, world: World) -> None:
        assert world.cluster is not None
        world.cluster.stop(self.how)

    def heal(self, world: World) -> None:
        assert world.cluster is not None
        world.cluster.start()


class LoseCommits(Fault):
    """COMMITs are carried out and never answered."""

    target, longest_s = "database", 3.0

    def inject(self, world: World) -> None:
        assert world.proxy is not None
        world.proxy.lose_commits(world.dice.randint(1, 4))

    def heal(self, world: World) -> None:
        assert world.proxy is not None
        world.proxy.lose_commits(0)


class CutNetwork(Fault):
    """No connection to the database, old or new."""

    target, longest_s = "database", 6.0

    def inject(self, world: World) -> None:
        assert world.proxy is not None
        world.proxy.shut()

    def heal(self, world: World) -> None:
        assert world.proxy is not None
        world.proxy.open()


# --- disks ----------------------------------------------------------------------------------------------------------


class FillDisk(Fault):
    """Not a byte is left where a folder of the home lies. The home has to lie on a small file system of its own."""

    longest_s = 5.0

    def __init__(self, name: str, target: str = "agent") -> None:
        self.name, self.target = name, target

    def __str__(self) -> str:
        return f"FillDisk({self.name or 'home'})"

    def _ballast(self, world: World) -> Path:
        return world.home.path / self.name / "ballast"

    def inject(self, world: World) -> None:
        fd = os.open(self._ballast(world), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        block = 1 << 20
        while block:
            try:
                os.write(fd, b"\0" * block)
            except OSError:
                block //= 2
        os.close(fd)

    def heal(self, world: World) -> None:
        self._ballast(world).unlink(missing_ok=True)


# ruff: noqa: E501 - one line a file

# --- DAG files ------------------------------------------------------------------------------------------------------

HOSTILE = {
    "loop": "while True: pass\n",
    "sleep": "import time\ntime.sleep(1000)\n",
    "exit": "import sys\nsys.exit(0)\n",
    "hard": "import os\nos._exit(0)\n",
    "segv": "import ctypes\nctypes.string_at(0)\n",
    "recursion": "def f(): f()\nf()\n",
    "memory": "x = bytearray(8 << 30)\n",
    "flood": "import sys\nfor _ in range(300): sys.stdout.write('x' * (1 << 20))\n",
    "closed": "import os\nos.closerange(0, 4000)\n",
    "thread": "import threading, time\nthreading.Thread(target=time.sleep, args=(999,)).start()\nraise ValueError('x')\n",
    "deaf": "import signal, time\nfor n in range(1, 64):\n    try: signal.signal(n, signal.SIG_IGN)\n"
    "    except (OSError, ValueError): pass\nwhile True: time.sleep(1)\n",
    "daemon": "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        os.closerange(0, 99)\n"
    "        time.sleep(999)\n    os._exit(0)\nraise ValueError('daemon')\n",
    "nul": "x = 1\n\0\n",
    "syntax": "def f(:\n",
}


class HostileFiles(Fault):
    """Several of them at once; healed by deleting them."""

    target, longest_s = "parser", 5.0

    def inject(self, world: World) -> None:
        for name in world.dice.sample(sorted(HOSTILE), 4):
            (world.home.dags / f"hostile_{name}.py").write_text(HOSTILE[name])

    def heal(self, world: World) -> None:
        for path in world.home.dags.glob("hostile_*.py"):
            path.unlink()


class HalfWritten(Fault):
    """An editor that writes in place and takes its time."""

    target, longest_s = "parser", 3.0
    _path, _text = Path(), ""

    def inject(self, world: World) -> None:
        self._path = world.dice.choice(sorted(world.home.dags.glob("*_0*.py")))
        self._text = self._path.read_text()
        self._path.write_text(self._text[: len(self._text) * 2 // 3])

    def heal(self, world: World) -> None:
        self._path.write_text(self._text)


class VanishingFiles(Fault):
    """The whole DAG folder is elsewhere for a while. Slots meanwhile are due when it is back."""

    target, longest_s = "parser", 4.0

    def inject(self, world: World) -> None:
        shutil.move(world.home.dags, world.folder / "elsewhere")

    def heal(self, world: World) -> None:
        shutil.rmtree(world.home.dags, ignore_errors=True)  # a processor that started meanwhile has made an empty one
        shutil.move(world.folder / "elsewhere", world.home.dags)


def parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


PROCESSES: tuple[Callable[[], Fault], ...] = (
    lambda: KillOne("engine.part scheduler", "scheduler"),
    lambda: Kill("engine.part processor", "parser"),
    lambda: Kill("agent.main", "agent"),
    lambda: Kill("agent.keeper", "agent"),
    lambda: KillTogether("", "agent", "keeper and agent"),
    lambda: Kill("", "agent", "dagd-root"),
    lambda: KillOne("", "agent", "dagd-dag"),
    lambda: Kill("agent.logwriter", "agent"),
    lambda: Kill("dagd up", "scheduler"),
    lambda: Kill("", "host"),
    KillTry,
    lambda: Freeze("engine.part scheduler", "scheduler", 4.0),
    lambda: Freeze("agent.main", "agent", 4.0),
    lambda: Freeze("engine.part processor", "parser", 4.0),
    lambda: Freeze("agent.logwriter", "agent", 4.0),
    EmptyRunFolder,
)
FILES: tuple[Callable[[], Fault], ...] = (HostileFiles, HalfWritten, VanishingFiles)
SQLITE: tuple[Callable[[], Fault], ...] = (LockSqlite,)
POSTGRES: tuple[Callable[[], Fault], ...] = (
    TerminateBackends,
    lambda: RestartPostgres(signal.SIGINT),
    lambda: RestartPostgres(signal.SIGQUIT),
    LoseCommits,
    CutNetwork,
    lambda: KillOne("dagd scheduler", "scheduler"),
    lambda: Freeze("dagd scheduler", "scheduler", 14.0),
    StopClean,
)
DISKS: tuple[Callable[[], Fault], ...] = (
    lambda: FillDisk(""),
    lambda: FillDisk("logs"),
    lambda: FillDisk("xcom"),
)


def pick(kinds: tuple[Callable[[], Fault], ...], dice: random.Random) -> Fault:
    """One of them."""
    return dice.choice(kinds)()
