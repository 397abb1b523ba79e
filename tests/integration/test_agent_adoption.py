"""Tokens, spool and connections: what survives a scheduler, and what is never done twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from dagd.agent import address, launch
from dagd.model.frames import PROTOCOL
from tests.integration.test_agent_rig import *  # noqa: F403
from tests.integration.test_agent_rig import Process, Rig, is_dead, until

SOURCE = """
import os, time

def counts(channel, launch):
    with open(launch["file"], "a") as file:
        file.write("x")

def gated(channel, launch):
    with open(launch["gate"]) as file:
        return file.read()

def asks(channel, launch):
    return channel.request("variable", {"key": "region"})

def waits(channel, launch):
    time.sleep(60)
"""


def test_a_token_is_never_started_twice(make_rig: Callable[..., Rig], tmp_path: Path) -> None:
    scheduler = make_rig(slots=1).scheduler()
    scheduler.version(SOURCE)
    payload = {"file": str(tmp_path / "count")}
    scheduler.launch("a", "a", call="counts", payload=payload)
    scheduler.result("a")
    scheduler.launch("a", call="counts", payload=payload)
    scheduler.wait(lambda _seen: scheduler.results("a") == 2)
    scheduler.say("ack", tokens=["a"])
    scheduler.launch("a", call="counts", payload=payload)
    scheduler.run("b", call="counts", payload={"file": os.devnull})
    assert (tmp_path / "count").read_text() == "x"
    assert scheduler.results("a") == 2, "an acknowledged result is not sent again"


def test_a_result_is_sent_again_until_it_is_acknowledged(rig: Rig) -> None:
    first = rig.scheduler()
    first.version(SOURCE)
    first.run("a", call="counts", payload={"file": os.devnull})
    first.close()
    second = rig.scheduler()
    result = second.result("a")
    second.say("ack", tokens=["a"])
    second.say("adopt", tokens=["a"])
    assert second.frame("adopted")["tries"] == [{"token": "a", "state": "unknown"}]
    second.close()
    third = rig.scheduler()
    third.say("adopt", tokens=["a"])
    third.frame("adopted")
    assert result["outcome"] == "succeed"
    assert third.results("a") == 0


def test_a_result_survives_the_agent(rig: Rig) -> None:
    first = rig.scheduler()
    first.version(SOURCE)
    result = first.run("a", call="counts", payload={"file": os.devnull})
    agent = rig.agent_pid
    os.kill(agent, signal.SIGKILL)
    until(lambda: rig.agent_pid != agent and launch.is_listening(rig.home), "the keeper starts another")
    second = rig.scheduler()
    assert second.result("a") == result
    second.say("adopt", tokens=["a", "never"])
    states = {entry["token"]: entry["state"] for entry in second.frame("adopted")["tries"]}
    assert states == {"a": "finished", "never": "unknown"}


def test_a_running_try_is_adopted_and_reports_to_its_adopter(rig: Rig, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    first = rig.scheduler()
    first.version(SOURCE)
    first.launch("a", call="gated", payload={"gate": str(tmp_path / "gate")})
    first.started("a")
    first.close()
    second = rig.scheduler()
    second.say("adopt", tokens=["a"])
    assert second.frame("adopted")["tries"] == [{"token": "a", "state": "running"}]
    (tmp_path / "gate").write_text("open")
    assert second.result("a")["frame"]["value"] == "open"


def test_a_request_waits_for_a_scheduler_and_is_answered_by_the_next(rig: Rig) -> None:
    first = rig.scheduler()
    first.version(SOURCE)
    first.launch("a", call="asks")
    asked = first.frame("request", token="a")
    assert (asked["kind"], asked["args"]) == ("variable", {"key": "region"})
    first.close()
    second = rig.scheduler()
    second.say("adopt", tokens=["a"])
    again = second.frame("request", token="a")
    second.say("reply", token="a", id=again["id"], ok=True, value="eu")
    assert second.result("a")["frame"]["value"] == "eu"


def test_slots_are_divided_over_the_connections(rig: Rig) -> None:
    first = rig.scheduler()
    first.frame("credits", slots=4)
    second = rig.scheduler()
    second.frame("credits", slots=2)
    first.frame("credits", slots=2)
    second.close()
    first.wait(lambda seen: [f["slots"] for f in seen if f["t"] == "credits"] == [4, 2, 4])
    assert first.frame("beat")["at"] > 0


def test_an_agent_without_scheduler_and_tries_leaves(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(idle_exit_s=0.3)
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    scheduler.frame("beat")
    assert not rig.keeper.has_ended(), "a connection keeps it"
    scheduler.close()
    assert rig.keeper.wait() == 0


def test_a_second_agent_of_a_home_leaves_at_once(rig: Rig) -> None:
    other = Process(launch.spawn_keeper(rig.config))
    assert other.wait() == 0
    assert launch.is_listening(rig.home)


def test_a_deep_home_has_a_socket_too(tmp_path: Path, runtime: None) -> None:
    rig = Rig(tmp_path / ("d" * 100) / ("e" * 100))
    try:
        assert rig.scheduler().frame("hello")["protocol"] == PROTOCOL
        socket_file = rig.home / "run" / "agent.sock"
        assert socket_file.stat().st_mode & 0o777 == 0o600
        with address.connect(rig.home) as peer:
            assert address.peer_pid(peer) == rig.agent_pid
    finally:
        rig.end()


def test_a_draining_agent_ends_its_tries_and_gives_its_home_to_the_next(rig: Rig, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    old = rig.scheduler()
    old.version(SOURCE)
    old.launch("a", call="gated", payload={"gate": str(tmp_path / "gate")})
    old.started("a")
    old.say("drain")
    old.frame("credits", slots=0)
    old_keeper, old_agent = rig.keeper, rig.agent_pid
    rig.start()
    new = rig.scheduler()
    assert new.frame("hello")["pid"] != old_agent
    new.say("adopt", tokens=["a"])
    assert new.frame("adopted")["tries"] == [{"token": "a", "state": "running"}]
    new.version(SOURCE)
    new.launch("a", call="gated", payload={"gate": os.devnull})
    old.launch("b", call="waits")
    result = old.result("b")
    assert (result["outcome"], result["reason"]) == ("fail", "not started")
    (tmp_path / "gate").write_text("open")
    assert old.result("a")["frame"]["value"] == "open"
    old.say("ack", tokens=["a", "b"])
    assert old_keeper.wait() == 0
    assert is_dead(old_agent)
    assert new.results("a") == 0
    assert list((rig.home / "run").glob("draining*")) == []


def test_garbage_on_a_connection_ends_that_connection_only(rig: Rig) -> None:
    good, bad = rig.scheduler(), rig.scheduler()
    bad.socket.sendall(b"\0\0\0\2xx")
    worse = rig.scheduler()
    worse.say("launch", tries=[{"token": "t", "log": "../../x", "version": 1}])
    for broken in (bad, worse):
        try:
            broken.wait(lambda _seen: False)
        except (EOFError, ConnectionError):
            continue
    good.version(SOURCE)
    assert good.run("a", call="counts", payload={"file": os.devnull})["outcome"] == "succeed"


def test_what_a_killed_draining_agent_left_is_handed_over_by_the_next(rig: Rig, tmp_path: Path) -> None:
    old = rig.scheduler()
    old.version(SOURCE)
    old.launch("a", call="waits")
    old.run("b", call="counts", payload={"file": os.devnull})
    pid = old.started("a")["pid"]
    old.say("drain")
    old.frame("credits", slots=0)
    old_agent = rig.agent_pid
    rig.start()
    new = rig.scheduler()
    new.say("adopt", tokens=["a"])
    assert new.frame("adopted")["tries"] == [{"token": "a", "state": "running"}]
    os.kill(old_agent, signal.SIGKILL)
    assert new.result("a")["reason"] == "lost"
    assert new.result("b")["outcome"] == "succeed"
    assert is_dead(pid)


def test_an_agent_whose_run_folder_is_emptied_makes_its_files_again(rig: Rig, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    first = rig.scheduler()
    first.version(SOURCE)
    first.launch("a", call="gated", payload={"gate": str(gate)})
    first.started("a")
    folder = rig.home / "run"
    for path in folder.iterdir():
        path.unlink()
    until(lambda: launch.is_listening(rig.home) and (folder / "agent.journal").exists(), "a socket and a journal")
    second = rig.scheduler()
    second.say("adopt", tokens=["a"])
    assert second.frame("adopted")["tries"] == [{"token": "a", "state": "running"}]
    gate.write_text("open")
    assert second.result("a")["frame"]["value"] == "open"
    assert b'"a"' in (folder / "agent.journal").read_bytes()
