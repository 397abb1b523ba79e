"""The agent's side of the zygotes: one root, and a DAG zygote for each version in use."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from dagd.agent import kill, procfs
from dagd.agent.children import Children
from dagd.agent.config import AgentConfig
from dagd.agent.journal import Token
from dagd.agent.linux import MARK, memory_file, placeholder
from dagd.agent.loop import Callback, Loop
from dagd.agent.report import say
from dagd.agent.results import conclude_status, make_error
from dagd.agent.spawning import spawn_python
from dagd.agent.stream import Packets, packet_pair
from dagd.agent.tries import Grade, Try
from dagd.agent.versions import Version
from dagd.model.frames import Frame
from dagd.model.states import Reason

# Zygotes without work beyond this number are let go, the longest unused first.
MOST_IDLE = 16
# An import that takes longer is given up. (The parser's own limit is far lower.)
LOAD_S = 60.0
# A zygote that dies while importing is tried once more: somebody may have killed it.
LOADS = 2
ROOT_PAUSE_S = 0.5
DEATH_S = 2.0


class Forked(Protocol):
    """What a DAG zygote can fork: a process for one try, or a warm worker."""

    @property
    def token(self) -> Token:
        """Its name between agent and zygote."""

    @property
    def attempt(self) -> Try | None:
        """The try that it is made for, None when that has been taken back."""

    @property
    def is_alone(self) -> bool:
        """Whether it said, last, that nothing is left below it."""

    def open(self) -> AbstractContextManager[tuple[int, int]]:
        """Channel and output for it."""

    def started(self, pid: int) -> None:
        """It exists."""

    def gather(self) -> None:
        """It is dead: what it sent last is taken in."""

    def ended(self, status: int | None) -> None:
        """It and all below it are dead; None when its zygote died first."""

    def refused(self, reason: str, error: dict[str, Any]) -> None:
        """It will not exist."""

    def respawn(self, spawn: Grade) -> None:
        """It must not be forked: its try runs in another grade."""


class Zygotes:
    """All zygotes. `unsafe` is called with what a version's zygote may not fork, because its import left threads;
    `ask_for` asks for a variable in the name of a try."""

    def __init__(self, loop: Loop, children: Children, config: AgentConfig, incarnation: str) -> None:
        self._loop, self._children, self._config, self._incarnation = loop, children, config, incarnation
        self._zygotes: OrderedDict[str, DagZygote] = OrderedDict()
        self._settling: dict[int, Callback] = {}
        self._numbers = itertools.count(1)
        self._root: Packets | None = None
        self._root_pid = 0
        self._is_closed = False
        self.unsafe: Callable[[Forked], None]
        self.ask_for: Callable[[Try, str, Callable[[Frame], None]], None]
        self._start_root()

    def fork(self, version: Version, kind: str, what: Forked) -> None:
        """`kind`: fork_try | fork_worker. Its zygote is made if there is none."""
        zygote = self._zygotes.get(version.key)
        if zygote is None:
            zygote = self._zygotes[version.key] = DagZygote(self, self._loop, version)
            self._evict()
        self._zygotes.move_to_end(version.key)
        zygote.fork(kind, what)

    def withdraw(self, version: Version, token: Token) -> bool:
        """Takes back what waits for an import; False when it may exist already."""
        zygote = self._zygotes.get(version.key)
        return zygote is not None and zygote.withdraw(token)

    def close(self) -> None:
        """Lets all of them end, with what they forked."""
        self._is_closed = True
        for zygote in list(self._zygotes.values()):
            zygote.let_go()
        if self._root is not None:
            self._root.close()

    def ask_root(self, zygote: DagZygote, fds: Sequence[int]) -> bool:
        """Has the root fork a DAG zygote. False while there is no root: its start asks again."""
        if self._root is None:
            return False
        self._root.send({"t": "fork_dag", "key": zygote.version.key}, fds)
        return True

    def settle(self, zygote: DagZygote, done: Callback) -> None:
        """`done` when this zygote, and all that fell from it to the root or to the agent, is dead."""
        if self._root is None or self._children.knows(zygote.pid):
            kill.await_deaths([zygote.pid], time.monotonic() + DEATH_S, collect=False)
            self._children.settle()
            done()
            return
        number = next(self._numbers)
        self._settling[number] = done
        self._root.send({"t": "settle", "id": number, "dead": zygote.version.key})

    def forget(self, zygote: DagZygote) -> None:
        """It is gone or going."""
        if self._zygotes.get(zygote.version.key) is zygote:
            del self._zygotes[zygote.version.key]

    def _evict(self) -> None:
        idle = [zygote for zygote in self._zygotes.values() if zygote.is_idle]
        too_many = idle[: max(0, len(idle) - MOST_IDLE)]
        for zygote in idle:
            if zygote in too_many or zygote.version.content.is_replaced:
                zygote.let_go()

    def _start_root(self) -> None:
        mine, other = packet_pair()
        env = {**os.environ, MARK: placeholder(self._incarnation)}
        with other:
            words = [
                str(other.fileno()), str(self._config.umask), self._config.try_limits, self._incarnation,
                self._config.run_as,
            ]  # fmt: skip
            pid = spawn_python("dagd.agent.root", words, [other.fileno()], env)
        begun = time.monotonic()
        self._root_pid = pid
        self._children.expect(pid, lambda _status: None)
        self._root = Packets(self._loop, mine, self._from_root, lambda: self._root_lost(begun))
        for zygote in self._zygotes.values():
            zygote.ask()

    def _from_root(self, message: Frame) -> None:
        if message["t"] == "settled":
            self._settling.pop(message["id"])()
        elif message["t"] == "ended":
            zygote = self._zygotes.get(message["token"])
            if zygote is not None:
                zygote.set_status(message["status"])

    def _root_lost(self, begun: float) -> None:
        self._root = None
        if self._is_closed:
            return
        say("the root zygote died; another is started")
        for zygote in self._zygotes.values():
            if zygote.pid:
                # It falls to the agent, and works on.
                self._children.expect(zygote.pid, zygote.set_status)
        kill.await_deaths([self._root_pid], time.monotonic() + 1.0)
        self._children.settle()
        waiting, self._settling = list(self._settling.values()), {}
        for done in waiting:
            done()
        self._loop.after(max(0.0, ROOT_PAUSE_S - (time.monotonic() - begun)), self._start_root)


@dataclass(slots=True, eq=False)
class Question:
    """A variable that an import waits for; `key` is None when it waits for none."""

    key: str | None = None
    asker: Token | None = None
    refused: set[Token | None] = field(default_factory=set)


class DagZygote:
    """One DAG zygote: importing, then forking; gone when its control socket ends."""

    def __init__(self, zygotes: Zygotes, loop: Loop, version: Version) -> None:
        self._zygotes, self._loop, self.version = zygotes, loop, version
        self.pid = 0
        self.start = 0
        self._status: int | None = None
        self._loads = 0
        self._is_loaded = False
        self._problem: dict[str, Any] | None = None
        self._waiting: list[tuple[str, Forked]] = []
        self._forked: dict[Token, tuple[Forked, int]] = {}
        self._settling: dict[int, tuple[Forked, int | None]] = {}
        self._numbers = itertools.count(1)
        self._control: Packets
        self._question = Question()
        self._is_asked = False
        self.ask()

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits for it or was forked from it."""
        return not (self._waiting or self._forked or self._settling)

    def ask(self) -> None:
        """Has the root fork it, unless that is done."""
        if self._is_asked:
            return
        mine, other = packet_pair()
        version_fd = self.version.open()
        with other:
            self._is_asked = self._zygotes.ask_root(self, [other.fileno(), version_fd])
        os.close(version_fd)
        if not self._is_asked:
            mine.close()
            return
        self._loads += 1
        self._question = Question()
        self._control = Packets(self._loop, mine, self._take, self._lost)
        loads = self._loads
        self._loop.after(LOAD_S, lambda: self._give_up(loads))

    def fork(self, kind: str, what: Forked) -> None:
        """Now, or when the import is done."""
        if not self._is_loaded:
            self._waiting.append((kind, what))
            self._pass_question_on()
            return
        self._forked[what.token] = (what, 0)
        with what.open() as theirs:
            self._control.send({"t": kind, "token": what.token}, theirs)

    def withdraw(self, token: Token) -> bool:
        """Whether it was still waiting for the import."""
        before = len(self._waiting)
        self._waiting = [(kind, what) for kind, what in self._waiting if what.token != token]
        self._pass_question_on()
        return len(self._waiting) < before

    def set_status(self, status: int | None) -> None:
        """It has ended so."""
        self._status = status

    def let_go(self) -> None:
        """Ends it."""
        if self._is_asked:
            self._control.close()
        self._zygotes.forget(self)

    def _take(self, message: Frame) -> None:
        kind = message["t"]
        if kind == "started":
            what, _pid = self._forked[message["token"]]
            self._forked[message["token"]] = (what, message["pid"])
            what.started(message["pid"])
        elif kind == "ended":
            self._ended(message)
        elif kind == "settled":
            what, status = self._settling.pop(message["id"])
            what.ended(status)
        elif kind == "born":
            self.pid, self.start = message["pid"], procfs.start_time(message["pid"])
        elif kind == "loaded":
            self._loaded(message["threads"])
        elif kind == "failed":
            self._refuse(Reason.EXCEPTION, message["error"])
        elif kind == "ask":
            self._question = Question(message["key"])
            content = self.version.content
            content.read_at = content.read_at or time.monotonic()
            self._pass_question_on()

    def _pass_question_on(self) -> None:
        """The import wants a variable. It is asked for in the name of a try that waits for it: a scheduler answers no
        other. When that one goes, or is not the scheduler's any more, the next one asks."""
        question = self._question
        if question.key is None or self._is_being_answered():
            return
        for _kind, what in self._waiting:
            attempt = what.attempt
            if attempt is not None and attempt.token not in question.refused:
                question.asker = attempt.token
                self._zygotes.ask_for(attempt, question.key, lambda reply: self._answer(question, reply))
                return

    def _is_being_answered(self) -> bool:
        tokens = {what.attempt.token for _kind, what in self._waiting if what.attempt is not None}
        return self._question.asker is not None and self._question.asker in tokens

    def _answer(self, question: Question, reply: Frame) -> None:
        if question is not self._question or question.key is None:
            return
        if not reply["ok"]:
            question.refused.add(question.asker)
            question.asker = None
            self._pass_question_on()
            if self._is_being_answered():
                return
        self.version.content.secrets += reply.get("mask") or ()
        question.key = None
        fd = memory_file(json.dumps({name: reply.get(name) for name in ("ok", "value", "error")}).encode())
        self._control.send({"t": "answer"}, [fd])
        os.close(fd)

    def _loaded(self, threads: int) -> None:
        self._is_loaded = True
        waiting, self._waiting = self._waiting, []
        if threads > 1:
            self.version.is_fork_safe = False
            self.let_go()
            for _kind, what in waiting:
                self._zygotes.unsafe(what)
            return
        for kind, what in waiting:
            self.fork(kind, what)

    def _ended(self, message: Frame) -> None:
        what, pid = self._forked.pop(message["token"])
        status = message["status"]
        what.gather()
        if message["alone"] or what.is_alone or not pid:
            what.ended(status)
            return
        number = next(self._numbers)
        self._settling[number] = (what, status)
        self._control.send({"t": "settle", "id": number, "dead": None})

    def _refuse(self, reason: str, error: dict[str, Any]) -> None:
        self.let_go()
        waiting, self._waiting = self._waiting, []
        for _kind, what in waiting:
            what.refused(reason, error)

    def _give_up(self, loads: int) -> None:
        if self._is_loaded or loads != self._loads or not self.pid:
            return
        if self._question.key is not None and self._is_being_answered():
            self._loop.after(LOAD_S, lambda: self._give_up(loads))  # it waits for a scheduler, and not for its file
            return
        self._problem = make_error("ImportTimeout", f"the DAG file's import took longer than {LOAD_S:g} s")
        kill.kill_tree(self.pid, self.start)

    def _lost(self) -> None:
        """Somebody killed it, or its import ended the process."""
        say(f"the zygote of version {self.version.id} died, with {len(self._forked)} tries")
        self._is_asked = False
        for what, _pid in self._forked.values():
            what.gather()
        if self.pid:
            kill.kill_tree(self.pid, self.start)
        for _what, pid in self._forked.values():
            if pid:
                kill.kill_tree(pid)
        if self._is_loaded:
            self._zygotes.forget(self)
        self._zygotes.settle(self, self._bury)

    def _bury(self) -> None:
        forked, self._forked = self._forked, {}
        settling, self._settling = self._settling, {}
        for what, _pid in forked.values():
            what.ended(None)
        for what, status in settling.values():
            what.ended(status)
        if self._is_loaded:
            return
        if self._problem is None and self._loads < LOADS:
            self.pid = 0
            self.ask()
            return
        self._zygotes.forget(self)
        reason, message = conclude_status(self._status)
        error = make_error("ImportEnded", f"importing the DAG file ended the process: {message}")
        waiting, self._waiting = self._waiting, []
        for _kind, what in waiting:
            what.refused(Reason.EXCEPTION if self._problem else reason, self._problem or error)
