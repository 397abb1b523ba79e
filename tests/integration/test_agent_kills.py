"""Kills, wanted and not: cancels, timeouts, stops, and the deaths of tries, zygotes, agent and keeper."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from dagd.agent import launch, procfs
from dagd.model.states import Reason
from tests.integration.test_agent_rig import *  # noqa: F403
from tests.integration.test_agent_rig import Rig, is_dead, pid_from, until

SOURCE = """
import os, signal, subprocess, sys, time

def fine(channel, launch):
    return 7

def waits(channel, launch):
    time.sleep(60)

def deaf(channel, launch):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen(["sleep", "60"])
    print("deaf", flush=True)
    time.sleep(60)

def hears(channel, launch):
    def leave(number, frame):
        raise SystemExit
    signal.signal(signal.SIGTERM, leave)
    print("hears", flush=True)
    try:
        time.sleep(60)
    except SystemExit:
        return 8

def escapes(channel, launch):
    payload = launch
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 64)
            script = f"import os, time; open({payload['file']!r}, 'w').write(str(os.getpid())); time.sleep(300)"
            os.execve(sys.executable, [sys.executable, "-S", "-c", script], {})
        os._exit(0)
    os.wait()
    while not (os.path.exists(payload["file"]) and open(payload["file"]).read()):
        time.sleep(0.01)
    if payload.get("then") == "waits":
        time.sleep(60)
    if payload.get("then") == "dies":
        os.kill(os.getpid(), signal.SIGKILL)

def told(channel, launch):
    from dagd.model.frames import encode_frame
    channel._peer.sendall(encode_frame({"t": "result", "outcome": "succeed", "value": 1}))
    with open(launch["said"], "w") as file:
        file.write("1")
    with open(launch["gate"]) as file:
        file.read()
    os._exit(0)

def lingers(channel, launch):
    import threading
    threading.Thread(target=time.sleep, args=(60,)).start()
    subprocess.Popen(["sleep", "60"])
    return 9
"""


def cancel(scheduler: object, token: str, grace_us: int, reason: str = "cancelled") -> None:
    scheduler.say("cancel", tokens=[token], grace_us=grace_us, reason=reason)  # type: ignore[attr-defined]


def test_a_cancelled_try_gets_sigterm_and_the_reason_of_the_cancel(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    scheduler.launch("a", "b", call="waits")
    scheduler.launch("c", call="hears")
    scheduler.started("a")
    until(lambda: "hears" in rig.log("c"), "c is ready")
    cancel(scheduler, "a", 10_000_000, "fail_fast")
    cancel(scheduler, "c", 10_000_000)
    result = scheduler.result("a")
    assert (result["outcome"], result["reason"], result["signal"]) == ("cancel", "fail_fast", signal.SIGTERM)
    result = scheduler.result("c")
    assert (result["outcome"], result["reason"], result["frame"]) == ("cancel", "cancelled", None)
    assert scheduler.results("b") == 0


def test_a_result_that_came_before_the_cancel_stands(rig: Rig, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    scheduler.launch("a", call="told", payload={"said": str(tmp_path / "said"), "gate": str(tmp_path / "gate")})
    assert pid_from(tmp_path / "said") == 1
    cancel(scheduler, "a", 10_000_000)
    scheduler.run("b", call="fine")
    (tmp_path / "gate").write_text("open")
    result = scheduler.result("a")
    assert (result["outcome"], result.get("reason"), result["exit_code"]) == ("succeed", None, 0)


def test_a_try_that_ignores_sigterm_is_killed_after_the_grace_with_its_children(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    scheduler.launch("a", call="deaf")
    pid = scheduler.started("a")["pid"]
    until(lambda: "deaf" in rig.log("a"), "the handler is set")
    (child,) = procfs.children_of([pid])
    cancel(scheduler, "a", 200_000)
    result = scheduler.result("a")
    assert (result["outcome"], result["signal"]) == ("cancel", signal.SIGKILL)
    assert is_dead(pid)
    assert is_dead(child)


def test_a_waiting_launch_is_cancelled_without_a_process(make_rig: object) -> None:
    rig: Rig = make_rig(slots=1)  # type: ignore[operator]
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    scheduler.launch("a", "b", call="waits")
    scheduler.started("a")
    cancel(scheduler, "b", 10_000_000)
    result = scheduler.result("b")
    assert (result["outcome"], result["pid"], result["started_at"]) == ("cancel", None, None)


def test_a_try_that_runs_out_of_its_time_fails_with_that_reason(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    result = scheduler.run("a", call="waits", timeout_us=200_000)
    assert (result["outcome"], result["reason"]) == ("fail", Reason.TIMEOUT)
    assert "0.2 s" in result["error"]["message"]
    scheduler.launch("b", call="deaf", timeout_us=300_000, grace_us=200_000)
    assert scheduler.result("b")["reason"] == Reason.TIMEOUT


@pytest.mark.parametrize("then", ["returns", "dies", "waits"])
def test_a_daemon_that_left_its_session_and_environment_dies_with_its_try(rig: Rig, tmp_path: Path, then: str) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    scheduler.launch("other", call="waits")
    scheduler.launch("a", call="escapes", payload={"file": str(tmp_path / "pid"), "then": then})
    daemon = pid_from(tmp_path / "pid")
    if then == "waits":
        cancel(scheduler, "a", 10_000_000)
    result = scheduler.result("a")
    assert is_dead(daemon)
    assert result["outcome"] == {"returns": "succeed", "dies": "fail", "waits": "cancel"}[then]
    assert scheduler.results("other") == 0


def test_threads_and_children_left_after_the_result_do_not_hold_it_up(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    result = scheduler.run("a", call="lingers")
    assert (result["outcome"], result["frame"]["value"]) == ("succeed", 9)
    assert not procfs.children_of([rig.zygote("dagd-dag")])


def test_the_tries_of_a_killed_zygote_are_lost_and_dead(rig: Rig, tmp_path: Path) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    scheduler.launch("a", call="waits")
    scheduler.launch("b", call="escapes", payload={"file": str(tmp_path / "pid"), "then": "waits"})
    pid, daemon = scheduler.started("a")["pid"], pid_from(tmp_path / "pid")
    os.kill(rig.zygote("dagd-dag"), signal.SIGKILL)
    for token in ("a", "b"):
        result = scheduler.result(token)
        assert (result["outcome"], result["reason"]) == ("fail", Reason.LOST)
    assert is_dead(pid)
    assert is_dead(daemon)
    assert scheduler.run("c", call="fine")["outcome"] == "succeed"


def test_the_death_of_the_root_zygote_harms_no_try(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    scheduler.launch("a", call="hears")
    until(lambda: "hears" in rig.log("a"), "a runs")
    os.kill(rig.zygote("dagd-root"), signal.SIGKILL)
    assert scheduler.run("b", call="fine")["outcome"] == "succeed"
    scheduler.version(SOURCE, 2)
    assert scheduler.run("c", call="fine", version=2)["outcome"] == "succeed"
    os.kill(scheduler.started("a")["pid"], signal.SIGTERM)
    assert scheduler.result("a")["outcome"] == "succeed"


def test_after_a_kill_of_the_agent_its_tries_are_dead_and_lost(rig: Rig, tmp_path: Path) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    scheduler.launch("a", call="escapes", payload={"file": str(tmp_path / "pid"), "then": "waits"})
    pid, daemon, agent = scheduler.started("a")["pid"], pid_from(tmp_path / "pid"), rig.agent_pid
    os.kill(agent, signal.SIGKILL)
    until(lambda: rig.agent_pid != agent and launch.is_listening(rig.home), "the keeper starts another")
    assert is_dead(pid)
    assert is_dead(daemon)
    again = rig.scheduler()
    result = again.result("a")
    assert (result["outcome"], result["reason"]) == ("fail", Reason.LOST)


@pytest.mark.parametrize("grade", ["fork", "warm", "spawn"])
def test_a_try_shows_its_token_to_a_sweep(rig: Rig, grade: str) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    scheduler.run("a", call="fine", grade=grade)
    scheduler.launch("b", call="hears", grade=grade)
    until(lambda: "hears" in rig.log("b"), "b runs")
    pid = scheduler.started("b")["pid"]
    until(lambda: list(procfs.marked({"b"})) == [pid], "the try alone shows its token")


def test_after_a_kill_of_keeper_and_agent_the_next_agent_sweeps(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    scheduler.launch("a", call="waits")
    pid, zygote = scheduler.started("a")["pid"], rig.zygote("dagd-dag")
    os.kill(zygote, signal.SIGSTOP)  # it cannot clean up by itself
    rig.keeper.send_signal(signal.SIGKILL)
    rig.keeper.wait()
    agent = rig.agent_pid
    os.kill(agent, signal.SIGKILL)
    until(lambda: is_dead(agent), "the agent is dead")
    rig.start()
    assert is_dead(pid)
    assert is_dead(zygote)
    assert rig.scheduler().result("a")["reason"] == Reason.LOST


def test_a_killed_keeper_takes_nothing_with_it(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    rig.keeper.send_signal(signal.SIGKILL)
    rig.keeper.wait()
    assert scheduler.run("a", call="fine")["outcome"] == "succeed"
    assert launch.stop_agent(rig.home)


def test_a_stop_ends_everything_within_two_seconds_and_spools_it(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    scheduler.launch("a", call="deaf")
    scheduler.launch("b", call="waits")
    until(lambda: "deaf" in rig.log("a"), "the handler is set")
    pids = [scheduler.started(token)["pid"] for token in "ab"]
    begun = time.monotonic()
    rig.keeper.send_signal(signal.SIGTERM)
    assert rig.keeper.wait() == 0
    assert time.monotonic() - begun < 2.0
    assert all(map(is_dead, pids))
    rig.start()
    again = rig.scheduler()
    for token in "ab":
        result = again.result(token)
        assert (result["outcome"], result["reason"]) == ("fail", Reason.STOPPED)


def test_a_flood_or_garbage_on_the_channel_fails_its_own_try_only(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version(
        SOURCE + "def garbage(channel, launch):\n    peer = channel._peer\n"
        "    peer.sendall(launch['bytes'].encode('latin-1') * launch['times'])\n    time.sleep(60)\n"
    )
    scheduler.launch("other", call="hears")
    flood = "\x0f\xff\xff\xff" + "x" * 1024
    for token, sent, times in (("a", "\0\0\0\2xx", 1), ("b", "\0\0\0\2[]", 1), ("c", flood, 80_000)):
        result = scheduler.run(token, call="garbage", payload={"bytes": sent, "times": times})
        assert (result["outcome"], result["reason"]) == ("fail", Reason.NO_RESULT)
    os.kill(scheduler.started("other")["pid"], signal.SIGTERM)
    assert scheduler.result("other")["outcome"] == "succeed"
