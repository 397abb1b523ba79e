"""The agent's side of the logs: it keeps the read ends of the tries' pipes, so that the log writer can be replaced.

A pipe goes to the log writer at its first byte: a try that prints nothing costs it nothing. At the end of a try the
agent knows that nobody writes any more; the log writer is asked to empty the pipe, and the result follows its answer.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import termios
from collections.abc import Sequence

from dagd.agent.children import Children
from dagd.agent.config import AgentConfig
from dagd.agent.journal import Token
from dagd.agent.linux import memory_file
from dagd.agent.loop import Callback, Loop, Timer
from dagd.agent.report import say
from dagd.agent.spawning import spawn_python
from dagd.agent.stream import Packets, packet_pair
from dagd.model.frames import Frame

# A log writer that does not answer for so long holds no result up any further.
DRAIN_GRACE_S = 1.0
_NOTHING = struct.pack("i", 0)


class LogWriters:
    """The log writer process, started anew when it dies."""

    def __init__(self, loop: Loop, children: Children, config: AgentConfig) -> None:
        self._loop, self._children, self._config = loop, children, config
        self._pipes: dict[Token, LogPipe] = {}
        self._is_closed = False
        self._start()

    def attach(self, pipe: LogPipe) -> None:
        """The process reads this pipe from here on."""
        if pipe.token is not None:
            self._pipes[pipe.token] = pipe
            self._introduce(pipe)

    def detach(self, token: Token) -> None:
        """The process empties the pipe and closes the file; the pipe's `drained` tells."""
        self._control.send({"t": "detach", "key": token})

    def mask(self, token: Token, secrets: list[str]) -> None:
        """Tells secrets of a try, by a file: they may be long."""
        fd = memory_file(json.dumps(secrets).encode())
        self._control.send({"t": "mask", "key": token}, [fd])
        os.close(fd)

    @property
    def is_clear(self) -> bool:
        """Whether the process has been handed all that it was told."""
        return self._control.is_clear

    def forget(self, token: Token) -> None:
        """The pipe is done with."""
        self._pipes.pop(token, None)

    def close(self) -> None:
        """Lets the process empty what it has and end."""
        self._is_closed = True
        self._control.close()

    def _start(self) -> None:
        mine, other = packet_pair()
        config = self._config
        with other:
            words = [str(other.fileno()), str(config.log_folder), str(config.log_limit_mb)]
            pid = spawn_python("dagd.agent.logwriter", words, [other.fileno()])
        self._children.expect(pid, lambda _status: None)
        self._control = Packets(self._loop, mine, self._take, self._lost)

    def _introduce(self, pipe: LogPipe) -> None:
        assert pipe.token is not None
        if pipe.secrets:
            self.mask(pipe.token, pipe.secrets)
        self._control.send({"t": "attach", "key": pipe.token, "log": pipe.log}, [pipe.fd])

    def _take(self, message: Frame) -> None:
        pipe = self._pipes.pop(message["key"], None)
        if pipe is not None:
            pipe.drained()

    def _lost(self) -> None:
        if self._is_closed:
            return
        say("the log writer died; another is started")
        self._start()
        for token, pipe in self._pipes.items():
            self._introduce(pipe)
            if pipe.is_ending:
                self.detach(token)


class LogPipe:
    """The read end of one process's output, and the try that it belongs to at the moment."""

    def __init__(self, loop: Loop, writers: LogWriters, fd: int) -> None:
        os.set_blocking(fd, False)
        self._loop, self._writers, self.fd = loop, writers, fd
        self.token: Token | None = None
        self.log = ""
        self.secrets: list[str] = []
        self._is_attached = False
        self._is_closing = False
        self._done: Callback | None = None
        self._grace: Timer | None = None

    @property
    def is_ending(self) -> bool:
        """Whether the log writer has been asked to empty it."""
        return self._done is not None

    def begin(self, token: Token, log: str, secrets: Sequence[str] = ()) -> None:
        """What comes out belongs to this try, until `end`; `secrets` are hidden in it from the first byte on."""
        self.token, self.log, self.secrets = token, safe_path(log), list(secrets)

    def follow(self) -> None:
        """Its output goes to the file while it runs, not only at its end."""
        if not self._is_attached:
            self._loop.watch(self.fd, self._readable)

    def mask(self, secrets: list[str]) -> None:
        """Hides these from the next byte on."""
        self.secrets += secrets
        if self._is_attached and self.token is not None:
            self._writers.mask(self.token, secrets)

    @property
    def is_told(self) -> bool:
        """Whether the log writer has been handed the secrets: only then may the task have them."""
        return not self._is_attached or self._writers.is_clear

    def end(self, done: Callback) -> None:
        """The try writes no more. `done` is called when all of it is in the file."""
        self._loop.unwatch(self.fd)
        if not self._is_attached and fcntl.ioctl(self.fd, termios.FIONREAD, _NOTHING) != _NOTHING:
            self._attach()
        if not self._is_attached or self.token is None:
            self._rest()
            done()
            return
        self._done = done
        self._writers.detach(self.token)
        self._grace = self._loop.after(DRAIN_GRACE_S, self.drained)

    def drained(self) -> None:
        """Everything is in the file, or the log writer has had its time."""
        done = self._done
        if self._grace is not None:
            self._grace.cancel()
        if self.token is not None:
            self._writers.forget(self.token)
        self._rest()
        if self._is_closing:
            self._close()
        if done is not None:
            done()

    def close_when_done(self) -> None:
        """The process is gone: the pipe is closed, after its last try's output is in the file."""
        self._is_closing = True
        if self._done is None:
            self._close()

    def _close(self) -> None:
        self._loop.unwatch(self.fd)
        os.close(self.fd)
        self.fd = -1

    def _rest(self) -> None:
        self.token, self._done, self._grace, self._is_attached = None, None, None, False
        self.secrets = []

    def _attach(self) -> None:
        self._is_attached = True
        self._writers.attach(self)

    def _readable(self) -> None:
        self._loop.unwatch(self.fd)
        if fcntl.ioctl(self.fd, termios.FIONREAD, _NOTHING) != _NOTHING:
            self._attach()


def safe_path(log: str) -> str:
    """The path below the log folder. Raises ValueError for one that leads out of it."""
    if not log or log[0] == "/" or ".." in log.split("/"):
        raise ValueError(f"log path {log!r}")
    return log
