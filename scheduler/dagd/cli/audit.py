"""`dagd audit list`."""

from __future__ import annotations

import click

from dagd.cli.context import is_sayable, limit_option
from dagd.cli.opening import opened
from dagd.cli.output import Column, Output, with_output
from dagd.model.times import iso
from dagd.store import reads

COLUMNS = [
    Column("at", "at", "instant"), Column("actor", "who"), Column("action", "did"), Column("subject", "to"),
    Column("detail", "detail"),
]  # fmt: skip


@click.command()
@click.argument("subject", required=False)
@click.option("--action", help="Only this action.")
@limit_option
@with_output(watch=True)
def list_audit(out: Output, subject: str | None, action: str | None, limit: int | None) -> None:
    """What people and programs changed, the newest first; of SUBJECT (a reference or name) and what lies below it."""
    rows = []
    if all(text is None or is_sayable(text) for text in (subject, action)):
        with opened() as database, database.read() as connection:
            rows = reads.audit_rows(connection, subject=subject, action=action, limit=limit)
    shown = [
        {
            "id": row.id, "at": iso(row.at), "actor": row.actor, "action": row.action, "subject": row.subject,
            "detail": row.detail,
        }
        for row in rows
    ]  # fmt: skip
    out.rows(shown, COLUMNS, name="id", empty="nothing was changed")
