"""The journal: which tokens were started, and the results that no scheduler has committed yet (the spool).

One append-only file of JSON lines, written once per turn of the loop and before anything that depends on it leaves:
`L tokens` before their processes exist, `S token pid start` when one does, `R result` before it is sent, and
`A tokens` when the scheduler has committed them. `I` names the incarnation that wrote what follows. There is no fsync:
the file survives the death of processes; the death of the machine ends the tries themselves.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAME = "agent.journal"
# Tokens whose result was committed are remembered to refuse a late second launch; the oldest are forgotten.
MOST_ENDED = 100_000
COMPACT_BYTES = 32 * 1024 * 1024

Token = str | int


@dataclass(slots=True)
class Contents:
    """What a journal says."""

    incarnations: list[str] = field(default_factory=list)
    open_tries: dict[Token, tuple[int, int]] = field(default_factory=dict)  # token: pid and start time, 0 unknown
    results: dict[Token, bytes] = field(default_factory=dict)
    ended: dict[Token, None] = field(default_factory=dict)

    def take(self, line: bytes) -> None:
        """Applies one line. Raises ValueError for a torn one."""
        kind, *rest = json.loads(line)
        if kind == "I":
            self.incarnations.append(rest[0])
        elif kind == "L":
            self.open_tries.update(dict.fromkeys(rest, (0, 0)))
        elif kind == "S":
            self.open_tries[rest[0]] = (rest[1], rest[2])
        elif kind == "R":
            token = rest[-1]["token"]
            self.open_tries.pop(token, None)
            self.results[token] = encode_result(rest[-1])
        elif kind == "A":
            for token in rest:
                self.results.pop(token, None)
                self.ended[token] = None


def encode_result(result: dict[str, Any]) -> bytes:
    """A result as it stands in the journal and in frames: one line of JSON."""
    return json.dumps(result, separators=(",", ":")).encode()


def read(path: Path) -> Contents:
    """What the file says; a torn last line, the mark of a killed writer, is left out."""
    contents = Contents()
    if path.exists():
        with open(path, "rb") as file:
            for line in file:
                try:
                    contents.take(line)
                except (ValueError, IndexError, TypeError):
                    continue
    return contents


class Journal:
    """The open journal of this incarnation. Its file is locked: whoever holds the lock is alive."""

    def __init__(self, path: Path, incarnation: str, past: Contents) -> None:
        """Writes a compact journal in place of the one that `past` was read from."""
        self.path = path
        self.incarnation = incarnation
        self.results = past.results
        self._open = dict(past.open_tries)
        self._ended = past.ended
        self._lines: list[bytes] = []
        self._launched: list[Token] = []
        self._pending = b""
        self._fd = -1
        self._compact()

    def knows(self, token: Token) -> bool:
        """Whether the token was ever started here, as far back as is remembered."""
        return token in self._open or token in self.results or token in self._ended

    def launched(self, token: Token) -> None:
        """A process will be started for this token, and never a second one."""
        self._open[token] = (0, 0)
        self._launched.append(token)

    def started(self, token: Token, pid: int, start: int) -> None:
        """Which process it became."""
        if token in self._open:
            self._open[token] = (pid, start)
            self._lines.append(_line("S", token, pid, start))

    def resulted(self, token: Token, result: dict[str, Any]) -> bytes:
        """Spools the result of a try. Returns it encoded."""
        encoded = encode_result(result)
        self._open.pop(token, None)
        self.inherited(token, encoded)
        return encoded

    def inherited(self, token: Token, encoded: bytes) -> None:
        """Spools the result of another agent's try."""
        self.results[token] = encoded
        self._lines.append(b'["R",' + encoded + b"]\n")

    def acked(self, tokens: Iterable[Token]) -> None:
        """The results are committed. A try may have ended without being launched: its launch may still come, from a
        scheduler that was slow, and must start nothing."""
        ended = [token for token in tokens if token in self.results or token not in self._ended]
        if ended:
            for token in ended:
                self.results.pop(token, None)
            self._ended.update(dict.fromkeys(ended))
            self._lines.append(_line("A", *ended))
            while len(self._ended) > MOST_ENDED:
                del self._ended[next(iter(self._ended))]

    def flush(self) -> bool:
        """Writes what this turn has to say. False while the disk refuses it: nothing that depends on it may leave."""
        if self._launched:
            self._lines.insert(0, _line("L", *self._launched))
            self._launched.clear()
        if self._lines:
            self._pending += b"".join(self._lines)
            self._lines.clear()
        if not self._pending:
            return True
        try:
            written = os.write(self._fd, self._pending)
        except OSError:
            return False
        self._size += written
        self._pending = self._pending[written:]
        if self._size > COMPACT_BYTES and self._size > 2 * self._compact_size and not self._pending:
            self._try_compact()
        return not self._pending

    def hold_place(self) -> None:
        """Writes the file anew when somebody deleted it: the next agent reads it by its name."""
        try:
            is_there = os.stat(self.path).st_ino == os.fstat(self._fd).st_ino
        except FileNotFoundError:
            is_there = False
        if not is_there:
            self._compact()

    def hand_over(self) -> None:
        """Leaves the usual name to a next agent: this one only ends what it has."""
        aside = self.path.with_name(f"draining.{self.incarnation}.journal")
        self.path.rename(aside)
        self.path = aside

    def remove_if_settled(self) -> None:
        """A handed over journal with nothing left in it is deleted."""
        if not self.results and not self._open and self.path.name != NAME:
            self.path.unlink(missing_ok=True)

    def _try_compact(self) -> None:
        try:
            self._compact()
        except OSError:
            self._compact_size = self._size  # no room now: not tried again until it has doubled

    def _compact(self) -> None:
        fresh = self.path.with_suffix(".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            size = _write_all(fd, self._snapshot())
            os.replace(fresh, self.path)
        except BaseException:
            os.close(fd)
            raise
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._size, self._compact_size = fd, size, size

    def _snapshot(self) -> Iterable[bytes]:
        yield _line("I", self.incarnation)
        ended = list(self._ended)
        for first in range(0, len(ended), 1000):
            yield _line("A", *ended[first : first + 1000])
        for token, (pid, start) in self._open.items():
            yield _line("S", token, pid, start)
        for encoded in self.results.values():
            yield b'["R",' + encoded + b"]\n"


def _line(*parts: Any) -> bytes:
    return json.dumps(parts, separators=(",", ":")).encode() + b"\n"


def _write_all(fd: int, lines: Iterable[bytes]) -> int:
    total = 0
    for line in lines:
        rest = memoryview(line)
        while rest:
            rest = rest[os.write(fd, rest) :]
        total += len(line)
    return total


def is_live(path: Path) -> bool:
    """Whether a living agent writes this journal."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
