"""One transaction a turn: fence, plan, nothing else. The seam behind which a thread may sit one day."""

from __future__ import annotations

from dagd.engine.clock import Clock
from dagd.model.plans import Plan
from dagd.store.database import Database
from dagd.store.turns import fence, write_plan


class Committer:
    """Commits plans for one scheduler incarnation. Counts its transactions for the metrics."""

    def __init__(self, database: Database, clock: Clock, incarnation: int) -> None:
        self._database, self._clock = database, clock
        self.incarnation = incarnation
        self.commits = 0
        self.committed_at = clock.now()

    def submit(self, plan: Plan, lag_us: int = 0) -> None:
        """Write a plan durably. Raises Fenced, Doubt or a database error; then nothing of it was written."""
        with self._database.write() as connection:
            now = fence(connection, self.incarnation, lag_us)
            write_plan(connection, plan, now)
        self._clock.follow(now)
        self.commits += 1
        self.committed_at = self._clock.now()

    def beat(self, lag_us: int = 0) -> None:
        """Say that this scheduler is alive when no turn did."""
        self.submit(Plan(), lag_us)
