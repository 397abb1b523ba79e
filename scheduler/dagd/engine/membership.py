"""Being one of the schedulers of a database: incarnation, heartbeat, shards, the share of each pool."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import IO

from dagd.decide.state import State
from dagd.model.errors import AlreadyRunning, Refused
from dagd.model.settings import Settings
from dagd.store import facts, shards
from dagd.store.database import Database
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


class Membership:
    """One incarnation among the living schedulers."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database, self._settings = database, settings
        self._lease_us = int(settings["scheduler.lease_s"] * 1_000_000)
        self.incarnation = 0
        self.shards: set[int] = set()
        self.others = 0

    def join(self) -> None:
        """Take a new incarnation and the shards that are free."""
        host, home = socket.gethostname(), str(self._settings.home)
        with self._database.write() as connection:
            self.incarnation = shards.register(connection, host, os.getpid(), home)
            shards.bury(connection, self._lease_us, self.incarnation, alone=self._database.is_sqlite)
            for _, other_host, _ in shards.living(connection):
                if other_host != host:
                    raise Refused(
                        f"schedulers on {other_host} use this database; local agents serve one host only",
                        remedy="Start this scheduler there, or give it a database of its own.",
                    )
        self.shards = set()
        self.refresh()

    def refresh(self) -> tuple[set[int], set[int], bool]:
        """Bury the dead, claim what is free, hand over what is wanted.

        Returns (shards gained, shards given away, whether another scheduler should look).
        """
        with self._database.write() as connection:
            fence(connection, self.incarnation)
            buried = shards.bury(connection, self._lease_us, self.incarnation, alone=self._database.is_sqlite)
            given = shards.release_wanted(connection, self.incarnation) if self.others or buried else set()
            mine, asked = shards.claim(connection, self.incarnation)
            self.others = len(shards.living(connection)) - 1
        gained, self.shards = mine - self.shards, mine
        return gained, given, asked or bool(given)

    def resign(self) -> None:
        """A clean stop: the shards are free at once."""
        with self._database.write() as connection:
            fence(connection, self.incarnation)
            shards.resign(connection, self.incarnation)

    def pool_shares(self, state: State) -> list[tuple[str, int, int]]:
        """(name, slots, quota) of each pool. Alone, the quota is the pool; among others it is what was granted."""
        if self._database.is_sqlite:
            with self._database.read() as connection:
                return [(name, slots, slots) for _, name, slots in facts.pools(connection)]
        with self._database.write() as connection:
            fence(connection, self.incarnation)
            rows = facts.pools(connection)
            got = shards.set_quotas(connection, self.incarnation, {row[0]: self._want(state, row) for row in rows})
        return [(name, slots, got.get(pool_id, 0)) for pool_id, name, slots in rows]

    def _want(self, state: State, row: tuple[int, str, int]) -> int:
        """What to ask of a pool: all of it when alone, else what is used and waited for, with a little to spare."""
        _, name, slots = row
        pool = state.pools.get(name)
        used = pool.used if pool is not None else 0
        if not self.others:
            return slots
        waiting = sum(len(queue) for bucket in pool.buckets.values() for queue in bucket.values()) if pool else 0
        share = -(-slots // (self.others + 1))
        return max(used, min(slots, used + waiting + (pool.wanted if pool else 0), max(share, used + 1)))
