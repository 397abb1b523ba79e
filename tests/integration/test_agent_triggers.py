"""Waits in the agent: who is told of a firing, and what a death of the trigger process or of the agent changes."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from dagd.agent import launch
from tests.integration.test_agent_rig import *  # noqa: F403
from tests.integration.test_agent_rig import Rig, Scheduler, is_dead, until


def wait_for_file(scheduler: Scheduler, path: Path, *tokens: str) -> None:
    trigger = {"kind": "file", "path": str(path), "every_us": 100_000}
    scheduler.say("wait", triggers=[{"token": token, "trigger": trigger} for token in tokens])


def fired(scheduler: Scheduler, token: str) -> dict[str, Any]:
    return scheduler.wait(lambda seen: scheduler._of(seen, "fired", token))


def times_fired(scheduler: Scheduler, token: str) -> int:
    return sum(entry["token"] == token for f in scheduler.seen if f["t"] == "fired" for entry in f["tries"])


def watching(rig: Rig, but: int = 0) -> int:
    """The pid of the trigger process, of another one than `but`."""

    def look() -> int:
        try:
            pid = rig.zygote("dagd-triggers")
        except AssertionError:
            return 0
        return pid if pid != but else 0

    return int(until(look, "triggers are watched"))


def test_a_firing_is_told_and_told_again_until_the_wait_is_over(rig: Rig, tmp_path: Path) -> None:
    scheduler = rig.scheduler()
    flag = tmp_path / "flag"
    wait_for_file(scheduler, flag, "a", "b")
    watching(rig)
    flag.touch()
    assert fired(scheduler, "a")["event"] == {"path": str(flag)}
    fired(scheduler, "b")
    wait_for_file(scheduler, flag, "a")
    scheduler.wait(lambda _seen: times_fired(scheduler, "a") == 2)
    scheduler.say("unwait", tokens=["a", "never"])
    flag.unlink()
    wait_for_file(scheduler, flag, "a")  # a new wait, which has not fired
    flag.touch()
    scheduler.wait(lambda _seen: times_fired(scheduler, "a") == 3)
    assert times_fired(scheduler, "b") == 1


def test_what_cannot_be_looked_at_is_told_as_an_error(rig: Rig) -> None:
    scheduler = rig.scheduler()
    trigger = {"kind": "http", "url": "http://127.0.0.1:1/", "timeout_s": 5}
    scheduler.say("wait", triggers=[{"token": "a", "trigger": trigger}])
    error = fired(scheduler, "a")["error"]
    assert error["type"] == "URLError"
    assert "refused" in error["message"].lower()


def test_a_connection_is_asked_of_the_scheduler_and_its_password_stays_out_of_the_error(rig: Rig) -> None:
    scheduler = rig.scheduler()
    trigger = {"kind": "sql", "conn_id": "shop", "sql": "select hunter22"}
    scheduler.say("wait", triggers=[{"token": "a", "trigger": trigger}])
    asked = scheduler.frame("request", token="a")
    assert (asked["kind"], asked["args"]) == ("connection", {"id": "shop"})
    fields = {"conn_type": "sqlite", "host": "", "password": "hunter22"}
    scheduler.say("reply", token="a", id=asked["id"], ok=True, value=fields, mask=["hunter22"])
    error = fired(scheduler, "a")["error"]
    assert "no such column: ***" in error["message"]
    assert "hunter22" not in error["message"]


def test_a_killed_trigger_process_is_replaced_and_waits_for_the_same(rig: Rig, tmp_path: Path) -> None:
    scheduler = rig.scheduler()
    flag, other = tmp_path / "flag", tmp_path / "other"
    wait_for_file(scheduler, flag, "a")
    wait_for_file(scheduler, other, "b")
    first = watching(rig)
    flag.touch()
    fired(scheduler, "a")
    os.kill(first, signal.SIGKILL)
    watching(rig, but=first)
    other.touch()
    fired(scheduler, "b")
    assert times_fired(scheduler, "a") == 1, "what has fired is not looked at again"


def test_a_wait_ends_with_its_scheduler_and_is_handed_over_again(rig: Rig, tmp_path: Path) -> None:
    first = rig.scheduler()
    flag = tmp_path / "flag"
    wait_for_file(first, flag, "a", "b")
    watching(rig)
    first.close()
    second = rig.scheduler()
    wait_for_file(second, flag, "a")
    flag.touch()
    fired(second, "a")
    assert times_fired(second, "b") == 0


def test_a_scheduler_that_gave_a_try_away_cannot_end_the_wait_of_its_new_owner(rig: Rig, tmp_path: Path) -> None:
    old, new = rig.scheduler(), rig.scheduler()
    wait_for_file(old, tmp_path / "flag", "a")
    watching(rig)
    wait_for_file(new, tmp_path / "flag", "a")
    new.say("adopt", tokens=["x"])
    new.frame("adopted")
    old.say("unwait", tokens=["a"])
    old.close()
    (tmp_path / "flag").touch()
    fired(new, "a")


def test_the_trigger_process_does_not_outlive_its_agent(rig: Rig, tmp_path: Path) -> None:
    scheduler = rig.scheduler()
    wait_for_file(scheduler, tmp_path / "flag", "a")
    agent, watcher = rig.agent_pid, watching(rig)
    os.kill(agent, signal.SIGKILL)
    until(lambda: is_dead(watcher), "the trigger process is gone")
    until(lambda: rig.agent_pid != agent and launch.is_listening(rig.home), "the keeper starts another")
    again = rig.scheduler()
    wait_for_file(again, tmp_path / "flag", "a")
    (tmp_path / "flag").touch()
    fired(again, "a")
