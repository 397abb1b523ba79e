"""python -m tests.mutants.run [NAME ...]: plants each defect and says which test found it; 1 when one survives.

`--part N` tries N of them, other ones each day (`--turn` says which; default: the day).
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from datetime import UTC, datetime

from tests.mutants.mutants import MUTANTS, Mutant
from tests.mutants.plugin import ROOT

FOUND = re.compile(r"^FAILED (\S+)", re.MULTILINE)
TESTS_FAILED = 1  # pytest's exit code; any other than that means that the tests did not judge


def try_mutant(mutant: Mutant) -> str | None:
    """The test that found the defect, or None when it survived. Raises RuntimeError when the tests could not run."""
    command = [
        sys.executable, "-m", "pytest", "-p", "tests.mutants.plugin", "-p", "no:cacheprovider", "-x", "-q", "--tb=no",
        *mutant.found_by,
    ]  # fmt: skip
    env = {**os.environ, "DAGD_TEST_MUTANT": mutant.name, "DAGD_TEST_SEEDS": str(mutant.seeds)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    names = FOUND.findall(done.stdout)
    if done.returncode != TESTS_FAILED or not names:
        raise RuntimeError(
            f"{mutant.name}: pytest left with {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-500:]}"
        )
    return str(names[0])


def part_of(count: int, turn: int) -> list[Mutant]:
    """So many of them, the next ones each turn."""
    start = turn * count % len(MUTANTS)
    return [*MUTANTS, *MUTANTS][start : start + count]


def today() -> int:
    """The number of this day."""
    return datetime.now(UTC).toordinal()


def main() -> int:
    """Try those that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.run", description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--part", type=int, default=0)
    parser.add_argument("--turn", type=int, default=today())
    asked = parser.parse_args()
    chosen = part_of(asked.part, asked.turn) if asked.part else [*MUTANTS]
    chosen = [mutant for mutant in chosen if not asked.names or mutant.name in asked.names]
    survived = []
    for mutant in chosen:
        began = time.monotonic()
        killer = try_mutant(mutant)
        took = time.monotonic() - began
        print(f"{'found   ' if killer else 'SURVIVED'}  {mutant.name:32} {took:5.1f} s  {killer or ''}", flush=True)
        if killer is None:
            survived.append(mutant.name)
    print(f"{len(chosen) - len(survived)} of {len(chosen)} found" + (f"; survived: {survived}" if survived else ""))
    return int(bool(survived))


if __name__ == "__main__":
    sys.exit(main())
