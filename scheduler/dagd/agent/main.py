"""The agent: `python -m dagd.agent.main --home H ...`, a child of its keeper. The composition of its parts."""

from __future__ import annotations

import fcntl
import gc
import json
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Sequence

from dagd import __version__
from dagd.agent import address, sweep
from dagd.agent.children import Children
from dagd.agent.config import AgentConfig, make_folder
from dagd.agent.grades import ForkGrade, SpawnGrade, one_try_maker
from dagd.agent.journal import NAME, Journal, Token, is_live
from dagd.agent.links import Identity, Links
from dagd.agent.linux import IS_LINUX, become_subreaper, name_process
from dagd.agent.logs import LogWriters
from dagd.agent.loop import Loop
from dagd.agent.report import say
from dagd.agent.tries import Grade, Tries, Try
from dagd.agent.triggers import Triggers
from dagd.agent.versions import Versions
from dagd.agent.warm import WarmGrade
from dagd.agent.zygotes import Zygotes
from dagd.observe.private import keep_private, private_files

TAKEN = 75
STOP_S = 1.7
END_S = 0.2
# A draining agent waits so long for the acknowledgement of its last results.
ACK_S = 10.0
# Between two looks at a draining agent of another release.
FOREIGN_S = 1.0
# Between two looks whether the home's files are still there.
PLACE_S = 1.0


class Agent:
    """All parts, and the rules for leaving: told to stop, drained, or idle."""

    def __init__(self, config: AgentConfig) -> None:
        self._config = config
        incarnation = secrets.token_hex(8)
        folder = config.run_folder
        past, self._foreign = sweep.inherit(folder)
        self._journal = Journal(folder / NAME, incarnation, past)
        sweep.remove_dead(folder)
        self._loop = loop = Loop()
        self._children = Children(loop)
        self._tries = Tries(loop, self._journal, config.slots)
        self._writers = LogWriters(loop, self._children, config)
        self._zygotes = Zygotes(loop, self._children, config, incarnation)
        make = one_try_maker(self._tries, loop, self._writers)
        self._fork = ForkGrade(make, self._zygotes)
        self._spawn = SpawnGrade(make, self._children, config)
        self._warm = WarmGrade(self._tries, loop, self._writers, self._zygotes, config.slots)
        self._tries.choose, self._tries.is_quick = self._choose, self._warm.is_quick
        loop.spare_s = self._warm.spare_s
        self._zygotes.unsafe = lambda what: what.respawn(self._spawn)
        self._zygotes.ask_for = self._tries.ask_for
        me = Identity(socket.gethostname(), incarnation, config.slots, config.home)
        self._triggers = Triggers(loop, self._children, config.home)
        self._links = Links(loop, self._tries, Versions(), self._journal, me, self._triggers, self.drain)
        self._links.adopt_foreign = self._adopt_foreign
        self._idle_since = time.monotonic()
        self._stop_at: float | None = None
        self._drain_at: float | None = None

    def run(self) -> None:
        """Until stopped, drained or idle."""
        loop = self._loop
        loop.on_signal(signal.SIGTERM, self.stop)
        loop.on_signal(signal.SIGINT, self.stop)
        loop.on_signal(signal.SIGUSR1, self.drain)
        loop.turns.append(self._turn)
        self._journal.flush()
        self._links.listen(address.listen(self._config.home))
        self._describe()
        self._look_after_foreign()
        self._loop.after(PLACE_S, self._hold_place)
        say(f"listens, {self._config.slots} slots, {len(self._journal.results)} results to hand over")
        loop.run()
        self._leave()

    def stop(self) -> None:
        """Ends every try as `stopped`, and then the agent."""
        if self._stop_at is None:
            say("told to stop")
            self._stop_at = time.monotonic() + STOP_S
            self._links.close_listener()
            self._tries.stop()
            self._loop.after(STOP_S, self._loop.stop)

    def drain(self) -> None:
        """Takes no more launches, gives the home's address to a next agent, and leaves after the last try."""
        if self._drain_at is None and self._stop_at is None:
            say("told to drain")
            self._drain_at = time.monotonic()
            self._links.drain()
            self._tries.is_draining = True
            self._links.close_listener()
            (self._config.run_folder / address.SOCKET_NAME).unlink(missing_ok=True)
            self._journal.hand_over()
            release_lock(self._config)

    def _choose(self, attempt: Try) -> Grade:
        grade = attempt.launch.get("grade")
        safe = IS_LINUX and attempt.version is not None and attempt.version.is_fork_safe
        if not safe or grade == "spawn":
            return self._spawn
        return self._warm if grade == "warm" else self._fork

    def _turn(self) -> None:
        self._tries.admit()
        if not self._journal.flush():
            return
        self._tries.dispatch()
        self._warm.flush()
        self._triggers.flush()
        # What ended without a process has its result now.
        if self._journal.flush():
            self._links.flush()
        self._consider_leaving()

    def _consider_leaving(self) -> None:
        now = time.monotonic()
        if not self._tries.is_idle:
            self._idle_since = now
        elif self._stop_at is not None:
            self._loop.stop()
        elif self._drain_at is not None:
            if not self._links.delivered or now - self._idle_since > ACK_S:
                self._loop.stop()
        elif not self._links.is_empty:
            self._idle_since = now
        elif now - self._idle_since >= self._config.idle_exit_s:
            self._loop.stop()

    def _leave(self) -> None:
        self._links.close_listener()
        self._journal.flush()
        self._links.flush()
        self._zygotes.close()
        self._triggers.close()
        self._writers.close()
        self._children.end(time.monotonic() + END_S)
        self._journal.remove_if_settled()
        say(f"leaves, {len(self._journal.results)} results stay in the journal")

    def _adopt_foreign(self, token: Token) -> str:
        """A draining agent of another release has this token: running, unless that agent is gone by now."""
        return "running" if token in self._foreign else "unknown"

    def _look_after_foreign(self) -> None:
        """When a draining agent is gone, what it left is this one's."""
        if not self._foreign:
            return
        for path in set(self._foreign.values()):
            if not is_live(path):
                for token, encoded in sweep.absorb(path).items():
                    self._journal.inherited(token, encoded)
                if self._journal.flush():
                    path.unlink(missing_ok=True)
                    self._foreign = {token: other for token, other in self._foreign.items() if other != path}
                    self._links.offer()
        self._loop.after(FOREIGN_S, self._look_after_foreign)

    def _hold_place(self) -> None:
        """Journal and socket are made anew when somebody took the run folder for rubbish and emptied it."""
        if self._drain_at is not None or self._stop_at is not None:
            return
        self._loop.after(PLACE_S, self._hold_place)
        config = self._config
        try:
            make_folder(config.run_folder)
            self._journal.hold_place()
            if not (config.run_folder / address.SOCKET_NAME).exists():
                say("its socket was deleted; it listens again")
                self._links.close_listener()
                self._links.listen(address.listen(config.home))
                self._describe()
        except OSError as error:
            say(f"its files are gone and cannot be made again: {error}")

    def _describe(self) -> None:
        facts = {
            "pid": os.getpid(), "keeper_pid": os.getppid(), "incarnation": self._journal.incarnation,
            "slots": self._config.slots, "started_at": time.time_ns() // 1000, "release": __version__,
        }  # fmt: skip
        target = self._config.run_folder / "agent.json"
        fresh = target.with_suffix(".new")
        fresh.write_text(json.dumps(facts) + "\n")
        fresh.replace(target)


_locks: list[int] = []


def take_lock(config: AgentConfig) -> bool:
    """One agent per home. The lock ends with the process, or when a draining agent gives it up. It is on the home's
    folder itself: a lock file in it might be deleted, and a second agent would start every try once more."""
    fd = os.open(config.home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return False
    _locks.append(fd)
    return True


def release_lock(_config: AgentConfig) -> None:
    """Lets a next agent have the home."""
    while _locks:
        os.close(_locks.pop())


def main(words: Sequence[str]) -> int:
    """Runs one agent. Returns 75 when another one has this home."""
    config = AgentConfig.from_flags(words)
    keep_private()
    private_files()
    become_subreaper()
    name_process(address.AGENT_NAME)
    make_folder(config.run_folder)
    make_folder(config.log_folder)
    if not take_lock(config):
        return TAKEN
    gc.freeze()
    Agent(config).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
