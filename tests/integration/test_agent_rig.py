"""What the agent's tests share: a home, a keeper, a runtime of a few lines, and a scheduler that only speaks frames."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dagd.agent import address, launch, procfs
from dagd.agent.config import AgentConfig
from dagd.model.frames import PROTOCOL, Frame, FrameBuffer, encode_frame

PATIENCE_S = 20.0
FILE = "/dags/file.py"

# The runtime as the agent knows it; a body is a function of the file, called with the channel and the payload.
RUNTIME = """
import sys, traceback, types

def load_version(version, asker=None):
    space = {"__file__": version["file"], "ask": lambda key: asker.request("variable", {"key": key})}
    exec(compile(version["sources"][version["file"]], version["file"], "exec"), space)
    return space

def describe_error(error):
    place = traceback.extract_tb(error.__traceback__)[-1]
    return {"type": type(error).__name__, "message": str(error), "file": place.filename, "line": place.lineno,
            "traceback": "".join(traceback.format_exception(error))}

def run_try(loaded, launch, channel):
    try:
        value = loaded[launch["call"]](channel, launch)
    except Exception as error:
        return {"outcome": "fail", "error": describe_error(error)}
    return value if isinstance(value, dict) and "outcome" in value else {"outcome": "succeed", "value": value}

def value_of(reply):
    if not reply["ok"]:
        raise LookupError(reply["error"])
    return reply["value"]

class Channel:
    def __init__(self, peer):
        self._peer, self._number = peer, 0
    def request(self, kind, args):
        from dagd.model.frames import FrameBuffer, encode_frame
        self._number += 1
        self._peer.sendall(encode_frame({"t": "request", "id": self._number, "kind": kind, "args": args}))
        buffer, frames = FrameBuffer(), []
        while not frames:
            frames = buffer.feed(self._peer.recv(65536))
        return value_of(frames[0])

FAKES = {"entry": (load_version, run_try), "channel": (Channel, value_of), "failures": (describe_error,)}
for name, members in FAKES.items():
    module = sys.modules["dagd.runtime." + name] = types.ModuleType("dagd.runtime." + name)
    for member in members:
        setattr(module, member.__name__, member)
sys.modules["dagd.runtime.entry"].LoadedDag = dict
module = sys.modules["dagd.agent.rehearsal"] = types.ModuleType("dagd.agent.rehearsal")
module.rehearse = lambda mark: None
"""


class Scheduler:
    """A connection to the agent that collects what it says."""

    def __init__(self, home: Path) -> None:
        self.socket: socket.socket = address.connect(home)
        self.seen: list[Frame] = []
        self._buffer = FrameBuffer()
        self.say("hello", protocol=PROTOCOL, incarnation="s1", release="0")

    def say(self, kind: str, **fields: Any) -> None:
        self.socket.sendall(encode_frame({"t": kind, **fields}))

    def version(self, source: str, number: int = 1) -> None:
        told = {"content": f"{number}.{source}", "file": FILE, "folder": "/dags", "sources": {FILE: source}}
        self.say("version", id=number, dag_id="d", **told)

    def launch(self, *tokens: str, call: str, grade: str = "fork", version: int = 1, **more: Any) -> None:
        self.say(
            "launch",
            tries=[
                {
                    "token": token, "grade": grade, "version": version, "worker_key": more.get("worker_key", "k"),
                    "timeout_us": more.get("timeout_us"), "grace_us": more.get("grace_us", 10_000_000),
                    "log": f"1/{token}.log", "umask": None, "payload": {"call": call, **more.get("payload", {})},
                }
                for token in tokens
            ],
        )  # fmt: skip

    def wait(self, found: Callable[[list[Frame]], Any], patience_s: float = PATIENCE_S) -> Any:
        """What `found` makes of all frames so far, as soon as that is true."""
        deadline = time.monotonic() + patience_s
        while not (answer := found(self.seen)):
            ready, _, _ = select.select([self.socket], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"nothing came within {patience_s} s; seen: {self.seen}"
            chunk = self.socket.recv(1 << 20)
            if not chunk:
                raise EOFError(f"seen: {self.seen}")
            self.seen += self._buffer.feed(chunk)
        return answer

    def frame(self, t: str, /, **fields: Any) -> Frame:
        """The first frame of this kind with these fields."""
        return self.wait(lambda seen: next((f for f in seen if f["t"] == t and fields.items() <= f.items()), None))

    def started(self, token: str) -> Frame:
        return self.wait(lambda seen: self._of(seen, "started", token))

    def result(self, token: str, patience_s: float = PATIENCE_S) -> Frame:
        return self.wait(lambda seen: self._of(seen, "result", token), patience_s)

    def results(self, token: str) -> int:
        """How many results of this token have come so far."""
        return sum(entry["token"] == token for f in self.seen if f["t"] == "result" for entry in f["tries"])

    def run(self, token: str, *, call: str, **more: Any) -> Frame:
        self.launch(token, call=call, **more)
        return self.result(token)

    def close(self) -> None:
        self.socket.close()

    @staticmethod
    def _of(seen: list[Frame], kind: str, token: str) -> Frame | None:
        return next((entry for f in seen if f["t"] == kind for entry in f["tries"] if entry["token"] == token), None)


class Process:
    """A child of the test, by its pid."""

    def __init__(self, pid: int) -> None:
        self.pid, self._code = pid, -1
        self._handle = os.pidfd_open(pid)

    def has_ended(self, patience_s: float = 0.0) -> bool:
        if self._handle >= 0 and select.select([self._handle], [], [], patience_s)[0]:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self._handle)
            self._handle = -1
        return self._handle < 0

    def wait(self) -> int:
        """Its exit code."""
        assert self.has_ended(PATIENCE_S), f"{self.pid} is still there"
        return self._code

    def send_signal(self, number: int) -> None:
        if not self.has_ended():
            os.kill(self.pid, number)


class Rig:
    """One home with its keeper and agent."""

    def __init__(self, home: Path, **options: Any) -> None:
        self.home = home
        self.config = AgentConfig(home=home, **{"slots": 4, "idle_exit_s": 60.0, **options})
        self.schedulers: list[Scheduler] = []
        self.start()

    def start(self) -> None:
        self.keeper = Process(launch.spawn_keeper(self.config))
        until(lambda: launch.is_listening(self.home), "the agent listens")

    @property
    def agent_pid(self) -> int:
        described = until(lambda: launch.read_description(self.home), "the agent has described itself")
        return int(described["pid"])

    def scheduler(self) -> Scheduler:
        found = Scheduler(self.home)
        self.schedulers.append(found)
        return found

    def log(self, token: str) -> str:
        path = self.home / "logs" / "1" / f"{token}.log"
        return path.read_text() if path.exists() else ""

    def zygote(self, name: str) -> int:
        """The pid of `dagd-root`, `dagd-dag`, `dagd-log` or `dagd-warm` below the agent."""
        found = [pid for pid in below(self.agent_pid) if comm(pid) == name]
        assert found, f"no {name} below the agent"
        return found[0]

    def end(self) -> None:
        for scheduler in self.schedulers:
            scheduler.close()
        self.keeper.send_signal(signal.SIGTERM)
        self.keeper.wait()
        with contextlib.suppress(OSError):
            os.kill(self.agent_pid, signal.SIGTERM)
        until(lambda: not launch.is_listening(self.home), "the agent is gone")


def below(pid: int) -> list[int]:
    """All descendants of a process."""
    found, fresh = [], [pid]
    while fresh := procfs.children_of(fresh):
        found += fresh
    return found


def comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def until(fact: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Waits for a fact that sends no event."""
    deadline = time.monotonic() + patience_s
    while not (answer := fact()):
        assert time.monotonic() < deadline, f"not within {patience_s} s: {what}"
        select.select([], [], [], 0.01)
    return answer


def is_dead(pid: int) -> bool:
    return not procfs.is_alive(pid)


def pid_from(path: Path) -> int:
    """The pid that a task wrote into a file."""
    return int(until(lambda: path.exists() and path.read_text().strip(), f"{path} is written"))


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes started from here on have the small runtime."""
    folder = tmp_path / "runtime"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(RUNTIME)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *filter(None, sys.path)]))


@pytest.fixture
def make_rig(tmp_path: Path, runtime: None) -> Iterator[Callable[..., Rig]]:
    """Makes agents in homes of their own; all are gone after the test."""
    rigs: list[Rig] = []

    def make(**options: Any) -> Rig:
        rigs.append(Rig(tmp_path / f"home{len(rigs)}", **options))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.end()


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    return make_rig()
