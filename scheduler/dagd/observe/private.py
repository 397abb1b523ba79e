"""What other processes of the same user can see of dagd's own: nothing.

The database's URL is in the environment of the scheduler, keys are in its memory, sockets among its descriptors. A
process that is not "dumpable" belongs to root in /proc: its environ, mem, fd and ptrace are closed to a task that runs
as the same user. Forks inherit that, an exec ends it. SECURITY.md says what this is worth.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from functools import lru_cache
from typing import Any

_PR_SET_DUMPABLE = 4


def keep_private() -> None:
    """No core file, and no look into this process, from here on."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _set_dumpable(0)


def show_again() -> None:
    """For a fork that becomes a task: its mark in /proc can be read, and its debugger works."""
    _set_dumpable(1)


def private_files() -> None:
    """Files that dagd makes are without rights for group and others."""
    os.umask(0o077)


def _set_dumpable(value: int) -> None:
    if sys.platform == "linux":
        _libc().prctl(_PR_SET_DUMPABLE, value, 0, 0, 0)


@lru_cache(maxsize=1)
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)
