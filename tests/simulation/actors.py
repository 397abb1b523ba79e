"""A scheduler as an actor: one runs at a time, and hands over between transactions.

Each actor has a thread of its own, because it can be paused in the middle of a step: decided but not committed,
committed but not launched. Whoever resumes it waits until it rests again, so that no two ever run at once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy.exc import DBAPIError

from dagd.engine.clock import Clock
from dagd.engine.loop import Loop
from dagd.engine.service import Scheduler
from dagd.model.errors import DagdError, Unreachable
from dagd.model.settings import Settings
from dagd.observe.talk import Talk
from tests.simulation.database import SharedMemory
from tests.simulation.faults import COMMIT_FAULTS, Faults, Killed

PATIENCE_S = 60.0
PAUSES = (0, 0, 1_000_000, 3_000_000, 13_000_000)  # the last is longer than a lease


class Time:
    """The instant that everybody is in; microseconds."""

    def __init__(self, at: int) -> None:
        self.at = at


class SkewedClock(Clock):
    """A host's clock on virtual time: it starts wrong by `skew`, and follows the database as in production."""

    def __init__(self, time: Time, skew: int) -> None:
        self._time, self._drift = time, 0
        self._offset, self._last, self._is_guess = skew, 0, True

    def _monotonic(self) -> int:  # type: ignore[override]
        return self._time.at + self._drift

    def jump(self, by: int) -> None:
        """It runs ahead or falls behind until it next hears from the database."""
        self._drift += by


class Actor:
    """One scheduler process."""

    def __init__(
        self, number: int, settings: Settings, memory: SharedMemory, connect: Callable[[], Any], time: Time,
        faults: Faults, *, is_shared: bool, skew: int,
    ) -> None:  # fmt: skip
        self.number, self._faults, self._time, self._memory = number, faults, time, memory
        self.database = memory.open(self, is_shared=is_shared)
        self.clock = SkewedClock(time, skew)
        self.scheduler = Scheduler(settings, self.database, connect, "0", Talk(None))
        self.scheduler.clock = self.clock
        self.loop = Loop(self.scheduler)
        self.rests_until = self.paused_until = 0
        self.is_dead = self._is_killed = self._is_stopping = self._has_begun = False
        self.error: BaseException | None = None
        self._go, self._rest = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._rest.acquire()
        self._thread = threading.Thread(target=self._live, name=f"scheduler {number}", daemon=True)
        self._thread.start()

    # --- by whoever drives ----------------------------------------------------------------------------------------

    @property
    def is_paused(self) -> bool:
        """Whether it stands in the middle of a step."""
        return self.paused_until > 0

    def is_due(self) -> bool:
        """Whether it would do something now."""
        return not self.is_dead and self._time.at >= max(self.rests_until, self.paused_until)

    def resume(self) -> None:
        """Let it go on until it rests again."""
        self.paused_until = 0
        self._go.release()
        if not self._rest.acquire(timeout=PATIENCE_S):
            self.is_dead = True  # it waits for what never comes: nobody resumes it again
            raise AssertionError(f"scheduler {self.number} never came to rest")
        if self.is_dead:
            self._thread.join()
        if self.error is not None:
            raise self.error

    def kill(self, *, is_seen: bool = True) -> None:
        """The process is gone, wherever it stands. `is_seen`: the others of its home see by its lock that it is."""
        if not self.is_dead:
            self._is_killed = True
            self.resume()
        self.leave(is_seen=is_seen)

    def stop(self) -> None:
        """A clean stop between two steps."""
        self._is_stopping = True
        self.resume()

    def leave(self, *, is_seen: bool = True) -> None:
        """What the end of a process gives back."""
        self.scheduler.executor.close()
        self.scheduler.committer.close()
        self.scheduler.sweeper.close()
        for descriptor in (self.loop._stop_read, self.loop._stop_write):
            os.close(descriptor)
        if is_seen:
            self.scheduler.membership.abandon()
        self._memory.give_back(self.database)

    # --- in its own thread ----------------------------------------------------------------------------------------

    def _live(self) -> None:
        self._go.acquire()
        try:
            self._check()
            self.scheduler.join()
            self._has_begun = True
            while True:
                self._park()
                if self._is_stopping:
                    self.scheduler.stop()
                    break
                self.rests_until = self._time.at + int(self.loop.take_step() * 1_000_000)
        except Killed:
            pass
        except (DBAPIError, Unreachable, DagdError) as error:
            self.error = error if self._has_begun else None  # one that cannot begin ends, and is started again
        except BaseException as error:
            self.error = error
        self.is_dead = True
        self._rest.release()

    def _park(self) -> None:
        self._rest.release()
        self._go.acquire()
        self._check()

    def _check(self) -> None:
        if self._is_killed:
            raise Killed

    def at_begin(self) -> None:
        """A transaction is about to begin: a process may be paused here for as long as others like."""
        if threading.current_thread() is self._thread and not self._is_killed and self._faults.strikes("paused"):
            self.paused_until = self._time.at + self._faults.dice.choice(PAUSES)
            self._park()

    def at_commit(self) -> str | None:
        """What happens at the commit of a transaction that writes."""
        return None if self._is_killed else self._faults.strike_of(COMMIT_FAULTS)
