"""`dagd init`: a first DAG and a dagd.toml."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from dagd.model.errors import Refused, UsageError

DAG = '''"""A first DAG: two tasks, once a day. Change it while dagd runs: it is read again within two seconds."""

from dagd import DAG, task

# The schedule is a cron, a preset, a timedelta, an Asset (then it runs when that is updated), or None: by hand only.
with DAG("hello", schedule="@daily", default_args={"retries": 1}):

    @task
    def greet():
        print("hello from dagd")  # what a task prints is its log
        return "dagd"  # what it returns is kept, and handed to other tasks

    @task
    def count(name):
        print(name, "has", len(name), "letters")

    count(greet())  # runs nothing yet: it says that `count` needs what `greet` returns
'''
SETTINGS = """# This file makes the folder a dagd project: what dagd keeps for it stays in .dagd.
# A setting is looked up as: flag > DAGD_SECTION__KEY > this file > default. `dagd config show --origin` says which.

[core]
home = ".dagd"            # database, logs, sockets
dags_folder = "dags"      # Python files here become DAGs within two seconds
default_timezone = "UTC"  # zone of DAGs that name none

[database]
# Empty: SQLite in the home folder. For Postgres, and with it several schedulers:
# url = "postgresql://user@host/dagd"
"""


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=".")
def init(folder: Path) -> None:
    """A first DAG and a dagd.toml to start from, in FOLDER (here). Files that are there stay as they are."""
    wanted = {folder / "dags" / "hello.py": DAG, folder / "dagd.toml": SETTINGS}
    made = []
    try:
        for path, text in wanted.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(path):
                path.write_text(text, "utf-8")
                made.append(path)
    except FileExistsError as error:
        raise Refused(f"{error.filename} is in the way: it is no folder") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder} cannot be written: {error}") from error
    for path in wanted:
        click.echo(f"{'made' if path in made else 'kept'}  {path}")
    place = "" if folder == Path() else f"cd {shlex.quote(str(folder))} && "
    click.echo(f"\nNext:\n  {place}dagd up\n  dagd trigger hello --wait\n  dagd logs hello/latest/count")
