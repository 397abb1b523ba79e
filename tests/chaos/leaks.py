"""What a daemon may gather over time: descriptors, children, memory, WAL, files that nobody needs any more."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.chaos.world import World


@dataclass(frozen=True, slots=True)
class Sample:
    """All processes of a home at one moment."""

    processes: int
    descriptors: int
    pss_kb: int
    wal_bytes: int
    temporary: tuple[str, ...]
    names: tuple[tuple[str, int], ...]


def measure(world: World) -> Sample:
    """What there is now. The commands of an operator are not counted."""
    descriptors = memory = count = 0
    names: Counter[str] = Counter()
    for pid in world.home.pids():
        place = Path(f"/proc/{pid}")
        try:
            words = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            if "-m dagd " in words and not words.rstrip().endswith((" up", " scheduler")):
                continue
            held = len(os.listdir(place / "fd"))
            pss = next(line for line in (place / "smaps_rollup").read_text().splitlines() if line.startswith("Pss:"))
            names[(place / "comm").read_text().strip()] += 1
        except (OSError, StopIteration):
            continue
        count, descriptors, memory = count + 1, descriptors + held, memory + int(pss.split()[1])
    home = world.home.path
    temporary = [
        str(path.relative_to(home))
        for pattern in ("xcom/**/*.part", "xcom/**/*.tmp", "xcom/**/*.new", "run/*.new", "run/draining.*")
        for path in home.glob(pattern)
    ]
    try:
        size = (home / "dagd.db-wal").stat().st_size
    except FileNotFoundError:
        size = 0
    return Sample(count, descriptors, memory, size, tuple(temporary), tuple(sorted(names.items())))


class Sampler(threading.Thread):
    """Measures every few seconds while faults come and go."""

    def __init__(self, world: World, pause_s: float = 5.0) -> None:
        super().__init__(daemon=True)
        self._world, self._pause_s, self._is_over = world, pause_s, threading.Event()
        self.samples: list[tuple[float, Sample]] = []

    def run(self) -> None:
        """Until `finish`."""
        while not self._is_over.wait(self._pause_s):
            self.samples.append((time.monotonic(), measure(self._world)))

    def finish(self) -> None:
        """End, after the sample of the moment."""
        self._is_over.set()
        self.join(30)

    def drift(self) -> dict[str, tuple[float, float]]:
        """The medians of the first and of the last third, by what was measured."""
        third = len(self.samples) // 3
        parts = [[sample for _, sample in part] for part in (self.samples[:third], self.samples[-third:])]
        names = ("processes", "descriptors", "pss_kb", "wal_bytes")
        return {
            name: (median(getattr(one, name) for one in parts[0]), median(getattr(one, name) for one in parts[1]))
            for name in names
        }
