"""Triggers: what may be stored, how often one is looked at, what each kind sees, and the loop on a clock of its own."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from concurrent.futures import Executor, Future
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from dagd.agent import triggering
from dagd.agent.triggering import Watcher
from dagd.authoring.outcomes import DeferTask
from dagd.authoring.store_access import Connection
from dagd.authoring.triggers import (
    BaseTrigger,
    DateTimeTrigger,
    FileTrigger,
    HttpTrigger,
    SqlTrigger,
    TimeDeltaTrigger,
    as_trigger,
)
from dagd.model.errors import DagdError, NotFound
from dagd.model.times import SECOND
from dagd.model.triggers import describe, pauses
from dagd.runtime.looking import load_checks
from dagd_operators import checks
from dagd_operators.http import HTTPFailed, Response

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)

# --- what is stored --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trigger,said",
    [
        (DateTimeTrigger(AT), "time 2026-03-01 12:00:00 UTC"),
        (FileTrigger("/in/*.csv"), "file /in/*.csv"),
        (HttpTrigger("health", conn_id="site"), "http GET health on site"),
        (HttpTrigger("https://x/y", method="post"), "http POST https://x/y"),
        (SqlTrigger("db", "select\n  1"), "sql select 1 on db"),
    ],
)
def test_a_trigger_is_json_and_says_in_words_what_is_waited_for(trigger: BaseTrigger, said: str) -> None:
    stored = trigger.to_json()
    assert json.loads(json.dumps(stored)) == stored
    assert None not in stored.values()
    assert describe(as_trigger(stored)) == said


def test_a_while_is_counted_from_where_the_task_says_so() -> None:
    assert TimeDeltaTrigger(timedelta(hours=1)).to_json() == {"kind": "time", "in_us": 3600 * SECOND}


@pytest.mark.parametrize(
    "given,why",
    [
        ({"kind": "kafka"}, "known: time, file, http, sql"),
        ({"kind": "file"}, "needs 'path'"),
        ({"kind": "time"}, "needs 'at' or 'in_us'"),
        ({"kind": "file", "path": "/x", "pth": "/y"}, "has no 'pth'"),
        ({"kind": "http", "url": "https://u:secret@x/"}, "holds a password"),
        ({"kind": "sql", "conn_id": "postgresql://u:secret@x/d", "sql": "select 1"}, "holds a password"),
        ({"kind": "sql", "conn_id": "db", "sql": "select 1", "parameters": {"at": AT}}, "stored as JSON"),
        (object(), "is no trigger that dagd knows"),
    ],
)
def test_what_cannot_be_a_trigger_is_refused(given: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        as_trigger(given)


@pytest.mark.parametrize(
    "given", [{}, {"until": AT, "every": timedelta(1)}, {"until": AT, "trigger": FileTrigger("/x")},
              {"every": timedelta(1), "timeout": 5}],
)  # fmt: skip
def test_a_wait_is_for_one_thing(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="defer"):
        DeferTask(**given)


@pytest.mark.parametrize(
    "fields,seconds",
    [
        ({}, [0, 60, 60, 60]),
        ({"every_us": 5 * SECOND, "was_checked": True}, [5, 5, 5, 5]),
        ({"every_us": 5 * SECOND, "backoff": True, "was_checked": True}, [5, 10, 20, 40]),
        ({"every_us": 5 * SECOND, "backoff": True, "max_wait_us": 12 * SECOND}, [0, 5, 10, 12]),
        ({"every_us": 0}, [0, 60, 60, 60]),
        ({"every_us": 1}, [0, 0.1, 0.1, 0.1]),
        ({"every_us": 10**30}, [0, 7 * 86_400, 7 * 86_400, 7 * 86_400]),
    ],
)
def test_the_pauses_between_looks(fields: dict[str, Any], seconds: list[float]) -> None:
    found = islice(pauses({"kind": "file", "path": "/x", **fields}), 4)
    assert [pause / SECOND for pause in found] == seconds


# --- what each kind sees ---------------------------------------------------------------------------------------------


def look(trigger: BaseTrigger, connection: Connection | None = None) -> dict[str, Any] | None:
    stored = trigger.to_json()
    return load_checks()[stored["kind"]](stored, connection)


def test_a_file_trigger_sees_files_globs_and_filled_folders(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert look(FileTrigger(f"{tmp_path}/in")) is None
    (tmp_path / "in" / "a.csv").write_text("")
    assert look(FileTrigger(f"{tmp_path}/in/*.csv")) == {"path": f"{tmp_path}/in/a.csv"}
    assert look(FileTrigger(f"{tmp_path}/**/a.csv", recursive=True)) is not None
    assert look(FileTrigger(f"{tmp_path}/in")) is not None


def test_a_sql_trigger_waits_for_a_true_cell(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with sqlite3.connect(path) as made:
        made.execute("create table t (x int)")
        count = SqlTrigger("db", "select count(*) from t where x > :least", {"least": 1})
        assert look(count, Connection(conn_type="sqlite", host=str(path))) is None
        made.execute("insert into t values (7)")
        made.commit()
    made.close()
    assert look(count, Connection(conn_type="sqlite", host=str(path))) == {"value": 1}
    assert look(SqlTrigger(f"sqlite:///{path}", "select x from t where x = 0")) is None
    with pytest.raises(NotFound, match="no connection 'db'"):
        look(count)


@pytest.mark.parametrize(
    "more,answer,is_seen",
    [
        ({}, (200, b""), True),
        ({}, (404, b""), False),
        ({}, (503, b"down"), None),
        ({"not_yet": [503]}, (503, b""), False),
        ({"status": [204]}, (204, b""), True),
        ({"status": [204], "not_yet": [200]}, (200, b""), False),
        ({"contains": "ready"}, (200, b"not read"), False),
        ({"contains": "ready"}, (200, b"all ready"), True),
        ({"json_path": "jobs.0.state", "json_equals": "done"}, (200, b'{"jobs": [{"state": "done"}]}'), True),
        ({"json_path": "jobs.1.state", "json_equals": "done"}, (200, b'{"jobs": [{"state": "done"}]}'), False),
        ({"json_path": "ok"}, (200, b'{"ok": true}'), True),
        ({"json_path": "ok"}, (200, b"no json"), False),
    ],
)
def test_an_http_trigger_judges_status_and_body(
    more: dict[str, Any], answer: tuple[int, bytes], is_seen: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, body = answer
    monkeypatch.setattr(checks, "send", lambda *_: Response(status, {}, body, "http://x/y"))
    trigger = HttpTrigger("http://x/y", **more)
    if is_seen is None:
        with pytest.raises(HTTPFailed, match="answered 503: down"):
            look(trigger)
        return
    event = look(trigger)
    assert (event is not None) == is_seen
    assert not is_seen or event == {"status": status, "url": "http://x/y", "text": body.decode()}


# --- the loop --------------------------------------------------------------------------------------------------------


class Turned:
    """A clock that jumps to the next sleeper; what the loop says, and what looks find."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self.said: list[dict[str, Any]] = []
        self.looks: list[tuple[float, str]] = []
        self.found: dict[str, Callable[[], Any]] = {}
        self.watcher = Watcher(self.said.append, {"file": self.look, "sql": self.look}, self.sleep)

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.now + seconds, woken))
        await woken

    def look(self, trigger: dict[str, Any], connection: Connection | None) -> Any:
        self.looks.append((self.now, trigger.get("path") or repr(connection)))
        return self.found.get(trigger["kind"], lambda: None)()

    async def rest(self) -> None:
        """Until every wait sleeps, has asked, or is over: a few turns of the loop, as looks end at once here."""
        loop = asyncio.get_running_loop()
        for _ in range(20):
            turn: asyncio.Future[None] = loop.create_future()
            loop.call_soon(turn.set_result, None)
            await turn

    async def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        await self.rest()
        while due := sorted(one for one in self.sleepers if one[0] <= end and not one[1].done()):
            self.now = due[0][0]
            due[0][1].set_result(None)
            await self.rest()
        self.now = end

    def wait(self, token: str, **trigger: Any) -> None:
        self.watcher.take({"t": "wait", "triggers": [{"token": token, "trigger": trigger}]})

    def fired(self) -> list[Any]:
        return [one for frame in self.said if frame["t"] == "fired" for one in frame["tries"]]


class AtOnce(Executor):
    """Threads without threads."""

    def __init__(self, *_: Any) -> None:
        """As many as one likes."""

    def submit(self, call: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(call(*args, **named))
        except OSError as error:
            done.set_exception(error)
        return done


@pytest.fixture
def turned(monkeypatch: pytest.MonkeyPatch) -> Turned:
    monkeypatch.setattr(triggering, "ThreadPoolExecutor", AtOnce)
    return Turned()


FILE = {"kind": "file", "path": "/x", "every_us": 10 * SECOND}


def test_a_wait_looks_at_once_then_at_its_pace_until_it_fires(turned: Turned) -> None:
    async def story() -> None:
        turned.wait("t1", **FILE)
        turned.wait("t1", **FILE)  # told twice, waited for once
        await turned.pass_time(25)
        assert [at for at, _ in turned.looks] == [0, 10, 20]
        turned.found["file"] = lambda: {"path": "/x"}
        await turned.pass_time(30)

    asyncio.run(story())
    assert [at for at, _ in turned.looks] == [0, 10, 20, 30]
    assert turned.fired() == [{"token": "t1", "event": {"path": "/x"}}]


def test_a_wait_that_is_over_is_looked_at_no_more(turned: Turned) -> None:
    async def story() -> None:
        turned.wait("t1", **FILE)
        await turned.pass_time(5)
        turned.watcher.take({"t": "unwait", "tokens": ["t1", "never"]})
        turned.found["file"] = lambda: {"path": "/x"}
        await turned.pass_time(100)

    asyncio.run(story())
    assert (len(turned.looks), turned.fired()) == (1, [])


def test_what_a_look_raises_is_told_without_secrets(turned: Turned) -> None:
    def refuse() -> Any:
        raise OSError("cannot log in as u:hunter22 at db")

    async def story() -> None:
        turned.found["sql"] = refuse
        turned.wait("t1", kind="sql", conn_id="db", sql="select 1")
        await turned.rest()
        (asked,) = turned.said
        assert (asked["kind"], asked["args"], asked["token"]) == ("connection", {"id": "db"}, "t1")
        fields = {"conn_type": "postgres", "host": "h", "password": "hunter22"}
        turned.watcher.take({"t": "reply", "token": "t1", "id": asked["id"], "ok": True, "value": fields})
        await turned.rest()

    asyncio.run(story())
    assert turned.fired() == [{"token": "t1", "error": {"type": "OSError", "message": "cannot log in as u:*** at db"}}]


@pytest.mark.parametrize("code,fires", [(NotFound.code, True), (DagdError.code, False)])
def test_a_refused_connection_fails_the_wait_but_a_scheduler_that_forgot_is_asked_again(
    code: str, fires: bool, turned: Turned
) -> None:
    async def story() -> None:
        turned.wait("t1", kind="sql", conn_id="db", sql="select 1", every_us=SECOND)
        await turned.rest()
        error = {"code": code, "what": "no", "remedy": None}
        turned.watcher.take({"t": "reply", "token": "t1", "id": turned.said[0]["id"], "ok": False, "error": error})
        await turned.pass_time(1)

    asyncio.run(story())
    assert [one["error"]["message"] for one in turned.fired()] == (["no"] if fires else [])
    assert sum(frame["t"] == "request" for frame in turned.said) == (1 if fires else 2)
