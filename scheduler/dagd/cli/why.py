"""`dagd why`: why something runs, waits, or does not exist. `engine.explain` answers; this prints."""

from __future__ import annotations

import click

from dagd.agent import launch
from dagd.cli import refs
from dagd.cli.context import settings
from dagd.cli.opening import opened
from dagd.cli.output import Output, with_output
from dagd.engine.explain import why as explain
from dagd.engine.loader import Graphs


def worker_slots() -> int | None:
    """How many tries the agent of this home runs at once, or None when there is none that says so."""
    found = (launch.read_description(settings().home) or {}).get("slots")
    return found if isinstance(found, int) else None


@click.command()
@click.argument("place", metavar="DAG[/RUN[/TASK[/MAP]]]")
@with_output(watch=True)
def why(out: Output, place: str) -> None:
    """Why a run or a task runs, waits, or does not exist, and what must change."""
    ref = refs.parse(place)
    with opened() as database, database.read() as connection:
        dag = refs.find_dag(connection, ref.dag)
        if ref.run is not None:
            run = refs.find_run(connection, dag, ref.run)
            ref = refs.Ref(ref.dag, run.run_id, ref.task, ref.index)
        shown = explain(connection, Graphs(), str(ref), worker_slots())
    if out.is_machine:
        out.record(shown, name="subject")
        return
    out.line(f"{shown['subject']}: {out.state(shown['state'])}")
    for reason in shown["reasons"]:
        mark = out.state("error" if reason["blocking"] else "ok", short=True)
        out.line(out.fit(f"  {mark} {reason['message']}"))
    if shown.get("next"):
        told = shown["next"] if isinstance(shown["next"], str) else str(shown["next"])
        out.line(out.fit(f"  next: {told}"))
