"""What memory is rebuilt from, and what the sweeps look for."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, text

from dagd.model.plans import Expansion, Plan, RunMove, Settle, Supersede, XComRow
from dagd.model.specs import content_hash
from dagd.model.states import AttemptState, RunState
from dagd.store import catalog, facts, migrate, requests, transitions, turns
from tests import factories as make
from tests.factories import NOW

EVERY = range(64)


def write(connection: Connection, **parts: Any) -> None:
    turns.write_plan(connection, Plan(**parts), NOW)


def shard_of(connection: Connection, name: str) -> int:
    return int(next(row.shard for row in facts.dags_of(connection, EVERY) if row.name == name))


def test_ids_come_in_pieces_that_a_statement_can_carry() -> None:
    pieces = list(facts.chunks(range(2 * facts.CHUNK + 1)))
    assert [len(piece) for piece in pieces] == [facts.CHUNK, facts.CHUNK, 1]
    assert [one for piece in pieces for one in piece] == list(range(2 * facts.CHUNK + 1))
    assert list(facts.chunks([])) == []


def test_dags_are_those_of_the_shards_that_have_a_version(connection: Connection) -> None:
    for name in ("a", "b", "c"):
        make.store_dag(connection, make.spec(name))
    connection.execute(text("UPDATE dag SET current_version = NULL WHERE name = 'c'"))
    found = facts.dags_of(connection, EVERY)
    assert [row.name for row in found] == ["a", "b"]
    shards = {row.name: row.shard for row in found}
    assert shards["a"] != shards["b"]
    assert [row.name for row in facts.dags_of(connection, [shards["b"]])] == ["b"]
    assert facts.dags_of(connection, []) == []


@pytest.mark.parametrize(
    "change",
    [
        "paused = true WHERE name = 'a'", "paused = false, unpaused_at = 5 WHERE name = 'b'",
        "held = 'x' WHERE name = 'a'",
        "missing_since = 5 WHERE name = 'a'", "missing_since = NULL, found_again_at = 9 WHERE name = 'b'",
        "current_version = 77 WHERE name = 'a'", "current_version = NULL WHERE name = 'a'",
    ],
)  # fmt: skip
def test_the_mark_of_dags_changes_with_what_others_write_of_them(connection: Connection, change: str) -> None:
    for name in ("a", "b"):
        make.store_dag(connection, make.spec(name))
    connection.execute(text("UPDATE dag SET paused = true, missing_since = 3 WHERE name = 'b'"))
    before = facts.dags_mark(connection, EVERY)
    assert facts.dags_mark(connection, EVERY) == before
    connection.execute(text(f"UPDATE dag SET {change}"))
    assert facts.dags_mark(connection, EVERY) != before


def test_a_new_dag_changes_the_mark_of_its_shards_alone(connection: Connection) -> None:
    make.store_dag(connection, make.spec("a"))
    marks = {shard: facts.dags_mark(connection, [shard]) for shard in EVERY}
    number, _ = make.store_dag(connection, make.spec("b"))
    shard = next(row.shard for row in facts.dags_of(connection, EVERY) if row.id == number)
    changed = [one for one in EVERY if facts.dags_mark(connection, [one]) != marks[one]]
    assert changed == [shard]


def test_a_version_has_its_spec_tasks_and_sources(connection: Connection) -> None:
    number, version = make.store_dag(connection, make.spec("sales", make.task("b", "a"), make.task("a")))
    row = facts.version(connection, version)
    assert row is not None
    assert (row.dag_id, row.number) == (number, 1)
    assert facts.version(connection, 99) is None
    loadable = facts.loadables(connection, [version, 99])
    assert {key: (one.sources, one.created_at) for key, one in loadable.items()} == {
        version: (row.sources, row.created_at)
    }
    assert facts.task_numbers(connection, number) == {"b": 1, "a": 2}
    digest = content_hash("# source")
    assert facts.source_bodies(connection, [digest, "none"]) == {digest: "# source"}


def test_runs_that_are_not_over_come_in_their_order(connection: Connection) -> None:
    number, version = make.store_dag(connection, make.spec())
    other, theirs = make.store_dag(connection, make.spec("other"))
    runs = [make.run(number, version, run, due_at=NOW - run // 2) for run in range(1, 6)]
    write(connection, new_runs=[*runs, make.run(other, theirs, 9)])
    moves = [RunMove(run, "start", NOW) for run in (1, 2, 3)]
    write(connection, run_moves=[*moves, RunMove(2, "succeed", NOW), RunMove(4, "cancel", NOW)])
    assert [row.id for row in facts.active_runs(connection, [number])] == [5, 3, 1]
    assert [row.id for row in facts.active_runs(connection, [number, other])] == [5, 3, 1, 9]
    assert [row.id for row in facts.queued_runs(connection, EVERY)] == [5, 9]
    assert [row.id for row in facts.queued_runs(connection, [shard_of(connection, "other")])] == [9]
    found = facts.run_row(connection, 3)
    assert found is not None
    assert found.state == RunState.RUNNING
    assert facts.run_row(connection, 99) is None


def test_values_expansions_and_lengths(connection: Connection) -> None:
    def value(index: int, name: str, length: int | None) -> XComRow:
        return XComRow((1, 2, index), name, "[]", None, length, 2)

    write(connection, xcoms=[value(1, "k", 4), value(0, "k", None), value(0, "j", 7)], expansions=[Expansion(1, 2, 2)])
    lengths = [(1, 2, 0, "j", 7), (1, 2, 0, "k", None), (1, 2, 1, "k", 4)]
    assert sorted(facts.lengths_of(connection, [1, 5]), key=lambda row: row[2:4]) == lengths
    assert facts.expansions_of(connection, [1, 5]) == [(1, 2, 2)]
    assert [row.map_index for row in facts.xcom_values(connection, 1, 2, "k")] == [0, 1]
    assert [row.map_index for row in facts.xcom_values(connection, 1, 2, "k", 1)] == [1]
    assert facts.xcom_values(connection, 1, 3, "k") == []


def test_an_earlier_run_may_have_the_value(connection: Connection) -> None:
    number, version = make.store_dag(connection, make.spec())
    write(connection, new_runs=[make.run(number, version, run, due_at=NOW + run) for run in (1, 2, 3)])
    write(connection, xcoms=[XComRow((run, 2, -1), "k", "1", None, None, 1) for run in (1, 3)])
    found = {run: facts.last_run_with_value(connection, number, run, 2, "k") for run in (1, 2, 3)}
    assert found == {1: None, 2: 1, 3: 1}
    assert facts.last_run_with_value(connection, number, 3, 2, "j") is None


def test_requests_wait_for_the_owner_of_their_dags_shard_in_order(connection: Connection) -> None:
    number, _ = make.store_dag(connection, make.spec())
    other, _ = make.store_dag(connection, make.spec("other"))
    made = [requests.put_command(connection, "kill", dag, 1, {"n": 1}, subject="s") for dag in (number, other, number)]
    assert [row.id for row in facts.new_commands(connection, EVERY)] == sorted(made)
    assert [row.id for row in facts.new_commands(connection, [shard_of(connection, "sales")])] == [made[0], made[2]]
    assert facts.new_commands(connection, []) == []


def test_pools_by_id(connection: Connection) -> None:
    catalog.set_pool(connection, "etl", 3, None, "ann")
    assert [row[1:] for row in facts.pools(connection)] == [("default_pool", migrate.DEFAULT_POOL_SLOTS), ("etl", 3)]


def test_the_last_ended_run_is_the_last_in_the_dags_order(connection: Connection) -> None:
    number, version = make.store_dag(connection, make.spec())
    dues = {1: NOW + 5, 2: NOW, 3: NOW, 4: NOW + 9}
    write(connection, new_runs=[make.run(number, version, run, due_at=due) for run, due in dues.items()])
    assert facts.last_ended_run(connection, number) is None
    write(connection, run_moves=[RunMove(run, "cancel", NOW) for run in (1, 2, 3)])

    def last(before: tuple[int, int] | None = None) -> int | None:
        row = facts.last_ended_run(connection, number, before)
        return None if row is None else row.id

    assert last() == 1
    assert last((NOW + 5, 1)) == 3
    assert last((NOW, 3)) == 2
    assert last((NOW, 2)) is None


def test_a_task_counts_as_its_worst_instance_and_a_mark_outweighs_tries(connection: Connection) -> None:
    tries = [(1, "fail"), (2, "succeed"), (3, "fail"), (4, "succeed")]
    write(connection, enqueues=[make.enqueue((1, no, -1), 1, f"a{no}") for no, _ in tries])
    write(connection, ends=[make.end(event, (1, no, -1), 1, f"a{no}") for no, event in tries])
    write(connection, enqueues=[make.enqueue((1, 1, -1), 2, "again"), make.enqueue((1, 5, 0), 1, "m")])
    write(connection, ends=[make.end("succeed", (1, 1, -1), 2, "again"), make.end("succeed", (1, 5, 0), 1, "m")])
    settles = [((1, 5, 1), "upstream_fail"), ((1, 6, -1), "skip"), ((1, 3, -1), "succeed"), ((1, 4, -1), "fail")]
    write(connection, settles=[Settle(key, event, "why", NOW) for key, event in settles])
    good, bad = int(AttemptState.SUCCESS), int(AttemptState.FAILED)
    assert facts.worst_states(connection, 1) == {1: good, 2: good, 3: good, 4: bad, 5: bad, 6: good}
    write(connection, supersedes=[Supersede((1, 2, -1), 8)])
    assert 2 not in facts.worst_states(connection, 1)


def test_a_dag_is_held_with_its_error(connection: Connection) -> None:
    number, _ = make.store_dag(connection, make.spec())
    facts.hold_dag(connection, number, "it conflicts")
    assert [row.held for row in facts.dags_of(connection, EVERY)] == ["it conflicts"]
    make.store_dag(connection, make.spec())
    assert [row.held for row in facts.dags_of(connection, EVERY)] == ["it conflicts"]
    make.store_dag(connection, make.spec("sales", make.task("new")))
    assert [row.held for row in facts.dags_of(connection, EVERY)] == [None]


def test_failures_in_a_row_are_counted_back_from_the_last_ended_run(connection: Connection) -> None:
    dag, version = make.store_dag(connection, make.spec())
    transitions.insert_runs(connection, [make.run(dag, version, number) for number in range(1, 7)])
    ends = {1: (11, 10), 2: (10, 20), 3: (11, 30), 4: (13, 40), 5: (11, 50)}
    for number, (state, at) in ends.items():
        values = {"id": number, "state": state, "at": at}
        connection.execute(text("UPDATE dag_run SET state = :state, ended_at = :at WHERE id = :id"), values)
    assert facts.failed_in_row(connection, dag, 5, 0) == 2
    assert facts.failed_in_row(connection, dag, 1, 0) == 1
    assert facts.failed_in_row(connection, dag, 5, 30) == 1
    assert facts.failed_in_row(connection, dag, 5, 60) == 0
