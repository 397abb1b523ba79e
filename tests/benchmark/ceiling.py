"""A featureless durable loop: what this machine can do at most with two durable transitions a task.

SQLite with synchronous=FULL, one row a task (insert queued, update done), group commit, a pipe to two worker processes,
one task a message. No rules, no retries, no XCom, no logs, no agent. The project's figures are quoted as its ratio.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sqlite3
import statistics
import time
from pathlib import Path

WORKERS = 2
WINDOW = 32


def _work(peer: socket.socket) -> None:
    """A worker: reads one task, answers it, reads the next."""
    while message := peer.recv(65536):
        peer.send(message)
    os._exit(0)


def start_workers() -> list[socket.socket]:
    """Two forked workers, each behind a socket that keeps messages apart: a stream would hand out several at once."""
    peers = []
    for _ in range(WORKERS):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            ours.close()
            _work(theirs)
        theirs.close()
        peers.append(ours)
    return peers


def open_database(path: Path) -> sqlite3.Connection:
    """The same durability as dagd's default."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(
        "CREATE TABLE attempt (id INTEGER PRIMARY KEY, token TEXT UNIQUE, state INTEGER, started REAL, ended REAL)"
    )
    return connection


def run_graph(connection: sqlite3.Connection, peers: list[socket.socket], waves: list[list[int]]) -> dict[str, float]:
    """Run waves of tasks, each wave after the one before; returns tasks/s and the median hop in ms."""
    hops: list[float] = []
    started_at = time.perf_counter()
    total = sum(len(wave) for wave in waves)
    for wave in waves:
        waiting, flying, done = list(reversed(wave)), 0, 0
        finished: list[tuple[float, int]] = []
        wave_at = time.perf_counter()
        while done < len(wave):
            launch = [waiting.pop() for _ in range(min(len(waiting), WINDOW - flying))]
            connection.execute("BEGIN IMMEDIATE")
            if finished:
                connection.executemany("UPDATE attempt SET state = 10, ended = ? WHERE id = ? AND state = 1", finished)
            if launch:
                connection.executemany(
                    "INSERT INTO attempt VALUES (?, ?, 1, ?, NULL)", [(n, f"t{n}", time.time()) for n in launch]
                )
            connection.execute("COMMIT")
            done += len(finished)
            finished = []
            for at, number in enumerate(launch):
                peers[at % WORKERS].send(json.dumps({"task": number}).encode())
            flying += len(launch)
            if not flying:
                continue
            for peer in select.select(peers, [], [])[0]:
                finished += [(time.time(), json.loads(line)["task"]) for line in take_all(peer)]
            flying -= len(finished)
        hops.append((time.perf_counter() - wave_at) * 1000)
    took = time.perf_counter() - started_at
    return {"tasks_per_s": total / took, "hop_ms_p50": statistics.median(hops)}


def take_all(peer: socket.socket) -> list[bytes]:
    """The messages that are there, without waiting for more."""
    found = []
    while True:
        try:
            found.append(peer.recv(65536, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return found


def fan(width: int) -> list[list[int]]:
    """1 -> width -> 1."""
    return [[0], list(range(1, width + 1)), [width + 1]]


def chain(length: int) -> list[list[int]]:
    """One after the other."""
    return [[number] for number in range(length)]


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


def measure(folder: Path, waves: list[list[int]], name: str) -> dict[str, float]:
    """One shape on a fresh database."""
    connection = open_database(folder / f"ceiling-{name}.db")
    peers = start_workers()
    try:
        return run_graph(connection, peers, waves)
    finally:
        connection.close()
        for peer in peers:
            peer.close()
        for _ in peers:
            os.wait()
