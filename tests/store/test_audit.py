"""The audit log is append-only, and keys can be rotated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from dagd.model.errors import DagdError, Refused
from dagd.store import catalog, guards, migrate, reads, requests, secrets, transitions
from dagd.store.database import Database, DBAPIError
from dagd.store.secrets import Sealer
from tests import factories as make


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit"])
def test_the_database_itself_refuses_to_change_the_audit_log(connection: Connection, statement: str) -> None:
    requests.write_audit(connection, "ann", "pause", "sales")
    with pytest.raises(DBAPIError, match=guards.REFUSAL), connection.begin_nested():
        connection.execute(text(statement))
    assert [row.actor for row in reads.audit_rows(connection)] == ["ann"]


def test_postgres_refuses_to_empty_the_audit_log_at_once(postgres_url: str) -> None:
    database = make.opened(postgres_url)
    with pytest.raises(DBAPIError, match=guards.REFUSAL), database.write() as connection:
        connection.execute(text("TRUNCATE audit"))
    database.close()


def test_an_older_database_gets_the_guard_by_its_migration(tmp_path: Path) -> None:
    database = make.opened(f"sqlite:///{tmp_path / 'old.db'}")
    migrate.migrate(database)
    with database.write() as connection:
        for name in ("audit_no_update", "audit_no_delete"):
            connection.execute(text(f"DROP TRIGGER {name}"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0003'"))
    with database.write() as connection:
        guards.guard_audit(connection)
        requests.write_audit(connection, "ann", "pause", "sales")
    with pytest.raises(DBAPIError, match=guards.REFUSAL), database.write() as connection:
        connection.execute(text("DELETE FROM audit"))
    database.close()


KEYS = [bytes([number]) * 32 for number in (1, 2)]


def test_connections_are_sealed_anew_in_steps_each_with_its_audit_row(database: Database) -> None:
    old, new = Sealer(KEYS[:1]), Sealer([KEYS[1], KEYS[0]])
    with database.write() as connection:
        for name in ("a", "b", "c"):
            catalog.set_connection(connection, name, old.seal(json.dumps({"password": name})), None, "ann")
        catalog.set_connection(connection, "d", new.seal("{}"), None, "ann")
    after, steps = "", []
    while True:
        with database.write() as connection:
            after, count = catalog.reseal_connections(connection, new, after, 2, "ann")
        steps.append(count)
        if not after:
            break
    assert steps == [2, 1, 0]
    with database.read() as connection:
        rows = {row.id: row.sealed for row in catalog.connections(connection)}
        told = [row.detail for row in reads.audit_rows(connection, action="connections rotate-key")]
    assert told == ["1 sealed with the newest key", "2 sealed with the newest key"]
    only_new = Sealer(KEYS[1:])
    assert json.loads(only_new.unseal(rows["b"])) == {"password": "b"}
    assert only_new.reseal(rows["b"]) is None
    with pytest.raises(DagdError, match="cannot be unsealed"):
        old.unseal(rows["b"])


def test_a_sealer_that_is_open_learns_a_rotated_key(tmp_path: Path) -> None:
    running = secrets.open_sealer(tmp_path, "")
    before = running.seal("secret")
    assert secrets.add_home_key(tmp_path) == 2
    after = secrets.open_sealer(tmp_path, "").seal("newer")
    assert (running.unseal(after), running.unseal(before)) == ("newer", "secret")
    assert (tmp_path / "keys").stat().st_mode & 0o077 == 0
    assert secrets.drop_old_home_keys(tmp_path) == 1
    with pytest.raises(DagdError, match="cannot be unsealed"):
        secrets.open_sealer(tmp_path, "").unseal(before)


def test_a_task_is_named_in_the_audit_log_and_names_variables_as_people_do(database: Database) -> None:
    with database.write() as connection:
        dag, version = make.store_dag(connection, make.spec("sales", make.task("load")))
        transitions.insert_runs(connection, [make.run(dag, version, 7, run_id="m-1")])
    requests.write_for_task(database, "set_variable", {"key": "k", "value": "v"}, (7, 1, -1))
    for key in ("", " k", "k\n", "x" * 251):
        with pytest.raises(Refused):
            requests.write_for_task(database, "set_variable", {"key": key, "value": "v"}, (7, 1, -1))
    with database.read() as connection:
        assert [row.actor for row in reads.audit_rows(connection)] == ["task sales/m-1/load"]
