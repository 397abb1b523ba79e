"""What is to be told outside, the parts' heartbeats, and the facts that people write."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from dagd.model.plans import OutboxRow, Plan
from dagd.store import catalog, components, dialects, facts, outbox, reads, requests, turns
from dagd.store.schema import outbox as table
from tests import factories as make
from tests.factories import NOW

MINUTE = 60_000_000


def put(connection: Connection, *rows: tuple[int, str], at: int = 0) -> None:
    plan = Plan(outbox=[OutboxRow(number, topic, "s", "{}", at) for number, topic in rows])
    turns.write_plan(connection, plan, NOW)


def ids(rows: list[Any]) -> list[int]:
    return [row.id for row in rows]


def test_what_is_due_comes_oldest_first_and_callbacks_apart(connection: Connection) -> None:
    put(connection, (3, "run"), (1, "deadline"), (2, outbox.CALLBACK), (5, outbox.CALLBACK))
    put(connection, (4, "run"), (6, outbox.CALLBACK), at=dialects.clock(connection) + MINUTE)
    assert ids(outbox.due(connection, 10)) == [1, 3]
    assert ids(outbox.due(connection, 1)) == [1]
    assert ids(outbox.open_callbacks(connection, 10)) == [2, 5, 6]
    assert ids(outbox.open_callbacks(connection, 1)) == [2]


def test_the_backlog_is_what_is_open_and_how_old_the_oldest_of_it_is(connection: Connection) -> None:
    assert outbox.backlog(connection) == (0, 0.0)
    put(connection, (1, "run"), (2, outbox.CALLBACK), at=dialects.clock(connection) - MINUTE)
    count, oldest_s = outbox.backlog(connection)
    assert count == 2
    assert 60 <= oldest_s < 120
    outbox.close(connection, 1, None, 0)
    assert outbox.backlog(connection)[0] == 1


def test_a_delivered_row_is_closed_and_one_that_failed_is_due_after_its_pause(connection: Connection) -> None:
    put(connection, (1, "run"), (2, "run"), (3, "run"))
    outbox.close(connection, 1, None, 0)
    outbox.close(connection, 2, "refused", MINUTE)
    outbox.close(connection, 3, "refused", -MINUTE)
    assert ids(outbox.due(connection, 10)) == [3]
    rows = {row.id: row for row in connection.execute(select(table))}
    assert [(rows[n].tries, rows[n].error, rows[n].delivered_at is None) for n in (1, 2, 3)] == [
        (1, None, False), (1, "refused", True), (1, "refused", True),
    ]  # fmt: skip
    outbox.close(connection, 3, None, 0)
    assert connection.execute(select(table.c.tries, table.c.error).where(table.c.id == 3)).one() == (2, None)


def test_a_callback_that_failed_stays_open_until_it_is_given_up(connection: Connection) -> None:
    put(connection, (1, outbox.CALLBACK), (2, outbox.CALLBACK))
    outbox.close_callback(connection, 1, 0, None, give_up=False)
    for _ in range(2):  # told twice, it counts once
        outbox.close_callback(connection, 2, 0, "boom", give_up=False)
    assert [(row.id, row.tries, row.error) for row in outbox.open_callbacks(connection, 10)] == [(2, 1, "boom")]
    outbox.close_callback(connection, 2, 1, "boom again", give_up=True)
    outbox.close_callback(connection, 2, 2, None, give_up=False)
    assert outbox.open_callbacks(connection, 10) == []
    assert connection.execute(select(table.c.tries, table.c.error).where(table.c.id == 2)).one() == (2, "boom again")


def test_callbacks_are_read_page_by_page(connection: Connection) -> None:
    put(connection, *[(number, outbox.CALLBACK) for number in (1, 2, 3)])
    assert ids(outbox.open_callbacks(connection, 2, after=1)) == [2, 3]


def test_a_part_says_that_it_is_alive_in_one_row(connection: Connection) -> None:
    for pid, detail in ((1, "a"), (2, "b")):
        components.beat(connection, "processor", "host", pid, detail)
    components.beat(connection, "api", "host", 3, "")
    found = [(row.name, row.pid, row.detail) for row in reads.components(connection)]
    assert found == [("api", 3, ""), ("processor", 2, "b")]
    assert all(row.heartbeat <= dialects.clock(connection) for row in reads.components(connection))


def test_variables_keep_their_description_and_go_once(connection: Connection) -> None:
    catalog.set_variable(connection, "b", "1", "what it is", "ann")
    catalog.set_variable(connection, "b", "2", None, "ann")
    catalog.set_variable(connection, "a", "3", None, "ann")
    assert [(row.key, row.value, row.description) for row in catalog.variables(connection)] == [
        ("a", "3", None), ("b", "2", "what it is"),
    ]  # fmt: skip
    row = catalog.variable_row(connection, "b")
    assert row is not None
    assert row.value == components.variable_value(connection, "b") == "2"
    assert components.variable_value(connection, "none") is None
    assert [catalog.delete_variable(connection, "b", "ann") for _ in range(2)] == [True, False]
    assert catalog.variable_row(connection, "b") is None


def test_connections_and_pools_go_once_with_one_audit_line(connection: Connection) -> None:
    catalog.set_connection(connection, "wh", "sealed", "d", "ann")
    catalog.set_pool(connection, "etl", 2, None, "ann")
    assert [row.id for row in catalog.connections(connection)] == ["wh"]
    assert [catalog.delete_connection(connection, "wh", "ann") for _ in range(2)] == [True, False]
    assert [catalog.delete_pool(connection, "etl", "ann") for _ in range(2)] == [True, False]
    assert [name for _, name, _ in facts.pools(connection)] == [catalog.DEFAULT_POOL]
    assert [row.name for row in reads.pools(connection)] == [catalog.DEFAULT_POOL]
    actions = [row.action for row in reads.audit_rows(connection)]
    assert actions == ["pools delete", "connections delete", "pools set", "connections set"]
    assert len(reads.audit_rows(connection, action="pools set")) == 1


def test_the_last_time_counts_that_a_deadline_was_noted(connection: Connection) -> None:
    for subject in ("d/r finish", "d/r start", "d/r finish"):
        requests.write_audit(connection, "ann", "deadlines ack", subject)
    requests.write_audit(connection, "ann", "look", "other")
    found = catalog.acknowledged(connection)
    assert set(found) == {"d/r finish", "d/r start"}
    assert found["d/r finish"] == max(row.at for row in reads.audit_rows(connection, action="deadlines ack"))


def test_a_pause_that_is_lifted_says_when_by_the_databases_clock(connection: Connection) -> None:
    number, _ = make.store_dag(connection, make.spec())
    before = dialects.clock(connection)
    catalog.set_paused(connection, number, "sales", True, "ann")
    catalog.set_paused(connection, number, "sales", False, "ann")
    row = reads.dag_row(connection, "sales")
    assert row is not None
    assert before <= row.unpaused_at <= dialects.clock(connection)
