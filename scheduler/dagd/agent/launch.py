"""Starting, finding and stopping the agent of a home, from the scheduler or the command line."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

from dagd.agent import address, kill
from dagd.agent.config import AgentConfig, current_umask, make_folder
from dagd.model.errors import Unreachable
from dagd.model.settings import PRIVATE, Settings
from dagd.observe.user import find_user

START_S = 15.0
STEP_S = 0.01
STOP_S = 4.0


def start_keeper(settings: Settings, *, slots: int, umask: int | None = None) -> int:
    """Spawns the keeper, detached from this process and its terminal; returns its pid. It starts the agent.

    `umask` is for tasks; by default they get this process's.
    """
    config = AgentConfig(
        home=settings.home.absolute(), slots=slots, idle_exit_s=settings["agent.idle_exit_s"],
        log_limit_mb=settings["agent.log_limit_mb"], task_memory_mb=settings["agent.task_memory_mb"],
        task_files=settings["agent.task_files"], task_processes=settings["agent.task_processes"],
        task_cpu_s=settings["agent.task_cpu_s"], umask=current_umask() if umask is None else umask,
        run_as=settings["agent.run_as"],
    )  # fmt: skip
    return spawn_keeper(config)


def spawn_keeper(config: AgentConfig) -> int:
    """The same, for a given configuration. The caller is its parent, and reaps it when it ends."""
    make_folder(config.home)
    make_folder(config.run_folder)
    make_folder(config.log_folder)
    if config.run_as:
        _lend_folder(config)
    command = [sys.executable, "-P", "-m", "dagd.agent.keeper", *config.to_flags()]
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(config.log_folder / "agent.log"), flags, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    return os.posix_spawn(
        sys.executable, command, task_environment(), file_actions=files, setsid=True, setsigmask=[],
        setsigdef=[signal.SIGINT, signal.SIGTERM],
    )  # fmt: skip


def _lend_folder(config: AgentConfig) -> None:
    """Tries of another user can pass through the home, and use the folder of large values. Raises InvalidSettings."""
    user = find_user(config.run_as)
    config.home.chmod(0o711)
    os.chown(make_folder(config.xcom_folder), user.pw_uid, user.pw_gid)


def task_environment() -> dict[str, str]:
    """This process's environment for everything that may become a task: none of dagd's own settings is in it."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PRIVATE)}


def ensure_agent(settings: Settings, slots: int, umask: int | None = None) -> None:
    """Returns when an agent of this home answers, started if there is none. Raises Unreachable after 15 s."""
    if is_listening(settings.home):
        return
    keeper = start_keeper(settings, slots=slots, umask=umask)
    deadline = time.monotonic() + START_S
    while not is_listening(settings.home):
        kill.reap(keeper)
        if time.monotonic() > deadline:
            raise Unreachable(
                f"the agent of {settings.home} did not start within {START_S:g} s",
                remedy=f"See {settings.log_folder / 'agent.log'}.",
            )
        time.sleep(STEP_S)


def is_listening(home: Path) -> bool:
    """Whether an agent of this home takes connections."""
    try:
        address.connect(home).close()
    except OSError:
        return False
    return True


def read_description(home: Path) -> dict[str, Any] | None:
    """What the last agent of this home wrote of itself (`run/agent.json`), or None."""
    try:
        found = json.loads((home / "run" / "agent.json").read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def stop_agent(home: Path, *, patience_s: float = STOP_S) -> bool:
    """SIGTERM to keeper and agent of this home; their tries end as `stopped`. Whether both are gone at the end."""
    return _signal_and_wait(home, signal.SIGTERM, patience_s)


def drain_agent(home: Path, *, patience_s: float) -> bool:
    """No more launches; whether keeper and agent left, after the last try, within the patience."""
    return _signal_and_wait(home, signal.SIGUSR1, patience_s)


def _signal_and_wait(home: Path, number: int, patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    description = read_description(home) or {}
    keeper, agent = int(description.get("keeper_pid", 0)), int(description.get("pid", 0))
    pids = [pid for pid, module in ((agent, "agent.main"), (keeper, "agent.keeper")) if _runs(pid, module, home)]
    handles = [os.pidfd_open(pid) for pid in pids]
    try:
        # The keeper passes it on; a SIGUSR1 that came twice would still be one drain.
        for pid in reversed(pids):
            kill.send_signal(pid, number)
        for handle in handles:
            poller = select.poll()
            poller.register(handle, select.POLLIN)
            if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return False
        return True
    finally:
        for handle in handles:
            os.close(handle)


def _runs(pid: int, module: str, home: Path) -> bool:
    """Whether this pid is that process of this home: numbers are used again."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(word.endswith(module.encode()) for word in words) and str(home.absolute()).encode() in words
