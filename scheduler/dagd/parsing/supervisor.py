"""Supervises parsing children: hands out files, reads reports and output, ends what overruns, blames the right file.

Runs in a process of its own that holds no DAG code and no secrets, and that is the subreaper of all that children
start. Its loop is single-threaded.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from dagd.model.errors import HostileFile
from dagd.model.frames import FrameBuffer, encode_frame
from dagd.parsing.child import LOST_SOCKET, run_child
from dagd.parsing.orphans import LIBC, children_of_this_process
from dagd.parsing.results import FileError, Limits, ParsedFile

# A child at one file for longer is slow; the second value holds while files hang. What follows in its batch goes to
# another child, which imports the same libraries again: not done lightly.
_SLOW_S, _SLOW_AMONG_HANGING_S = 1.0, 0.25
_MOST_LANES = 4
_MOST_CHILDREN = 96
_CROWD_NICE = 19
_ALIVE_S = 1.0
_KEPT_OUTPUT = 16 << 10
_PR_SET_PDEATHSIG = 1
Emit = Callable[[dict[str, Any]], None]


class Child:
    """One parsing process: its files, the one it is at, its pipes."""

    def __init__(self, paths: list[str], pid: int, reports: socket.socket, output: int) -> None:
        self.paths, self.pid, self.reports, self.output = paths, pid, reports, output
        self.pidfd = os.pidfd_open(pid)
        self.buffer = FrameBuffer()
        self.open_paths = deque(paths)
        self.current: str | None = None
        self.began_at = time.monotonic()
        self.output_bytes, self.kept = 0, bytearray()
        self.verdict: str | None = None
        self.is_slow = False

    @property
    def is_single(self) -> bool:
        """Whether this child was given one file only, so that its end can be blamed on that."""
        return len(self.paths) == 1


class Supervisor:
    """Runs up to `jobs` children at a time; those that are slow at one file do not count.

    The more of them hang, the more run beside them: among many files that never end, a good one still has its turn.
    """

    def __init__(self, job: dict[str, Any], emit: Emit, close_in_child: Callable[[], None]) -> None:
        self.job, self.limits = job, Limits(**job["limits"])
        self.emit, self.close_in_child = emit, close_in_child
        self.selector = selectors.DefaultSelector()
        self.batches: deque[list[str]] = deque()
        self.children: dict[int, Child] = {}
        self._asked: dict[int, tuple[Child, int]] = {}
        self._last_ask = 0
        self._told_at = 0.0

    # --- work ----------------------------------------------------------------------------------------------------

    def add(self, paths: list[str], *, singly: bool = False) -> None:
        """Files to be parsed. Few are spread over the children, many go in batches."""
        singly = singly or self.job["lint"]  # an import costs the first of several files alone
        size = 1 if singly else min(self.limits.files_per_child, max(1, len(paths) // max(1, self.job["jobs"])))
        for start in range(0, len(paths), size):
            self.batches.append(paths[start : start + size])

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to do."""
        return not self.batches and not self.children

    def turn(self) -> float:
        """Start children, end those that overrun; the seconds until something is due."""
        now = time.monotonic()
        pause, quick = 60.0, 0
        hanging = sum(child.is_slow for child in self.children.values())
        slow_s = _SLOW_AMONG_HANGING_S if hanging >= self.job["jobs"] else _SLOW_S
        for child in list(self.children.values()):
            age = now - child.began_at
            quick += age < slow_s
            if age >= slow_s and not child.is_slow:
                self._relieve(child, is_crowded=hanging >= self.job["jobs"])
            left = self.limits.wall_s + 1 - age
            if left <= 0 and child.verdict is None:
                self.end(child, f"importing the file takes longer than {self.limits.wall_s:g} s")
            pause = min(pause, max(left, 0.05), max(0.01, slow_s - age) if age < slow_s else _ALIVE_S)
        lanes = min(_MOST_LANES, self.job["jobs"] + hanging // 2)
        while self.batches and quick < lanes and len(self.children) < _MOST_CHILDREN:
            self.start(self.batches.popleft())
            quick += 1
        if self.children and now - self._told_at >= _ALIVE_S:
            self._told_at = now
            self.emit({"t": "alive"})
        return pause

    def excuse(self, seconds: float) -> None:
        """The loop was held up for so long (its parent took no frames): no file is to blame for that time."""
        for child in self.children.values():
            child.began_at += seconds

    def _relieve(self, child: Child, *, is_crowded: bool) -> None:
        """Give the files that wait behind a slow one to others; the child ends with the one that it is at. Where many
        hang, those that burn CPU must not starve the others, and the daemon."""
        if child.current is None:
            return
        child.is_slow = True
        if is_crowded:
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, child.pid, _CROWD_NICE)
        rest = [path for path in child.open_paths if path != child.current]
        if rest:
            child.paths, child.open_paths = [child.current], deque([child.current])
            self.batches.append(rest)

    def start(self, paths: list[str]) -> None:
        """Fork a child for these files."""
        ours, theirs = socket.socketpair()
        output, inner_output = os.pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                self._become_child(theirs.detach(), inner_output, parent)
                run_child(3, paths, self.job)
            finally:
                os._exit(LOST_SOCKET)
        theirs.close()
        os.close(inner_output)
        ours.setblocking(False)
        os.set_blocking(output, False)
        child = Child(paths, pid, ours, output)
        self.children[pid] = child
        self.selector.register(ours, selectors.EVENT_READ, (child, "reports"))
        self.selector.register(output, selectors.EVENT_READ, (child, "output"))
        self.selector.register(child.pidfd, selectors.EVENT_READ, (child, "end"))

    def _become_child(self, report: int, output: int, parent: int) -> None:
        """In the child: a session of its own, descriptors 0 to 3 and no others. It dies with its parent, and before
        anything else when memory runs out."""
        os.setsid()
        LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(LOST_SOCKET)
        with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("1000")
        self.close_in_child()
        report, output = os.dup2(report, 1000), os.dup2(output, 1001)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.dup2(report, 3)
        os.closerange(4, 4096)

    # --- what children say ---------------------------------------------------------------------------------------

    def on_event(self, child: Child, what: str) -> None:
        """Something of a child is ready."""
        if what == "output":
            self.read_output(child)
        elif what == "reports":
            self.read_reports(child)
        else:
            self.reap(child)

    def read_output(self, child: Child) -> None:
        """Take what the files print; beyond the limit the child is ended."""
        while True:
            try:
                chunk = os.read(child.output, 1 << 16)
            except BlockingIOError:
                return
            if not chunk:
                self._forget(child.output)
                return
            child.output_bytes += len(chunk)
            child.kept += chunk[: max(0, _KEPT_OUTPUT - len(child.kept))]
            if child.output_bytes > self.limits.output_mb << 20:
                self.end(child, f"the file writes more than {self.limits.output_mb} MiB of output")
                return

    def read_reports(self, child: Child) -> None:
        """Take frames: begin, parsed, variable."""
        while True:
            try:
                chunk = child.reports.recv(1 << 18)
            except BlockingIOError:
                return
            except OSError:
                chunk = b""
            if not chunk:
                self._forget(child.reports)
                return
            try:
                frames = child.buffer.feed(chunk)
            except ValueError:
                self.end(child, "the file wrote into the parser's own socket")
                return
            for frame in frames:
                self._on_report(child, frame)

    def _on_report(self, child: Child, frame: dict[str, Any]) -> None:
        if frame["t"] == "begin" and child.open_paths and frame["path"] == child.open_paths[0]:
            child.current, child.began_at, child.is_slow = frame["path"], time.monotonic(), False
            self.emit({"t": "begin", "path": child.current})
        elif frame["t"] == "parsed" and frame["file"]["path"] == child.current and child.verdict is None:
            if child.output in self.selector.get_map():
                self.read_output(child)
            frame["file"]["output"] = child.kept.decode("utf-8", "replace")
            child.output_bytes = 0
            child.kept.clear()
            self._done(child, frame["file"])
        elif frame["t"] == "variable":
            self._last_ask += 1
            self._asked[self._last_ask] = (child, frame["id"])
            self.emit({"t": "variable", "id": self._last_ask, "key": str(frame["key"])})

    def answer(self, frame: dict[str, Any]) -> None:
        """Hand a variable's value on to the child that asked."""
        child, number = self._asked.pop(frame["id"], (None, 0))
        if child is not None and child.pid in self.children:
            try:
                child.reports.setblocking(True)
                child.reports.sendall(encode_frame({"id": number, "value": frame.get("value")}))
            except OSError:
                return  # it ended meanwhile; its end is about to be seen
            finally:
                child.reports.setblocking(False)

    def _done(self, child: Child, parsed: dict[str, Any]) -> None:
        child.current = None
        if child.open_paths:
            child.open_paths.popleft()
        self.emit({"t": "parsed", "file": parsed})
        if not child.open_paths:
            self.end(child, "done")  # also when it was relieved of files that it still believes to be its own
            return
        with suppress(OSError):  # it ended meanwhile; its end is about to be seen
            child.reports.send(encode_frame({"id": 0}))

    # --- ends ----------------------------------------------------------------------------------------------------

    def end(self, child: Child, why: str) -> None:
        """Kill a child and all of its group; `why` is its file's error."""
        child.verdict = child.verdict or why
        for kill in (os.killpg, os.kill):
            with suppress(ProcessLookupError, PermissionError):
                kill(child.pid, signal.SIGKILL)

    def reap(self, child: Child) -> None:
        """A child ended: read the rest, blame its current file or give it another chance, give back the others."""
        if child.reports in self.selector.get_map():
            self.read_reports(child)
        _, status = os.waitpid(child.pid, 0)
        for thing in (child.reports, child.output, child.pidfd):
            self._forget(thing)
        child.reports.close()
        os.close(child.output)
        os.close(child.pidfd)
        del self.children[child.pid]
        self._kill_strays(child)
        rest = list(child.open_paths)
        if child.current is not None:
            rest = [path for path in rest if path != child.current]
            if child.verdict is None and not child.is_single:
                self.batches.appendleft([child.current])
            else:
                self._blame(child, status)
        if rest:
            self.add(rest, singly=len(rest) == len(child.paths))

    def _blame(self, child: Child, status: int) -> None:
        assert child.current is not None
        why = child.verdict or _how_it_ended(status)
        remedy = (
            "Move slow work into tasks." if "longer" in why else "A DAG file is imported: it must not end the process."
        )
        error = FileError(HostileFile.code, why, remedy=remedy)
        shown = os.path.relpath(child.current, self.job["folder"]).replace(os.sep, "/")
        output = child.kept.decode("utf-8", "replace")
        parsed = ParsedFile(child.current, shown, error=error, output=output, seconds=time.monotonic() - child.began_at)
        self.emit({"t": "parsed", "file": parsed.to_json()})

    def _kill_strays(self, child: Child) -> None:
        """Whatever a child started and left: its group, then what fell to us as the subreaper."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        for pid in children_of_this_process():
            if pid not in self.children:
                with suppress(ProcessLookupError, ChildProcessError):
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)

    def _forget(self, thing: Any) -> None:
        with suppress(KeyError, ValueError):
            self.selector.unregister(thing)

    def close(self) -> None:
        """End everything."""
        for child in list(self.children.values()):
            self.end(child, "stopped")
            self.reap(child)


def _how_it_ended(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGXCPU:
        return "importing the file takes too much CPU time"
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = str(-code)
        return f"importing the file ended the process with the signal {name}"
    if code == LOST_SOCKET:
        return "importing the file closed the parser's descriptors"
    return f"importing the file ended the process with exit code {code}"
