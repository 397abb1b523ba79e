"""What is hostile hurts only itself: DAG files among good ones, and what tasks leave behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.chaos.faults import HOSTILE, named, send
from tests.e2e.home import Home, wait_for

GOOD = """
    from dagd import DAG, task
    with DAG("{name}", schedule=None):
        @task
        def a():
            return 1
        a()
"""
IS_LONG = "DAGD_TEST_CHAOS_SECONDS" in os.environ
BAD, FINE, PATIENCE_S = (200, 50, 60.0) if IS_LONG else (56, 12, 60.0)


def errors_of(home: Home) -> list[str]:
    """The file of each row of `dags errors`."""
    return sorted(row["file"] for row in home.json("dags", "errors"))


@pytest.mark.short
@pytest.mark.timeout(240)
def test_each_hostile_file_among_many_has_one_error_and_the_good_ones_run(home: Home) -> None:
    kinds = sorted(HOSTILE)
    for number in range(BAD):
        (home.dags / f"h{number:03}.py").write_text(HOSTILE[kinds[number % len(kinds)]])
    for number in range(FINE):
        home.write(f"z{number:03}.py", GOOD.format(name=f"good_{number}"))
    home.up()
    begun = time.monotonic()
    wait_for(lambda: home.knows(*(f"good_{number}" for number in range(FINE))), PATIENCE_S)
    home.write("newcomer.py", GOOD.format(name="newcomer"))
    wait_for(lambda: home.knows("newcomer"), 10)
    assert home.run("trigger", "newcomer", "--wait", "--timeout", "20").returncode == 0
    wait_for(lambda: len(errors_of(home)) == BAD, PATIENCE_S)
    took = time.monotonic() - begun
    assert errors_of(home) == [f"h{number:03}.py" for number in range(BAD)]
    assert took < PATIENCE_S, took
    for path in home.dags.glob("h*.py"):
        path.unlink()
    wait_for(lambda: errors_of(home) == [])
    wait_for(lambda: not home.pids("dagd.parsing.zygote"))
    assert home.run("health").returncode == 0


@pytest.mark.timeout(120)
def test_files_that_change_their_nature_have_one_error_and_come_back(home: Home) -> None:
    paths = {kind: home.write(f"{kind}.py", GOOD.format(name=kind)) for kind in ("pipe", "link", "loop", "huge", "nul")}
    home.up()
    wait_for(lambda: home.knows(*paths))
    for path in paths.values():
        path.unlink()
    os.mkfifo(home.folder / "fifo")
    paths["pipe"].symlink_to(home.folder / "fifo")
    paths["link"].symlink_to(home.folder / "nowhere")
    paths["loop"].symlink_to(paths["loop"])
    paths["huge"].write_bytes(b"x = '" + b"y" * (40 << 20) + b"\n")
    paths["nul"].write_bytes(b"x = 1\n\0\n")
    wait_for(lambda: errors_of(home) == sorted(f"{kind}.py" for kind in paths))
    home.write("other.py", GOOD.format(name="other"))
    wait_for(lambda: home.knows("other"), 5)
    for kind, path in paths.items():
        path.unlink()
        home.write(f"{kind}.py", GOOD.format(name=kind))
    wait_for(lambda: errors_of(home) == [])


@pytest.mark.timeout(120)
def test_a_hanging_file_that_is_mended_while_it_is_parsed_is_seen(home: Home) -> None:
    home.up()
    home.write("slow.py", "import time\ntime.sleep(1000)\n")
    wait_for(lambda: home.pids("dagd.parsing.zygote"))
    home.write("slow.py", GOOD.format(name="mended"))
    wait_for(lambda: home.knows("mended"), 15)
    assert errors_of(home) == []


# --- tasks -----------------------------------------------------------------------------------------------------------

DAEMON = """
    from dagd import DAG, task
    import os, time

    def leave_daemon():
        # A session of its own, no environment, no descriptors, orphaned twice over.
        if os.fork():
            return
        os.setsid()
        if os.fork():
            os._exit(0)
        os.closerange(0, 999)
        with open({journal!r} + str(os.getpid()), "w"):
            pass
        os.execve("/bin/sleep", ["sleep", "{mark}"], {{}})

    with DAG("daemon", schedule=None):
        @task(retries=0)
        def leaves(dag_run=None):
            leave_daemon()
            while not [name for name in os.listdir({folder!r}) if name.startswith("pid-")]:
                time.sleep(0.01)
            if (dag_run.conf or {{}}).get("stay"):
                time.sleep(600)

        leaves()
"""


def daemons(mark: str) -> list[int]:
    """Processes whose command line is the daemon's."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cmdline").read_bytes() == f"sleep\0{mark}\0".encode():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


class Daemon:
    """A DAG whose task leaves a process behind that nothing of dagd's can be seen on."""

    def __init__(self, home: Home) -> None:
        self.home, self.mark = home, str(700_000 + os.getpid())
        pids = home.folder / "pids"
        pids.mkdir()
        text = DAEMON.format(journal=str(pids / "pid-"), folder=str(pids), mark=self.mark)
        home.write("daemon.py", text)
        home.up()
        wait_for(lambda: home.knows("daemon"))

    def stay(self) -> None:
        """Start a task that stays with its daemon."""
        assert self.home.run("trigger", "daemon", "-c", '{"stay": true}').returncode == 0
        wait_for(lambda: daemons(self.mark))

    def await_death(self, patience_s: float) -> None:
        wait_for(lambda: not daemons(self.mark), patience_s)


@pytest.fixture
def daemon(home: Home) -> Daemon:
    return Daemon(home)


def test_an_escaped_daemon_dies_with_its_task(daemon: Daemon) -> None:
    assert daemon.home.run("trigger", "daemon", "--wait", "--timeout", "30").returncode == 0
    assert daemons(daemon.mark) == []


def test_an_escaped_daemon_dies_with_a_cancelled_task(daemon: Daemon) -> None:
    daemon.stay()
    assert daemon.home.run("runs", "cancel", "daemon/latest", "-y").returncode == 0
    wait_for(lambda: daemon.home.runs("daemon")[0]["state"] == "cancelled")
    assert daemons(daemon.mark) == []


@pytest.mark.short
@pytest.mark.parametrize("parts", [["agent.main"], ["agent.keeper", "agent.main"], ["dagd-dag"], ["dagd-root"]])
def test_an_escaped_daemon_dies_with_what_is_above_its_task(daemon: Daemon, parts: list[str]) -> None:
    daemon.stay()
    first = daemons(daemon.mark)
    home = daemon.home
    victims = [pid for part in parts for pid in (home.pids(part) or named(home, part))]
    assert victims
    send(victims, signal.SIGKILL)
    if parts == ["dagd-root"]:
        assert home.run("runs", "cancel", "daemon/latest", "-y").returncode == 0
    wait_for(lambda: not set(first) & set(daemons(daemon.mark)), 10)


def test_nothing_outlives_a_kill_of_all_of_dagd_once_the_next_agent_has_swept(daemon: Daemon) -> None:
    """All but the try itself: with that gone too, nothing tells such a daemon from anybody else's."""
    daemon.stay()
    first, home = daemons(daemon.mark), daemon.home
    victims = [pid for part in ("dagd up", "engine.part", "agent.keeper", "agent.main") for pid in home.pids(part)]
    send(victims + named(home, "dagd-dag") + named(home, "dagd-root"), signal.SIGKILL)
    home.up()
    wait_for(lambda: not set(first) & set(daemons(daemon.mark)), 15)
