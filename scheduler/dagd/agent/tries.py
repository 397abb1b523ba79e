"""The live tries: queued, running, being killed, ended. Slots are counted here, and each end becomes one result."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from dagd.agent import kill, procfs
from dagd.agent.journal import Journal, Token
from dagd.agent.loop import Loop, Timer
from dagd.agent.results import Ending, Kill, conclude, make_error, oom_kills
from dagd.agent.said import is_request, is_result
from dagd.agent.stream import Stream
from dagd.agent.versions import Version
from dagd.model.frames import Frame, encode_frame
from dagd.model.states import Reason

if TYPE_CHECKING:
    from dagd.agent.links import Link
    from dagd.agent.logs import LogPipe

# A result was sent and the process is still there: user threads or exit hooks hold it.
LINGER_S = 5.0
MOST_REQUESTS = 64
STOP_GRACE_S = 1.0
# A try that is over by then is spared some bookkeeping; its log appears in the file at its end.
LOOK_IN_S = 0.05
# Between two looks whether a busy log writer has been told the secrets of a reply.
TOLD_S = 0.005


class Grade(Protocol):
    """A way to run tries."""

    def start(self, attempt: Try) -> None:
        """Begins it; `Tries.started` and `Tries.ended` tell the rest."""

    def withdraw(self, attempt: Try) -> bool:
        """Takes back a try that has no process yet and will get none; False when it has or may get one. Called for one
        with company, too, which has none afterwards."""


@dataclass(slots=True, eq=False)
class Try:
    """One launch from its acceptance to its result."""

    token: Token
    launch: Frame
    version: Version | None
    link: Link | None
    grade: Grade | None = None
    pid: int = 0
    start: int = 0
    started_at: int | None = None
    channel: Stream | None = None
    output: LogPipe | None = None
    ending: Ending = field(default_factory=Ending)
    # Its own word that nothing is left below it; spares the search.
    is_alone: bool = False
    has_asked: bool = False
    is_over: bool = False
    # Whether its process has been given more tries to run after it.
    has_company: bool = False
    has_slot: bool = True
    ended_at: int | None = None
    shared: Frame | None = None
    requests: dict[Any, Frame] = field(default_factory=dict)
    # Who wants the answer to a request that is not the task's own.
    askers: dict[Any, Callable[[Frame], None]] = field(default_factory=dict)
    kill_grace_s: float = 0.0
    deadline: Timer | None = None
    grace: Timer | None = None

    @property
    def grace_s(self) -> float:
        """Between SIGTERM and SIGKILL, for a timeout."""
        return float(self.launch.get("grace_us") or 0) / 1e6

    @property
    def secrets(self) -> list[str]:
        """What its process knows from the import of its file."""
        return self.version.content.secrets if self.version is not None else []


class Tries:
    """The table by token. `choose` names the grade that runs a try."""

    def __init__(self, loop: Loop, journal: Journal, slots: int) -> None:
        self._loop, self._journal, self.slots = loop, journal, slots
        self.live: dict[Token, Try] = {}
        self._queue: deque[Try] = deque()
        self._starting: list[Try] = []
        self._fresh: dict[Try, None] = {}
        self._busy = self._last_question = 0
        self._oom_kills = oom_kills()
        self.is_stopping = False
        self.is_draining = False
        self.choose: Callable[[Try], Grade]
        self.is_quick: Callable[[Try], bool]

    @property
    def is_idle(self) -> bool:
        """Whether no try is queued or running."""
        return not self.live

    # --- beginnings

    def accept(self, link: Link, launch: Frame, version: Version | None, shared: Frame | None = None) -> None:
        """Takes in one launch. A token that was ever started is not started again; its result is sent again."""
        token = launch["token"]
        attempt = self.live.get(token)
        if attempt is not None:
            attempt.link = link
            self._ask_again(attempt)
        elif token in self._journal.results:
            link.deliver(token, self._journal.results[token])
        elif not self._journal.knows(token) and not self.is_stopping:
            attempt = self.live[token] = Try(token, launch, version, link, shared=shared)
            if self.is_draining:
                attempt.ending.kill = Kill("fail", Reason.NOT_STARTED, "the agent takes no more launches")
            self._queue.append(attempt)

    def admit(self) -> None:
        """Gives free slots to what waits, in order, and journals it."""
        while self._queue and not self.is_stopping:
            attempt = self._queue[0]
            if self._busy >= self.slots:
                if not self.is_quick(attempt):
                    return
                attempt.has_slot = False
            self._queue.popleft()
            self._busy += attempt.has_slot
            self._journal.launched(attempt.token)
            self._starting.append(attempt)

    def take_slot(self, attempt: Try) -> None:
        """It came without one, and turns out to need it."""
        self._busy += not attempt.has_slot
        attempt.has_slot = True

    def dispatch(self) -> None:
        """Starts what was admitted: only after the journal has been written."""
        starting, self._starting = self._starting, []
        for attempt in starting:
            if attempt.ending.kill is not None:
                self.finish(attempt)
            elif attempt.version is None:
                attempt.ending.kill = Kill("fail", Reason.LOST, "its DAG version was never announced")
                self.finish(attempt)
            else:
                attempt.grade = self.choose(attempt)
                attempt.grade.start(attempt)

    def started(self, attempt: Try, pid: int) -> None:
        """Its process exists."""
        attempt.pid = pid
        self.begun(attempt)
        if attempt.ending.kill is not None:
            self.terminate(attempt)

    def begun(self, attempt: Try) -> None:
        """Its body may run from now on: the clock of its timeout starts."""
        attempt.started_at = time.time_ns() // 1000
        if attempt.link is not None:
            attempt.link.tell_started(attempt.token, attempt.pid, attempt.started_at)
        if not self._fresh:
            self._loop.after(LOOK_IN_S, self._look_in)
        self._fresh[attempt] = None  # once, even if another process has to begin it
        timeout_us = attempt.launch.get("timeout_us")
        if timeout_us:
            attempt.deadline = self._loop.after(timeout_us / 1e6, lambda: self._time_out(attempt))

    def _look_in(self) -> None:
        """What only longer tries need: their process in the journal, and their output followed while they run."""
        fresh, self._fresh = self._fresh, {}
        for attempt in fresh:
            if attempt.has_company and not attempt.is_over:
                self._fresh[attempt] = None  # its output cannot be told from that of what follows it
            elif not attempt.is_over and attempt.pid:
                attempt.start = attempt.start or procfs.start_time(attempt.pid)
                self._journal.started(attempt.token, attempt.pid, attempt.start)
                if attempt.output is not None:
                    attempt.output.follow()
        if self._fresh:
            self._loop.after(LOOK_IN_S, self._look_in)

    def adopt(self, link: Link, token: Token) -> str:
        """What became of a token: running | finished | unknown. A finished one's result is sent right after."""
        attempt = self.live.get(token)
        if attempt is not None:
            attempt.link = link
            self._ask_again(attempt)
            return "running"
        return "finished" if token in self._journal.results else "unknown"

    # --- frames of the try

    def take(self, attempt: Try, frames: Iterable[Frame]) -> None:
        """Frames that arrived from a try's own channel."""
        for frame in frames:
            kind = frame.get("t")
            if kind == "request" and len(attempt.requests) < MOST_REQUESTS and is_request(frame):
                self.request(attempt, frame)
            elif kind == "result" and is_result(frame):
                self.take_result(attempt, frame)
            else:
                self.refuse(attempt, "a frame that no task sends")

    def take_result(self, attempt: Try, frame: Frame) -> None:
        """The one result frame of a try. After a kill, or a second time, it means nothing."""
        del frame["t"]
        attempt.is_alone = bool(frame.pop("alone", False))
        if attempt.ending.frame is None and attempt.ending.kill is None:
            attempt.ending.frame = frame
            if attempt.channel is not None:
                attempt.channel.ignore()
            if attempt.pid:
                attempt.grace = self._loop.after(LINGER_S, lambda: self.kill_now(attempt))

    def refuse(self, attempt: Try, problem: str) -> None:
        """The try does not speak the protocol: it is ended, and only it."""
        if problem and not attempt.is_over and attempt.ending.frame is None:
            attempt.ending.kill = attempt.ending.kill or Kill("fail", Reason.NO_RESULT, f"the task sent {problem}")
            self.kill_now(attempt)

    def request(self, attempt: Try, frame: Frame) -> None:
        """A question of the task: kept until it is answered, and asked again when another scheduler takes over."""
        attempt.has_asked = True
        self._send_request(attempt, frame)

    def _send_request(self, attempt: Try, frame: Frame) -> None:
        attempt.requests[frame.get("id")] = frame | {"token": attempt.token}
        if attempt.link is not None:
            attempt.link.send(attempt.requests[frame.get("id")])

    def ask_for(self, attempt: Try, key: str, done: Callable[[Frame], None]) -> None:
        """A variable for the import of its file, asked in its name. `done` gets the reply, unless it ends first."""
        self._last_question -= 1
        attempt.askers[self._last_question] = done
        args = {"key": key}
        self._send_request(attempt, {"t": "request", "id": self._last_question, "kind": "variable", "args": args})

    def reply(self, frame: Frame) -> None:
        """The answer to a question: secrets go to the log writer first, then the task gets it."""
        attempt = self.live.get(frame["token"])
        if attempt is None or attempt.requests.pop(frame["id"], None) is None:
            return
        done = attempt.askers.pop(frame["id"], None)
        if done is not None:
            done(frame)
            return
        if attempt.channel is None:
            return
        secrets = frame.get("mask")
        if secrets and attempt.output is not None:
            attempt.output.mask(secrets)
        self._hand(attempt, encode_frame({name: frame[name] for name in frame if name != "token"}))

    def _hand(self, attempt: Try, reply: bytes) -> None:
        if attempt.is_over or attempt.channel is None:
            return
        if attempt.output is not None and not attempt.output.is_told:
            self._loop.after(TOLD_S, lambda: self._hand(attempt, reply))
            return
        attempt.channel.send(reply)
        attempt.channel.flush()

    def _ask_again(self, attempt: Try) -> None:
        for frame in attempt.requests.values():
            if attempt.link is not None:
                attempt.link.send(frame)

    # --- ends

    def cancel(self, token: Token, why: Kill, grace_s: float) -> None:
        """SIGTERM now, SIGKILL down the tree after the grace. A result that has arrived already stands."""
        attempt = self.live.get(token)
        if attempt is not None and attempt.channel is not None:
            attempt.channel.drain()
        if attempt is None or attempt.is_over or attempt.ending.frame is not None:
            return
        attempt.ending.kill = attempt.ending.kill or why
        attempt.kill_grace_s = grace_s
        if attempt.grade is None and attempt in self._queue:
            self._queue.remove(attempt)
            self._busy += 1
            self.finish(attempt)
        elif attempt.grade is not None and (attempt.has_company or not attempt.pid) and attempt.grade.withdraw(attempt):
            self.finish(attempt)
        elif attempt.pid and not attempt.is_over:
            self.terminate(attempt)

    def stop(self) -> None:
        """Ends everything: what runs ends as `stopped`, what waits was never here."""
        self.is_stopping = True
        for attempt in self._queue:
            del self.live[attempt.token]
        self._queue.clear()
        for token in list(self.live):
            self.cancel(token, Kill("fail", Reason.STOPPED, "dagd was stopped"), STOP_GRACE_S)

    def ended(self, attempt: Try, status: int | None) -> None:
        """Its process and all below it are dead. The result follows when its output is in the file."""
        if attempt.is_over:
            return
        attempt.is_over = True
        attempt.ending.status = status
        if status == 9 and attempt.ending.kill is None:
            before, self._oom_kills = self._oom_kills, oom_kills()
            attempt.ending.out_of_memory = self._oom_kills > before
        if attempt.output is None:
            self.finish(attempt)
        else:
            attempt.output.end(lambda: self.finish(attempt))

    def finish(self, attempt: Try) -> None:
        """Spools the result, sends it, and frees the slot."""
        attempt.is_over = True
        for timer in (attempt.deadline, attempt.grace):
            if timer is not None:
                timer.cancel()
        result = {
            "token": attempt.token, "pid": attempt.pid or None, "started_at": attempt.started_at,
            "ended_at": attempt.ended_at or time.time_ns() // 1000, **conclude(attempt.ending),
        }  # fmt: skip
        encoded = self._journal.resulted(attempt.token, result)
        del self.live[attempt.token]
        self._busy -= attempt.has_slot
        if attempt.link is not None:
            attempt.link.deliver(attempt.token, encoded)

    def fail(self, attempt: Try, reason: str, error: dict[str, Any] | str) -> None:
        """Ends a try that has no process."""
        attempt.ending.kill = attempt.ending.kill or Kill("fail", reason)
        attempt.ending.error = make_error("NotStarted", error) if isinstance(error, str) else error
        self.ended(attempt, None)

    def orphan(self, link: Link) -> None:
        """The connection is gone: its tries go on without one."""
        for attempt in self.live.values():
            if attempt.link is link:
                attempt.link = None

    def _time_out(self, attempt: Try) -> None:
        seconds = float(attempt.launch["timeout_us"]) / 1e6
        why = Kill("fail", Reason.TIMEOUT, f"the task ran longer than its execution_timeout of {seconds:g} s")
        self.cancel(attempt.token, why, attempt.grace_s)

    def terminate(self, attempt: Try) -> None:
        """SIGTERM to its group, and the rest when its grace is over."""
        kill.terminate_group(attempt.pid)
        if attempt.grace is not None:
            attempt.grace.cancel()
        attempt.grace = self._loop.after(attempt.kill_grace_s, lambda: self.kill_now(attempt))

    def kill_now(self, attempt: Try) -> None:
        """SIGKILL down the tree."""
        if attempt.pid and not attempt.is_over:
            kill.kill_tree(attempt.pid, attempt.start)
