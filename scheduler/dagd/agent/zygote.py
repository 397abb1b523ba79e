"""A zygote process. It forks what the agent asks for, reaps it, and kills strays.

The root zygote has dagd's own modules imported and forks DAG zygotes; a DAG zygote has one DAG file imported besides
and forks tries and warm workers. Both are single-threaded and speak with the agent over a control socket:
agent -> zygote  fork_dag {key} +control, version | fork_try {token} +channel, output | fork_worker {token} +channel,
                 output | settle {id, dead}: `dead` names a child that is to be dead before the answer, or is null |
                 answer +file: what was asked for {ok, value, error}
zygote -> agent  born {pid} | loaded {threads} | failed {error} | started {token, pid} | ended {token, status, alone} |
                 settled {id} | ask {key}: a variable that the DAG file reads while it is imported
The end of the control socket ends the zygote and all that it forked.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import signal
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from dagd.agent import child, kill, worker
from dagd.agent.linux import Mark, become_subreaper, name_process
from dagd.agent.rehearsal import rehearse
from dagd.agent.said import LONGEST_KEY
from dagd.agent.stream import receive_packet, send_packet
from dagd.observe.private import keep_private
from dagd.observe.user import become
from dagd.runtime.channel import value_of
from dagd.runtime.entry import LoadedDag, load_version
from dagd.runtime.failures import describe_error
from dagd.runtime.importing import ImportAsker
from dagd.runtime.masking import Masker

# How often a zygote looks for strays of tries whose own word it has: a thread may have forked after that word.
LOOK_MS = 1000
DEATH_S = 2.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What every try of this agent gets."""

    umask: int
    resources: child.Limits
    mark: Mark


class Zygote:
    """One zygote: its control socket, its living children, and the DAG file that it has loaded, if any."""

    def __init__(self, control: socket.socket, limits: Limits, fork: Callable[[], int]) -> None:
        self._control, self._limits, self._os_fork = control, limits, fork
        self._loaded: LoadedDag | None = None
        self._children: dict[int, Any] = {}
        self._has_reaped = False
        self._commands: dict[str, Callable[[dict[str, Any], list[int]], None]] = {
            "fork_dag": self._fork_dag, "fork_try": self._fork_try, "fork_worker": self._fork_worker,
            "settle": self._settle,
        }  # fmt: skip
        become_subreaper()
        self._wakeup = _catch_children()
        self._poller = select.poll()
        self._poller.register(control.fileno(), select.POLLIN)
        self._poller.register(self._wakeup[0], select.POLLIN)
        self._tell({"t": "born", "pid": os.getpid()})

    @property
    def own_fds(self) -> list[int]:
        """What no child may keep."""
        return [self._control.fileno(), *self._wakeup]

    def load(self, version_fd: int) -> bool:
        """Imports the DAG file of a version; tells the agent what came of it. False when it raised."""
        with open(version_fd, "rb") as file:
            version = json.loads(file.read())
        asker = ImportAsker(self._ask)
        try:
            self._loaded = load_version(version, asker)
        except BaseException as error:
            self._tell({"t": "failed", "error": describe(error, asker.secrets)})
            return False
        gc.collect()
        gc.freeze()
        self._tell({"t": "loaded", "threads": _count_threads()})
        return True

    def _ask(self, key: str) -> str | None:
        """A variable, from a scheduler by way of the agent. Raises NotFound and Refused with the answer's words."""
        if len(key) > LONGEST_KEY:
            return None
        self._tell({"t": "ask", "key": key})
        try:
            _message, fds = receive_packet(self._control)
        except EOFError:
            self._leave()
        with open(fds[0], "rb") as file:
            found: str | None = value_of(json.loads(file.read()))
        return found

    def serve(self) -> NoReturn:
        """Until the control socket ends."""
        while True:
            ready = self._poller.poll(LOOK_MS if self._has_reaped else None)
            for fd, _events in ready:
                if fd == self._wakeup[0]:
                    os.read(fd, 4096)
                    self._reap()
                else:
                    self._receive()
            if not ready and self._has_reaped:
                self._has_reaped = False
                kill.kill_strays(self._children)

    def _receive(self) -> None:
        for _turn in range(16):
            try:
                command, fds = receive_packet(self._control, wait=False)
            except BlockingIOError:
                return
            except EOFError:
                self._leave()
            try:
                self._commands[command["t"]](command, fds)
            finally:
                for fd in fds:
                    os.close(fd)

    def _leave(self) -> NoReturn:
        for pid in list(self._children):
            kill.kill_tree(pid)
        kill.kill_strays(())
        os._exit(0)

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            send_packet(self._control, json.dumps(message).encode())
        except OSError:
            return  # the agent is gone: the next receive says so

    # --- commands

    def _fork_dag(self, command: dict[str, Any], fds: Sequence[int]) -> None:
        self._fork(command["key"], lambda: self._become_dag(fds))

    def _fork_try(self, command: dict[str, Any], fds: Sequence[int]) -> None:
        self._fork(command["token"], lambda: self._become_try(fds))

    def _fork_worker(self, command: dict[str, Any], fds: Sequence[int]) -> None:
        self._fork(command["token"], lambda: self._become_worker(fds))

    def _settle(self, command: dict[str, Any], _fds: Sequence[int]) -> None:
        # A socket of a dying process closes before its children have fallen to this one.
        dying = [pid for pid, name in self._children.items() if name == command["dead"]]
        for pid in dying:
            kill.kill_tree(pid)
        kill.await_deaths(dying, time.monotonic() + DEATH_S, collect=False)
        self._reap()
        kill.kill_strays(self._children)
        self._tell({"t": "settled", "id": command["id"]})

    def _fork(self, name: Any, become: Callable[[], NoReturn]) -> None:
        try:
            pid = self._os_fork()
        except OSError as error:
            self._tell({"t": "ended", "token": name, "status": None, "alone": True, "error": f"no process: {error}"})
            return
        if pid == 0:
            try:
                become()
            except BaseException:
                traceback.print_exc()
                child.flush_output()
            finally:
                os._exit(70)
        self._children[pid] = name
        if self._loaded is not None:
            self._tell({"t": "started", "token": name, "pid": pid})

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._has_reaped = True
            if pid in self._children:
                name = self._children.pop(pid)
                message = {"t": "ended", "token": name, "status": status, "alone": not kill.has_children()}
                self._tell(message)

    # --- in the child

    def _become_dag(self, fds: Sequence[int]) -> NoReturn:
        control, version_fd = (os.dup(fd) for fd in fds)
        for fd in (*self.own_fds, *fds):
            os.close(fd)
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(nothing, fd)
        os.close(nothing)
        name_process("dagd-dag")
        with socket.socket(fileno=control) as peer:
            zygote = Zygote(peer, self._limits, self._os_fork)
            if zygote.load(version_fd):
                zygote.serve()
            receive_until_end(peer)
        os._exit(0)

    def _become_try(self, fds: Sequence[int]) -> NoReturn:
        child.enter(fds[1], self.own_fds, self._limits.resources)
        assert self._loaded is not None
        child.run_and_leave(self._loaded, fds[0], self._limits.mark, self._limits.umask)

    def _become_worker(self, fds: Sequence[int]) -> NoReturn:
        # It serves many tries: CPU time, which adds up over all of them, is no limit of one.
        limits = tuple(one for one in self._limits.resources if one[0] != resource.RLIMIT_CPU)
        child.enter(fds[1], self.own_fds, limits)
        name_process("dagd-warm")
        assert self._loaded is not None
        worker.serve(self._loaded, fds[0], self._limits.mark, self._limits.umask)


def describe(error: BaseException, secrets: Sequence[str] = ()) -> dict[str, Any]:
    """An exception of a DAG file: its type, message, place and traceback, cut to what one packet carries, without the
    secrets that it read."""
    found, masker = describe_error(error), Masker()
    masker.add_all(secrets)
    message, text = masker.mask(found["message"]), masker.mask(found["traceback"])
    return {**found, "message": message[:2000], "traceback": text[-14_000:]}


def receive_until_end(peer: socket.socket) -> None:
    """Waits for the agent to let this zygote go; whatever it asks for meanwhile it takes back."""
    while True:
        try:
            _command, fds = receive_packet(peer)
        except EOFError:
            return
        for fd in fds:
            os.close(fd)


def _catch_children() -> tuple[int, int]:
    pipe = os.pipe()
    for fd in pipe:
        os.set_blocking(fd, False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(pipe[1], warn_on_full_buffer=False)
    return pipe


def _count_threads() -> int:
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 1


def main(words: Sequence[str], fork: Callable[[], int]) -> NoReturn:
    """The root zygote, which forks by `fork`. `words`: control descriptor, umask, limits of a try, the agent's
    incarnation (by which a later agent finds it: `procfs.marked`), and as whom to run."""
    become(words[4])
    keep_private()
    control, umask = map(int, words[:2])
    mark = Mark()
    name_process("dagd-root")
    child.prepare()
    rehearse(mark)
    gc.disable()
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=control) as peer:
        os.set_inheritable(control, False)
        Zygote(peer, Limits(umask, child.read_limits(words[2]), mark), fork).serve()
