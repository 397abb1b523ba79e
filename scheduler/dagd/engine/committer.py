"""One transaction a turn: fence, plan, nothing else. The seam behind which a thread may sit one day."""

from __future__ import annotations

from contextlib import ExitStack

from dagd.engine.clock import Clock
from dagd.model.plans import Plan
from dagd.store.database import Connection, Database
from dagd.store.turns import fence, write_plan


class Committer:
    """Commits plans for one scheduler incarnation. Counts its transactions for the metrics."""

    def __init__(self, database: Database, clock: Clock, incarnation: int) -> None:
        self._database, self._clock = database, clock
        self.incarnation = incarnation
        self.commits = 0
        self._connection: Connection | None = None
        self.committed_at = clock.now()

    def submit(self, plan: Plan, lag_us: int = 0) -> None:
        """Write a plan durably. Raises Fenced, Doubt or a database error; then nothing of it was written."""
        connection = self._connection or self._database.writer()
        self._connection = None  # kept again only when nothing went wrong with it
        with ExitStack() as stack:
            stack.callback(connection.close)
            with connection.begin():
                asked_at = self._clock.begin_asking()
                now = fence(connection, self.incarnation, lag_us)
                self._clock.follow(now, asked_at)  # before the commit: its duration is no difference between the clocks
                write_plan(connection, plan, now)
            stack.pop_all()
        self._connection = connection
        self.commits += 1
        self.committed_at = self._clock.now()

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def beat(self, lag_us: int = 0) -> None:
        """Say that this scheduler is alive when no turn did."""
        self.submit(Plan(), lag_us)
