"""`dagd metrics`: what the parts count and what the database holds, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from dagd.cli.context import settings
from dagd.cli.opening import opened
from dagd.cli.pools import pool_rows
from dagd.cli.status import read_health
from dagd.model.settings import Settings
from dagd.model.states import AttemptState, DeadlineState, RunState
from dagd.observe.metrics import BOUNDS_S, read_metrics
from dagd.store import outbox, reads

Sample = tuple[dict[str, str], float]
# Name in the part's file, name of the metric, what it means.
COUNTERS = (
    ("turns", "dagd_turns_total", "Turns taken"),
    ("commits", "dagd_commits_total", "Turns that committed something"),
    ("events", "dagd_turn_events_total", "Starts, results and commands taken in"),
    ("statements", "dagd_statements_total", "SQL statements sent; divided by turns: statements per turn"),
    ("rebuilds", "dagd_rebuilds_total", "How often memory was filled from the database"),
    ("fences_lost", "dagd_fences_lost_total", "How often a scheduler found that another had taken its place"),
    ("tries_enqueued", "dagd_tries_enqueued_total", "Tries made"),
    ("tries_started", "dagd_tries_started_total", "Tries whose process began"),
)
HISTOGRAMS = (
    ("turn_s", "dagd_turn_seconds", "How long a turn takes: decide, commit, act"),
    ("launch_s", "dagd_launch_seconds", "From a try's commit to its first line"),
)


@dataclass(frozen=True, slots=True)
class Family:
    """One metric with its samples, each under the name's suffix, if any (`_bucket`)."""

    name: str
    about: str
    samples: list[Sample]
    kind: str = "gauge"

    def lines(self) -> Iterator[str]:
        """Its text."""
        yield f"# HELP {self.name} {self.about}"
        yield f"# TYPE {self.name} {self.kind}"
        for labels, value in self.samples:
            suffix = labels.get("__suffix__", "")
            inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items() if key != "__suffix__")
            yield (
                f"{self.name}{suffix}{{{inner}}} {_number(value)}" if inner else f"{self.name}{suffix} {_number(value)}"
            )


@click.command()
def metrics() -> None:
    """Counters of the living parts, and counts of the database, as Prometheus text."""
    click.echo(exposition(settings()), nl=False)


def exposition(known: Settings) -> str:
    """All metrics of this home as text. Raises Unreachable."""
    with opened(known) as database, database.read() as connection:
        families = [*_of_database(connection, known), *_of_parts(known.run_folder)]
    return "".join(f"{line}\n" for family in families for line in family.lines())


def _number(value: float) -> str:
    """With every digit that matters: %g would round a counter after a million."""
    return str(int(value)) if value == int(value) else repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _of_database(connection: Any, known: Settings) -> Iterator[Family]:
    health = read_health(connection, known)
    runs, tries = reads.run_counts(connection), reads.live_counts(connection)
    live = (AttemptState.QUEUED, AttemptState.RUNNING, AttemptState.DEFERRED)
    dags = reads.dag_rows(connection).values()
    parts = [(_part_labels(part), part) for part in health["components"]]
    yield _one("dagd_up", "1 when every part is alive", health["ok"])
    ok = [(labels, float(part["ok"])) for labels, part in parts]
    yield Family("dagd_component_ok", "1 when a part was heard of in the last 10 s", ok)
    ages = [(labels, part["heartbeat_age_s"]) for labels, part in parts if part["heartbeat_age_s"] is not None]
    yield Family("dagd_component_heartbeat_age_seconds", "How long ago a part was heard of", ages)
    yield _one("dagd_scheduler_lag_seconds", "How late the scheduler takes what is due", health["lag_s"])
    yield Family("dagd_runs", "Runs by state", [({"state": one.word}, runs.get(int(one), 0)) for one in RunState])
    by_state: list[Sample] = [({"state": one.word}, tries.get(int(one), 0)) for one in live]
    yield Family("dagd_tries", "Tries that have not ended, by state", by_state)
    yield _one("dagd_dags", "DAGs", len(dags))
    yield _one("dagd_dags_paused", "DAGs that are paused", sum(bool(dag.paused) for dag in dags))
    yield _one("dagd_dags_held", "DAGs set aside with an error", sum(dag.held is not None for dag in dags))
    yield _one("dagd_import_errors", "Files that cannot be imported", len(reads.import_errors(connection)))
    missed = reads.deadlines(connection, state=int(DeadlineState.MISSED))
    yield _one("dagd_deadlines_missed", "Deadlines that passed", len(missed))
    pools = pool_rows(connection)
    for key, about in (("slots", "Slots of a pool"), ("used", "Slots in use"), ("queued", "Instances that wait")):
        yield Family(f"dagd_pool_{key}", about, [({"pool": pool["name"]}, pool[key]) for pool in pools])
    count, age_s = outbox.backlog(connection)
    yield _one("dagd_outbox_open", "Alerts and callbacks that are not delivered", count)
    yield _one("dagd_outbox_age_seconds", "Age of the oldest of them", age_s)


def _one(name: str, about: str, value: float) -> Family:
    return Family(name, about, [({}, float(value))])


def _part_labels(part: dict[str, Any]) -> dict[str, str]:
    return {"name": part["name"], "host": part["host"] or "", "pid": str(part["pid"] or "")}


def _of_parts(run_folder: Path) -> Iterator[Family]:
    schedulers = list(read_metrics(run_folder, "scheduler"))
    processors = list(read_metrics(run_folder, "processor"))
    for key, name, about in COUNTERS:
        samples: list[Sample] = [({"pid": str(one["pid"])}, one[key]) for one in schedulers]
        yield Family(name, about, samples, "counter")
    ended: list[Sample] = [
        ({"pid": str(one["pid"]), "event": event}, count)
        for one in schedulers
        for event, count in sorted(one["tries_ended"].items())
    ]
    yield Family("dagd_tries_ended_total", "Ends of tries, by the move", ended, "counter")
    for key, name, about in HISTOGRAMS:
        lines = [line for one in schedulers for line in _buckets(str(one["pid"]), one[key])]
        yield Family(name, about, lines, "histogram")
    for key, name in (("parses", "dagd_parses_total"), ("parse_errors", "dagd_parse_errors_total")):
        found: list[Sample] = [({"pid": str(one["pid"])}, one[key]) for one in processors]
        yield Family(name, "Files parsed" if key == "parses" else "Files that failed to parse", found, "counter")
    files = [({"file": file}, took) for one in processors for file, took in sorted(one["parse_s"].items())]
    yield Family("dagd_parse_seconds", "How long the last parse of a file took", files)


def _buckets(pid: str, histogram: dict[str, Any]) -> Iterator[Sample]:
    seen = 0
    for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), histogram["counts"], strict=True):
        seen += count
        yield {"pid": pid, "le": bound, "__suffix__": "_bucket"}, seen
    yield {"pid": pid, "__suffix__": "_sum"}, histogram["total"]
    yield {"pid": pid, "__suffix__": "_count"}, seen
