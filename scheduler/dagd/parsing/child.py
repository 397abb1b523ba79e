"""A parsing child: parses files one after the other under limits, and reports each over its own socket.

Its exit says nothing: what it did not report did not happen. It leaves as soon as a file has left something behind
(threads, processes) that the next one should not meet.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any

from dagd.model.frames import FrameBuffer, encode_frame
from dagd.parsing.parse import TimeUp, parse_file
from dagd.parsing.results import Limits
from dagd.runtime.importing import ImportAsker
from dagd.runtime.loading import threads_left
from dagd.runtime.pinned import drop_modules

LOST_SOCKET = 97
LEFT_BEHIND = 98
_LONGEST_REPORT = 128 << 20


class Report:
    """The child's end of its socket. A file may have closed it, and opened something else under its number."""

    def __init__(self, fd: int) -> None:
        self._fd, self._identity = fd, self._look(fd)
        self._buffer = FrameBuffer()
        self._asked = 0

    @staticmethod
    def _look(fd: int) -> tuple[int, int] | None:
        try:
            stat = os.fstat(fd)
        except OSError:
            return None
        return stat.st_dev, stat.st_ino

    def send(self, frame: dict[str, Any]) -> None:
        """Send one frame, or end this process when the socket is gone."""
        if self._look(self._fd) != self._identity:
            os._exit(LOST_SOCKET)
        view = memoryview(encode_frame(frame))
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            os._exit(LOST_SOCKET)

    def ask(self, key: str) -> str | None:
        """A variable of the deployment, for the file that is being imported."""
        self._asked += 1
        self.send({"t": "variable", "id": self._asked, "key": key})
        return self._receive(self._asked).get("value")

    def wait_for_next(self) -> None:
        """Wait until the supervisor has taken this file's output and wants the next file."""
        self._receive(0)

    def _receive(self, number: int) -> dict[str, Any]:
        while True:
            chunk = os.read(self._fd, 1 << 16)
            if not chunk:
                os._exit(LOST_SOCKET)
            for frame in self._buffer.feed(chunk):
                if frame.get("id") == number:
                    return frame


def run_child(fd: int, paths: Sequence[str], job: dict[str, Any]) -> None:
    """Parse `paths` and leave. Never returns."""
    report, limits = Report(fd), Limits(**job["limits"])
    _limit_memory(limits)
    keep = _Keep()
    for path in paths:
        report.send({"t": "begin", "path": path})
        with_clock = _Clock(limits)
        parsed = with_clock.run(
            lambda path=path: parse_file(  # type: ignore[misc]
                path,
                job["folder"],
                default_timezone=job["default_timezone"],
                lint=job["lint"],
                pools=job["pools"],
                asker=ImportAsker(report.ask),
            ).to_json()
        )
        keep.restore(job["folder"])
        report.send({"t": "parsed", "file": parsed})
        if threads_left() is not None or _has_children():
            os._exit(LEFT_BEHIND)
        report.wait_for_next()
    os._exit(0)


def _limit_memory(limits: Limits) -> None:
    """Address space: what there is now and the limit on top. A larger request is a MemoryError at its line."""
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[0])
    most = pages * resource.getpagesize() + (limits.memory_mb << 20)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _has_children() -> bool:
    try:
        pid, _ = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return pid >= 0


class _Clock:
    """Raises TimeUp in the file when its wall or CPU time is over; the supervisor ends what ignores that."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def run(self, parse: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu = used.ru_utime + used.ru_stime
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (int(cpu + self._limits.cpu_s) + 2, hard))
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        signal.signal(signal.SIGALRM, self._wall_over)
        signal.signal(signal.SIGPROF, self._cpu_over)
        signal.setitimer(signal.ITIMER_REAL, self._limits.wall_s)
        signal.setitimer(signal.ITIMER_PROF, self._limits.cpu_s)
        try:
            return parse()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.setitimer(signal.ITIMER_PROF, 0)

    def _wall_over(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        raise TimeUp(f"importing the file takes longer than {self._limits.wall_s:g} s")

    def _cpu_over(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        raise TimeUp(f"importing the file takes more than {self._limits.cpu_s:g} s of CPU time")


class _Keep:
    """What one file may change and the next one should find as it was."""

    def __init__(self) -> None:
        self._path, self._cwd, self._environment = list(sys.path), os.getcwd(), dict(os.environ)
        self._streams = sys.stdout, sys.stderr, sys.stdin
        self._umask = os.umask(0o077)
        os.umask(self._umask)

    def restore(self, folder: str) -> None:
        for stream in (sys.stdout, sys.stderr, *self._streams[:2]):
            with suppress(OSError, ValueError, AttributeError):  # the file may have closed or replaced it
                stream.flush()
        sys.stdout, sys.stderr, sys.stdin = self._streams
        sys.path[:] = self._path
        os.umask(self._umask)
        try:
            os.chdir(self._cwd)
        except OSError:
            os._exit(LEFT_BEHIND)
        if dict(os.environ) != self._environment:
            os.environ.clear()
            os.environ.update(self._environment)
        for name in [name for name in sys.modules if name.startswith("dagd_file_")]:
            del sys.modules[name]
        drop_modules([folder])
