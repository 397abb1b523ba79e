"""What a daemon may gather over time: descriptors, children, memory, WAL, files that nobody needs any more."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

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
    wal = home / "dagd.db-wal"
    temporary = [
        str(path.relative_to(home))
        for pattern in ("xcom/**/*.part", "xcom/**/*.tmp", "xcom/**/*.new", "run/*.new", "run/draining.*")
        for path in home.glob(pattern)
    ]
    size = wal.stat().st_size if wal.exists() else 0
    return Sample(count, descriptors, memory, size, tuple(temporary), tuple(sorted(names.items())))
