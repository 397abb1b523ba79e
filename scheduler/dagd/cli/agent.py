"""`dagd agent`: the part that runs tasks, alone."""

from __future__ import annotations

import signal
import time

import click

from dagd.agent import launch
from dagd.cli.context import settings
from dagd.model.errors import AlreadyRunning

FOREVER_S = 1e9
DRAIN_S = 10.0
LOOK_S = 1.0


@click.command()
@click.option("--workers", type=click.IntRange(min=1), help="How many tasks may run at once on this machine.")
@click.option("--drain", "patience", type=click.FloatRange(min=0), default=DRAIN_S, show_default=True,
              help="At the end wait so many seconds for running tasks.")  # fmt: skip
def agent(workers: int | None, patience: float) -> None:
    """The part that runs tasks, alone. When it is told to end it takes no more tasks and waits for those that run."""
    known = settings(agent__slots=workers, agent__idle_exit_s=FOREVER_S)
    if launch.is_listening(known.home):
        raise AlreadyRunning(f"{known.home} has an agent already", remedy="Stop it first.")
    told: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda caught, _frame: told.append(caught))
    launch.ensure_agent(known, known["agent.slots"])
    click.echo(f"agent of {known.home} with {known['agent.slots']} workers", err=True)
    while not told and launch.is_listening(known.home):
        time.sleep(LOOK_S)
    if told and not launch.drain_agent(known.home, patience_s=patience):
        launch.stop_agent(known.home)
