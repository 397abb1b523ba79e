"""Being one of the schedulers of a database: incarnation, heartbeat, shards, the share of each pool."""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from dagd.decide.state import State
from dagd.model.errors import AlreadyRunning, Refused
from dagd.model.settings import Settings
from dagd.store import facts, shards
from dagd.store.database import Connection, Database
from dagd.store.turns import fence


class FileLock:
    """The lock file beside a SQLite database: one scheduler, for as long as the process lives."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".lock")
        self._file: IO[str] | None = None

    def take(self) -> None:
        """Raises AlreadyRunning when another process holds it."""
        descriptor = os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600)
        file = os.fdopen(descriptor, "r+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = file.read().strip() or "unknown"
            file.close()
            raise AlreadyRunning(f"another scheduler (pid {holder}) uses {self.path.name}") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._file = file


class Seat:
    """A locked file for each incarnation of this home: a lock that can be had proves that its holder is dead."""

    def __init__(self, run_folder: Path) -> None:
        self._folder = run_folder
        self._held: IO[str] | None = None

    def _path(self, incarnation: int) -> Path:
        return self._folder / f"incarnation-{incarnation}.lock"

    def take(self, incarnation: int) -> None:
        """Hold the file of my incarnation for as long as this process lives."""
        self.leave()
        file = os.fdopen(os.open(self._path(incarnation), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600), "r+")
        fcntl.flock(file, fcntl.LOCK_EX)
        self._held = file

    def leave(self) -> None:
        """Let the file go, as the end of the process does."""
        if self._held is not None:
            self._held.close()
            self._held = None

    def is_empty(self, incarnation: int) -> bool:
        """Whether the holder of that file is dead. False when there is no file: that proves nothing."""
        try:
            file = self._path(incarnation).open("r+")
        except OSError:
            return False
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
        self._path(incarnation).unlink(missing_ok=True)
        return True


class Membership:
    """One incarnation among the living schedulers."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database, self._settings = database, settings
        self._lease_us = int(settings["scheduler.lease_s"] * 1_000_000)
        self.incarnation = 0
        self.shards: set[int] = set()
        self.others = 0
        self._seat = Seat(settings.run_folder)

    def join(self) -> None:
        """Take a new incarnation and the shards that are free."""
        with ExitStack() as undo:
            undo.callback(self._forget)  # the number of an incarnation that never was may be another's
            with self._database.write() as connection:
                self._register(connection)
            undo.pop_all()
        self.shards = set()
        self.refresh()

    def _forget(self) -> None:
        self._seat.leave()
        self.incarnation = 0

    def _register(self, connection: Connection) -> None:
        host, home = socket.gethostname(), str(self._settings.home)
        self.incarnation = shards.register(connection, host, os.getpid(), home)
        self._seat.take(self.incarnation)
        self._bury(connection)
        for _, other_host, _ in shards.living(connection):
            if other_host != host:
                raise Refused(
                    f"schedulers on {other_host} use this database; local agents serve one host only",
                    remedy="Start this scheduler there, or give it a database of its own.",
                )

    def refresh(self) -> tuple[set[int], set[int], bool]:
        """Bury the dead, claim what is free, hand over what is wanted.

        Returns (shards gained, shards given away, whether another scheduler should look).
        """
        with self._database.write() as connection:
            fence(connection, self.incarnation)
            buried = self._bury(connection)
            given = shards.release_wanted(connection, self.incarnation) if self.others or buried else set()
            mine, asked = shards.claim(connection, self.incarnation)
            self.others = len(shards.living(connection)) - 1
        gained, self.shards = mine - self.shards, mine
        return gained, given, asked or bool(given)

    def _bury(self, connection: Connection) -> list[int]:
        host, home = socket.gethostname(), str(self._settings.home)
        here = [one for one, at, where in shards.living(connection) if (at, where) == (host, home)]
        proven = [one for one in here if one != self.incarnation and self._seat.is_empty(one)]
        return shards.bury(
            connection, self._lease_us, self.incarnation, alone=not self._database.is_shared, proven=proven
        )

    def abandon(self) -> None:
        """Leave without a word, as a killed process does: others see by the lock that I am dead."""
        self._seat.leave()

    def resign(self) -> None:
        """A clean stop: the shards are free at once."""
        with self._database.write() as connection:
            fence(connection, self.incarnation)
            shards.resign(connection, self.incarnation)

    def pool_shares(self, state: State) -> list[tuple[str, int, int]]:
        """(name, slots, quota) of each pool. Alone, the quota is the pool; among others it is what was granted."""
        if not self._database.is_shared:
            with self._database.read() as connection:
                return [(name, slots, slots) for _, name, slots in facts.pools(connection)]
        with self._database.write() as connection:
            fence(connection, self.incarnation)
            rows = facts.pools(connection)
            got = shards.set_quotas(connection, self.incarnation, {row[0]: self._want(state, row) for row in rows})
            idle = self._idle(state, rows, got)
            if idle:
                got |= shards.set_quotas(connection, self.incarnation, idle)
        return [(name, slots, got.get(pool_id, 0)) for pool_id, name, slots in rows]

    def _want(self, state: State, row: tuple[int, str, int]) -> int:
        """What to ask of a pool: all of it when alone, else what is used and waited for, with a little to spare."""
        _, name, slots = row
        pool = state.pools.get(name)
        used = pool.used if pool is not None else 0
        if not self.others:
            return slots
        if pool is None:
            return 0
        waiting = sum(len(queue) for bucket in pool.buckets.values() for queue in bucket.values())
        share = -(-slots // (self.others + 1))
        return max(used, min(slots, used + waiting + pool.wanted, max(share, used + 1, pool.quota + pool.wanted)))

    @staticmethod
    def _idle(state: State, rows: list[tuple[int, str, int]], got: dict[int, int]) -> dict[int, int]:
        """What to keep of pools whose free slots are too few for what waits: those in use. Two that each held half of
        what a task needs would wait for each other for ever."""
        found: dict[int, int] = {}
        for pool_id, name, _ in rows:
            pool = state.pools.get(name)
            if pool is not None and pool.free > 0 and pool.used <= got.get(pool_id, 0) < pool.quota + pool.wanted:
                found[pool_id] = pool.used
        return found
