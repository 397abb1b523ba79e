"""A warm worker process: launch after launch on one channel, until something in the process has changed.

What a body leaves behind would reach the next one: threads, descriptors, children, folder, environment, memory. Each
result says under `drift` what differs, if anything; the agent then replaces the process.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import termios
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, NoReturn

from dagd.agent import child
from dagd.agent.kill import has_children
from dagd.agent.linux import MARK, Mark
from dagd.model.frames import Frame, FrameBuffer, encode_frame
from dagd.runtime.channel import Channel
from dagd.runtime.entry import LoadedDag, run_try
from dagd.runtime.stopping import STOPPER

# The checks that read /proc cost 30 us: done after each try that took longer than this, and every so many.
LONG_S = 0.001
EVERY = 50
CHUNK = 64 * 1024
_MARK = MARK.encode()
_NOTHING = struct.pack("i", 0)
MOST_GROWTH_PAGES = 64 * 1024 * 1024 // 4096


class Baseline:
    """How the process was before its first try."""

    def __init__(self) -> None:
        self._folder = os.getcwd()
        self._environment = dict(_environment())
        self._threads, self._files, self._pages = _threads(), _files(), _pages()
        self._runs = 0

    def drift(self, elapsed_s: float) -> str | None:
        """What differs, in a word, or None."""
        self._runs += 1
        if has_children():
            return "children"
        try:
            if os.getcwd() != self._folder:
                return "folder"
        except OSError:
            return "folder"
        environment = _environment()
        self._environment[_MARK] = environment.get(_MARK, b"")
        if environment != self._environment:
            return "environment"
        if elapsed_s >= LONG_S or self._runs % EVERY == 0:
            return self._drift_of_proc()
        return None

    def _drift_of_proc(self) -> str | None:
        if _threads() != self._threads:
            return "threads"
        if _files() != self._files:
            return "files"
        if _pages() > self._pages + MOST_GROWTH_PAGES:
            return "memory"
        if STOPPER.is_replaced:
            return "signals"
        return None


class Worker:
    """Takes batches of launches from the agent and answers each try as soon as it has ended.

    A batch ends early, and what is left of it has not begun, after a try that printed something (its output must be in
    its own log before another writes to the same pipe), after one that left a drift, and when the agent recalls it.
    """

    def __init__(self, loaded: LoadedDag, peer: socket.socket, mark: Mark, umask: int) -> None:
        self._loaded, self._peer, self._mark, self._umask = loaded, peer, mark, umask
        self._channel = Channel(peer)
        self._buffer: FrameBuffer = getattr(self._channel, "buffer", None) or FrameBuffer()
        self._poller = select.poll()
        self._poller.register(peer, select.POLLIN)
        self._inbox: deque[Frame] = deque()
        self._output = os.dup(1)
        self._baseline = Baseline()

    def serve(self) -> NoReturn:
        """Until the agent closes the channel, or the process has drifted."""
        self._say({"t": "ready"})
        while True:
            while not self._inbox:
                self._listen(None)
            frame = self._inbox.popleft()
            if frame["t"] == "launch":
                self._run_batch(frame["batch"], frame["tries"], frame.get("shared") or ())

    def _listen(self, patience_ms: int | None) -> None:
        # A process killed while it waits in recv may still take the launch out of the socket; one that waits in poll
        # leaves it there, and the agent sees that it was not begun.
        if not self._poller.poll(patience_ms):
            return
        chunk = self._peer.recv(CHUNK)
        if not chunk:
            os._exit(0)
        self._inbox += self._buffer.feed(chunk)

    def _is_recalled(self) -> bool:
        self._inbox += getattr(self._channel, "strangers", ())
        if not self._inbox:
            self._listen(0)
        if not self._inbox or self._inbox[0]["t"] != "recall":
            return False
        self._inbox.popleft()
        return True

    def _run_batch(self, number: int, tries: list[Frame], shared: Sequence[Frame]) -> None:
        for at, launch in enumerate(tries):
            if at and self._is_recalled():
                self._say({"t": "recalled", "batch": number})
                return
            payload = launch["payload"]
            if launch.get("shared") is not None:
                payload = {**shared[launch["shared"]], **payload}
            if self._run(launch, payload):
                return

    def _run(self, launch: Frame, payload: dict[str, Any]) -> bool:
        """One try. Whether the batch ends with it."""
        self._mark.write(str(launch["token"]))
        os.umask(self._umask if launch.get("umask") is None else int(launch["umask"]))
        begun, begun_at = time.monotonic(), time.time_ns() // 1000
        body = run_try(self._loaded, payload, self._channel)
        child.flush_output()
        drift = self._baseline.drift(time.monotonic() - begun)
        frame: Frame = {name: value for name, value in body.items() if value or value is False or value == 0}
        frame["t"], frame["at"] = "result", (begun_at, time.time_ns() // 1000)
        if drift is not None:
            frame["drift"] = drift
            self._say(frame)
            os._exit(0)
        has_printed = fcntl.ioctl(self._output, termios.FIONREAD, _NOTHING) != _NOTHING
        if has_printed:
            frame["printed"] = True
        self._say(frame)
        return has_printed

    def _say(self, frame: Frame) -> None:
        self._peer.sendall(encode_frame(frame))


def serve(loaded: LoadedDag, channel_fd: int, mark: Mark, umask: int) -> NoReturn:
    """The life of a warm worker."""
    with socket.socket(fileno=channel_fd) as peer:
        peer.setblocking(True)
        STOPPER.stay()
        Worker(loaded, peer, mark, umask).serve()


def _environment() -> dict[bytes, bytes]:
    """The table behind os.environ, which decodes each entry anew when it is copied (30 us)."""
    found: dict[bytes, bytes] | None = getattr(os.environ, "_data", None)
    return dict(os.environb) if found is None else found


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


def _files() -> int:
    return len(os.listdir("/proc/self/fd"))


def _pages() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1])
