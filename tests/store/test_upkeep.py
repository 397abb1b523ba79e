"""Retention: how much one transaction deletes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event, func, insert, select

from dagd.model.states import AttemptState
from dagd.store import upkeep
from dagd.store.database import Database
from dagd.store.schema import attempt, dag_run
from tests import factories
from tests.factories import NOW


@pytest.fixture
def deleted(database: Database) -> Iterator[list[int]]:
    """Rows that each transaction deleted, but those of others than tries."""
    sizes = [0]

    def count(_connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        sizes[-1] += cursor.rowcount if statement.startswith("DELETE FROM attempt") else 0

    def end(_connection: Any) -> None:
        sizes.append(0)

    event.listen(database.engine, "after_cursor_execute", count)
    event.listen(database.engine, "commit", end)
    yield sizes
    event.remove(database.engine, "after_cursor_execute", count)
    event.remove(database.engine, "commit", end)


def fill(database: Database, tries_of: dict[int, int]) -> None:
    with database.write() as connection:
        dag, version = factories.store_dag(connection, factories.spec())
        rows = [
            {"id": run, "dag_id": dag, "run_id": f"old-{run}", "kind": 2, "state": 10, "version_id": version,
             "due_at": run, "created_at": 1, "started_at": 1, "ended_at": NOW}
            for run in tries_of
        ]  # fmt: skip
        connection.execute(insert(dag_run), rows)
        for run, count in tries_of.items():
            tries = [
                {"run_id": run, "task_no": 1, "map_index": at, "try_no": 1, "token": f"{run}-{at}",
                 "state": AttemptState.SUCCESS}
                for at in range(count)
            ]  # fmt: skip
            connection.execute(insert(attempt), tries)


def test_a_step_deletes_few_runs_when_these_are_large(database: Database, deleted: list[int]) -> None:
    size = upkeep.STEP_TRIES // 4
    fill(database, dict.fromkeys(range(1, 11), size))
    deleted[:] = [0]
    assert upkeep.delete_runs(database, list(range(1, 11)), lambda _connection: None) == 10
    assert sum(deleted) == 10 * size
    assert max(deleted) <= upkeep.STEP_TRIES


def test_a_run_that_is_larger_than_a_step_goes_alone(database: Database, deleted: list[int]) -> None:
    large = upkeep.STEP_TRIES + 1
    fill(database, {1: 3, 2: large, 3: 3, 4: 3})
    deleted[:] = [0]
    assert upkeep.delete_runs(database, [1, 2, 3, 4], lambda _connection: None) == 4
    assert [count for count in deleted if count] == [3, large, 6]


def test_many_small_runs_share_a_step_and_others_get_their_turn_between_two(
    database: Database, deleted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float] = []
    monkeypatch.setattr(upkeep.time, "sleep", rests.append)
    runs = upkeep.STEP_RUNS + 10
    fill(database, dict.fromkeys(range(1, runs + 1), 1))
    deleted[:] = [0]
    assert upkeep.delete_runs(database, list(range(1, runs + 1)), lambda _connection: None) == runs
    assert [count for count in deleted if count] == [upkeep.STEP_RUNS, 10]
    assert rests == [upkeep.REST_S] * 2
    with database.read() as connection:
        assert connection.execute(select(func.count()).select_from(dag_run)).scalar_one() == 0
