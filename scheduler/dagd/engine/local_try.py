"""One try of a test run in a forked child: its output passes through, its requests are answered from memory."""

from __future__ import annotations

import os
import pdb
import select
import signal
import socket
import sys
import time
import warnings
from contextlib import nullcontext, redirect_stdout
from typing import Any, NoReturn, Protocol

from dagd.agent.kill import await_deaths, kill_tree, terminate_group
from dagd.agent.results import Ending, Kill, conclude
from dagd.model.errors import DagdError
from dagd.model.frames import Frame, FrameBuffer, encode_frame
from dagd.model.states import Reason
from dagd.runtime.channel import Channel
from dagd.runtime.entry import LoadedDag, run_try

CHUNK = 1 << 16


class Answers(Protocol):
    """Answers what a task asks for."""

    def request(self, kind: str, args: dict[str, Any]) -> Any:
        """The value. Raises DagdError."""


def run_here(loaded: LoadedDag, payload: Frame, answers: Answers, *, debug: bool) -> Frame:
    """The try in this very process: for the debugger, and where a fork is not safe. No timeout is enforced."""

    def look(error: BaseException) -> None:
        if debug and error.__traceback__ is not None:
            pdb.post_mortem(error.__traceback__)

    with nullcontext() if debug else redirect_stdout(sys.stderr):
        frame = run_try(loaded, payload, answers, on_error=look)
    return {**conclude(Ending(frame=frame)), "pid": os.getpid()}


def run_forked(
    loaded: LoadedDag, payload: Frame, answers: Answers, timeout_us: int | None, grace_us: int, why: str
) -> Frame:
    """The try in a child; the fields of its result. `why` is the reason of a try that ran out of `timeout_us`."""
    ours, theirs = socket.socketpair()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of a notebook or test runner
        pid = os.fork()
    if pid == 0:
        ours.close()
        _body(loaded, payload, theirs)
    theirs.close()
    try:
        with ours:
            frame, kill = _listen(ours, pid, answers, timeout_us, grace_us, why)
    except BaseException:  # Ctrl-C: the child has a session of its own
        _end_tree(pid)
        raise
    status = _end_tree(pid)
    return {**conclude(Ending(frame=frame, kill=kill, status=status)), "pid": pid}


def _body(loaded: LoadedDag, payload: Frame, channel: socket.socket) -> NoReturn:
    code = 70
    try:
        os.setsid()
        os.dup2(2, 1)  # data is on stdout, what tasks print on stderr
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        frame = run_try(loaded, payload, Channel(channel))
        channel.sendall(encode_frame({**frame, "t": "result"}))
        code = 0
    finally:
        os._exit(code)


def _listen(
    sock: socket.socket, pid: int, answers: Answers, timeout_us: int | None, grace_us: int, why: str
) -> tuple[Frame | None, Kill | None]:
    """The result frame, or why the child was killed, or neither when it went without a word."""
    buffer, kill = FrameBuffer(), None
    ends_at = None if timeout_us is None else time.monotonic() + timeout_us / 1e6
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    while True:
        left = None if ends_at is None else max(0.0, (ends_at - time.monotonic()) * 1000)
        if not poller.poll(left):
            if kill is not None:
                return None, kill
            kill = _kill_for(why, timeout_us or 0)
            terminate_group(pid)
            ends_at = time.monotonic() + grace_us / 1e6
            continue
        chunk = sock.recv(CHUNK)
        if not chunk:
            return None, kill
        for frame in buffer.feed(chunk):
            if frame["t"] == "result":
                return (None, kill) if kill is not None else (frame, None)
            sock.sendall(encode_frame(_reply(answers, frame)))


def _kill_for(why: str, timeout_us: int) -> Kill:
    if why != Reason.TIMEOUT:
        return Kill("cancel", why)
    return Kill("fail", why, f"the task ran longer than its execution_timeout of {timeout_us / 1e6:g} s")


def _reply(answers: Answers, frame: Frame) -> Frame:
    reply: Frame = {"t": "reply", "id": frame["id"], "ok": True}
    try:
        reply["value"] = answers.request(frame["kind"], frame["args"])
    except DagdError as error:
        reply.update(ok=False, error={"code": error.code, "what": error.what, "remedy": error.remedy})
    return reply


def _end_tree(pid: int) -> int | None:
    """Wait a moment for the child's own end, then kill what is left of its tree. Its wait status."""
    await_deaths([pid], time.monotonic() + 0.5, collect=False)
    tree = kill_tree(pid)
    await_deaths([one for one in tree if one != pid], time.monotonic() + 2, collect=False)
    try:
        return os.waitpid(pid, 0)[1]
    except ChildProcessError:
        return None
