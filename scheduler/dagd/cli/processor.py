"""`dagd processor`: the part that reads DAG files, alone."""

from __future__ import annotations

import click

from dagd.cli.context import settings
from dagd.engine.processing import run_processor
from dagd.observe.logs import log_to
from dagd.observe.talk import to_stdout


@click.command()
@click.option("--dags", "folder", type=click.Path(), help="Folder of the DAG files.")
def processor(folder: str | None) -> None:
    """The part that reads DAG files, alone."""
    known = settings(core__dags_folder=folder)
    log_to(None, form=known["log.format"])
    run_processor(known, talk=to_stdout())
