"""What every peer's adapter uses. It runs in the peer's own environment: the standard library alone.

An adapter is `python x_peer.py FOLDER '{"shapes": [...], "repeat": 3, "database": null}'`; its last line is its answer.
A task writes one line when it runs, which costs a peer some ten microseconds.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE_S = 240.0


class Shape(NamedTuple):
    """`runs` runs of `tasks` tasks: one after the other ("chain"), or 1 -> tasks - 2 -> 1 ("fan")."""

    name: str
    kind: str
    runs: int
    tasks: int

    def edges(self) -> list[tuple[str, list[str]]]:
        """(task, its upstreams), upstreams first."""
        names = [f"t{number}" for number in range(self.tasks)]
        if self.kind == "chain":
            return [(names[0], []), *((after, [before]) for before, after in pairwise(names))]
        return [(names[0], []), *((name, names[:1]) for name in names[1:-1]), (names[-1], names[1:-1])]


class Order(NamedTuple):
    """What an adapter is asked."""

    folder: Path
    shapes: list[Shape]
    repeat: int
    database: str | None


def read_order() -> Order:
    """From the command line."""
    asked = json.loads(sys.argv[2])
    shapes = [Shape(**one) for one in asked["shapes"]]
    return Order(Path(sys.argv[1]), shapes, asked["repeat"], asked["database"])


def note(path: str) -> None:
    """What a task does: nothing, and one line about it."""
    started_at = time.time()
    writing = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(writing, f"{started_at} {time.time()}\n".encode())
    os.close(writing)


def spans(path: Path) -> list[tuple[float, float]]:
    """(start, end) of each task so far, by start."""
    if not path.exists():
        return []
    found = [line.split() for line in path.read_text().splitlines()]
    return sorted((float(start), float(end)) for start, end in found)


def measure(order: Order, log: Path, run: Callable[[Shape], Any], package: str, setting: str) -> None:
    """Each shape once uncounted, then `repeat` times; prints the answer. `run` may return before the runs are over."""
    answer: dict[str, Any] = {"version": importlib.metadata.version(package), "setting": setting, "shapes": {}}
    for shape in order.shapes:
        once(log, shape, run)
        found = [once(log, shape, run) for _ in range(order.repeat)]
        answer["shapes"][shape.name] = {key: statistics.median(one[key] for one in found) for key in found[0]}
        answer["shapes"][shape.name]["pss_mb"] = pss_mb()
        print(shape.name, answer["shapes"][shape.name], file=sys.stderr, flush=True)
    print(json.dumps(answer), flush=True)


def once(log: Path, shape: Shape, run: Callable[[Shape], Any]) -> dict[str, float]:
    """One measurement."""
    log.unlink(missing_ok=True)
    cpu, asked_at = cpu_s(), time.time()
    run(shape)
    wanted = shape.runs * shape.tasks
    until(lambda: len(spans(log)) >= wanted, f"{wanted} tasks of {shape.name}")
    cpu = cpu_s() - cpu
    done = spans(log)
    hops = [(after[0] - before[1]) * 1000 for before, after in pairwise(done)] if shape.kind == "chain" else [0.0]
    return {
        "tasks_per_s": wanted / (max(end for _, end in done) - asked_at),
        "start_ms": (done[0][0] - asked_at) * 1000,
        "hop_ms_p50": statistics.median(hops),
        "hop_ms_p99": sorted(hops)[int(len(hops) * 0.99)],
        "cpu_us": cpu * 1e6 / wanted,
    }


def until(fact: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait for it."""
    deadline = time.monotonic() + patience_s
    while not fact():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {patience_s:g} s")
        time.sleep(0.02)


def family() -> list[int]:
    """This process and all below it."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        parents.setdefault(parent, []).append(int(stat.parent.name))
    found = [os.getpid()]
    for pid in found:
        found += parents.get(pid, [])
    return found


def cpu_s() -> float:
    """CPU seconds of the family, with children that were reaped. A system's database server is not of the family."""
    total = 0
    for pid in family():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(int(fields[at]) for at in (11, 12, 13, 14))
    return total / TICKS


def pss_mb() -> float:
    """Memory of the family, shared pages counted once."""
    total = 0
    for pid in family():
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024
