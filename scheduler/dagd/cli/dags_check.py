"""`dagd dags check`, `dagd lint`: import and lint DAG files. No daemon, no database (one in reach names its pools)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from dagd.cli.context import settings
from dagd.cli.files import parse_paths
from dagd.cli.opening import known_pools
from dagd.cli.output import Column, Output, with_output
from dagd.cli.text import escape_controls, first_line
from dagd.parsing.results import ParsedFile

Row = dict[str, Any]
COLUMNS = [
    Column("file", "file"), Column("line", "line"), Column("kind", "kind", "state"), Column("code", "code"),
    Column("message", "message"),
]  # fmt: skip


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--pool", "pools", multiple=True, help="A pool that the deployment has (else asked of its database).")
@with_output()
@click.pass_context
def check_files(ctx: click.Context, out: Output, paths: tuple[str, ...], pools: tuple[str, ...]) -> None:
    """Import each file in the sandbox and lint it (else the whole DAG folder); exit 1 when something is found."""
    known = settings()
    slots = dict.fromkeys(pools) or known_pools(known)
    parsed = list(parse_paths(paths or (str(known.dags_folder),), known, lint=True, pools=slots))
    found = [row for one in parsed for row in findings(one)] + list(duplicates(parsed))
    dags = sum(len(one.dags) for one in parsed)
    if out.is_machine or found:
        out.rows(found if out.is_machine else [_short(row) for row in found], COLUMNS, name="file")
    if not out.is_machine:
        for row in found:
            if row["kind"] == "warning":
                out.note(f"{row['file']}:{row['line']}: {row['code']} {row['message']}. {row['remedy'] or ''}".rstrip())
        out.note(f"{len(parsed)} files, {dags} DAGs, {len(found)} findings")
        for one in parsed:
            if one.error is not None and one.error.traceback:
                out.note(escape_controls(one.error.traceback.rstrip(), keep="\n\t"))
    out.flush()
    if found:
        ctx.exit(1)


def findings(parsed: ParsedFile) -> list[Row]:
    """The error and the warnings of one file."""
    rows = []
    if parsed.error is not None:
        error = parsed.error
        rows.append(_row(parsed.file, error.line, "error", error.code, error.message, error.traceback, error.remedy))
    for one in parsed.findings:
        rows.append(_row(one.file, one.line, "warning", one.code, one.message, None, one.remedy))
    return rows


def _row(
    file: str, line: int | None, kind: str, code: str | None, message: str, trace: str | None, remedy: str | None
) -> Row:
    return {
        "file": file, "line": line, "kind": kind, "code": code, "message": message, "error": message,
        "traceback": trace or None, "remedy": remedy,
    }  # fmt: skip


def duplicates(parsed: Iterable[ParsedFile]) -> Iterable[Row]:
    """DAG ids that two files define: the one whose path sorts first would win."""
    owners: dict[str, str] = {}
    for one in sorted(parsed, key=lambda each: each.file):
        for spec in one.dags:
            first = owners.setdefault(spec.dag_id, one.file)
            if first != one.file:
                told = f"the DAG {spec.dag_id!r} is defined in {first} too, which wins"
                yield _row(one.file, spec.line, "error", "DAGD-107", told, None, "Rename one of the two DAGs.")


def _short(row: Row) -> Row:
    return {**row, "message": first_line(row["message"])}
