"""`dagd logs`: what a task wrote."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import click

from dagd.cli import tasks_found
from dagd.cli.context import settings
from dagd.cli.opening import look, opened
from dagd.cli.text import escape_controls
from dagd.engine.launcher import log_path
from dagd.engine.loader import Graphs
from dagd.model.errors import NotFound, UsageError
from dagd.model.settings import Settings
from dagd.model.states import ACTIVE_BELOW, RunState
from dagd.store import reads_runs
from dagd.store.database import Database

CHUNK = 1 << 16
PAUSE_S = 0.1
LAST_LOOKS = 3
KEPT = "\n\t"


@click.command()
@click.argument("task")
@click.option("-f", "--follow", is_flag=True, help="Print what comes, until the try has ended.")
@click.option("--try", "try_no", type=click.IntRange(min=1), help="This try (else the last).")
@click.option("--all-tries", is_flag=True, help="Every try, one after the other.")
@click.option("--grep", help="Only lines in which this regular expression is found.")
def logs(task: str, follow: bool, try_no: int | None, all_tries: bool, grep: str | None) -> None:
    """What a task wrote. TASK is DAG/RUN/TASK, or DAG/RUN/TASK/MAP."""
    pattern = read_pattern(grep)
    if all_tries and (follow or try_no is not None):
        raise UsageError("--all-tries goes with neither --try nor --follow")
    known = settings()
    with opened(known) as database:
        found = _find(database, task, try_no, all_tries)
        while follow and not found and _may_come(database, task):
            time.sleep(PAUSE_S)
            found = _find(database, task, try_no, all_tries)
        if not found:
            raise NotFound(_nothing(task, try_no), remedy=f"`dagd why {task}` says why.")
        if follow:
            _follow(database, known, found[-1], pattern)
            return
    for row, path in _paths(known, found):
        if len(found) > 1:
            click.echo(f"--- try {row.try_no} ---", err=True)
        write(read_lines(path), pattern)


def read_pattern(text: str | None) -> re.Pattern[str] | None:
    """A regular expression. Raises UsageError."""
    try:
        return None if text is None else re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"--grep {text!r} is no regular expression: {error}") from error


def _find(database: Database, text: str, try_no: int | None, all_tries: bool) -> list[tuple[Any, Any]]:
    """The tries to print, with their DAG's row, in order."""
    with database.read() as connection:
        place = tasks_found.find_task(connection, Graphs(), text)
        index = tasks_found.one_index(connection, place, text)
        rows = reads_runs.tries_of(connection, place.run.id, place.task_no, index)
    if try_no is not None:
        rows = [row for row in rows if row.try_no == try_no]
    return [(row, place.dag) for row in (rows if all_tries else rows[-1:])]


def _nothing(text: str, try_no: int | None) -> str:
    return f"{text} has no try {try_no}" if try_no else f"{text} has no try yet, so it has written nothing"


def _may_come(database: Database, text: str) -> bool:
    """Whether a task without a try may still get one: its run has not ended."""
    _, _, run = look(database, lambda connection: tasks_found.find_run(connection, text))
    return RunState(run.state).is_active


def _paths(known: Settings, found: list[tuple[Any, Any]]) -> Iterator[tuple[Any, Path]]:
    for row, dag in found:
        yield row, known.log_folder / log_path(dag.id, row.run_id, row.task_no, row.map_index, row.try_no)


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a log, as text; none when nothing was written."""
    try:
        file = path.open("rb")
    except OSError:
        return
    with file:
        for line in file:
            yield line.decode("utf-8", "replace")


def write(lines: Iterator[str], pattern: re.Pattern[str] | None) -> None:
    """Print lines, control characters escaped."""
    last = "\n"
    for line in lines:
        if pattern is None or pattern.search(line.rstrip("\n")):
            last = clean(line)
            sys.stdout.write(last)
    if not last.endswith("\n"):
        sys.stdout.write("\n")
    sys.stdout.flush()


def clean(line: str) -> str:
    """A line that changes nothing on a terminal; a carriage return before the line's end is no control there."""
    return escape_controls(line.replace("\r\n", "\n"), keep=KEPT)


def _follow(database: Database, known: Settings, found: tuple[Any, Any], pattern: re.Pattern[str] | None) -> None:
    """Print a try's log as it grows, until the try has ended and all is read."""
    row, path = next(_paths(known, [found]))
    file: BinaryIO | None = None
    rest = b""
    looks = 0
    try:
        while looks < LAST_LOOKS:
            if not _is_live(database, row):
                looks += 1  # what the log writer still held may follow the end by a moment
            if file is None and path.exists():
                file = path.open("rb")
            rest = _pump(file, rest, pattern)
            time.sleep(PAUSE_S)
    finally:
        if file is not None:
            file.close()
    if rest:
        write(iter([rest.decode("utf-8", "replace")]), pattern)


def _pump(file: BinaryIO | None, rest: bytes, pattern: re.Pattern[str] | None) -> bytes:
    """Print the whole lines that have come; returns the beginning of the next."""
    while file is not None and (chunk := file.read(CHUNK)):
        *lines, rest = (rest + chunk).split(b"\n")
        write((line.decode("utf-8", "replace") + "\n" for line in lines), pattern)
    return rest


def _is_live(database: Database, row: Any) -> bool:
    key = (row.run_id, row.task_no, row.map_index, row.try_no)
    now = look(database, lambda connection: reads_runs.one_try(connection, *key))
    return now is not None and now.state < ACTIVE_BELOW
