"""From what went wrong to a sentence on stderr and an exit code."""

from __future__ import annotations

import os
import traceback

import click

from dagd.cli.text import escape_controls
from dagd.model import errors

FAILED, USAGE, NOT_FOUND, REFUSED, UNREACHABLE, TIMED_OUT = 1, 2, 3, 4, 5, 6
# The first class that fits decides.
CODES: tuple[tuple[type[errors.DagdError], int], ...] = (
    (errors.UsageError, USAGE),
    (errors.InvalidSettings, USAGE),
    (errors.InvalidSchedule, USAGE),
    (errors.InvalidId, USAGE),
    (errors.NotFound, NOT_FOUND),
    (errors.Refused, REFUSED),
    (errors.InvalidParams, REFUSED),
    (errors.AlreadyRunning, REFUSED),
    (errors.Unreachable, UNREACHABLE),
    (errors.SchemaMismatch, UNREACHABLE),
    (errors.TimedOut, TIMED_OUT),
)


def exit_code(error: Exception) -> int:
    """The exit code of an error."""
    return next((code for cls, code in CODES if isinstance(error, cls)), FAILED)


def tell(error: Exception) -> int:
    """Say on stderr what went wrong; returns the exit code."""
    if os.environ.get("DAGD_TEST_TRACEBACK"):
        traceback.print_exception(error)
    if isinstance(error, errors.DagdError):
        click.echo(escape_controls(f"dagd: {error}", keep="\n"), err=True)
    else:
        place = traceback.extract_tb(error.__traceback__)[-1] if error.__traceback__ else None
        where = f" ({os.path.basename(place.filename)}:{place.lineno})" if place else ""
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        click.echo(escape_controls(f"dagd: {what}{where}", keep="\n"), err=True)
    return exit_code(error)
