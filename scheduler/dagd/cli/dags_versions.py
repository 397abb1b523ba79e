"""`dagd dags versions | source | diff`."""

from __future__ import annotations

import difflib
import json
import os
from typing import Any

import click

from dagd.cli import refs
from dagd.cli.context import limit_option, settings
from dagd.cli.opening import opened
from dagd.cli.output import Column, Output, with_output
from dagd.cli.text import escape_controls
from dagd.model.errors import NotFound
from dagd.model.times import iso
from dagd.store import reads

COLUMNS = [
    Column("version", "version"), Column("current", "current"), Column("created_at", "since", "instant"),
    Column("hash", "hash"),
]  # fmt: skip
NUMBER = click.IntRange(1, 2**31 - 1)


@click.command()
@click.argument("dag")
@limit_option
@with_output(watch=True)
def list_versions(out: Output, dag: str, limit: int | None) -> None:
    """The versions of a DAG, the newest first."""
    with opened() as database, database.read() as connection:
        row = refs.find_dag(connection, refs.parse(dag).dag)
        rows = [
            {
                "dag_id": row.name, "version": one.number, "current": one.id == row.current_version,
                "created_at": iso(one.created_at), "hash": one.hash,
            }
            for one in reads.versions(connection, row.id)
        ]  # fmt: skip
    out.rows(rows[:limit], COLUMNS, name="version")


def find_version(connection: Any, dag: Any, number: int | None) -> Any:
    """A version's row: the current one without a number. Raises NotFound."""
    row = reads.version(connection, dag.id, number, dag.current_version)
    if row is None:
        raise NotFound(f"DAG {dag.name!r} has no version {number}", remedy=f"`dagd dags versions {dag.name}`")
    return row


def read_sources(connection: Any, row: Any) -> dict[str, str]:
    """The source texts of a version by path, relative to the DAG folder."""
    folder = str(settings().dags_folder)
    hashes: dict[str, str] = json.loads(row.sources)
    texts = {path: reads.source_body(connection, digest) or "" for path, digest in sorted(hashes.items())}
    return {os.path.relpath(path, folder) if path.startswith(folder) else path: text for path, text in texts.items()}


@click.command()
@click.argument("dag")
@click.option("--version", "number", type=NUMBER, help="This version (else the current one).")
@click.option("--all", "whole", is_flag=True, help="Imported neighbours too.")
@with_output()
def show_source(out: Output, dag: str, number: int | None, whole: bool) -> None:
    """The Python source of a version, as it is kept for its runs."""
    with opened() as database, database.read() as connection:
        stored = refs.find_dag(connection, refs.parse(dag).dag)
        row = find_version(connection, stored, number)
        texts = read_sources(connection, row)
        file = reads.spec_of(row)["file"]
    if out.is_machine:
        out.record({"dag_id": stored.name, "version": row.number, "file": file, "sources": texts}, name="file")
        return
    for path, text in texts.items():
        if whole or path == file or len(texts) == 1:
            if whole:
                out.line(out.paint(f"# --- {path}", "dim"))
            out.line(escape_controls(text.rstrip("\n"), keep="\n\t"))


@click.command()
@click.argument("dag")
@click.argument("old", type=NUMBER, required=False)
@click.argument("new", type=NUMBER, required=False)
@with_output()
def show_diff(out: Output, dag: str, old: int | None, new: int | None) -> None:
    """What changed in the sources between two versions (else the current one and the one before it)."""
    with opened() as database, database.read() as connection:
        stored = refs.find_dag(connection, refs.parse(dag).dag)
        newer = find_version(connection, stored, new)
        older = find_version(connection, stored, old if old is not None else max(1, newer.number - 1))
        before, after = read_sources(connection, older), read_sources(connection, newer)
    lines: list[str] = []
    for path in sorted({*before, *after}):
        lines += difflib.unified_diff(
            before.get(path, "").splitlines(), after.get(path, "").splitlines(), f"{path} (version {older.number})",
            f"{path} (version {newer.number})", lineterm="",
        )  # fmt: skip
    if out.is_machine:
        out.record({"dag_id": stored.name, "old": older.number, "new": newer.number, "diff": "\n".join(lines)})
        return
    for line in lines:
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
        text = escape_controls(line, keep="\t")
        out.line(out.paint(text, style) if style else text)
    if not lines:
        out.note(f"the sources of version {older.number} and {newer.number} are the same")
