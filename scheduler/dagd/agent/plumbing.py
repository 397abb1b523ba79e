"""What a process of tries is given: a private channel, and a pipe for its output."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dagd.agent.journal import Token
from dagd.agent.launch_frames import single_frame
from dagd.agent.logs import LogPipe, LogWriters
from dagd.agent.loop import Loop
from dagd.agent.stream import Stream
from dagd.agent.tries import Grade, Tries, Try
from dagd.model.frames import Frame

# Of a try's own channel. The scheduler's may carry many results in one frame.
MOST_FRAME = 64 * 1024 * 1024


@dataclass(slots=True)
class Pipes:
    """The agent's ends, and the descriptors for the process: channel and output."""

    channel: Stream
    output: LogPipe
    theirs: tuple[int, int]


@contextmanager
def open_pipes(
    loop: Loop, writers: LogWriters, on_frames: Callable[[list[Frame]], None], on_end: Callable[[str], None]
) -> Iterator[Pipes]:
    """Both, for the time in which the process is made; its own ends are closed here afterwards."""
    mine, other = socket.socketpair()
    read_end, write_end = os.pipe()
    try:
        output = LogPipe(loop, writers, read_end)
        yield Pipes(Stream(loop, mine, on_frames, on_end, limit=MOST_FRAME), output, (other.fileno(), write_end))
    finally:
        other.close()
        os.close(write_end)


class OneTry:
    """A process of its own for one try: made by a zygote's fork, or spawned."""

    def __init__(self, tries: Tries, loop: Loop, writers: LogWriters, attempt: Try) -> None:
        self._tries, self._loop, self._writers = tries, loop, writers
        self.attempt = attempt

    @property
    def token(self) -> Token:
        """Under which name its zygote knows it."""
        return self.attempt.token

    @property
    def is_alone(self) -> bool:
        """Its own word that it has no descendant left."""
        return self.attempt.is_alone

    @contextmanager
    def open(self, *first: bytes) -> Iterator[tuple[int, int]]:
        """Its pipes, with the frames `first` and its launch on the way."""
        attempt, tries = self.attempt, self._tries
        with open_pipes(
            self._loop, self._writers, lambda frames: tries.take(attempt, frames),
            lambda problem: tries.refuse(attempt, problem),
        ) as pipes:  # fmt: skip
            attempt.channel, attempt.output = pipes.channel, pipes.output
            pipes.output.begin(attempt.token, attempt.launch["log"], attempt.secrets)
            for frame in first:
                pipes.channel.send(frame)
            pipes.channel.send(single_frame(attempt))
            pipes.channel.flush()
            yield pipes.theirs

    def started(self, pid: int) -> None:
        """The process exists."""
        self._tries.started(self.attempt, pid)

    def gather(self) -> None:
        """Takes in what the dead process has sent last."""
        if self.attempt.channel is not None:
            self.attempt.channel.drain()

    def ended(self, status: int | None) -> None:
        """It and all below it are dead."""
        attempt = self.attempt
        if attempt.channel is not None:
            attempt.channel.drain()
            attempt.channel.close()
        output = attempt.output
        self._tries.ended(attempt, status)
        if output is not None:
            output.close_when_done()

    def refused(self, reason: str, error: dict[str, Any]) -> None:
        """It gets no process: the DAG file could not be loaded. What was wrong goes to its log, too."""
        attempt = self.attempt
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        os.write(write_end, str(error.get("traceback") or error["message"]).encode("utf-8", "replace")[-60_000:])
        os.close(write_end)
        attempt.output = LogPipe(self._loop, self._writers, read_end)
        attempt.output.begin(attempt.token, attempt.launch["log"], attempt.secrets)
        output = attempt.output
        self._tries.fail(attempt, reason, error)
        output.close_when_done()

    def respawn(self, spawn: Grade) -> None:
        """Its DAG file cannot be forked: it runs in an interpreter of its own."""
        self.attempt.grade = spawn
        spawn.start(self.attempt)
