"""Connections of schedulers: what they say goes to its place; results, credits and beats go back."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagd import __version__
from dagd.agent import address
from dagd.agent.journal import Journal, Token
from dagd.agent.logs import safe_path
from dagd.agent.loop import Loop
from dagd.agent.report import say
from dagd.agent.results import Kill
from dagd.agent.stream import Stream
from dagd.agent.tries import Tries
from dagd.agent.triggers import Triggers
from dagd.agent.versions import Versions
from dagd.model.frames import MAX_FRAME, PROTOCOL, Frame, encode_frame

BEAT_S = 1.0
# `started` alone changes nothing at the scheduler: it waits so long for the result of a short try, which replaces it.
STARTED_DELAY_S = 0.005
# A scheduler that takes nothing for so many bytes is dropped; its results are in the spool.
MOST_BACKLOG = 2 * MAX_FRAME
# One frame of results grows no longer than about this.
RESULT_BATCH = 4 * 1024 * 1024


class Link:
    """One connection. It counts, and gets credits, once it has said hello in our protocol."""

    def __init__(self, links: Links, peer: socket.socket, loop: Loop) -> None:
        self._links = links
        self.stream = Stream(loop, peer, self._take, self._end, limit=MAX_FRAME)
        self.is_ready = False
        self.credits = -1
        self.delivered: set[Token] = set()
        self._results: list[bytes] = []
        self._started: dict[Token, tuple[float, Frame]] = {}

    def send(self, frame: Frame) -> None:
        """Queues one frame for the end of the turn."""
        self.stream.send(encode_frame(frame))

    def deliver(self, token: Token, encoded: bytes) -> None:
        """Queues one result."""
        self._started.pop(token, None)
        self._results.append(encoded)
        self.delivered.add(token)

    def tell_started(self, token: Token, pid: int, started_at: int) -> None:
        """Queues one `started`, which its result may overtake."""
        if not self._started:
            self._links.wake_soon()
        entry = {"token": token, "pid": pid, "started_at": started_at}
        self._started[token] = (time.monotonic() + STARTED_DELAY_S, entry)

    def flush(self) -> None:
        """Sends what the turn has brought."""
        if self._started:
            self._send_started()
        results = self._results
        while results:
            size = count = 0
            while count < len(results) and size < RESULT_BATCH:
                size += len(results[count])
                count += 1
            body = b'{"t":"result","tries":[' + b",".join(results[:count]) + b"]}"
            self.stream.send(len(body).to_bytes(4, "big") + body)
            del results[:count]
        self.stream.flush()
        if self.stream.backlog > MOST_BACKLOG:
            self.stream.close()
            self._end("it takes nothing")

    def _send_started(self) -> None:
        now = time.monotonic()
        due = [token for token, (due_at, _entry) in self._started.items() if due_at <= now]
        if due:
            self.send({"t": "started", "tries": [self._started.pop(token)[1] for token in due]})
        if self._started:
            self._links.wake_soon()

    def _take(self, frames: list[Frame]) -> None:
        for frame in frames:
            if self.stream.is_open:
                self._links.take(self, frame)

    def _end(self, problem: str) -> None:
        if problem:
            say(f"dropped a connection: {problem}")
        self._links.forget(self)


@dataclass(slots=True)
class Identity:
    """What the agent says of itself in its hello."""

    agent: str
    incarnation: str
    slots: int
    home: Path


class Links:
    """All connections. `drain` is what a scheduler's drain frame calls."""

    def __init__(
        self, loop: Loop, tries: Tries, versions: Versions, journal: Journal, me: Identity, triggers: Triggers,
        drain: Callable[[], None],
    ) -> None:  # fmt: skip
        self._loop, self._tries, self._versions, self._journal = loop, tries, versions, journal
        self._triggers = triggers
        self._me, self._drain = me, drain
        self._links: list[Link] = []
        self._listener: socket.socket | None = None
        self._waking = False
        self.is_draining = False
        self.adopt_foreign: Callable[[Token], str] = lambda _token: "unknown"
        loop.after(BEAT_S, self._beat)

    @property
    def is_empty(self) -> bool:
        """Whether no scheduler is connected."""
        return not any(link.is_ready for link in self._links)

    @property
    def delivered(self) -> int:
        """How many results are with a connected scheduler and not acknowledged."""
        return sum(len(link.delivered) for link in self._links)

    def listen(self, listener: socket.socket) -> None:
        """Accepts from here on."""
        self._listener = listener
        self._loop.watch(listener.fileno(), self._accept)

    def close_listener(self) -> None:
        """Accepts nobody any more."""
        if self._listener is not None:
            self._loop.unwatch(self._listener.fileno())
            self._listener.close()
            self._listener = None

    def flush(self) -> None:
        """The last act of a turn: everything queued leaves."""
        for link in tuple(self._links):
            link.flush()

    def wake_soon(self) -> None:
        """One more turn when held back `started` frames are due."""
        if not self._waking:
            self._waking = True
            self._loop.after(STARTED_DELAY_S, self._woken)

    def drain(self) -> None:
        """No more launches: every credit is taken back."""
        self.is_draining = True
        self._share()

    def offer(self) -> None:
        """Sends each result that no connected scheduler has been sent to all of them: one of them knows its try."""
        ready = [link for link in self._links if link.is_ready]
        held = set[Any]().union(*(link.delivered for link in ready))
        for token, encoded in self._journal.results.items():
            if token not in held:
                for link in ready:
                    link.deliver(token, encoded)

    def take(self, link: Link, frame: Frame) -> None:
        """One frame of a scheduler. A frame that is not as the protocol says ends its connection."""
        try:
            self._dispatch(link, str(frame.get("t")), frame)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            link.stream.close()
            self.forget(link)
            say(f"dropped a connection for a bad {frame.get('t')!r} frame: {error!r}")

    def forget(self, link: Link) -> None:
        """The connection has ended."""
        if link in self._links:
            self._links.remove(link)
            self._versions.forget(link)
            self._tries.orphan(link)
            self._triggers.forget(link)
            self._share()

    def _dispatch(self, link: Link, kind: str, frame: Frame) -> None:
        tries = self._tries
        if kind == "launch":
            self._launch(link, frame["tries"], frame.get("shared") or ())
        elif kind == "ack":
            link.delivered.difference_update(frame["tokens"])
            self._journal.acked(frame["tokens"])
        elif kind == "version":
            self._versions.learn(link, frame)
        elif kind == "cancel":
            for token in frame["tokens"]:
                tries.cancel(token, Kill("cancel", frame["reason"]), float(frame["grace_us"]) / 1e6)
        elif kind == "reply" and self._triggers.holds(frame["token"]):
            self._triggers.reply(frame)
        elif kind == "reply":
            tries.reply(frame)
        elif kind == "wait":
            self._triggers.wait(link, frame["triggers"])
        elif kind == "unwait":
            self._triggers.end(link, frame["tokens"])
        elif kind == "adopt":
            self._adopt(link, frame["tokens"])
        elif kind == "hello":
            self._greet(link, frame)
        elif kind == "drain":
            self._drain()
        else:
            raise ValueError(kind)

    def _launch(self, link: Link, launches: list[Frame], shared: Sequence[Frame]) -> None:
        for launch in launches:
            safe_path(launch["log"])
            if self.adopt_foreign(launch["token"]) != "unknown":
                continue
            common = shared[launch["shared"]] if launch.get("shared") is not None else None
            self._tries.accept(link, launch, self._versions.find(launch["version"]), common)

    def _adopt(self, link: Link, tokens: list[Token]) -> None:
        states = []
        for token in tokens:
            state = self._tries.adopt(link, token)
            if state == "unknown":
                state = self.adopt_foreign(token)
            elif state == "finished":
                link.deliver(token, self._journal.results[token])
            states.append({"token": token, "state": state})
        link.send({"t": "adopted", "tries": states})

    def _greet(self, link: Link, frame: Frame) -> None:
        me = self._me
        link.send(
            {"t": "hello", "protocol": PROTOCOL, "agent": me.agent, "incarnation": me.incarnation, "pid": os.getpid(),
             "slots": me.slots, "release": __version__}
        )  # fmt: skip
        if frame["protocol"] == PROTOCOL:
            link.is_ready = True
            self._share()
            self.offer()

    def _share(self) -> None:
        ready = [link for link in self._links if link.is_ready]
        share = 0 if self.is_draining else max(1, self._me.slots // max(1, len(ready)))
        for link in ready:
            if link.credits != share:
                link.credits = share
                link.send({"t": "credits", "slots": share})

    def _accept(self) -> None:
        while self._listener is not None:
            try:
                peer, _address = self._listener.accept()
            except OSError:
                return
            if address.may_command(peer, self._me.home):
                self._links.append(Link(self, peer, self._loop))
            else:
                say(f"refused a connection of process {address.peer_pid(peer)}: it belongs to a task or a DAG file")
                peer.close()

    def _beat(self) -> None:
        now = time.time_ns() // 1000
        for link in self._links:
            if link.is_ready:
                link.send({"t": "beat", "at": now})
        self._loop.after(BEAT_S, self._beat)

    def _woken(self) -> None:
        self._waking = False
