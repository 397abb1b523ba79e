"""What no constraint can say and a trigger must: the audit log is append-only, in the database itself."""

from __future__ import annotations

from sqlalchemy import Connection, text

REFUSAL = "the audit log is append-only"
SQLITE = tuple(
    f"CREATE TRIGGER audit_no_{verb.lower()} BEFORE {verb} ON audit BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
    for verb in ("UPDATE", "DELETE")
)
POSTGRES = (
    f"""CREATE FUNCTION dagd_refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION '{REFUSAL}' USING ERRCODE = 'restrict_violation'; END $$""",
    """CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION dagd_refuse_audit_change()""",
)


def guard_audit(connection: Connection) -> None:
    """Have the database refuse to change or delete rows of the audit log. For a table without that guard."""
    for statement in SQLITE if connection.dialect.name == "sqlite" else POSTGRES:
        connection.execute(text(statement))
