"""What a forked, warm or spawned process does with itself before the body of a try, and after it."""

from __future__ import annotations

import gc
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from dagd.agent.kill import has_children
from dagd.agent.linux import Mark, become_subreaper
from dagd.model.frames import Frame, FrameBuffer, encode_frame
from dagd.observe.private import show_again
from dagd.runtime.channel import Channel
from dagd.runtime.entry import LoadedDag, run_try

# A larger buffer would be a mapping of its own, with page faults of its own.
CHUNK = 32 * 1024
CPU_GRACE_S = 5
Limits = tuple[tuple[int, int], ...]  # (which, the most of it)


def prepare() -> None:
    """What a process does once for all that it forks: no input, no core files, default signals.

    Every line that a try runs itself costs it page faults, some microseconds each: what it can inherit is done here.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1):
        os.dup2(nothing, fd)
    os.close(nothing)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def read_limits(word: str) -> Limits:
    """The limits of one try, from a word of a command line: MB of memory, files, processes, CPU seconds; 0 is none."""
    memory_mb, files, processes, cpu_s = map(int, word.split(","))
    wanted = (
        (resource.RLIMIT_AS, memory_mb << 20), (resource.RLIMIT_NOFILE, files), (resource.RLIMIT_NPROC, processes),
        (resource.RLIMIT_CPU, cpu_s),
    )  # fmt: skip
    return tuple((which, most) for which, most in wanted if most)


def set_limits(limits: Limits) -> None:
    """Never more than this process may have. Of CPU time the signal comes first (SIGXCPU), the kill a little later."""
    for which, most in limits:
        _, hard = resource.getrlimit(which)
        ceiling = most + CPU_GRACE_S if which == resource.RLIMIT_CPU else most
        ceiling = ceiling if hard == resource.RLIM_INFINITY else min(ceiling, hard)
        resource.setrlimit(which, (min(most, ceiling), ceiling))


def enter(output: int, close: Sequence[int], limits: Limits) -> None:
    """A session of its own, `output` for everything it prints, and nothing of the process that forked it."""
    os.setsid()
    show_again()
    become_subreaper()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for fd in close:
        os.close(fd)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    set_limits(limits)
    gc.enable()


def read_frame(peer: socket.socket) -> Frame:
    """The next frame of a blocking socket. Ends the process when the agent is gone: nobody wants this try."""
    buffer = FrameBuffer()
    while True:
        chunk = peer.recv(CHUNK)
        if not chunk:
            os._exit(70)
        frames = buffer.feed(chunk)
        if frames:
            return frames[0]


def is_abandoned(peer: socket.socket) -> bool:
    """Whether the agent has died: what it sent before is still readable, and must not start a body any more."""
    poller = select.poll()
    poller.register(peer.fileno(), select.POLLIN)
    return any(events & (select.POLLHUP | select.POLLERR) for _fd, events in poller.poll(0))


def run_and_leave(loaded: LoadedDag, channel_fd: int, mark: Mark, umask: int) -> NoReturn:
    """Reads one launch, runs its body, sends its one result and ends the process, whatever threads are left."""
    with socket.socket(fileno=channel_fd) as peer:
        peer.setblocking(True)
        launch = read_frame(peer)
        if is_abandoned(peer):
            os._exit(70)
        mark.write(str(launch["token"]))
        os.umask(umask if launch.get("umask") is None else int(launch["umask"]))
        run_and_answer(loaded, launch, peer)
        os._exit(0)


def run_and_answer(loaded: LoadedDag, launch: Frame, peer: socket.socket) -> None:
    """The body of a launch, and its one result."""
    body = run_try(loaded, launch["payload"], Channel(peer))
    flush_output()
    peer.sendall(encode_frame(result_frame(body)))


def result_frame(body: dict[str, Any]) -> Frame:
    """The runtime's answer as a frame. `alone` spares the agent a search: this process has no child left."""
    return {**body, "t": "result", "alone": not has_children()}


def flush_output() -> None:
    """What the body printed leaves its buffers; a body that closed or replaced them has its own way."""
    for file in (sys.stdout, sys.stderr):
        try:
            file.flush()
        except (OSError, ValueError, AttributeError):
            continue
