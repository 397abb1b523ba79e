"""What lists and shows read, on both databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dagd.model.plans import Plan, RunMove
from dagd.store import catalog, reads, reads_runs, turns, upkeep
from dagd.store.database import Connection, Database
from tests import factories
from tests.factories import NOW

RUNS = 1203


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = factories.opened(database_url)
    yield opened
    opened.close()


def fill(connection: Connection, count: int) -> int:
    """A DAG with `count` runs, two of them due at each instant; its number."""
    dag, version = factories.store_dag(connection, factories.spec())
    rows = [factories.run(dag, version, number, due_at=NOW + number // 2) for number in range(1, count + 1)]
    turns.write_plan(connection, Plan(new_runs=rows), NOW)
    return dag


def test_a_long_list_neither_loses_nor_repeats_a_run(database: Database) -> None:
    with database.write() as connection:
        dag = fill(connection, RUNS)
    with database.read() as connection:
        found = [row.id for row in reads_runs.newest_first(connection, dag_id=dag)]
        assert found == sorted(range(1, RUNS + 1), reverse=True)
        assert [row.id for row in reads_runs.newest_first(connection, dag_id=dag, limit=701)] == found[:701]
        window = reads_runs.newest_first(connection, since=NOW + 3, until=NOW + 5)
        assert [row.id for row in window] == [9, 8, 7, 6]


@pytest.mark.parametrize(
    "prefix,found", [("m-7", ["m-7"]), ("m-1", ["m-12", "m-11", "m-10", "m-1"]), ("M-7", []), ("m-_", []), ("%", [])]
)
def test_a_beginning_is_taken_by_letter(database: Database, prefix: str, found: list[str]) -> None:
    with database.write() as connection:
        dag = fill(connection, 12)
    with database.read() as connection:
        assert [row.run_id for row in reads_runs.by_prefix(connection, dag, prefix)] == found


def test_the_last_run_of_a_dag_is_the_last_in_its_own_order(database: Database) -> None:
    with database.write() as connection:
        fill(connection, 5)
        factories.store_dag(connection, factories.spec("other"))
    with database.read() as connection:
        other, sales = reads.dags(connection)
        assert reads.active_counts(connection) == {sales.id: 5}
    assert (sales.last_run_id, sales.number) == ("m-5", 1)
    assert other.last_run_id is None


def test_the_audit_of_a_subject_has_what_lies_below_it(database: Database) -> None:
    with database.write() as connection:
        for subject in ("sales", "sales/m-1", "sales_2", "sales/m-1/load"):
            catalog.write_audit(connection, "ann", "look", subject)
    with database.read() as connection:
        found = [row.subject for row in reads.audit_rows(connection, subject="sales/m-1")]
        assert found == ["sales/m-1/load", "sales/m-1"]
        assert len(reads.audit_rows(connection, subject="sales")) == 3
        assert [row.subject for row in reads.audit_rows(connection, limit=1)] == ["sales/m-1/load"]


def test_a_pause_is_written_once(database: Database) -> None:
    with database.write() as connection:
        dag, _ = factories.store_dag(connection, factories.spec())
        assert catalog.set_paused(connection, dag, "sales", True, "ann")
        assert not catalog.set_paused(connection, dag, "sales", True, "ann")
        assert catalog.set_paused(connection, dag, "sales", False, "ann")
    with database.read() as connection:
        row = reads.dag_row(connection, "sales")
        assert row is not None
        assert row.unpaused_at is not None
        assert [one.action for one in reads.audit_rows(connection)] == ["unpause", "pause"]


def test_a_pool_keeps_its_description_and_a_connection_is_replaced(database: Database) -> None:
    with database.write() as connection:
        assert catalog.set_pool(connection, "etl", 2, "slow", "ann")
        assert not catalog.set_pool(connection, "etl", 4, None, "ann")
        catalog.set_connection(connection, "wh", "sealed-1", "old", "ann")
        catalog.set_connection(connection, "wh", "sealed-2", None, "ann")
    with database.read() as connection:
        pool = next(row for row in reads.pools(connection) if row.name == "etl")
        assert (pool.slots, pool.description) == (4, "slow")
        found = catalog.connection_row(connection, "wh")
        assert found is not None
        assert (found.sealed, found.description) == ("sealed-2", None)
        assert all("sealed" not in (row.detail or "") for row in reads.audit_rows(connection))


def test_deleting_runs_leaves_those_that_were_opened_again(database: Database) -> None:
    with database.write() as connection:
        fill(connection, 3)
        moves = [RunMove(number, event, NOW + 1) for event in ("start", "succeed") for number in (1, 2)]
        turns.write_plan(connection, Plan(run_moves=moves), NOW)
        factories.live_try(connection, (1, 1, -1))
    with database.read() as connection:
        old = upkeep.old_runs(connection, NOW + 2)
        assert old == [1, 2]
    with database.write() as connection:
        turns.write_plan(connection, Plan(run_moves=[RunMove(2, "reopen", NOW + 2)]), NOW)
    told: list[int] = []
    assert upkeep.delete_runs(database, old, lambda connection: told.append(1)) == 1
    with database.read() as connection:
        assert {row.id for row in reads_runs.newest_first(connection)} == {2, 3}
        assert reads_runs.tries_of(connection, 1, 1, None) == []
        assert list(upkeep.problems(database, connection)) == []
    assert told == [1]


def test_sizes_name_every_table(database: Database) -> None:
    with database.write() as connection:
        fill(connection, 4)
    with database.read() as connection:
        sizes = {row["name"]: row["rows"] for row in upkeep.table_sizes(connection)}
        assert (sizes["dag_run"], sizes["shard"], sizes["pool"]) == (4, 64, 1)
        assert upkeep.whole_size(database, connection) > 0
