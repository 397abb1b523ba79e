"""How a try is run: forked from its version's zygote, or spawned. (The warm grade is `warm.py`.)"""

from __future__ import annotations

import os
from collections.abc import Callable

from dagd.agent.children import Children
from dagd.agent.config import AgentConfig
from dagd.agent.linux import MARK
from dagd.agent.logs import LogWriters
from dagd.agent.loop import Loop
from dagd.agent.plumbing import OneTry
from dagd.agent.results import make_error
from dagd.agent.spawning import spawn_python
from dagd.agent.tries import Tries, Try
from dagd.agent.zygotes import Zygotes

MakeOne = Callable[[Try], OneTry]


def one_try_maker(tries: Tries, loop: Loop, writers: LogWriters) -> MakeOne:
    """What both grades wrap a try in."""
    return lambda attempt: OneTry(tries, loop, writers, attempt)


class ForkGrade:
    """The default: a fork of the zygote that has the DAG file imported."""

    def __init__(self, make: MakeOne, zygotes: Zygotes) -> None:
        self._make, self._zygotes = make, zygotes

    def start(self, attempt: Try) -> None:
        """Forks when the zygote has its file."""
        assert attempt.version is not None
        self._zygotes.fork(attempt.version, "fork_try", self._make(attempt))

    def withdraw(self, attempt: Try) -> bool:
        """True while it waits for an import."""
        return attempt.version is not None and self._zygotes.withdraw(attempt.version, attempt.token)


class SpawnGrade:
    """An interpreter of its own, which imports the DAG file itself."""

    def __init__(self, make: MakeOne, children: Children, config: AgentConfig) -> None:
        self._make, self._children, self._config = make, children, config

    def start(self, attempt: Try) -> None:
        """Spawns at once."""
        assert attempt.version is not None
        one = self._make(attempt)
        env = {**os.environ, MARK: str(attempt.token)}
        version = attempt.version.encoded
        with one.open(len(version).to_bytes(4, "big") + version) as theirs:
            words = [*map(str, theirs), str(self._config.umask), self._config.try_limits, self._config.run_as]
            try:
                pid = spawn_python("dagd.agent.spawned", words, theirs, env)
            except OSError as error:
                pid = 0
                attempt.ending.error = make_error("NotStarted", f"no process for the task: {error}")
        if not pid:
            one.ended(None)
            return
        self._children.expect(pid, one.ended)
        one.started(pid)

    def withdraw(self, _attempt: Try) -> bool:
        """Its process exists from the start."""
        return False
