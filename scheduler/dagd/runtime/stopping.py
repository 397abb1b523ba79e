"""What SIGTERM does to the body of a task: its operator's `on_kill`, then Stopped in the body."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from dagd.authoring.operator import BaseOperator


class Stopped(BaseException):
    """The try was told to stop (SIGTERM)."""


class Stopper:
    """The handler of SIGTERM. It is set around each body; a process that runs many bodies sets it once (5 us each)."""

    def __init__(self) -> None:
        self._operator: BaseOperator | None = None
        self._stays = False

    def stay(self) -> None:
        """Keep SIGTERM for the rest of this process's life."""
        signal.signal(signal.SIGTERM, self._stop)
        self._stays = True

    @property
    def is_replaced(self) -> bool:
        """Whether a body has taken the signal for itself and kept it."""
        return self._stays and signal.getsignal(signal.SIGTERM) != self._stop

    @contextmanager
    def over(self, operator: BaseOperator) -> Iterator[None]:
        """While the body of `operator` runs in the main thread, it is told of SIGTERM and can clean up in its grace."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        outer, self._operator = self._operator, operator
        before = None if self._stays else signal.signal(signal.SIGTERM, self._stop)
        try:
            yield
        finally:
            self._operator = outer
            if not self._stays:
                signal.signal(signal.SIGTERM, before)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._operator is None:  # between two bodies: as if nobody had taken it
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        try:
            self._operator.on_kill()
        except Exception:
            traceback.print_exc()
        raise Stopped(f"stopped by signal {number}")


STOPPER = Stopper()
