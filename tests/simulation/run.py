"""Thousands of seeds, in pieces: python -m tests.simulation.run --seeds 0:10000 --resume FILE

Each seed replays exactly. A violation is printed with the command that tells its story again, with as few faults as
were found to be needed. `--resume FILE` keeps what has been told: the same command goes on where it stopped. In a
process of its own hashes are not random, so that no order of a set differs between two tellings.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from tests.simulation.story import Told, tell

SHRINK_RUNS = 60
PIECE = 20  # so many seeds a process between two notes of what has been told


def main() -> int:
    """Tell the stories that were asked for; 1 when one of them has a violation."""
    asked = _arguments()
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, "-m", "tests.simulation.run", *sys.argv[1:]], {
            **os.environ, "PYTHONHASHSEED": "0"})  # fmt: skip
    level = logging.NOTSET if asked.verbose else logging.CRITICAL
    logging.disable(level)
    first, _, last = asked.seeds.partition(":")
    seeds = range(int(first), int(last) if last else int(first) + 1)
    done = _read(asked.resume)
    muted = {int(number) for number in asked.mute.split(",") if number}
    began, faults = time.monotonic(), Counter(done["faults"])
    left = [seed for seed in seeds if seed not in done["told"]]
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(asked.jobs, fresh, initializer=logging.disable, initargs=(level,)) as pool:
        for start in range(0, len(left), PIECE * asked.jobs):
            piece = left[start : start + PIECE * asked.jobs]
            for told in pool.map(partial(tell, muted=muted), piece):
                done["told"].add(told.seed)
                faults.update(kind for _, kind in told.faults)
                if told.violations:
                    done["bad"].append(told.seed)
                    report(told, muted, shrink=not asked.mute)
            if asked.resume is not None:
                _write(asked.resume, done, faults)
            if asked.seconds and time.monotonic() - began > asked.seconds:
                break
    took = time.monotonic() - began
    bad, told = len(done["bad"]), len(done["told"])
    print(f"{told} seeds told, {bad} with a violation, {sum(faults.values())} faults; {took:.0f} s for {len(left)}")
    print("  ".join(f"{kind} {count}" for kind, count in sorted(faults.items())))
    return int(bool(bad))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.run", description=__doc__)
    parser.add_argument("--seeds", required=True, help="A:B, or one seed")
    parser.add_argument("--resume", type=Path, help="a file that remembers which seeds have been told")
    parser.add_argument("--seconds", type=float, default=0.0, help="stop after so long")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes tell them")
    parser.add_argument("--mute", default="", help="numbers of faults to leave out, as a shrunk replay says")
    parser.add_argument("--verbose", action="store_true", help="with the log of the schedulers")
    return parser.parse_args()


def report(told: Told, muted: set[int], *, shrink: bool = True) -> None:
    """What is wrong, and how to see it again."""
    print(f"seed {told.seed}: {len(told.violations)} violations")
    for violation in told.violations[:5]:
        print(f"  {violation}")
    needed = [number for number, _ in told.faults if number not in muted]
    if shrink:
        needed, muted = shrunk(told)
    kinds = dict(told.faults)
    print(f"  faults: {', '.join(f'{number} {kinds.get(number)}' for number in needed) or 'none'}")
    mute = f" --mute {','.join(map(str, sorted(muted)))}" if muted else ""
    print(f"  replay: python -m tests.simulation.run --seeds {told.seed}{mute}", flush=True)


def shrunk(told: Told) -> tuple[list[int], set[int]]:
    """Leave out faults, half of them at a time, then fewer, while the same invariant breaks. Returns those that are
    needed, and those to be muted."""
    wanted = {violation.invariant for violation in told.violations}
    muted: set[int] = set()
    needed = [number for number, _ in told.faults]
    step, runs = max(1, len(needed) // 2), 0
    while step and runs < SHRINK_RUNS:
        at = 0
        while at < len(needed) and runs < SHRINK_RUNS:
            trial = muted | set(needed[at : at + step])
            runs += 1
            again = tell(told.seed, trial)
            if wanted & {violation.invariant for violation in again.violations}:
                muted = trial
                needed = [number for number, _ in again.faults if number not in muted]
            else:
                at += step
        step //= 2
    return needed, muted


def _read(path: Path | None) -> dict[str, Any]:
    """What has been told; a seed that had a violation is told again."""
    if path is None or not path.exists():
        return {"told": set(), "bad": [], "faults": {}}
    found = json.loads(path.read_text())
    told = {seed for first, last in found["told"] for seed in range(first, last)}
    return {"told": told - set(found["bad"]), "bad": [], "faults": found["faults"]}


def _write(path: Path, done: dict[str, Any], faults: Counter[str]) -> None:
    ranges: list[list[int]] = []
    for seed in sorted(done["told"]):
        if ranges and ranges[-1][1] == seed:
            ranges[-1][1] += 1
        else:
            ranges.append([seed, seed + 1])
    text = json.dumps({"told": ranges, "bad": done["bad"], "faults": dict(faults)})
    fresh = path.with_suffix(".new")
    fresh.write_text(text + "\n")
    fresh.replace(path)


if __name__ == "__main__":
    sys.exit(main())
