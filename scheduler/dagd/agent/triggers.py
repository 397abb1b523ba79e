"""The agent's side of triggers: which try waits for what, for whom, and the one process that looks.

Nothing of it is journaled. The trigger is stored with its try, so a scheduler that connects hands over its waits again;
a wait lives as long as that connection, and the process is handed all of them again when it died.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dagd.agent import kill
from dagd.agent.children import Children
from dagd.agent.journal import Token
from dagd.agent.loop import Loop
from dagd.agent.report import say
from dagd.agent.spawning import spawn_python
from dagd.agent.stream import Stream
from dagd.model.frames import MAX_FRAME, Frame, encode_frame

if TYPE_CHECKING:
    from dagd.agent.links import Link

# Without a wait the process ends after so long.
IDLE_S = 60.0
# A process that dies is started again, later each time until one has lived that long.
FIRST_PAUSE_S, LONGEST_PAUSE_S, PROVEN_S = 0.05, 30.0, 60.0


@dataclass(slots=True)
class Wait:
    """One deferred try. `fired` is what it was told, kept until its scheduler has committed it."""

    trigger: Frame
    link: Link
    fired: Frame | None = None


class Triggers:
    """All waits of this host, and their process while there is any."""

    def __init__(self, loop: Loop, children: Children, home: Path) -> None:
        self._loop, self._children, self._home = loop, children, home
        self._waits: dict[Token, Wait] = {}
        self._stream: Stream | None = None
        self._pid = 0
        self._started_at = 0.0
        self._pause_s = FIRST_PAUSE_S
        self._is_starting = self._is_closed = False

    def holds(self, token: Token) -> bool:
        """Whether this try waits here."""
        return token in self._waits

    def wait(self, link: Link, triggers: list[Frame]) -> None:
        """Takes waits in. One that is known stays as it is; if it has fired, that is told again."""
        fresh = []
        for one in triggers:
            token = one["token"]
            known = self._waits.get(token)
            if known is None:
                self._waits[token] = Wait(one["trigger"], link)
                fresh.append(token)
                continue
            known.link = link
            if known.fired is not None:
                link.send({"t": "fired", "tries": [known.fired]})
        if fresh and self._stream is not None:
            self._hand(fresh)
        elif fresh:
            self._start_soon(0.0)

    def end(self, link: Link, tokens: Iterable[Token]) -> None:
        """These waits are over; not those that another scheduler has taken over meanwhile."""
        gone = [token for token in tokens if token in self._waits and self._waits[token].link is link]
        for token in gone:
            del self._waits[token]
        if gone and self._stream is not None:
            self._stream.send(encode_frame({"t": "unwait", "tokens": gone}))
        if gone and not self._waits:
            self._loop.after(IDLE_S, self._rest)

    def forget(self, link: Link) -> None:
        """A scheduler is gone: whoever owns its tries hands over their waits again."""
        self.end(link, list(self._waits))

    def reply(self, frame: Frame) -> None:
        """The answer to a question of the process."""
        if self._stream is not None:
            self._stream.send(encode_frame(frame))

    def flush(self) -> None:
        """Sends what the turn has brought."""
        if self._stream is not None:
            self._stream.flush()

    def close(self) -> None:
        """The agent leaves: the process ends with its socket."""
        self._is_closed = True
        if self._stream is not None:
            self._stream.close()

    def _start_soon(self, delay_s: float) -> None:
        if not self._is_starting and not self._is_closed:
            self._is_starting = True
            self._loop.after(delay_s, self._start)

    def _start(self) -> None:
        self._is_starting = False
        if self._is_closed or self._stream is not None or not self._waits:
            return
        ours, theirs = socket.socketpair()
        with theirs:
            words = [str(theirs.fileno()), str(self._home)]
            try:
                self._pid = spawn_python("dagd.agent.triggering", words, [theirs.fileno()])
            except OSError as error:
                say(f"the trigger process cannot be started: {error}")
                ours.close()
                self._start_soon(self._next_pause())
                return
        self._started_at = time.monotonic()
        self._children.expect(self._pid, self._ended)
        self._stream = Stream(self._loop, ours, self._take, self._lost, limit=MAX_FRAME)
        self._hand([token for token, wait in self._waits.items() if wait.fired is None])

    def _hand(self, tokens: list[Token]) -> None:
        assert self._stream is not None
        triggers = [{"token": token, "trigger": self._waits[token].trigger} for token in tokens]
        self._stream.send(encode_frame({"t": "wait", "triggers": triggers}))

    def _take(self, frames: list[Frame]) -> None:
        for frame in frames:
            if frame["t"] == "fired":
                for fired in frame["tries"]:
                    self._tell(fired)
            elif frame["t"] == "request" and frame["token"] in self._waits:
                self._waits[frame["token"]].link.send(frame)

    def _tell(self, fired: Frame) -> None:
        wait = self._waits.get(fired["token"])
        if wait is not None:
            wait.fired = fired
            wait.link.send({"t": "fired", "tries": [fired]})

    def _lost(self, problem: str) -> None:
        """Its socket ended: it is dead or useless."""
        if problem:
            say(f"the trigger process sent {problem}")
        if self._pid:
            kill.kill_tree(self._pid)

    def _ended(self, status: int) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream, self._pid = None, 0
        if self._waits and not self._is_closed:
            say(f"the trigger process ended ({os.waitstatus_to_exitcode(status)}), {len(self._waits)} tries wait")
            self._start_soon(self._next_pause())

    def _next_pause(self) -> float:
        lived = time.monotonic() - self._started_at
        self._pause_s = FIRST_PAUSE_S if lived > PROVEN_S else min(LONGEST_PAUSE_S, self._pause_s * 2)
        return self._pause_s

    def _rest(self) -> None:
        if not self._waits and self._stream is not None:
            self._stream.close()
