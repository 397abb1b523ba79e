"""A warm worker process: one launch after the other on one channel, until something in the process has changed.

What a body leaves behind would reach the next one: threads, descriptors, children, folder, environment, memory. Each
result says under `drift` what differs, if anything; the agent then replaces the process.
"""

from __future__ import annotations

import os
import select
import socket
import time
from typing import NoReturn

from dagd.agent import child
from dagd.agent.kill import has_children
from dagd.agent.linux import MARK, Mark
from dagd.model.frames import Frame, FrameBuffer, encode_frame
from dagd.runtime.channel import Channel
from dagd.runtime.entry import LoadedDag, run_try

# The checks that read /proc cost 30 us: done after each try that took longer than this, and every so many.
LONG_S = 0.001
EVERY = 50
MOST_GROWTH_PAGES = 64 * 1024 * 1024 // 4096


class Baseline:
    """How the process was before its first try."""

    def __init__(self) -> None:
        self._folder = os.getcwd()
        self._environment = dict(os.environ)
        self._environment.pop(MARK, None)
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
        environment = dict(os.environ)
        environment.pop(MARK, None)
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
        return None


def serve(loaded: LoadedDag, channel_fd: int, mark: Mark, umask: int) -> NoReturn:
    """Runs launches until the agent closes the channel, or the process has drifted."""
    with socket.socket(fileno=channel_fd) as peer:
        peer.setblocking(True)
        channel, buffer = Channel(peer), FrameBuffer()
        baseline, poller = Baseline(), select.poll()
        poller.register(channel_fd, select.POLLIN)
        peer.sendall(encode_frame({"t": "ready"}))
        while True:
            for launch in _receive(peer, poller, buffer):
                mark.write(str(launch["token"]))
                os.umask(umask if launch.get("umask") is None else int(launch["umask"]))
                begun = time.monotonic()
                body = run_try(loaded, launch["payload"], channel)
                child.flush_output()
                drift = baseline.drift(time.monotonic() - begun)
                peer.sendall(encode_frame({**body, "t": "result", "drift": drift}))
                if drift is not None:
                    os._exit(0)


def _receive(peer: socket.socket, poller: select.poll, buffer: FrameBuffer) -> list[Frame]:
    # A process killed while it waits in recv may still take the launch out of the socket; one that waits in poll leaves
    # it there, and the agent sees that it was not begun.
    poller.poll()
    chunk = peer.recv(256 * 1024)
    if not chunk:
        os._exit(0)
    return buffer.feed(chunk)


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


def _files() -> int:
    return len(os.listdir("/proc/self/fd"))


def _pages() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1])
