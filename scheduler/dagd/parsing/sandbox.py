"""Parses DAG files in processes that may be lost: the daemon's own process never runs a line of them."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from types import TracebackType
from typing import Any

from dagd.model.errors import HostileFile
from dagd.model.frames import FrameBuffer, encode_frame
from dagd.model.settings import PRIVATE
from dagd.parsing.results import FileError, Limits, ParsedFile, Pools, parsed_from_json

_AT_ONCE = 32
Lookup = Callable[[str], str | None]
IDLE_S = 0.25
# The parsing process speaks every second while it has work. One that a file stopped (SIGSTOP) is lost like a dead one.
STALL_S = 8.0
_START = "import sys; sys.path[:] = {path!r}; from dagd.parsing.zygote import main; main({fd}, {user!r})"


class Sandbox:
    """A parsing process that stays until it is closed, of the user `run_as` when that is not empty. `variables` answers
    `Variable.get` in DAG files; `on_idle` is called again and again while files are waited for, and may `add` more."""

    def __init__(
        self, folder: str, limits: Limits | None = None, *, jobs: int = 2, default_timezone: str = "UTC",
        lint: bool = False, pools: Pools | None = None, variables: Lookup | None = None,
        on_idle: Callable[[], None] | None = None, run_as: str = "",
    ) -> None:  # fmt: skip
        self._on_idle, self._run_as = on_idle, run_as
        self.folder = os.path.abspath(folder)
        self.limits = limits or Limits()
        self._job: dict[str, Any] = {
            "t": "job", "folder": self.folder, "limits": asdict(self.limits), "jobs": jobs,
            "default_timezone": default_timezone, "lint": lint, "pools": pools,
        }  # fmt: skip
        self._variables = variables
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._buffer = FrameBuffer()
        self._waiting: dict[str, None] = {}
        self._begun: dict[str, None] = {}

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the parsing process and all that it started."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _start(self) -> socket.socket:
        if self._socket is not None:
            return self._socket
        ours, theirs = socket.socketpair()
        path = [entry for entry in sys.path if entry]
        code = _START.format(path=path, fd=theirs.fileno(), user=self._run_as)
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, env=clean_environment(), start_new_session=True,
        )  # fmt: skip
        theirs.close()
        self._buffer = FrameBuffer()
        ours.sendall(encode_frame(self._job))
        self._socket = ours
        return ours

    def parse(self, paths: Iterable[str]) -> Iterator[ParsedFile]:
        """Each file's DAGs or error, as they are ready, in no order. One result per path, whatever the files do."""
        self._waiting = dict.fromkeys(os.path.abspath(path) for path in paths)
        suspects: dict[str, None] = {}
        while self._waiting:
            self._begun.clear()
            try:
                self._send(list(self._waiting))
                yield from self._receive()
            except (OSError, EOFError):
                # A file reached out of its child and ended the parsing process. The others go on in a new one; those
                # that were being parsed are tried in one of their own each: then it is clear which it was.
                self._give_up()
                found = [path for path in self._begun if path in self._waiting] or list(self._waiting)
                for path in found:
                    suspects[path] = None
                    del self._waiting[path]
        yield from self._try_alone(list(suspects))

    def add(self, paths: Iterable[str]) -> None:
        """More files for the `parse` that is going on. For `on_idle`."""
        fresh = [path for path in map(os.path.abspath, paths) if path not in self._waiting]
        self._waiting.update(dict.fromkeys(fresh))
        self._send(fresh)

    def _give_up(self) -> None:
        """Kill the parsing process; what it forked dies with it."""
        if self._process is not None:
            self._process.kill()
        self.close()

    def _try_alone(self, suspects: list[str]) -> Iterator[ParsedFile]:
        for start in range(0, len(suspects), _AT_ONCE):
            some = suspects[start : start + _AT_ONCE]
            boxes = [
                Sandbox(
                    self.folder, self.limits, jobs=1, default_timezone=self._job["default_timezone"],
                    lint=self._job["lint"], pools=self._job["pools"], variables=self._variables,
                    run_as=self._run_as,
                )
                for _ in some
            ]  # fmt: skip
            try:
                for box, path in zip(boxes, some, strict=True):
                    box._waiting = {path: None}
                    box._send([path])
                for box, path in zip(boxes, some, strict=True):
                    try:
                        yield from box._receive()
                    except (OSError, EOFError):
                        box._give_up()
                        yield self._culprit(path)
            finally:
                for box in boxes:
                    box.close()

    def _send(self, batch: list[str]) -> None:
        self._start().sendall(encode_frame({"t": "files", "paths": batch}))

    def _receive(self) -> Iterator[ParsedFile]:
        connection = self._start()
        heard_at = idle_at = time.monotonic()
        while self._waiting:
            is_ready = bool(select.select([connection], [], [], IDLE_S)[0])
            now = time.monotonic()
            if self._on_idle is not None and now - idle_at >= IDLE_S:
                self._on_idle()
                idle_at = time.monotonic()
            if not is_ready:
                # Since it spoke last, less what was not waited for: the caller may have been at work for long.
                if now - heard_at > STALL_S:
                    raise EOFError("the parsing process has stopped")
                continue
            chunk = connection.recv(1 << 18)
            if not chunk:
                raise EOFError("the parsing process ended")
            for frame in self._buffer.feed(chunk):
                yield from self._take(connection, frame)
            heard_at = time.monotonic()

    def _take(self, connection: socket.socket, frame: dict[str, Any]) -> Iterator[ParsedFile]:
        if frame["t"] == "begin":
            self._begun[frame["path"]] = None
        elif frame["t"] == "variable":
            self._answer(connection, frame)
        elif frame["t"] == "parsed" and frame["file"]["path"] in self._waiting:
            del self._waiting[frame["file"]["path"]]
            self._begun.pop(frame["file"]["path"], None)
            yield parsed_from_json(frame["file"])

    def _answer(self, connection: socket.socket, frame: dict[str, Any]) -> None:
        value = self._variables(frame["key"]) if self._variables else None
        connection.sendall(encode_frame({"t": "reply", "id": frame["id"], "value": value}))

    def _culprit(self, path: str) -> ParsedFile:
        shown = os.path.relpath(path, self.folder).replace(os.sep, "/")
        error = FileError(HostileFile.code, "importing the file ended the parsing process itself")
        return ParsedFile(path, shown, error=error)


def clean_environment() -> dict[str, str]:
    """The environment without our own settings: no database URL and no key reaches a DAG file."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PRIVATE)}


def parse_many(
    paths: Iterable[str], folder: str, limits: Limits | None = None, jobs: int = 2, *, default_timezone: str = "UTC",
    lint: bool = False, pools: Pools | None = None, variables: Lookup | None = None,
) -> Iterator[ParsedFile]:  # fmt: skip
    """Parse files in a sandbox of their own, closed at the end."""
    with Sandbox(
        folder, limits, jobs=jobs, default_timezone=default_timezone, lint=lint, pools=pools, variables=variables
    ) as sandbox:
        yield from sandbox.parse(paths)
