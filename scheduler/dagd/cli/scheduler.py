"""`dagd scheduler`: a scheduler alone."""

from __future__ import annotations

import click

from dagd.cli.context import settings
from dagd.engine.run import run_scheduler
from dagd.observe.logs import log_to
from dagd.observe.talk import to_stdout


@click.command()
@click.option("--workers", type=click.IntRange(min=1), help="How many tasks may run at once on this machine.")
def scheduler(workers: int | None) -> None:
    """A scheduler alone, with the agent of its home. Its tries go on when it is stopped."""
    log_to(None)
    run_scheduler(settings(agent__slots=workers), talk=to_stdout())
