"""`dagd dags test`, `dagd tasks test`: one process, no daemon, no database. `engine.local_test` runs; this prints."""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from typing import Any

import click

from dagd.cli.context import read_json, read_json_object, settings
from dagd.cli.output import Output, with_output
from dagd.cli.runs_shown import print_run
from dagd.cli.zones import read_logical_date, read_zone
from dagd.engine.local_start import run_place as run_locally
from dagd.model.errors import UsageError
from dagd.model.times import from_micros

Row = dict[str, Any]


@click.command()
@click.argument("dag", metavar="FILE|DAG")
@click.option("--date", help="The run's logical date (else now).")
@click.option("-c", "--conf", help="The run's conf: a JSON object.")
@click.option("--task", "selection", help="Only this task; +task, task+ with those above or below it.")
@click.option("--mock", "mocks", multiple=True, metavar="TASK=JSON", help="A task's value, instead of running it.")
@click.option("--pdb", "debug", is_flag=True, help="Open the debugger where a task fails.")
@with_output()
@click.pass_context
def test_dag(
    ctx: click.Context, out: Output, dag: str, date: str | None, conf: str | None, selection: str | None,
    mocks: tuple[str, ...], debug: bool,
) -> None:  # fmt: skip
    """Run a DAG in this process: no daemon, no database. What tasks print is on stderr; exit 1 when the run failed."""
    _run(ctx, out, dag, date, conf, selection, mocks, debug)


@click.command()
@click.argument("dag", metavar="FILE|DAG")
@click.argument("task")
@click.option("--date", help="The run's logical date (else now).")
@click.option("-c", "--conf", help="The run's conf: a JSON object.")
@click.option("--mock", "mocks", multiple=True, metavar="TASK=JSON", help="What a task above it would return.")
@click.option("--pdb", "debug", is_flag=True, help="Open the debugger where it fails.")
@with_output()
@click.pass_context
def test_task(
    ctx: click.Context, out: Output, dag: str, task: str, date: str | None, conf: str | None, mocks: tuple[str, ...],
    debug: bool,
) -> None:  # fmt: skip
    """Run one task in this process: no daemon, no database."""
    _run(ctx, out, dag, date, conf, task, mocks, debug)


def _run(
    ctx: click.Context, out: Output, dag: str, date: str | None, conf: str | None, selection: str | None,
    mocks: tuple[str, ...], debug: bool,
) -> None:  # fmt: skip
    known = settings()
    given = {} if conf is None else read_json_object(conf, "the conf")
    zone = read_zone(known["core.default_timezone"])
    at = None if date is None else from_micros(read_logical_date(date, zone))
    with nullcontext() if debug else redirect_stdout(sys.stderr):
        shown = run_locally(
            dag, date=at, conf=given, task_selection=selection, mocks=dict(read_mock(one) for one in mocks),
            settings=known, debug=debug,
        )  # fmt: skip
    print_run(out, shown)
    out.flush()
    if shown["state"] != "success":
        ctx.exit(1)


def read_mock(text: str) -> tuple[str, Any]:
    """One TASK=JSON. Raises UsageError."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--mock {text!r} is not TASK=JSON")
    return name, read_json(value, f"--mock {name}")
