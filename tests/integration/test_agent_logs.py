"""What a try prints: in its file before its result is told, without secrets, capped."""

from __future__ import annotations

import base64
import os
import signal
from collections.abc import Callable
from urllib.parse import quote

from tests.integration.test_agent_rig import *  # noqa: F403
from tests.integration.test_agent_rig import Rig, until

SOURCE = """
import os, subprocess, sys, time

def prints(channel, launch):
    print("one", flush=True)
    print("two", file=sys.stderr, flush=True)
    subprocess.run(["sh", "-c", "echo three"])
    sys.stdout.write("no end of line")

def quiet(channel, launch):
    return 1

def prints_much(channel, launch):
    for number in range(3000):
        print("x" * 1023)

def leaks(channel, launch):
    secret = channel.request("connection", {"id": "db"})
    forms = launch["forms"]
    print("whole", secret, flush=True)
    for form in forms:
        print("form", form, flush=True)
    half = len(secret) // 2
    os.write(1, secret[:half].encode())
    channel.request("variable", {"key": "between"})
    os.write(1, secret[half:].encode() + b" end\\n")
    subprocess.run(["printf", "child %s", secret])

def steps(channel, launch):
    print("before", flush=True)
    channel.request("variable", {"key": "x"})
    print("after", flush=True)
"""
SECRET = 'p"ss wörd/+?'


def test_the_log_is_what_the_try_wrote_and_is_there_with_its_result(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    for number in range(20):
        scheduler.run(f"a{number}", call="prints")
        assert rig.log(f"a{number}") == "one\ntwo\nthree\nno end of line"
    path = rig.home / "logs" / "1" / "a0.log"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_try_that_prints_nothing_has_no_file(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    scheduler.run("a", call="quiet")
    assert not (rig.home / "logs" / "1").exists()


def test_a_log_is_capped_with_a_notice(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(log_limit_mb=1)
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    assert scheduler.run("a", call="prints_much")["outcome"] == "succeed"
    text = rig.log("a")
    assert text.endswith("[dagd] the log is cut here: it reached 1 MB\n")
    assert 1 << 20 <= len(text) < (1 << 20) + 100


def test_secrets_that_a_try_fetched_never_reach_its_log(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    forms = [base64.b64encode(SECRET.encode()).decode(), quote(SECRET, safe=""), 'p\\"ss w\\u00f6rd/+?']
    scheduler.launch("a", call="leaks", payload={"forms": forms})
    asked = scheduler.frame("request", kind="connection")
    scheduler.say("reply", token="a", id=asked["id"], ok=True, value=SECRET, mask=[SECRET])
    asked = scheduler.frame("request", kind="variable")
    scheduler.say("reply", token="a", id=asked["id"], ok=True, value=None)
    assert scheduler.result("a")["outcome"] == "succeed"
    assert rig.log("a") == "whole ***\nform ***\nform ***\nform ***\n*** end\nchild ***"


def test_a_killed_log_writer_is_replaced(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    scheduler.launch("a", call="steps")
    asked = scheduler.frame("request", kind="variable")
    until(lambda: rig.log("a") == "before\n", "the first line is written")
    os.kill(rig.zygote("dagd-log"), signal.SIGKILL)
    scheduler.say("reply", token="a", id=asked["id"], ok=True, value=None)
    assert scheduler.result("a")["outcome"] == "succeed"
    assert rig.log("a") == "before\nafter\n"
