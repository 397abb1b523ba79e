"""What a part counts while it works: plain numbers on one object, written to a small file every few seconds.

`dagd metrics` reads the files of the parts that live and adds what it finds in the database. Nothing here is locked: a
number that is read while it grows is a moment old.
"""

from __future__ import annotations

import json
import os
import time
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PREFIX, SUFFIX = "metrics-", ".json"
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Tries whose start nobody has told yet; more than that are those of a lost agent.
MOST_WAITING = 200_000


@dataclass(slots=True)
class Histogram:
    """How long something took, in seconds: how many up to each bound, and their sum."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total += seconds


@dataclass(slots=True)
class SchedulerMetrics:
    """A scheduler's counters since its process began."""

    turns: int = 0
    commits: int = 0
    events: int = 0
    statements: int = 0
    rebuilds: int = 0
    fences_lost: int = 0
    tries_enqueued: int = 0
    tries_started: int = 0
    tries_ended: dict[str, int] = field(default_factory=dict)
    turn_s: Histogram = field(default_factory=Histogram)
    launch_s: Histogram = field(default_factory=Histogram)
    _waiting: dict[str, int] = field(default_factory=dict)

    def turned(self, begun: float, inputs: Any, plan: Any, *, committed: bool) -> None:
        """A turn is over that began at `begun` (of time.perf_counter)."""
        self.turns += 1
        self.commits += committed
        self.events += len(inputs.started) + len(inputs.results) + len(inputs.commands)
        self.tries_enqueued += len(plan.enqueues)
        waiting = self._waiting
        for token, _pid, started_at, _agent in inputs.started:
            self._began(waiting.pop(token, None), started_at)
        for result in inputs.results:
            if waiting:
                self._began(waiting.pop(result["token"], None), result.get("started_at"))
        ended = self.tries_ended
        for end in (*plan.ends, *plan.instant_ends):
            ended[end.event] = ended.get(end.event, 0) + 1
        if len(waiting) > MOST_WAITING:
            waiting.clear()
        for launch in plan.launches:
            waiting[launch.token] = launch.now
        self.turn_s.add(time.perf_counter() - begun)

    def _began(self, launched_at: int | None, started_at: int | None) -> None:
        if launched_at is not None and started_at is not None:
            self.tries_started += 1
            self.launch_s.add(max(0, started_at - launched_at) / 1e6)


@dataclass(slots=True)
class ProcessorMetrics:
    """A processor's counters: how often it parsed, and how long each file took last."""

    parses: int = 0
    parse_errors: int = 0
    parse_s: dict[str, float] = field(default_factory=dict)


def write_metrics(run_folder: Path, part: str, metrics: SchedulerMetrics | ProcessorMetrics) -> None:
    """Leave the numbers for `dagd metrics`, whole or not at all."""
    path = run_folder / f"{PREFIX}{part}-{os.getpid()}{SUFFIX}"
    numbers = {name: value for name, value in asdict(metrics).items() if not name.startswith("_")}
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"part": part, "pid": os.getpid(), **numbers}))
    fresh.replace(path)


def remove_metrics(run_folder: Path, part: str) -> None:
    """This part ends."""
    (run_folder / f"{PREFIX}{part}-{os.getpid()}{SUFFIX}").unlink(missing_ok=True)


def read_metrics(run_folder: Path, part: str) -> Iterator[dict[str, Any]]:
    """The numbers of each living process of a part, by pid. What a dead one left is deleted."""
    for path in sorted(run_folder.glob(f"{PREFIX}{part}-*{SUFFIX}")):
        try:
            found = json.loads(path.read_text())
            os.kill(found["pid"], 0)
        except PermissionError:
            pass
        except (ProcessLookupError, ValueError, KeyError, TypeError):
            path.unlink(missing_ok=True)
            continue
        except FileNotFoundError:
            continue
        yield found
