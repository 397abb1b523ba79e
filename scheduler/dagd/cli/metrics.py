"""`dagd metrics`: counts in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from dagd.cli.context import settings
from dagd.cli.opening import opened
from dagd.cli.pools import pool_rows
from dagd.cli.status import read_health
from dagd.model.settings import Settings
from dagd.model.states import AttemptState, DeadlineState, RunState
from dagd.store import reads

Sample = tuple[dict[str, str], float]


@click.command()
def metrics() -> None:
    """Counts as Prometheus text."""
    known = settings()
    with opened(known) as database, database.read() as connection:
        families = list(_families(connection, known))
    for name, about, samples in families:
        click.echo(f"# HELP {name} {about}\n# TYPE {name} gauge")
        for labels, value in samples:
            inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            click.echo(f"{name}{{{inner}}} {value:g}" if inner else f"{name} {value:g}")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _families(connection: Any, known: Settings) -> Iterator[tuple[str, str, list[Sample]]]:
    health = read_health(connection, known)
    runs, tries = reads.run_counts(connection), reads.live_counts(connection)
    live = (AttemptState.QUEUED, AttemptState.RUNNING, AttemptState.DEFERRED)
    dags = reads.dag_rows(connection).values()
    yield "dagd_up", "1 when every part is alive", [({}, float(health["ok"]))]
    yield (
        "dagd_component_ok",
        "1 when a part was heard of in the last 10 s",
        [
            ({"name": part["name"], "host": part["host"] or "", "pid": str(part["pid"] or "")}, float(part["ok"]))
            for part in health["components"]
        ],
    )
    yield "dagd_scheduler_lag_seconds", "How late the scheduler takes what is due", [({}, health["lag_s"])]
    yield "dagd_runs", "Runs by state", [({"state": one.word}, runs.get(int(one), 0)) for one in RunState]
    yield (
        "dagd_tries",
        "Tries that have not ended, by state",
        [({"state": one.word}, tries.get(int(one), 0)) for one in live],
    )
    yield "dagd_dags", "DAGs", [({}, len(dags))]
    yield "dagd_dags_paused", "DAGs that are paused", [({}, sum(bool(dag.paused) for dag in dags))]
    yield "dagd_dags_held", "DAGs set aside with an error", [({}, sum(dag.held is not None for dag in dags))]
    yield "dagd_import_errors", "Files that cannot be imported", [({}, len(reads.import_errors(connection)))]
    missed = reads.deadlines(connection, state=int(DeadlineState.MISSED))
    yield "dagd_deadlines_missed", "Deadlines that passed", [({}, len(missed))]
    pools = pool_rows(connection)
    for key, about in (("slots", "Slots of a pool"), ("used", "Slots in use"), ("queued", "Instances that wait")):
        yield f"dagd_pool_{key}", about, [({"pool": pool["name"]}, pool[key]) for pool in pools]
