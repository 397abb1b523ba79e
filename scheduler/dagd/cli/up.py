"""`dagd up`: everything on this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from dagd.cli.context import settings
from dagd.engine.up import environment, run_up
from dagd.model.errors import Refused, UsageError
from dagd.model.settings import Settings


@click.command()
@click.option("--dags", "folder", type=click.Path(), help="Folder of the DAG files.")
@click.option("--workers", type=click.IntRange(min=1), help="How many tasks may run at once on this machine.")
@click.option("--port", type=click.IntRange(1, 65535), help="Serve GET /metrics and /health there.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address for --port.")
def up(folder: str | None, workers: int | None, port: int | None, host: str) -> None:
    """Everything on this machine, with the database brought up to date. Ctrl-C stops it all."""
    known = settings(core__dags_folder=folder, agent__slots=workers)
    if folder is not None and not Path(folder).is_dir():
        raise UsageError(f"{folder!r} is no folder", remedy="`dagd init` makes one with a first DAG.")
    if port is not None:
        start_server(known, host, port)
    run_up(known)


def start_server(known: Settings, host: str, port: int) -> None:
    """A process that serves metrics for as long as this one lives. Raises Refused when it cannot."""
    command = [sys.executable, "-P", "-m", "dagd.cli.serving", host, str(port)]
    server = subprocess.Popen(command, env=environment(known), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if server.stdout is None or not server.stdout.readline():
        raise Refused(f"metrics cannot be served on {host}:{port}", remedy="Choose another port.")
