"""Asset events: each reaches each subscriber once, is consumed by one run, and a subscription has a clear beginning."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, select

from dagd.model.errors import Doubt
from dagd.model.plans import AssetEventRow, Plan
from dagd.store import catalog, facts, reads, reads_assets, reads_runs, turns
from dagd.store.database import Database
from dagd.store.schema import asset, asset_delivery, asset_event, dag
from tests import factories as make
from tests.factories import NOW


def event(number: int, key: str = "orders", source: str | None = None, **more: Any) -> AssetEventRow:
    values: dict[str, Any] = {
        "id": number, "asset": key, "partition": "", "kind": 1, "dag": 1, "run": 1, "task_no": 1, "map_index": -1,
        "try_no": 1, "data_version": None, "data_time": None, "metadata": None, "source_key": source or f"t{number}",
        "ts": NOW + number,
    }  # fmt: skip
    return AssetEventRow(**{**values, **more})


def write(connection: Connection, **parts: Any) -> None:
    turns.write_plan(connection, Plan(**parts), NOW)


def listener(connection: Connection, name: str, *keys: str, **more: Any) -> int:
    number, _ = make.store_dag(connection, make.spec(name, **more))
    write(connection, subscriptions=[(number, keys)])
    return number


def open_of(connection: Connection) -> list[tuple[int, str, int]]:
    return [row[:3] for row in facts.open_deliveries(connection, range(64))]


def test_s7_an_event_reaches_each_subscriber_once_the_paused_ones_too(connection: Connection) -> None:
    one = listener(connection, "one", "orders")
    two = listener(connection, "two", "orders", "returns", is_paused_upon_creation=True)
    listener(connection, "three", "returns")
    write(connection, asset_events=[event(5)])
    assert open_of(connection) == [(one, "orders", 5), (two, "orders", 5)]
    assert facts.subscriptions(connection, [one, two]) == {one: ("orders",), two: ("orders", "returns")}
    assert facts.subscriptions(connection, [999]) == {}
    assert reads.subscribed(connection, two) == ["orders", "returns"]


def test_s7_a_report_that_comes_twice_is_one_event(connection: Connection) -> None:
    one = listener(connection, "one", "orders", "returns")
    write(connection, asset_events=[event(5, source="t"), event(6, source="t"), event(7, "returns", source="t")])
    write(connection, asset_events=[event(8, source="t"), event(9, source="t", partition="2026")])
    assert open_of(connection) == [(one, "orders", 5), (one, "returns", 7), (one, "orders", 9)]
    assert connection.execute(select(asset_event.c.id).order_by(asset_event.c.id)).scalars().all() == [5, 7, 9]
    delivered = select(asset_delivery.c.event_id).order_by(asset_delivery.c.event_id)
    assert connection.execute(delivered).scalars().all() == [5, 7, 9], "nothing is delivered of a double"


def test_deliveries_are_found_by_the_consumers_shard(connection: Connection) -> None:
    one = listener(connection, "one", "orders")
    shard = connection.execute(select(dag.c.shard)).scalar_one()
    write(connection, asset_events=[event(5)])
    assert facts.open_deliveries(connection, [shard]) == [(one, "orders", 5, NOW + 5)]
    assert facts.open_deliveries(connection, [number for number in range(64) if number != shard]) == []


def test_s7_an_event_is_consumed_by_one_run_and_another_doubts(connection: Connection) -> None:
    one, two = listener(connection, "one", "orders"), listener(connection, "two", "orders")
    write(connection, asset_events=[event(5), event(6)])
    write(connection, consumed=[(one, 71, (5,))])
    assert open_of(connection) == [(two, "orders", 5), (one, "orders", 6), (two, "orders", 6)]
    for wrong in ((5,), (5, 6), (6, 99)):
        with pytest.raises(Doubt, match="asset events of run 72"), connection.begin_nested():
            write(connection, consumed=[(one, 72, wrong)])
    write(connection, consumed=[(one, 72, (6,)), (two, 73, (5, 6))])
    assert open_of(connection) == []
    taken = connection.execute(select(asset_delivery.c.dag_id, asset_delivery.c.event_id, asset_delivery.c.run_id))
    assert set(taken.all()) == {(one, 5, 71), (one, 6, 72), (two, 5, 73), (two, 6, 73)}


def test_s10_a_paused_dag_consumes_nothing_and_its_events_stay_open(connection: Connection) -> None:
    one, two = listener(connection, "one", "orders"), listener(connection, "two", "orders")
    write(connection, asset_events=[event(5)])
    catalog.set_paused(connection, one, "one", True, "ann")
    for wrong in ([(one, 71, (5,))], [(two, 73, (5,)), (one, 71, (5,))]):
        with pytest.raises(Doubt, match="not paused"), connection.begin_nested():
            write(connection, consumed=wrong)
    assert open_of(connection) == [(one, "orders", 5), (two, "orders", 5)]
    catalog.set_paused(connection, one, "one", False, "ann")
    write(connection, consumed=[(one, 71, (5,))])


def test_a_change_of_the_condition_drops_what_is_open_of_the_assets_that_left(connection: Connection) -> None:
    one, two = listener(connection, "one", "orders", "returns"), listener(connection, "two", "orders")
    write(connection, asset_events=[event(5), event(6, "returns"), event(7)])
    write(connection, consumed=[(one, 71, (5,))])
    write(connection, subscriptions=[(one, ("returns", "visits"))])
    assert open_of(connection) == [(two, "orders", 5), (one, "returns", 6), (two, "orders", 7)]
    dropped = select(asset_delivery.c.event_id, asset_delivery.c.dropped_at).where(asset_delivery.c.dropped_at > 0)
    assert connection.execute(dropped).all() == [(7, NOW)]
    with pytest.raises(Doubt), connection.begin_nested():
        write(connection, consumed=[(one, 72, (7,))])
    write(connection, asset_events=[event(8), event(9, "visits")])
    assert open_of(connection)[3:] == [(two, "orders", 8), (one, "visits", 9)]
    write(connection, subscriptions=[(one, ())])
    assert open_of(connection) == [(two, "orders", 5), (two, "orders", 7), (two, "orders", 8)]


def test_dropped_events_are_open_no_more_and_another_doubts(connection: Connection) -> None:
    one, two = listener(connection, "one", "orders"), listener(connection, "two", "orders")
    write(connection, asset_events=[event(5), event(6)])
    write(connection, dropped=[(one, (5,))])
    assert open_of(connection) == [(two, "orders", 5), (one, "orders", 6), (two, "orders", 6)]
    with pytest.raises(Doubt, match="dropped asset events of DAG"), connection.begin_nested():
        write(connection, dropped=[(one, (5, 6))])


def test_a_late_subscriber_gets_no_old_event(connection: Connection) -> None:
    listener(connection, "one", "orders")
    write(connection, asset_events=[event(5)])
    two = listener(connection, "two", "orders")
    write(connection, subscriptions=[(two, ("orders",))], asset_events=[event(6)])
    assert [row for row in open_of(connection) if row[0] == two] == [(two, "orders", 6)]


def test_assets_get_one_id_each(connection: Connection) -> None:
    first = turns.asset_ids(connection, {"a", "b"})
    again = turns.asset_ids(connection, {"b", "c"})
    assert first["b"] == again["b"]
    assert len({*first.values(), *again.values()}) == 3
    assert turns.asset_ids(connection, set()) == {}


def test_what_a_run_consumed_is_told_with_its_source(connection: Connection) -> None:
    one = listener(connection, "one", "orders")
    number, version = make.store_dag(connection, make.spec("sales", outlets_task()))
    write(connection, new_runs=[make.run(number, version), make.run(one, version, 71)])
    made = event(5, dag=number, map_index=3, partition="p")
    reported = event(6, source="by hand", dag=None, run=None, task_no=None, map_index=None)
    write(connection, asset_events=[made, reported])
    write(connection, consumed=[(one, 71, (5, 6))])
    expected = [
        {"event_id": 5, "asset": "orders", "partition": "p", "source": "sales/m-1/load/3"},
        {"event_id": 6, "asset": "orders", "partition": "", "source": "by hand"},
    ]
    assert facts.events_of(connection, 71) == expected
    assert facts.events_of(connection, 72) == []
    shown = reads_runs.events_by_run(connection, [71, 72])
    assert {run: [each["source"] for each in found] for run, found in shown.items()} == {
        71: ["sales/m-1/load/3", "by hand"]
    }
    assert reads_assets.consumers(connection, [5, 6]) == {5: ["one/m-71"], 6: ["one/m-71"]}
    listed = reads_assets.events(connection, turns.asset_ids(connection, {"orders"})["orders"])
    assert [(row.id, reads_runs.source_of(row)) for row in listed] == [(6, "by hand"), (5, "sales/m-1/load/3")]


def outlets_task() -> Any:
    return make.task("load", outlets=("orders",))


def test_who_makes_and_who_reads_an_asset(connection: Connection) -> None:
    listener(connection, "one", "orders")
    write(connection, asset_events=[event(5), event(6)])
    specs = (make.asset("orders", uri="pg://x", tags=("a",)), make.asset("raw"))
    tasks = (make.task("load", outlets=("orders",), inlets=("raw",)),)
    make.store_dag(connection, make.spec("sales", *tasks, assets=specs))
    found = {row.key: (row.events, row.last_ts, row.uri) for row in reads_assets.assets(connection)}
    assert found == {"orders": (2, NOW + 6, "pg://x"), "raw": (0, None, None)}
    ids = turns.asset_ids(connection, {"orders", "raw"})
    users = {(row.asset_id, row.role, row.dag_name, row.task_id) for row in reads_assets.users(connection)}
    assert users == {(ids["orders"], "out", "sales", "load"), (ids["raw"], "in", "sales", "load")}
    assert [row.dag_name for row in reads_assets.listeners(connection)] == ["one"]
    make.store_dag(connection, make.spec("sales", make.task("load", outlets=("orders",)), assets=specs))
    assert [row.role for row in reads_assets.users(connection, list(ids.values()))] == ["out"]


# --- two at once -----------------------------------------------------------------------------------------------------


def together(*acts: Callable[[], None]) -> None:
    """Run each in a thread of its own, all at once; the first error is raised."""
    gate, errors = threading.Barrier(len(acts)), []

    def run(act: Callable[[], None]) -> None:
        gate.wait(10)
        try:
            act()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if errors:
        raise errors[0]


ROUNDS = 12


def test_s7_of_two_that_publish_at_once_no_event_is_lost_or_doubled(database: Database) -> None:
    with database.write() as connection:
        one, two = listener(connection, "one", "b", "a"), listener(connection, "two", "a", "b")

    def publish(base: int, keys: tuple[str, str]) -> Callable[[], None]:
        def act() -> None:
            for at in range(ROUNDS):
                with database.write() as connection:
                    # Half of the reports are told by both.
                    told = [event(base + 10 * at + n, key, f"s{at}-{key}") for n, key in enumerate(keys)]
                    write(connection, asset_events=told)

        return act

    together(publish(1000, ("a", "b")), publish(2000, ("b", "a")), publish(3000, ("a", "b")))
    with database.read() as connection:
        rows = connection.execute(select(asset_event.c.id)).scalars().all()
        assert len(rows) == 2 * ROUNDS
        found = open_of(connection)
        assert len(found) == len(set(found)) == 4 * ROUNDS
        assert {(dag_id, number) for dag_id, _, number in found} == {(each, row) for each in (one, two) for row in rows}


def test_s7_an_event_is_before_or_after_a_subscription_never_in_between(database: Database) -> None:
    """Each round a DAG begins or ends to listen while an event is published: its open deliveries are exactly those of
    events that were committed while it listened."""
    with database.write() as connection:
        number = listener(connection, "one", "a")

    def publish() -> None:
        for at in range(4 * ROUNDS):
            with database.write() as connection:
                write(connection, asset_events=[event(100 + at, "a")])

    def change() -> None:
        for at in range(4 * ROUNDS):
            with database.write() as connection:
                keys = ("b",) if at % 2 else ("a", "b")
                write(connection, subscriptions=[(number, keys)])

    together(publish, change)
    with database.read() as connection:
        deliveries = list(connection.execute(select(asset_delivery)))
        assert len({row.event_id for row in deliveries}) == len(deliveries)
        keys = select(asset_event.c.id, asset.c.key).join(asset, asset.c.id == asset_event.c.asset_id)
        asset_of = dict(connection.execute(keys).all())
        assert all(asset_of[row.event_id] == "a" for row in deliveries)
        assert facts.subscriptions(connection, [number]) == {number: ("b",)}
        assert open_of(connection) == []


def test_s7_a_dag_that_stops_to_listen_waits_for_who_publishes(database: Database) -> None:
    with database.write() as connection:
        one = listener(connection, "one", "a")

    def leave() -> None:
        with database.write() as connection:
            write(connection, subscriptions=[(one, ())])

    leaving = threading.Thread(target=leave)
    with database.write() as connection:
        write(connection, asset_events=[event(5, "a")])
        leaving.start()
        leaving.join(0.3)
        assert leaving.is_alive()
    leaving.join(30)
    with database.read() as connection:
        assert open_of(connection) == []


def test_plans_with_several_subscriptions_and_events_do_not_wait_for_each_other(database: Database) -> None:
    with database.write() as connection:
        numbers = [make.store_dag(connection, make.spec(name))[0] for name in ("one", "two")]
        turns.asset_ids(connection, {"a", "b"})

    def listen() -> None:
        for at in range(ROUNDS):
            with database.write() as connection:
                keys = [("b",), ("a",)] if at % 2 else [("a",), ("b",)]
                write(connection, subscriptions=list(zip(numbers, keys, strict=True)))

    together(listen, publish_from(database, 1000), listen, publish_from(database, 5000))


def publish_from(database: Database, base: int) -> Callable[[], None]:
    def act() -> None:
        for at in range(ROUNDS):
            with database.write() as connection:
                write(connection, asset_events=[event(base + 10 * at, "b"), event(base + 10 * at + 1, "a")])

    return act


def test_s7_two_that_consume_the_same_events_cannot_both(database: Database) -> None:
    with database.write() as connection:
        one = listener(connection, "one", "a")
        write(connection, asset_events=[event(at, "a") for at in range(1, ROUNDS + 1)])
    lost: list[int] = []

    def consume(base: int) -> Callable[[], None]:
        def act() -> None:
            for at in range(1, ROUNDS + 1):
                try:
                    with database.write() as connection:
                        write(connection, consumed=[(one, base + at, (at,))])
                except Doubt:
                    lost.append(at)

        return act

    together(consume(1000), consume(2000))
    assert sorted(lost) == list(range(1, ROUNDS + 1))
    with database.read() as connection:
        assert open_of(connection) == []
