"""`make bench`: no-op Python tasks through the real daemon parts, beside the machine's own limits in the same run."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmark import floors, history, shapes
from tests.benchmark.daemon import Daemon
from tests.benchmark.floors import Figures
from tests.benchmark.servers import fresh
from tests.benchmark.shapes import Shape
from tests.postgres import conninfo

SHORT = ("fan", "chain")
LEAD_S = 30  # until many slots fall due: their DAGs must be known by then


def measure(grade: str, server: str | None, names: list[str], repeat: int, slots: int) -> Figures:
    """Every shape, `repeat` times after a first that is not counted; the medians."""
    known = shapes.catalog(grade)
    chosen = [known[name] for name in names if name in known]
    files = {shape.name: shapes.file_of(shape, grade) for shape in chosen}
    with tempfile.TemporaryDirectory() as folder, fresh(server) as url:
        daemon = Daemon(Path(folder), url, slots, files)
        try:
            return {shape.name: measure_shape(daemon, shape, repeat) for shape in chosen}
        finally:
            daemon.stop()


def measure_shape(daemon: Daemon, shape: Shape, repeat: int) -> dict[str, float]:
    """The medians of its figures; what the scheduler asked of the database, over all of the runs."""
    say(f"{shape.name}: {shape.tasks} tasks in {shape.runs} runs")
    daemon.run(shape)
    before = daemon.counters()
    runs = [daemon.run(shape) for _ in range(repeat)]
    after = daemon.counters()
    spent = {name: after[name] - before[name] for name in after}
    return {
        **{key: statistics.median(one.get(key, 0.0) for one in runs) for key in runs[-1]},
        "statements_a_task": spent["statements"] / (repeat * shape.tasks),
        "statements_a_turn": spent["statements"] / max(1, spent["turns"]),
        "commits_a_task": spent["commits"] / (repeat * shape.tasks),
        "pss_mb": daemon.pss_mb(),
    }


def measure_crons(grade: str, server: str | None, slots: int) -> dict[str, float]:
    """All DAGs due at one second, once."""
    count = shapes.SIZES[grade]["crons"]
    say(f"crons: {count} DAGs due at one second")
    shape = shapes.crons(count, LEAD_S)
    with tempfile.TemporaryDirectory() as folder, fresh(server) as url:
        daemon = Daemon(Path(folder), url, slots, {shape.name: shapes.file_of(shape, grade)})
        try:
            return daemon.run(shape) | {"pss_mb": daemon.pss_mb()}
        finally:
            daemon.stop()


def idle(seconds: int, files: int, slots: int) -> dict[str, float]:
    """CPU and memory of an installation that watches so many files with nothing due."""
    say(f"idle: {files} files, {seconds} s")
    with tempfile.TemporaryDirectory() as folder:
        watched = {f"idle{number}": shapes.chain(3, f"idle.{number}") for number in range(files)}
        bodies = {name: shapes.file_of(shape, "fork") for name, shape in watched.items()}
        daemon = Daemon(Path(folder), None, slots, bodies)
        try:
            daemon.await_dags(Shape("idle", "", 0, dags=files), 600.0)
            time.sleep(5)  # the parser's children go home
            before, begun = sum(daemon.cpu().values()), time.monotonic()
            time.sleep(seconds)
            used = sum(daemon.cpu().values()) - before
            return {"files": files, "cores": used / (time.monotonic() - begun), "pss_mb": daemon.pss_mb()}
        finally:
            daemon.stop()


def measure_database(server: str | None, options: argparse.Namespace, names: list[str]) -> dict[str, Any]:
    """All grades on one database, and its floors."""
    figures = {}
    for grade in options.grades.split(","):
        say(f"--- {grade}, {'sqlite' if server is None else 'postgres'}")
        figures[grade] = measure(grade, server, names, options.repeat, options.slots)
        if "crons" in names:
            figures[grade]["crons"] = measure_crons(grade, server, options.slots)
    say("--- floors")
    floor = floors.limits(None if server is None else conninfo(server), options.repeat)
    if "heavy" in names:
        floor["heavy_s"] = floors.compute_s(10, 33, options.repeat)
    found: dict[str, Any] = {"figures": figures, "limits": floor, "ratios": floors.ratios(figures, floor)}
    if options.history:
        say(f"--- {options.history} finished tasks, {options.dags} DAGs")
        found["history"] = history.compare(options.history, options.dags, options.repeat, server, options.slots)
    return found


def say(line: str) -> None:
    """Progress, beside the answer."""
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Print figures and ratios as JSON."""
    known = [*shapes.catalog("warm"), "crons"]
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    parser.add_argument(
        "--shapes", default=",".join(SHORT), help=f"of {', '.join(known)}; or all (default: %(default)s)"
    )
    parser.add_argument("--grades", default="warm,fork", help="of warm, fork, spawn")
    parser.add_argument(
        "--databases", default="sqlite", help="sqlite, and URLs of Postgres servers where databases may be made"
    )
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--history", type=int, default=0, help="also beside so many finished tasks")
    parser.add_argument("--dags", type=int, default=0, help="and so many DAGs in that database")
    parser.add_argument("--idle", type=int, default=0, help="also so many seconds of watching files")
    parser.add_argument("--files", type=int, default=200, help="so many of them")
    options = parser.parse_args()
    names = known if options.shapes == "all" else options.shapes.split(",")
    unknown = {*names} - {*known, ""}
    if unknown:
        parser.error(f"no such shapes: {', '.join(sorted(unknown))}")
    answer: dict[str, Any] = {}
    for database in options.databases.split(","):
        kind = "sqlite" if database == "sqlite" else "postgres"
        answer[kind] = measure_database(None if database == "sqlite" else database, options, names)
    if options.idle:
        answer["idle"] = idle(options.idle, options.files, options.slots)
    print(json.dumps(answer, indent=2))


if __name__ == "__main__":
    main()
