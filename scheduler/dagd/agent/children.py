"""The agent's own children: who they are, and what is due when one dies. Any other child is a stray and is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from dagd.agent import kill
from dagd.agent.loop import Loop


class Children:
    """Reaps by SIGCHLD. The agent is a subreaper: what zygotes and spawned tries leave behind may fall to it."""

    def __init__(self, loop: Loop) -> None:
        self._known: dict[int, Callable[[int], None]] = {}
        loop.on_signal(signal.SIGCHLD, self.settle)

    def expect(self, pid: int, act: Callable[[int], None]) -> None:
        """`act` is called with the wait status of this child when it and all that it left have ended."""
        self._known[pid] = act

    def knows(self, pid: int) -> bool:
        """Whether it is a living child that was expected."""
        return pid in self._known

    def settle(self) -> None:
        """Reaps what has died, kills what nobody started, and tells."""
        ended: list[tuple[Callable[[int], None], int]] = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            act = self._known.pop(pid, None)
            if act is not None:
                ended.append((act, status))
        kill.kill_strays(self._known)
        for act, status in ended:
            act(status)

    def end(self, deadline: float) -> None:
        """Waits for all until the monotonic deadline, then kills what is left."""
        kill.await_deaths(list(self._known), deadline)
        self._known.clear()
        kill.kill_strays(())
