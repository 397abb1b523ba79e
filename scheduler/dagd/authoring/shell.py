"""Running a shell command as a child of the try: its output passed on, its last line kept, its group told to stop."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

from dagd.authoring.outcomes import CommandFailed

if TYPE_CHECKING:
    from subprocess import Popen

_CHUNK = 1 << 16
_LONGEST_LINE = 64 << 20


class _LastLine:
    """The last line of a stream, whatever its chunks are."""

    def __init__(self) -> None:
        self._tail = bytearray()

    def feed(self, chunk: bytes) -> None:
        self._tail += chunk
        if b"\n" in chunk:
            end = self._tail.rfind(b"\n")
            cut = self._tail.rfind(b"\n", 0, end) if end == len(self._tail) - 1 else end
            del self._tail[: cut + 1]
        elif len(self._tail) > _LONGEST_LINE:
            del self._tail[_LONGEST_LINE:]

    def text(self, encoding: str) -> str:
        line = self._tail.removesuffix(b"\n").rpartition(b"\n")[2]
        return line.decode(encoding, "backslashreplace").rstrip()


def run_command(
    argv: Sequence[str], *, env: Mapping[str, str], cwd: str | None, encoding: str = "utf-8"
) -> tuple[int, str]:
    """Run a command to its end; (return code, last line of stdout). A negative code is a signal.

    It has a process group of its own: a SIGTERM to this process goes on to that group, and its end is waited for.
    Raises CommandFailed when it was stopped in this way, OSError when it cannot be started.
    """
    import subprocess

    with subprocess.Popen(
        list(argv), env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, process_group=0
    ) as child:
        relay = _Relay(child.pid)
        with relay:
            last = _pass_on(child)
            code = child.wait()
        if child.stdout is not None:
            child.stdout.close()
    if relay.was_stopped:
        raise CommandFailed("the command was stopped (SIGTERM)", signal=signal.SIGTERM)
    return code, last.text(encoding)


class _Relay:
    """Hands SIGTERM on to the command's group while it runs."""

    def __init__(self, group: int) -> None:
        self.group, self.was_stopped = group, False
        self._before: Any = None

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.was_stopped = True
        try:
            os.killpg(self.group, number)
        except ProcessLookupError:
            self.group = 0  # it ended just now: its status is about to be read

    def __enter__(self) -> _Relay:
        try:
            self._before = signal.signal(signal.SIGTERM, self._stop)
        except ValueError:
            self._before = None  # not the main thread: signals cannot be taken here
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)


def _pass_on(child: Popen[bytes]) -> _LastLine:
    """Copy the command's stdout to ours until the command ends. What it left in the background does not hold us up."""
    import selectors

    assert child.stdout is not None
    source, last = child.stdout.fileno(), _LastLine()
    os.set_blocking(source, False)
    ended = os.pidfd_open(child.pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(source, selectors.EVENT_READ)
            selector.register(ended, selectors.EVENT_READ)
            is_running = True
            while is_running:
                ready = {key.fd for key, _ in selector.select()}
                is_running = ended not in ready
                if source in ready and not _drain(source, last, until_empty=not is_running):
                    selector.unregister(source)
            _drain(source, last, until_empty=True)
    finally:
        os.close(ended)
    return last


def _drain(source: int, last: _LastLine, *, until_empty: bool) -> bool:
    """Copy what is there. False at the end of the stream."""
    while True:
        try:
            chunk = os.read(source, _CHUNK)
        except BlockingIOError:
            return True
        if not chunk:
            return False
        last.feed(chunk)
        write_all(1, chunk)
        if not until_empty:
            return True


def write_all(fd: int, chunk: bytes) -> None:
    """Write all of `chunk`."""
    view = memoryview(chunk)
    while view:
        view = view[os.write(fd, view) :]
