"""A try's own socket: what it says can end that try and nothing else, and is answered for that try alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dagd.agent.said import is_result
from dagd.engine.reader import Reader
from dagd.store import catalog, transitions
from dagd.store.secrets import open_sealer
from tests import factories as make
from tests.integration.test_agent_rig import Rig, is_dead, make_rig, rig, runtime  # noqa: F401

BODIES = """
import os
from dagd.model.frames import encode_frame

def say(channel, launch):
    channel._peer.sendall(encode_frame(launch["frame"]))
    channel._peer.recv(1)
    return {"outcome": "succeed"}

def raw(channel, launch):
    channel._peer.sendall(bytes.fromhex(launch["bytes"]))
    channel._peer.recv(1)
    return {"outcome": "succeed"}

def quiet(channel, launch):
    return channel.request("variable", {"key": "x"})
"""
FRAMES: list[dict[str, Any]] = [
    {"t": "request", "id": [], "kind": "variable", "args": {}},
    {"t": "request", "id": 1, "kind": ["variable"], "args": {}},
    {"t": "request", "id": 1, "kind": "variable", "args": []},
    {"t": "launch", "tries": []},
    {"t": "ack", "tokens": ["other"]},
    {"t": "reply", "token": "other", "id": 1, "ok": True, "value": "forged"},
    {"t": "result", "outcome": ["succeed"]},
    {"t": "result", "outcome": "cancel"},
    {"t": "result", "outcome": "succeed", "xcom": "x"},
    {"t": "result", "outcome": "succeed", "xcom": [{"text": "1"}]},
    {"t": "result", "outcome": "succeed", "xcom": [{"key": "k", "file": "../keys"}]},
    {"t": "result", "outcome": "succeed", "xcom": [{"key": "k", "file": "/etc/passwd"}]},
    {"t": "result", "outcome": "succeed", "xcom": [{"key": "k", "text": "nul \0"}]},
    {"t": "result", "outcome": "succeed", "xcom": [{"key": "k", "text": "1", "length": 1 << 70}]},
    {"t": "result", "outcome": "succeed", "xcom": [{"key": "k" * 251, "text": "1"}]},
    {"t": "result", "outcome": "succeed", "rendered": [1]},
    {"t": "result", "outcome": "succeed", "assets": [1]},
    {"t": "result", "outcome": "succeed", "label": {}},
    {"t": "result", "outcome": "fail", "error": "text"},
    {"t": "result", "outcome": "fail", "retry": "never"},
    {"t": "result", "outcome": "fail", "exit_code": 1 << 40},
    {"t": "result", "outcome": "defer", "until": "soon"},
    {"t": "result", "outcome": "defer", "state": []},
]
RAW = {
    "no JSON": (b"\0\0\0\x02{]", "not a frame"),
    "deep nesting": (b"\0\x03\x0d\x40" + b"[" * 200_000, "not a frame"),
    "a list": (b"\0\0\0\x02[]", "no object"),
    "a giant": (b"\xff\xff\xff\xff", "not a frame"),
}


@pytest.mark.parametrize("grade", ["fork", "warm"])
def test_no_frame_of_a_try_ends_more_than_that_try(rig: Rig, grade: str) -> None:  # noqa: F811
    scheduler = rig.scheduler()
    scheduler.version(BODIES)
    agent = rig.agent_pid
    scheduler.launch("other", call="quiet")
    question = scheduler.frame("request", token="other")
    for number, frame in enumerate(FRAMES):
        scheduler.launch(f"t{number}", call="say", grade=grade, payload={"frame": frame})
        result = scheduler.result(f"t{number}")
        assert (result["outcome"], result["reason"]) == ("fail", "no result"), (frame, result)
    for number, (name, (content, words)) in enumerate(RAW.items()):
        scheduler.launch(f"r{number}", call="raw", grade=grade, payload={"bytes": content.hex()})
        result = scheduler.result(f"r{number}")
        assert result["outcome"] == "fail", name
        assert words in result["error"]["message"], name
    assert rig.agent_pid == agent
    assert not is_dead(agent)
    scheduler.say("reply", token="other", id=question["id"], ok=True, value="true answer")
    assert scheduler.result("other")["frame"]["value"] == "true answer"


def test_a_request_counts_for_the_try_that_owns_the_socket_whatever_it_says(rig: Rig) -> None:  # noqa: F811
    scheduler = rig.scheduler()
    scheduler.version(BODIES)
    forged = {"t": "request", "id": 5, "kind": "variable", "args": {"key": "k"}, "token": "other"}
    scheduler.launch("mine", call="say", payload={"frame": forged})
    assert scheduler.frame("request", id=5)["token"] == "mine"
    scheduler.say("reply", token="other", id=5, ok=True, value="x")
    scheduler.say("reply", token="mine", id=5, ok=True, value="x")
    assert scheduler.result("mine")["outcome"] == "succeed"


ARGUMENTS: list[tuple[str, dict[str, Any]]] = [
    ("variable", {"key": ["k"]}), ("variable", {"key": {"a": 1}}), ("variable", {}), ("variable", {"key": 1 << 70}),
    ("connection", {"id": 5}), ("xcom", {"task_id": "t", "dag_id": ["d"]}), ("xcom", {"map_index": 1 << 70}),
    ("trigger", {"dag_id": "d", "conf": "x"}), ("trigger", {"dag_id": "d", "run_id": 5}),
    ("trigger", {"dag_id": "d", "run_id": "../../x"}), ("run_state", {"dag_id": "d", "logical_date": "now"}),
    ("run_state", {"dag_id": "d", "logical_date": 1e400}), ("previous_run", {"dag_id": "d"}), ("keys", {}),
    ("set_variable", {"key": "k\0", "value": "v"}), ("set_variable", {"key": "k", "value": 5}), ("drop", {"key": "k"}),
]  # fmt: skip


def test_no_request_of_a_task_ends_the_thread_that_answers_all(database_url: str, tmp_path: Path) -> None:
    database = make.opened(database_url)
    with database.write() as connection:
        dag, version = make.store_dag(connection, make.spec("d", make.task("t")))
        transitions.insert_runs(connection, [make.run(dag, version, 7)])
        catalog.set_variable(connection, "k", "v", None, "ann")
    answers: list[dict[str, Any]] = []
    sealer, spec = open_sealer(tmp_path, ""), make.spec("d")
    reader = Reader(database, sealer, answers.append, lambda token: (7, 1, -1), lambda token: spec)
    for number, (kind, args) in enumerate(ARGUMENTS):
        reader.ask({"token": "x", "id": number, "kind": kind, "args": args})
    reader.ask({"token": "x", "id": 99, "kind": "variable", "args": {"key": "k"}})
    reader.stop()
    reader.run()
    database.close()
    assert [(one["id"], one["ok"]) for one in answers[:-1]] == [(number, False) for number in range(len(ARGUMENTS))]
    assert answers[-1]["value"] == "v"


def test_a_task_gets_nothing_that_its_dag_does_not_say_it_needs(database_url: str, tmp_path: Path) -> None:
    database = make.opened(database_url)
    with database.write() as connection:
        for key in ("mine", "theirs"):
            catalog.set_variable(connection, key, "v", None, "ann")
    answers: list[dict[str, Any]] = []
    sealer, spec = open_sealer(tmp_path, ""), make.spec("d", needs={"variables": ["mine"]})
    reader = Reader(database, sealer, answers.append, lambda token: (7, 1, -1), lambda token: spec)
    asked: list[tuple[str, dict[str, Any]]] = [
        ("variable", {"key": "mine"}), ("variable", {"key": "theirs"}), ("connection", {"id": "payroll"}),
        ("set_variable", {"key": "theirs", "value": "mine"}), ("trigger", {"dag_id": "other"}),
    ]  # fmt: skip
    for number, (kind, args) in enumerate(asked):
        reader.ask({"token": "x", "id": number, "kind": kind, "args": args})
    reader.stop()
    reader.run()
    database.close()
    assert [one["ok"] for one in answers] == [True, False, False, False, False]
    assert all("does not say that it needs" in one["error"]["what"] for one in answers[1:])


def test_a_task_of_another_try_is_not_answered(sqlite_url: str, tmp_path: Path) -> None:
    database = make.opened(sqlite_url)
    answers: list[dict[str, Any]] = []
    reader = Reader(database, open_sealer(tmp_path, ""), answers.append, lambda token: None, lambda token: None)
    reader.ask({"token": "ended", "id": 1, "kind": "connection", "args": {"id": "warehouse"}})
    reader.stop()
    reader.run()
    database.close()
    assert not answers[0]["ok"]
    assert "no longer the current one" in answers[0]["error"]["what"]


@pytest.mark.parametrize(
    "trigger",
    [
        "soon", {"kind": "nothing"}, {"kind": []}, {"kind": "time", "at": "soon"}, {"kind": "time", "in_us": 1},
        {"kind": "time", "at": 10**30}, {"kind": "file", "path": "/x", "every_us": -1}, {"kind": "file"},
    ],
)  # fmt: skip
def test_a_forged_trigger_is_no_result(trigger: Any) -> None:
    assert not is_result({"t": "result", "outcome": "defer", "trigger": trigger})
    assert is_result({"t": "result", "outcome": "defer", "trigger": {"kind": "time", "at": 1}})
