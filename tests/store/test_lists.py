"""What lists and shows read of runs, tries and deadlines, and what upkeep copies and deletes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from dagd.model.errors import Refused
from dagd.model.plans import DeadlineRow, Plan, RunMove, Settle, XComRow
from dagd.model.states import DeadlineState, RunState
from dagd.store import facts, reads, reads_runs, turns, upkeep, versions
from dagd.store.database import Database
from dagd.store.schema import asset_delivery, asset_sub, dag, dag_run, dag_version, task
from tests import factories as make
from tests.factories import NOW


def write(connection: Connection, **parts: Any) -> None:
    turns.write_plan(connection, Plan(**parts), NOW)


def fill(connection: Connection) -> int:
    """Runs 1 to 4 of `sales`: queued, running, failed, success; two tries and values in run 2. The DAG's number."""
    number, version = make.store_dag(connection, make.spec("sales", make.task("a"), make.task("b")))
    write(connection, new_runs=[make.run(number, version, run, due_at=NOW - run) for run in range(1, 5)])
    moves = [RunMove(run, "start", NOW) for run in (2, 3, 4)]
    write(connection, run_moves=[*moves, RunMove(3, "fail", NOW + 1), RunMove(4, "succeed", NOW + 2)])
    write(connection, enqueues=[make.enqueue((2, 1, -1), 1, "a1"), make.enqueue((2, 2, 1), 1, "b1")])
    write(
        connection, ends=[make.end("fail", (2, 1, -1), 1, "a1")], enqueues=[make.enqueue((2, 1, -1), 2, "a2")],
        settles=[Settle((2, 2, 0), "skip", "upstream", NOW)],
        xcoms=[XComRow((2, 2, 1), name, "1", None, None, 1) for name in ("y", "x")],
    )  # fmt: skip
    return number


def test_a_run_is_found_by_number_name_state_and_place(connection: Connection) -> None:
    number = fill(connection)
    by_number, by_name = reads_runs.by_number(connection, 3), reads_runs.by_name(connection, number, "m-3")
    assert by_number is not None
    assert by_number == by_name
    assert (by_number.dag_name, by_number.version_number, by_number.state) == ("sales", 1, RunState.FAILED)
    assert reads_runs.by_number(connection, 99) is None
    assert reads_runs.by_name(connection, number, "nobody") is None
    latest, failed = reads_runs.latest(connection, number), reads_runs.latest(connection, number, failed=True)
    assert [row.id for row in (latest, failed) if row] == [4, 3]  # created last, whatever its date
    assert reads_runs.latest(connection, 99) is None
    assert reads_runs.recent_names(connection, number, limit=3) == ["m-1", "m-2", "m-3"]
    assert [reads_runs.state_of(connection, run) for run in (1, 4, 99)] == [RunState.QUEUED, RunState.SUCCESS, None]
    assert reads.run_counts(connection) == dict.fromkeys((1, 2, 10, 11), 1)
    assert [row.id for row in reads.active_runs(connection)] == [1, 2]


def test_tries_and_values_of_an_instance(connection: Connection) -> None:
    fill(connection)
    last = reads_runs.last_try(connection, 2, 1, -1)
    first = reads_runs.one_try(connection, 2, 1, -1, 1)
    assert [row.token for row in (last, first) if row] == ["a2", "a1"]
    assert reads_runs.last_try(connection, 2, 2, 0) is None, "settled without a try"
    assert reads_runs.one_try(connection, 2, 1, -1, 3) is None
    assert [row.token for row in reads_runs.tries_of(connection, 2, 1, None)] == ["a1", "a2"]
    assert [row.token for row in reads_runs.tries_of(connection, 2, 2, 1)] == ["b1"]
    assert reads_runs.indices_of(connection, 2, 2) == [1]
    assert [row.key for row in reads_runs.values_of(connection, 2, 2, 1)] == ["x", "y"]
    places = [(row.dag_name, row.run_name, row.task_no, row.tries) for row in reads_runs.live_places(connection)]
    assert places == [("sales", "m-2", 1, 1), ("sales", "m-2", 2, 1)]


def test_deadlines_by_due_instant_with_their_names(connection: Connection) -> None:
    number = fill(connection)
    rows = [(1, -1, 9), (2, 2, 5), (3, 1, 7)]
    pending, missed = int(DeadlineState.PENDING), int(DeadlineState.MISSED)
    write(connection, deadlines=[DeadlineRow(run, no, "k", number, due, pending, NOW) for run, no, due in rows])
    write(connection, deadlines=[DeadlineRow(3, 1, "k", number, 7, missed, NOW)])
    found = [(row.run_name, row.task_id, row.dag_name) for row in reads.deadlines(connection)]
    assert found == [("m-2", "b", "sales"), ("m-3", "a", "sales"), ("m-1", None, "sales")]
    assert [row.run_id for row in reads.deadlines(connection, state=missed)] == [3]
    assert reads.deadlines(connection, name="other") == []
    assert len(reads.deadlines(connection, limit=2)) == 2


def test_a_copy_of_an_embedded_database_is_whole(sqlite_url: str, tmp_path: Path) -> None:
    database, target = make.opened(sqlite_url), tmp_path / "copy.db"
    with database.write() as connection:
        fill(connection)
    assert upkeep.backup(database, target) == target.stat().st_size > 0
    assert target.stat().st_mode & 0o077 == 0
    with pytest.raises(FileExistsError):
        upkeep.backup(database, target)
    copy = make.opened(f"sqlite:///{target}")
    with copy.read() as connection:
        assert connection.execute(select(func.count()).select_from(dag_run)).scalar_one() == 4
        assert list(upkeep.problems(copy, connection)) == []
    copy.close()
    database.close()


def test_only_the_embedded_database_is_copied(postgres_url: str, tmp_path: Path) -> None:
    database = make.opened(postgres_url)
    with pytest.raises(Refused, match="pg_dump"):
        upkeep.backup(database, tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == []
    database.close()


def test_a_dag_is_deleted_with_all_that_is_its(database: Database) -> None:
    with database.write() as connection:
        number = fill(connection)
        write(connection, subscriptions=[(number, ("a",))], run_moves=[RunMove(run, "cancel", NOW) for run in (1, 2)])
        make.store_dag(connection, make.spec("other"))
        assert upkeep.runs_of(connection, number) == [1, 2, 3, 4]
        assert upkeep.runs_of(connection, number, active=True) == []
        assert sorted(upkeep.log_folders(connection, [1, 4, 99])) == [f"{number}/1", f"{number}/4"]
        assert upkeep.old_runs(connection, NOW + 2, number) == [1, 2, 3]
    assert upkeep.delete_runs(database, [1, 2, 3, 4], lambda _connection: None) == 4
    with database.write() as connection:
        upkeep.delete_dag(connection, number)
        assert list(versions.known_dags(connection)) == ["other"]
        for table in (dag_version, task, asset_sub, asset_delivery):
            assert connection.execute(select(func.count()).where(table.c.dag_id == number)).scalar_one() == 0
        assert connection.execute(select(func.count()).select_from(dag)).scalar_one() == 1
        assert facts.attempts_of(connection, [2]) == []


def test_what_is_lost_is_named(connection: Connection, database: Database) -> None:
    assert list(upkeep.problems(database, connection)) == []
    write(connection, enqueues=[make.enqueue()], new_runs=[make.run(1, 99, 5)])
    assert list(upkeep.problems(database, connection)) == ["1 tries belong to no run", "1 runs have no version"]
