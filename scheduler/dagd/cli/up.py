"""`dagd up`: everything on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from dagd.cli.context import settings
from dagd.engine.up import run_up
from dagd.model.errors import UsageError


@click.command()
@click.option("--dags", "folder", type=click.Path(), help="Folder of the DAG files.")
@click.option("--workers", type=click.IntRange(min=1), help="How many tasks may run at once on this machine.")
@click.option("--port", type=click.IntRange(1, 65535), hidden=True)
def up(folder: str | None, workers: int | None, port: int | None) -> None:
    """Everything on this machine, with the database brought up to date. Ctrl-C stops it all."""
    known = settings(core__dags_folder=folder, agent__slots=workers)
    if folder is not None and not Path(folder).is_dir():
        raise UsageError(f"{folder!r} is no folder", remedy="`dagd init` makes one with a first DAG.")
    if port is not None:
        click.echo("this release has no web API yet: --port does nothing", err=True)
    run_up(known)
