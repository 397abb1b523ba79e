"""`make bench`: no-op Python tasks through the real daemon parts, beside the machine's own limits in the same run."""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from sqlalchemy import text

from dagd.store.database import Database
from tests.benchmark import ceiling, shapes
from tests.benchmark.daemon import Daemon
from tests.benchmark.shapes import Shape

FULL = {
    "fan": shapes.fan(1000), "chain": shapes.chain(200),
    "wide": shapes.fan(5000, "wide"), "long": shapes.chain(1000, "long"),
    "many": shapes.many(100, 20), "mapped": shapes.mapped(10_000), "light": shapes.fibonacci(40, 10, "light"),
    "heavy": shapes.fibonacci(10, 27, "heavy"), "consumers": shapes.consumers(100),
}  # fmt: skip
SHORT = ("fan", "chain")
FORKED = {"fan": shapes.fan(300), "chain": shapes.chain(50), "many": shapes.many(10, 20)}


def measure(grade: str, url: str | None, names: list[str], repeat: int, slots: int) -> dict[str, Any]:
    """Every shape, `repeat` times after a first that is not counted; the medians."""
    known = FULL if grade == "warm" else FORKED
    chosen = [known[name] for name in names if name in known]
    with tempfile.TemporaryDirectory() as name:
        daemon = Daemon(Path(name), url, slots, shapes.file_of(chosen, grade))
        try:
            found: dict[str, Any] = {}
            for shape in chosen:
                daemon.run(shape)
                runs = [daemon.run(shape) for _ in range(repeat)]
                found[shape.name] = {key: statistics.median(one[key] for one in runs) for key in runs[0]}
                found[shape.name]["pss_mb"] = daemon.pss_mb()
            return found
        finally:
            daemon.stop()


def measure_crons(count: int, after_s: int, slots: int) -> dict[str, Any]:
    """All DAGs due at one second, once."""
    shape = shapes.crons(count, after_s)
    with tempfile.TemporaryDirectory() as name:
        daemon = Daemon(Path(name), None, slots, shapes.file_of([shape], "warm"))
        try:
            return daemon.run(shape)
        finally:
            daemon.stop()


def limits(url: str | None, repeat: int) -> dict[str, Any]:
    """The floors, in the same sitting."""

    def rate(hand_out: ceiling.HandOut, waves: list[list[int]]) -> float:
        return statistics.median(
            ceiling.measure(folder, waves, hand_out, url)["tasks_per_s"] for _ in range(repeat)
        )  # fmt: skip

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chained = ceiling.measure(folder, ceiling.chain(300), ceiling.ONE, url)
        return {
            "fan_one_a_message": rate(ceiling.ONE, ceiling.fan(1000)),
            "fan_one_a_message_ahead": rate(ceiling.AHEAD, ceiling.fan(1000)),
            "fan_several_a_message": rate(ceiling.SEVERAL, ceiling.fan(1000)),
            "many_several_a_message": rate(ceiling.SEVERAL, ceiling.many(100, 18)),
            "chain_hop_ms_p50": chained["hop_ms_p50"],
            "chain_hop_ms_p99": chained["hop_ms_p99"],
            "fork_tasks_per_s": ceiling.measure(folder, ceiling.fan(300), ceiling.ONE, url, forks=True)["tasks_per_s"],
            "bare_forks_per_s": ceiling.bare_forks_per_s(),
            "round_trips_per_s": ceiling.round_trips_per_s(),
            "commits_per_s": ceiling.commits_per_s(folder, url),
        }


def ratios(warm: dict[str, Any], fork: dict[str, Any], floor: dict[str, Any]) -> dict[str, float]:
    """What the bars are about."""
    found: dict[str, float] = {}
    if "fan" in warm:
        for name in ("one_a_message", "one_a_message_ahead", "several_a_message"):
            found[f"warm fan / ceiling, {name}"] = warm["fan"]["tasks_per_s"] / floor[f"fan_{name}"]
    if "chain" in warm:
        found["warm hop p50 / ceiling"] = warm["chain"]["hop_ms_p50"] / floor["chain_hop_ms_p50"]
        found["warm hop p99 / ceiling"] = warm["chain"]["hop_ms_p99"] / floor["chain_hop_ms_p99"]
    if "many" in warm:
        found["warm many / ceiling"] = warm["many"]["tasks_per_s"] / floor["many_several_a_message"]
    if "wide" in warm:
        found["warm wide / ceiling"] = warm["wide"]["tasks_per_s"] / floor["fan_several_a_message"]
    if "fan" in fork:
        found["fork fan / bare fork+wait"] = fork["fan"]["tasks_per_s"] / floor["bare_forks_per_s"]
        found["fork fan / ceiling fork"] = fork["fan"]["tasks_per_s"] / floor["fork_tasks_per_s"]
    return found


def add_history(database: Database, tasks: int) -> None:
    """Finished runs of 1,000 tasks each, as if they had run long ago."""
    with database.write() as connection:
        dag = connection.execute(text("SELECT id, current_version FROM dag WHERE name = 'fan'")).one()
    for number in range(1, tasks // 1000 + 1):
        with database.write() as connection:
            connection.execute(
                text(
                    "INSERT INTO dag_run (id, dag_id, run_id, kind, state, version_id, due_at, conf, created_at,"
                    " started_at, ended_at) VALUES (:id, :dag, :name, 1, 10, :version, :id, '{}', 1, 1, 2)"
                ),
                {"id": number, "dag": dag.id, "name": f"old-{number}", "version": dag.current_version},
            )
            connection.execute(
                text(
                    "INSERT INTO attempt (run_id, task_no, map_index, try_no, token, leg, state, queued_at, started_at,"
                    " ended_at, charged) VALUES (:run, :task, -1, 1, :token, 1, 10, 1, 1, 2, 0)"
                ),
                [{"run": number, "task": task, "token": f"old-{number}-{task}"} for task in range(1, 1001)],
            )


def compare_history(tasks: int, repeat: int, url: str | None) -> dict[str, Any]:
    """Scheduler CPU per task of the warm fan, before and after a long history."""
    shape: Shape = FULL["fan"]
    with tempfile.TemporaryDirectory() as name:
        daemon = Daemon(Path(name), url, 32, shapes.file_of([shape], "warm"))
        try:
            medians = []
            for is_long in (False, True):
                if is_long:
                    add_history(daemon.database, tasks)
                daemon.run(shape)
                runs = [daemon.run(shape)["cpu_us_scheduler"] for _ in range(repeat)]
                medians.append(statistics.median(runs))
        finally:
            daemon.stop()
    return {"history": tasks, "cpu_us_before": medians[0], "cpu_us_after": medians[1], "ratio": medians[1] / medians[0]}


def idle(seconds: int) -> dict[str, float]:
    """CPU and memory of an installation that watches 200 files with nothing due."""
    with tempfile.TemporaryDirectory() as name:
        daemon = Daemon(Path(name), None, 32, shapes.file_of([], "warm"))
        try:
            for number in range(200):
                shape = shapes.chain(3, f"idle{number}")
                (daemon.folder / "dags" / f"idle{number}.py").write_text(shapes.file_of([shape], "fork"))
            daemon.await_dags(shape)
            time.sleep(5)  # the parser's children go home
            before, begun = sum(daemon.cpu().values()), time.monotonic()
            time.sleep(seconds)
            used = sum(daemon.cpu().values()) - before
            return {"cores": used / (time.monotonic() - begun), "pss_mb": daemon.pss_mb()}
        finally:
            daemon.stop()


def main() -> None:
    """Print figures and ratios as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--database", default=None, help="a Postgres URL; its tables are made and left")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--shapes", default=",".join(SHORT), help=f"of {', '.join(FULL)}; or all")
    parser.add_argument("--grades", default="warm,fork")
    parser.add_argument("--history", type=int, default=0, help="also compare with so many finished tasks")
    parser.add_argument("--crons", type=int, default=0, help="also so many DAGs that are due at one second")
    parser.add_argument("--idle", type=int, default=0, help="also so many seconds of watching 200 files")
    options = parser.parse_args()
    names = list(FULL) if options.shapes == "all" else options.shapes.split(",")
    figures = {
        grade: measure(grade, options.database, names, options.repeat, options.slots)
        for grade in options.grades.split(",")
    }
    plain = (options.database or "").replace("+psycopg", "") or None
    floor = limits(plain, options.repeat)
    answer: dict[str, Any] = {"figures": figures, "limits": floor}
    answer["ratios"] = ratios(figures.get("warm", {}), figures.get("fork", {}), floor)
    if options.history:
        answer["history"] = compare_history(options.history, options.repeat, options.database)
    if options.crons:
        answer["crons"] = measure_crons(options.crons, 30, options.slots)
    if options.idle:
        answer["idle"] = idle(options.idle)
    print(json.dumps(answer, indent=2))


if __name__ == "__main__":
    main()
