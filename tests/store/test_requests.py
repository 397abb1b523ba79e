"""What people, programs and running tasks ask for."""

from __future__ import annotations

import base64
import json
import random
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import OperationalError

from dagd.model.errors import DagdError, InvalidParams, NotFound, Refused
from dagd.model.plans import Plan, RunMove, Settle, XComRow
from dagd.model.states import RunKind, RunState
from dagd.store import catalog, facts, reads, requests, turns
from dagd.store.database import Database
from dagd.store.schema import dag_run
from dagd.store.secrets import Sealer, open_sealer
from tests import factories as make
from tests.factories import NOW

PLACE = (1, 1, -1)


@pytest.fixture
def sealer() -> Sealer:
    return Sealer([b"k" * 32])


@pytest.fixture
def sales(database: Database) -> int:
    """A DAG without params, stored; its number."""
    with database.write() as connection:
        return make.store_dag(connection, make.spec())[0]


def trigger(database: Database, name: str = "sales", **more: Any) -> requests.Triggered:
    with database.write() as connection:
        return requests.trigger_run(connection, name, **more)


def runs(database: Database) -> list[Any]:
    with database.read() as connection:
        return list(connection.execute(select(dag_run).order_by(dag_run.c.id)))


# --- runs ------------------------------------------------------------------------------------------------------------


def test_a_trigger_inserts_a_queued_run_with_its_audit_line(database: Database, sales: int) -> None:
    made = trigger(database, conf={"b": 1, "a": "ü"}, actor="ann")
    (row,) = runs(database)
    assert (row.id, row.run_id, row.kind, row.state) == (made.id, made.run_id, RunKind.MANUAL, RunState.QUEUED)
    assert made.created
    assert made.run_id.startswith("m-")
    assert (row.conf, row.slot, row.due_at, row.logical_at) == ('{"a":"ü","b":1}', None, row.created_at, row.created_at)
    assert 0 < row.id < 1 << 63
    with database.read() as connection:
        (line,) = reads.audit_rows(connection)
        assert (line.actor, line.action, line.subject) == ("ann", "trigger", f"sales/{made.run_id}")


def test_a_trigger_may_name_its_run_and_its_date(database: Database, sales: int) -> None:
    assert trigger(database, run_id="mine", logical_at=NOW).run_id == "mine"
    (row,) = runs(database)
    assert (row.due_at, row.logical_at, row.interval_start, row.interval_end) == (NOW, NOW, NOW, NOW)
    with pytest.raises(Refused, match="has a run 'mine' already"):
        trigger(database, run_id="mine")
    assert len(runs(database)) == 1


@pytest.mark.parametrize("name", ["scheduled__x", "backfill__", "asset__1", "plan__2026"])
def test_ids_that_the_scheduler_gives_are_refused(database: Database, sales: int, name: str) -> None:
    with pytest.raises(Refused, match="given by the scheduler alone"):
        trigger(database, run_id=name)
    assert runs(database) == []


@pytest.mark.parametrize("name", ["", "a/b", "a b", "../x", "x" * 251, "a\n"])
def test_ids_that_are_no_ids_are_refused(database: Database, sales: int, name: str) -> None:
    with pytest.raises(Refused, match="run id"):
        trigger(database, run_id=name)
    assert runs(database) == []


def test_a_key_names_one_run(database: Database, sales: int) -> None:
    first = trigger(database, key="k", conf={"n": 1})
    assert trigger(database, key="k", conf={"n": 1}) == requests.Triggered(first.id, first.run_id, False)
    with pytest.raises(Refused, match="with another conf"):
        trigger(database, key="k", conf={"n": 2})
    assert trigger(database, key="l", conf={"n": 1}).created
    assert len(runs(database)) == 2


def test_a_key_is_of_its_dag(database: Database, sales: int) -> None:
    with database.write() as connection:
        make.store_dag(connection, make.spec("other"))
    assert trigger(database, key="k").created
    assert trigger(database, "other", key="k").created


@pytest.mark.parametrize("key", ["", "x" * 251])
def test_a_key_that_does_not_fit_is_refused(database: Database, sales: int, key: str) -> None:
    with pytest.raises(Refused, match="key"):
        trigger(database, key=key)


def test_of_many_with_one_key_at_once_one_makes_the_run(database: Database, sales: int) -> None:
    gate, found, errors = threading.Barrier(3), [], []

    def ask() -> None:
        gate.wait(10)
        try:
            found.append(trigger(database, key="k"))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert len({made.id for made in found}) == 1
    assert sum(made.created for made in found) == 1
    assert len(runs(database)) == 1


def test_an_id_that_is_taken_by_chance_is_no_refusal(
    database: Database, sales: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bits = iter([5, 5, 6])
    monkeypatch.setattr(random, "getrandbits", lambda _count: next(bits))
    monkeypatch.setattr("dagd.store.dialects.clock", lambda _connection: NOW)
    assert trigger(database).created
    assert trigger(database).created
    assert [row.id & 0xFFFF for row in runs(database)] == [5, 6]


def test_params_are_checked_before_the_run_exists(database: Database) -> None:
    params = {"n": {"schema": {"type": "integer"}, "description": None}}
    with database.write() as connection:
        make.store_dag(connection, make.spec(params=params))
    for conf in ({"n": "x"}, {}, None):
        with pytest.raises(InvalidParams):
            trigger(database, conf=conf)
    assert runs(database) == []
    assert trigger(database, conf={"n": 1, "free": [1]}).created


def test_an_unknown_dag_is_not_found(database: Database, sales: int) -> None:
    with pytest.raises(NotFound, match="no DAG 'nobody'"):
        trigger(database, "nobody")
    with database.read() as connection:
        row, spec = requests.current_spec(connection, "sales")
        assert (row.id, spec.dag_id) == (sales, "sales")
        with pytest.raises(NotFound):
            requests.current_spec(connection, "nobody")


def test_a_request_stands_with_its_audit_line(database: Database, sales: int) -> None:
    with database.write() as connection:
        number = requests.put_command(connection, "kill", sales, 7, {"b": 1, "a": 2}, subject="sales/x", actor="ann")
        requests.write_audit(connection, "bob", "look", "sales", "why")
    with database.read() as connection:
        (row,) = facts.new_commands(connection, range(64))
        assert (row.id, row.kind, row.run_id, row.payload) == (number, "kill", 7, '{"a":2,"b":1}')
        lines = [(line.actor, line.action, line.subject, line.detail) for line in reads.audit_rows(connection)]
        assert lines == [("bob", "look", "sales", "why"), ("ann", "kill", "sales/x", '{"a":2,"b":1}')]


def test_whoever_acts_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "ann")
    assert requests.user_name() == "ann"
    for name in ("USER", "LOGNAME"):
        monkeypatch.delenv(name, raising=False)
    assert requests.user_name()


# --- what a running task asks ----------------------------------------------------------------------------------------


def ask(database: Database, sealer: Sealer, kind: str, /, **args: Any) -> Any:
    return requests.read_for_task(database, sealer, kind, args, PLACE)


def fill(connection: Connection) -> None:
    """Two runs of `sales`, the first with values and tries, and one of `other`."""
    number, version = make.store_dag(connection, make.spec("sales", make.task("a"), make.task("b")))
    other, theirs = make.store_dag(connection, make.spec("other", make.task("z")))
    made = [make.run(number, version, run, due_at=NOW + run, logical_at=NOW + run) for run in (1, 2)]
    values = [XComRow((1, 2, index), "return_value", f'"{index}"', None, None, 3) for index in (1, 0)]
    far = XComRow((9, 1, -1), "return_value", None, "abc", None, 3)
    plan = Plan(new_runs=[*made, make.run(other, theirs, 9)], xcoms=[*values, far])
    turns.write_plan(connection, plan, NOW)


def test_values_of_this_run_and_of_others(database: Database, sealer: Sealer) -> None:
    with database.write() as connection:
        fill(connection)
    mine = [[0, '"0"', None], [1, '"1"', None]]
    assert ask(database, sealer, "xcom", task_id="b") == mine
    assert ask(database, sealer, "xcom", task_id="b", key="other") == []
    assert ask(database, sealer, "xcom", task_id="nobody") == []
    assert ask(database, sealer, "xcom", task_id="z", dag_id="other", run_id="m-9") == [[-1, None, "abc"]]
    assert ask(database, sealer, "xcom", task_id="b", run_id="m-2") == []
    assert ask(database, sealer, "xcom", task_id="b", dag_id="nobody", run_id="x") == []
    later = {"task_id": "b", "prior": True}
    assert requests.read_for_task(database, sealer, "xcom", later, (2, 1, -1)) == mine
    assert requests.read_for_task(database, sealer, "xcom", later | {"key": "other"}, (2, 1, -1)) == []
    assert requests.read_for_task(database, sealer, "xcom", {"task_id": "b"}, (55, 1, -1)) == []


def test_variables_and_connections(database: Database, sealer: Sealer) -> None:
    body = {"password": "pw", "extra": json.dumps({"token": "t0k"})}
    with database.write() as connection:
        catalog.set_variable(connection, "k", "v", None, "ann")
        catalog.set_connection(connection, "c", sealer.seal(json.dumps(body)), None, "ann")
    assert ask(database, sealer, "variable", key="k") == "v"
    assert ask(database, sealer, "variable", key="none") is None
    assert ask(database, sealer, "connection", id="c") == body
    assert ask(database, sealer, "connection", id="none") is None


def test_the_run_before_and_the_last_one_in_a_state(database: Database, sealer: Sealer) -> None:
    with database.write() as connection:
        fill(connection)
        row = facts.run_row(connection, 1)
        assert row is not None
        runs = [make.run(row.dag_id, row.version_id, run, due_at=NOW + run) for run in (3, 4)]
        moves = [RunMove(1, event, NOW) for event in ("start", "succeed")]
        turns.write_plan(connection, Plan(new_runs=runs, run_moves=moves), NOW)

    def before(run: str, **more: str) -> str | None:
        found = ask(database, sealer, "previous_run", dag_id="sales", run_id=run, **more)
        return None if found is None else str(found["run_id"])

    assert [before("m-4"), before("m-2"), before("m-1"), before("nobody")] == ["m-3", "m-1", None, None]
    assert before("m-4", state="success") == "m-1"
    assert before("m-4", state="failed") is None


def test_the_state_of_a_run_counts_the_last_try_and_marks_outweigh_it(database: Database, sealer: Sealer) -> None:
    with database.write() as connection:
        fill(connection)
        tries = [make.enqueue((1, 1, -1), 1, "a1"), make.enqueue((1, 2, 0), 1, "b1"), make.enqueue((1, 2, 1), 1, "b2")]
        turns.write_plan(connection, Plan(enqueues=tries), NOW)
        ends = [make.end("fail", (1, 1, -1), 1, "a1"), make.end("fail", (1, 2, 0), 1, "b1")]
        again = make.enqueue((1, 1, -1), 2, "a2")
        turns.write_plan(connection, Plan(ends=ends, enqueues=[again]), NOW)
        end = make.end("succeed", (1, 1, -1), 2, "a2")
        turns.write_plan(connection, Plan(ends=[end], settles=[Settle((1, 2, 0), "succeed", "marked", NOW)]), NOW)
    found = ask(database, sealer, "run_state", dag_id="sales", logical_date=NOW + 1)
    assert (found["run_id"], found["state"]) == ("m-1", "queued")
    assert {name: sorted(states) for name, states in found["tasks"].items()} == {
        "a": ["success"], "b": ["queued", "success"],
    }  # fmt: skip
    assert ask(database, sealer, "run_state", dag_id="sales")["run_id"] == "m-2"
    assert ask(database, sealer, "run_state", dag_id="sales", run_id="m-1")["run_id"] == "m-1"
    assert ask(database, sealer, "run_state", dag_id="sales", logical_date=5) is None
    with pytest.raises(NotFound):
        ask(database, sealer, "run_state", dag_id="nobody")


def test_an_unknown_request_is_an_error(database: Database, sealer: Sealer) -> None:
    with pytest.raises(DagdError, match="unknown request 'x'"):
        ask(database, sealer, "x")


def test_s1_a_retried_task_finds_the_run_that_it_triggered(database: Database, sales: int) -> None:
    asked = {"dag_id": "sales", "conf": {"n": 1}}
    first = requests.write_for_task(database, "trigger", asked, PLACE)
    again = requests.write_for_task(database, "trigger", asked, PLACE)
    assert (first["created"], again["created"], again["id"]) == (True, False, first["id"])
    assert requests.write_for_task(database, "trigger", asked, (1, 1, 0))["created"]
    assert requests.write_for_task(database, "trigger", {**asked, "key": "own"}, PLACE)["created"]
    assert [row.request_key for row in runs(database)].count("t:1/1/-1") == 1
    with pytest.raises(NotFound):
        requests.write_for_task(database, "trigger", {"dag_id": "nobody"}, PLACE)


def test_a_trigger_may_reset_the_run_that_is_there(database: Database, sales: int) -> None:
    asked = {"dag_id": "sales", "run_id": "mine", "reset": True}
    first = requests.write_for_task(database, "trigger", asked, PLACE)
    again = requests.write_for_task(database, "trigger", asked, (8, 1, -1))
    assert (first["created"], again) == (True, {**first, "created": False})
    with database.read() as connection:
        rows = [row for row in reads.audit_rows(connection) if row.action == "clear"]
    assert [row.subject for row in rows] == ["sales/mine"]
    with pytest.raises(Refused, match="another conf"):
        requests.write_for_task(database, "trigger", {**asked, "conf": {"n": 2}}, PLACE)


def test_a_trigger_may_refuse_a_paused_dag(database: Database, sales: int) -> None:
    with database.write() as connection:
        catalog.set_paused(connection, sales, "sales", True, "ann")
    with pytest.raises(Refused, match="is paused"):
        requests.write_for_task(database, "trigger", {"dag_id": "sales", "refuse_paused": True}, PLACE)
    assert requests.write_for_task(database, "trigger", {"dag_id": "sales"}, PLACE)["created"]


def test_the_events_of_an_inlet_come_with_their_sources(database: Database, sealer: Sealer) -> None:
    assert ask(database, sealer, "asset_events", asset="nobody") == []


def test_a_task_sets_and_deletes_variables(database: Database, sealer: Sealer) -> None:
    for value in ("1", "2"):
        requests.write_for_task(database, "set_variable", {"key": "k", "value": value}, PLACE)
    assert ask(database, sealer, "variable", key="k") == "2"
    requests.write_for_task(database, "delete_variable", {"key": "k"}, PLACE)
    assert ask(database, sealer, "variable", key="k") is None
    with database.read() as connection:
        assert [line.action for line in reads.audit_rows(connection)] == ["delete_variable", *["set_variable"] * 2]
        assert all(line.detail is None for line in reads.audit_rows(connection))


# --- sealed at rest --------------------------------------------------------------------------------------------------


def test_what_was_sealed_with_an_old_key_opens_after_a_rotation() -> None:
    old, new = Sealer([b"a" * 32]), Sealer([b"b" * 32, b"a" * 32])
    sealed = old.seal("s3cret ü")
    assert "s3cret" not in sealed
    assert sealed != old.seal("s3cret ü")
    assert new.unseal(sealed) == "s3cret ü"
    assert new.unseal(new.seal("x")) == "x"
    with pytest.raises(DagdError, match="cannot be unsealed"):
        old.unseal(new.seal("x"))


def test_a_home_makes_its_key_once_without_rights_for_others(tmp_path: Path) -> None:
    home = tmp_path / "home"
    sealed = open_sealer(home, "").seal("x")
    assert open_sealer(home, "").unseal(sealed) == "x"
    assert (home / "keys").stat().st_mode & 0o077 == 0
    assert home.stat().st_mode & 0o077 == 0
    key = (home / "keys").read_text()
    other = base64.b64encode(b"n" * 32).decode()
    assert open_sealer(home, f"{other}, {key}").unseal(sealed) == "x"


@pytest.mark.parametrize("words", ["not base64!", "c2hvcnQ=", ","])
def test_keys_that_are_none_are_refused(tmp_path: Path, words: str) -> None:
    with pytest.raises(DagdError, match=r"secrets\.connection_key"):
        open_sealer(tmp_path, words)


def test_no_row_holds_a_secret_in_clear(database: Database, sealer: Sealer) -> None:
    with database.write() as connection:
        catalog.set_connection(connection, "wh", sealer.seal('{"password": "hunter2"}'), None, "ann")
        catalog.set_variable(connection, "k", "hunter2", None, "ann")
    with database.read() as connection:
        lines = connection.execute(text("SELECT detail FROM audit")).scalars().all()
        assert lines == [None, None]
        count = select(func.count()).select_from(text("connection")).where(text("sealed LIKE '%hunter2%'"))
        assert connection.execute(count).scalar_one() == 0


def test_a_statement_that_was_refused_is_no_database_that_is_away(database: Database) -> None:
    with pytest.raises(requests.DatabaseProblem) as refused, database.read() as connection:
        connection.execute(text("SELECT * FROM nowhere"))
    assert not requests.is_away(refused.value)
    gone = OperationalError("COMMIT", None, Exception("closed"), connection_invalidated=True)
    assert requests.is_away(gone)
