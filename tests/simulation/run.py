"""Thousands of seeds, in pieces: python -m tests.simulation.run --seeds 0:10000 --resume FILE

Each seed replays exactly. A violation is printed with the command that tells its story again, with as few faults as
were found to be needed. `--resume FILE` keeps what has been told: the same command goes on where it stopped. In a
process of its own hashes are not random, so that no order of a set differs between two tellings.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections import Counter
from pathlib import Path

from tests.simulation.story import Told, tell

SHRINK_RUNS = 60


def main() -> int:
    """Tell the stories that were asked for; 1 when one of them has a violation."""
    asked = _arguments()
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, "-m", "tests.simulation.run", *sys.argv[1:]], {
            **os.environ, "PYTHONHASHSEED": "0"})  # fmt: skip
    logging.disable(logging.NOTSET if asked.verbose else logging.CRITICAL)
    first, _, last = asked.seeds.partition(":")
    seeds = range(int(first), int(last) if last else int(first) + 1)
    done = _read(asked.resume)
    muted = {int(number) for number in asked.mute.split(",") if number}
    began, bad, faults = time.monotonic(), len(done["bad"]), Counter(done["faults"])
    for seed in seeds:
        if seed in done["told"]:
            continue
        told = tell(seed, muted)
        done["told"].add(seed)
        faults.update(kind for _, kind in told.faults)
        if told.violations:
            bad += 1
            done["bad"].append(seed)
            report(told, muted, shrink=not asked.mute)
        if asked.resume is not None and (seed % 20 == 19 or seed == seeds[-1]):
            _write(asked.resume, done, faults)
        if asked.seconds and time.monotonic() - began > asked.seconds:
            break
    if asked.resume is not None:
        _write(asked.resume, done, faults)
    took = time.monotonic() - began
    print(f"{len(done['told'])} seeds told, {bad} with a violation, {sum(faults.values())} faults; {took:.0f} s")
    print("  ".join(f"{kind} {count}" for kind, count in sorted(faults.items())))
    return int(bad > 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.run", description=__doc__)
    parser.add_argument("--seeds", required=True, help="A:B, or one seed")
    parser.add_argument("--resume", type=Path, help="a file that remembers which seeds have been told")
    parser.add_argument("--seconds", type=float, default=0.0, help="stop after so long")
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


def _read(path: Path | None) -> dict[str, object] | dict:  # type: ignore[type-arg]
    if path is None or not path.exists():
        return {"told": set(), "bad": [], "faults": {}}
    found = json.loads(path.read_text())
    told = {seed for first, last in found["told"] for seed in range(first, last)}
    return {"told": told, "bad": found["bad"], "faults": found["faults"]}


def _write(path: Path, done: dict, faults: Counter[str]) -> None:  # type: ignore[type-arg]
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
