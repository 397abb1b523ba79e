"""`dagd scheduler`: a scheduler alone."""

from __future__ import annotations

from typing import Any

import click

from dagd.cli.context import settings
from dagd.cli.serving import serve_metrics
from dagd.engine.run import run_scheduler
from dagd.observe.logs import log_to
from dagd.observe.systemd import Notify
from dagd.observe.talk import to_stdout


@click.command()
@click.option("--workers", type=click.IntRange(min=1), help="How many tasks may run at once on this machine.")
@click.option("--metrics-port", type=click.IntRange(1, 65535), help="Serve GET /metrics and /health there.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address for --metrics-port.")
def scheduler(workers: int | None, metrics_port: int | None, host: str) -> None:
    """A scheduler alone, with the agent of its home. Its tries go on when it is stopped."""
    known, notify = settings(agent__slots=workers), Notify()
    log_to(None, form=known["log.format"])
    if metrics_port is not None:
        serve_metrics(known, host, metrics_port)

    def ready(_facts: dict[str, Any]) -> None:
        notify.say("READY=1")

    run_scheduler(known, ready=ready, talk=to_stdout())
