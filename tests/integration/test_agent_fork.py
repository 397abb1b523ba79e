"""The fork grade: what a try's process does, and what the agent makes of its end."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from dagd.model.states import Reason
from tests.integration.test_agent_rig import *  # noqa: F403
from tests.integration.test_agent_rig import Rig

SOURCE = """
import os, signal, sys, time

def fine(channel, launch):
    return 7

def broken(channel, launch):
    raise RuntimeError("no such table")

def exits(channel, launch):
    os._exit(launch["code"])

def environment(channel, launch):
    files = [n for n in range(99) if os.path.lexists(f"/proc/self/fd/{n}")]
    return {"env": dict(os.environ), "umask": os.umask(0), "sid": os.getsid(0) == os.getpid(),
            "files": files, "stdin": os.read(0, 1).decode()}
"""


def test_a_try_that_returns_succeeds_with_its_own_frame(rig: Rig) -> None:
    scheduler = rig.scheduler()
    hello, share = scheduler.frame("hello"), scheduler.frame("credits")
    scheduler.version(SOURCE)
    result = scheduler.run("a", call="fine")
    assert (hello["pid"], share["slots"]) == (rig.agent_pid, 4)
    assert (result["outcome"], result["frame"]["value"], result["exit_code"]) == ("succeed", 7, 0)
    assert result.get("reason") is None
    assert result["pid"] > 0
    assert result["started_at"] <= result["ended_at"]


def test_an_exception_is_passed_through(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    result = scheduler.run("a", call="broken")
    assert (result["outcome"], result["reason"]) == ("fail", Reason.EXCEPTION)
    assert result["error"]["message"] == "no such table"


def test_s14_exit_code_0_without_a_result_is_a_failure(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    result = scheduler.run("a", call="exits", payload={"code": 0})
    assert (result["outcome"], result["reason"], result["exit_code"], result["frame"]) == ("fail", "no result", 0, None)
    result = scheduler.run("b", call="exits", payload={"code": 3})
    assert (result["outcome"], result["reason"], result["exit_code"]) == ("fail", "exit code", 3)


def test_a_killed_try_fails_with_its_signal(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version("import time\ndef waits(channel, launch):\n    time.sleep(60)\n")
    scheduler.launch("a", call="waits")
    os.kill(scheduler.started("a")["pid"], signal.SIGKILL)
    result = scheduler.result("a")
    assert (result["outcome"], result["reason"], result["signal"]) == ("fail", Reason.SIGNAL, signal.SIGKILL)


def test_a_try_has_its_own_session_and_nothing_of_the_agent(rig: Rig, monkeypatch: object) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    value = scheduler.run("a", call="environment")["frame"]["value"]
    assert value["env"]["DAGD_TRY"] == "a"
    assert [name for name in value["env"] if name.startswith("DAGD_")] == ["DAGD_TRY"]
    assert (value["sid"], value["stdin"], value["umask"]) == (True, "", 0o022)
    assert len(value["files"]) == 4, "the standard files and the channel"


def test_a_file_that_cannot_be_imported_fails_each_launch_with_its_place(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version("x = 1\nraise LookupError('no config')\n")
    for token in ("a", "b"):
        result = scheduler.run(token, call="fine")
        assert (result["outcome"], result["reason"]) == ("fail", Reason.EXCEPTION)
        error = result["error"]
        assert (error["type"], error["file"], error["line"]) == ("LookupError", "/dags/file.py", 2)
        assert "no config" in rig.log(token)


def test_a_file_whose_import_ends_the_process_fails_its_launches_only(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version("import os\nos._exit(5)\n")
    result = scheduler.run("a", call="fine")
    assert (result["outcome"], result["reason"]) == ("fail", Reason.EXIT_CODE)
    scheduler.version(SOURCE, 2)
    assert scheduler.run("b", call="fine", version=2)["outcome"] == "succeed"


def test_a_file_that_starts_threads_is_not_forked(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version(
        "import os, threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "def parent(channel, launch):\n    return [os.getppid(), threading.active_count()]\n"
    )
    assert scheduler.run("a", call="parent")["frame"]["value"] == [rig.agent_pid, 2]
    assert scheduler.run("b", call="parent")["frame"]["value"] == [rig.agent_pid, 2]


def test_launches_beyond_the_slots_wait_in_order(rig: Rig, tmp_path: Path) -> None:
    scheduler = rig.scheduler()
    os.mkfifo(tmp_path / "gate")
    scheduler.version(f"def waits(channel, launch):\n    open({str(tmp_path / 'gate')!r}).read()\n" + SOURCE)
    scheduler.launch("a", "b", "c", "d", call="waits")
    scheduler.launch("e", call="fine")
    for token in "abcd":
        scheduler.started(token)
    assert scheduler.results("e") == 0
    with open(tmp_path / "gate", "w"):
        pass
    assert scheduler.result("e")["outcome"] == "succeed"


APART = """
import logging, os, random, threading

random.seed(1)  # as if a library wanted the same numbers in each run

def number(channel, launch):
    return random.random()

def forks_below_a_thread(channel, launch):
    # The thread holds locks of `threading` and `logging` at the moment of the fork: only the hooks free the child's.
    held, go_on = threading.Event(), threading.Event()
    handler = logging.StreamHandler()

    def holds() -> None:
        with handler.lock:
            held.set()
            go_on.wait()

    thread = threading.Thread(target=holds)
    thread.start()
    held.wait()
    pid = os.fork()
    if pid == 0:
        free = handler.lock.acquire(timeout=10)
        alone = threading.active_count() == 1
        os._exit(0 if free and alone and threading.current_thread() is threading.main_thread() else 1)
    go_on.set()
    thread.join()
    return os.waitpid(pid, 0)[1]
"""


def test_each_try_has_random_numbers_of_its_own(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version(APART)
    numbers = [scheduler.run(token, call="number")["frame"]["value"] for token in ("a", "b", "c")]
    assert len(set(numbers)) == 3


def test_a_task_that_forks_below_a_thread_has_a_working_child(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version(APART)
    assert scheduler.run("a", call="forks_below_a_thread")["frame"]["value"] == 0
