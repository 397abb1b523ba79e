"""What a DAG file started and nobody waits for."""

from __future__ import annotations

import ctypes
import os
import signal
from contextlib import suppress
from typing import Any

LIBC: Any = ctypes.CDLL(None, use_errno=True)
_PR_SET_CHILD_SUBREAPER = 36


def inherit_orphans() -> None:
    """What a file started falls to this process when its parsing process was killed. For a process of few children."""
    LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_children() -> None:
    """Kill all children of this process; only for one that has no others than sandboxes, and has closed those."""
    for pid in children_of_this_process():
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def children_of_this_process() -> list[int]:
    """The pids of this process's children."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []
