"""A featureless durable loop: what this machine can do at most with two durable transitions a task.

One row a task (insert queued, update done), group commit, a socket to each of two worker processes. No rules, no
retries, no XCom, no logs, no agent. SQLite with synchronous=FULL, or Postgres with synchronous_commit on. dagd's
figures are quoted as ratios to it, with the same hand-out: tasks in a message, messages on their way.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sqlite3
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

WORKERS = 2


class HandOut(NamedTuple):
    """How tasks reach the workers: tasks in a message, messages that a worker may have at once."""

    per_message: int
    ahead: int


ONE = HandOut(1, 1)  # a worker has one task, and asks for the next with its answer
AHEAD = HandOut(1, 16)  # one task a message, many messages on their way
SEVERAL = HandOut(32, 2)  # what dagd does with quick warm tries


class Log(Protocol):
    """The durable part: both transitions of many tasks in one transaction."""

    def commit(self, done: Sequence[tuple[float, int]], begun: Sequence[int]) -> None:
        """`done`: (instant, id); `begun`: ids."""

    def close(self) -> None:
        """Let it go."""


class SqliteLog:
    """The same durability as dagd's default."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute(
            "CREATE TABLE attempt (id INTEGER PRIMARY KEY, token TEXT UNIQUE, state INTEGER, started REAL, ended REAL)"
        )

    def commit(self, done: Sequence[tuple[float, int]], begun: Sequence[int]) -> None:
        """One transaction."""
        run = self._connection
        run.execute("BEGIN IMMEDIATE")
        if done:
            run.executemany("UPDATE attempt SET state = 10, ended = ? WHERE id = ? AND state = 1", done)
        if begun:
            rows = [(number, f"t{number}", time.time()) for number in begun]
            run.executemany("INSERT INTO attempt VALUES (?, ?, 1, ?, NULL)", rows)
        run.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


class PostgresLog:
    """Set-wise statements, one round trip each."""

    def __init__(self, url: str) -> None:
        import psycopg

        self._connection: Any = psycopg.connect(url, autocommit=True)
        self._connection.execute("DROP TABLE IF EXISTS ceiling")
        self._connection.execute(
            "CREATE TABLE ceiling"
            " (id BIGINT PRIMARY KEY, token TEXT UNIQUE, state SMALLINT, started FLOAT8, ended FLOAT8)"
        )

    def commit(self, done: Sequence[tuple[float, int]], begun: Sequence[int]) -> None:
        """One transaction."""
        run = self._connection
        with run.transaction():
            if done:
                run.execute(
                    "UPDATE ceiling SET state = 10, ended = d.at FROM unnest(%s::float8[], %s::bigint[]) AS d(at, id)"
                    " WHERE ceiling.id = d.id AND state = 1",
                    ([at for at, _ in done], [number for _, number in done]),
                )
            if begun:
                run.execute(
                    "INSERT INTO ceiling SELECT n, 't' || n, 1, %s, NULL FROM unnest(%s::bigint[]) AS n",
                    (time.time(), list(begun)),
                )

    def close(self) -> None:
        """Drop the table."""
        self._connection.execute("DROP TABLE ceiling")
        self._connection.close()


def _work(peer: socket.socket) -> None:
    """A worker: takes a message, answers each of its tasks."""
    while message := peer.recv(1 << 16):
        for number in json.loads(message)["tasks"]:
            peer.send(json.dumps({"task": number, "at": time.time()}).encode())
    os._exit(0)


def _fork_each(peer: socket.socket) -> None:
    """A worker that forks for each task, and answers when that has ended."""
    while message := peer.recv(1 << 16):
        for number in json.loads(message)["tasks"]:
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)
            peer.send(json.dumps({"task": number, "at": time.time()}).encode())
    os._exit(0)


def start_workers(work: Callable[[socket.socket], None]) -> list[socket.socket]:
    """Two forked workers, each behind a socket that keeps messages apart."""
    peers = []
    for _ in range(WORKERS):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            ours.close()
            work(theirs)
        theirs.close()
        peers.append(ours)
    return peers


class Loop:
    """Runs waves of tasks, each wave after the one before."""

    def __init__(self, log: Log, peers: list[socket.socket], hand_out: HandOut) -> None:
        self._log, self._peers, self._hand_out = log, peers, hand_out
        self._flying = dict.fromkeys(peers, 0)
        self.hops_ms: list[float] = []

    def run(self, waves: list[list[int]]) -> float:
        """Tasks per second; `hops_ms` has the time between two waves."""
        begun_at = time.perf_counter()
        ended_at = 0.0
        for wave in waves:
            if ended_at:
                self.hops_ms.append(0.0)
            ended_at = self._run_wave(wave, ended_at)
        return sum(map(len, waves)) / (time.perf_counter() - begun_at)

    def _run_wave(self, wave: list[int], before_at: float) -> float:
        waiting, left, ended_at = deque(wave), len(wave), before_at
        done: list[tuple[float, int]] = []
        while left or done:
            messages = self._fill(waiting)
            self._log.commit(done, [number for _, numbers in messages for number in numbers])
            left -= len(done)
            done = []
            for peer, numbers in messages:
                if before_at:
                    self.hops_ms[-1] = self.hops_ms[-1] or (time.time() - before_at) * 1000
                peer.send(json.dumps({"tasks": numbers}).encode())
            if any(self._flying.values()):
                for peer in select.select(self._peers, [], [])[0]:
                    done += self._take(peer)
            ended_at = done[-1][0] if done else ended_at
        return ended_at

    def _fill(self, waiting: deque[int]) -> list[tuple[socket.socket, list[int]]]:
        messages = []
        room = self._hand_out.per_message * self._hand_out.ahead
        fair = max(1, min(self._hand_out.per_message, -(-len(waiting) // len(self._peers))))
        for peer in sorted(self._peers, key=self._flying.__getitem__):
            while waiting and self._flying[peer] < room:
                numbers = [waiting.popleft() for _ in range(min(fair, room - self._flying[peer], len(waiting)))]
                self._flying[peer] += len(numbers)
                messages.append((peer, numbers))
        return messages

    def _take(self, peer: socket.socket) -> list[tuple[float, int]]:
        """The answers that are there, without waiting for more."""
        found = []
        while True:
            try:
                answer = json.loads(peer.recv(1 << 16, socket.MSG_DONTWAIT))
            except BlockingIOError:
                self._flying[peer] -= len(found)
                return found
            found.append((answer["at"], answer["task"]))


def fan(width: int) -> list[list[int]]:
    """1 -> width -> 1."""
    return [[0], list(range(1, width + 1)), [width + 1]]


def chain(length: int) -> list[list[int]]:
    """One after the other."""
    return [[number] for number in range(length)]


def many(runs: int, width: int) -> list[list[int]]:
    """Runs side by side, each 1 -> width -> 1."""
    inner = list(range(2 * runs, 2 * runs + runs * width))
    return [list(range(runs)), inner, list(range(runs, 2 * runs))]


def measure(
    folder: Path, waves: list[list[int]], hand_out: HandOut = SEVERAL, url: str | None = None, *, forks: bool = False
) -> dict[str, float]:
    """One shape on a fresh table: tasks/s, and the hop between two waves in ms."""
    path = folder / f"ceiling-{time.monotonic_ns()}.db"
    log: Log = PostgresLog(url) if url else SqliteLog(path)
    peers = start_workers(_fork_each if forks else _work)
    loop = Loop(log, peers, hand_out)
    try:
        rate = loop.run(waves)
    finally:
        log.close()
        for peer in peers:
            peer.close()
        for _ in peers:
            os.wait()
    hops = sorted(loop.hops_ms) or [0.0]
    return {"tasks_per_s": rate, "hop_ms_p50": statistics.median(hops), "hop_ms_p99": hops[int(len(hops) * 0.99)]}


def bare_forks_per_s(count: int = 300) -> float:
    """fork + wait of this interpreter, two in flight."""
    started_at = time.perf_counter()
    flying = 0
    for _ in range(count):
        if os.fork() == 0:
            os._exit(0)
        flying += 1
        if flying == WORKERS:
            os.wait()
            flying -= 1
    while flying:
        os.wait()
        flying -= 1
    return count / (time.perf_counter() - started_at)


def round_trips_per_s(count: int = 3000) -> float:
    """A byte to another process and back."""
    (peer, *others) = start_workers(_work)
    message = json.dumps({"tasks": [1]}).encode()
    started_at = time.perf_counter()
    for _ in range(count):
        peer.send(message)
        peer.recv(1 << 16)
    took = time.perf_counter() - started_at
    for one in (peer, *others):
        one.close()
    for _ in range(WORKERS):
        os.wait()
    return count / took


def commits_per_s(folder: Path, url: str | None = None, count: int = 300) -> float:
    """Transactions of one row each."""
    log: Log = PostgresLog(url) if url else SqliteLog(folder / f"commits-{time.monotonic_ns()}.db")
    try:
        started_at = time.perf_counter()
        for number in range(count):
            log.commit([], [number])
        return count / (time.perf_counter() - started_at)
    finally:
        log.close()
