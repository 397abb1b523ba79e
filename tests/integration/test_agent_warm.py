"""Warm workers: one process for many launches, replaced as soon as a body has changed it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from dagd.model.states import Reason
from tests.integration.test_agent_rig import *  # noqa: F403
from tests.integration.test_agent_rig import Rig, below, comm, is_dead, pid_from, until

SOURCE = """
import os, subprocess, sys, threading, time

kept = []

def pid(channel, launch):
    return os.getpid()

def prints(channel, launch):
    print(os.environ["DAGD_TRY"])
    return os.getpid()

def waits(channel, launch):
    time.sleep(60)

def exits(channel, launch):
    os._exit(0)

def folder(channel, launch):
    os.chdir("/")

def environment(channel, launch):
    os.environ["LEFT"] = "behind"

def thread(channel, launch):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    time.sleep(0.002)

def files(channel, launch):
    kept.append(open(os.devnull))
    time.sleep(0.002)

def children(channel, launch):
    kept.append(subprocess.Popen(["sleep", "60"]))
    with open(launch["file"], "w") as file:
        file.write(str(kept[-1].pid))

def asks(channel, launch):
    return channel.request("variable", {"key": "region"})

def broken(channel, launch):
    raise RuntimeError("no such table")
"""


def test_one_process_serves_launch_after_launch(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    results = [scheduler.run(f"t{number}", call="pid", grade="warm") for number in range(120)]
    assert len({result["frame"]["value"] for result in results}) == 1
    assert {result["outcome"] for result in results} == {"succeed"}
    assert results[0]["pid"] == results[0]["frame"]["value"]
    assert scheduler.run("x", call="broken", grade="warm")["reason"] == Reason.EXCEPTION


def test_each_launch_has_its_own_log_and_mark(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    for number in range(20):
        scheduler.run(f"t{number}", call="prints", grade="warm")
        assert rig.log(f"t{number}") == f"t{number}\n"


@pytest.mark.parametrize("change", ["folder", "environment", "thread", "files"])
def test_a_changed_process_is_replaced(rig: Rig, change: str) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    before = scheduler.run("a", call="pid", grade="warm")["pid"]
    assert scheduler.run("b", call=change, grade="warm")["outcome"] == "succeed"
    assert is_dead(before)
    assert scheduler.run("c", call="pid", grade="warm")["pid"] != before


def test_children_of_a_warm_try_are_dead_when_its_result_is_told(rig: Rig, tmp_path: Path) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    result = scheduler.run("a", call="children", grade="warm", payload={"file": str(tmp_path / "pid")})
    assert result["outcome"] == "succeed"
    assert is_dead(pid_from(tmp_path / "pid"))


def test_a_cancel_ends_the_launch_and_the_next_has_another_process(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    scheduler.launch("a", call="waits", grade="warm")
    pid = scheduler.started("a")["pid"]
    scheduler.say("cancel", tokens=["a"], grace_us=10_000_000, reason="cancelled")
    assert scheduler.result("a")["outcome"] == "cancel"
    assert scheduler.run("b", call="waits", grade="warm", timeout_us=100_000)["reason"] == Reason.TIMEOUT
    assert scheduler.run("c", call="pid", grade="warm")["pid"] != pid


def test_s14_a_warm_process_that_leaves_without_a_result_has_failed(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    result = scheduler.run("a", call="exits", grade="warm")
    assert (result["outcome"], result["reason"]) == ("fail", Reason.NO_RESULT)
    scheduler.launch("b", call="waits", grade="warm")
    os.kill(scheduler.started("b")["pid"], signal.SIGKILL)
    assert scheduler.result("b")["reason"] == Reason.SIGNAL


def test_a_worker_killed_while_idle_costs_no_try(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    for number in range(5):
        pid = scheduler.run(f"a{number}", call="pid", grade="warm")["pid"]
        os.kill(pid, signal.SIGKILL)
        result = scheduler.run(f"b{number}", call="pid", grade="warm")
        assert result["outcome"] == "succeed", str(sorted(result.items()))


def test_workers_of_other_keys_make_room(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(slots=2)
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    pids = [scheduler.run(f"t{key}", call="pid", grade="warm", worker_key=key)["pid"] for key in "abcd"]
    assert len(set(pids)) == 4
    until(lambda: sum(comm(pid) == "dagd-warm" for pid in below(rig.agent_pid)) == 2, "two workers are left")


def test_a_warm_try_asks_and_is_answered(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    for token in "ab":
        scheduler.launch(token, call="asks", grade="warm")
        asked = scheduler.frame("request", token=token)
        scheduler.say("reply", token=token, id=asked["id"], ok=True, value=f"eu-{token}")
        assert scheduler.result(token)["frame"]["value"] == f"eu-{token}"


def test_warm_tries_of_a_killed_zygote_are_lost(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    scheduler.launch("a", call="waits", grade="warm")
    pid = scheduler.started("a")["pid"]
    os.kill(rig.zygote("dagd-dag"), signal.SIGKILL)
    assert scheduler.result("a")["reason"] == Reason.LOST
    assert is_dead(pid)
    assert scheduler.run("b", call="pid", grade="warm")["outcome"] == "succeed"
