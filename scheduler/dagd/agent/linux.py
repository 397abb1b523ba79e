"""What Linux offers beyond the standard library: prctl, and the mark that `/proc/PID/environ` shows.

On other systems every function here does nothing: tries are then spawned, and only process groups are killed.
"""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from typing import Any

IS_LINUX = sys.platform.startswith("linux")
MARK = "DAGD_TRY"
MARK_ROOM = 200
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_libc: Any = ctypes.CDLL(None, use_errno=True)
_libc.getenv.restype = ctypes.c_void_p


def become_subreaper() -> None:
    """Orphans below this process become its children. Not inherited: each process asks for itself."""
    if IS_LINUX:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def name_process(name: str) -> None:
    """The name that `ps` and /proc/PID/comm show, 15 bytes at most."""
    if IS_LINUX:
        _libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def memory_file(content: bytes) -> int:
    """A descriptor of a nameless file with this content, at its start. The caller closes it."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("dagd", os.MFD_CLOEXEC)
    else:
        fd, name = tempfile.mkstemp()
        os.unlink(name)
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(fd, rest) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


class Mark:
    """The value of DAGD_TRY as /proc/PID/environ shows it.

    A forked try never passes through exec, so that its /proc/PID/environ would show its zygote's: the zygote is started
    with a long placeholder there, and the try writes its own token over it in place.
    """

    def __init__(self) -> None:
        """Finds the placeholder. Call it before anything changes the variable in this process."""
        self._address = 0
        if IS_LINUX and len(os.environ.get(MARK, "")) >= MARK_ROOM:
            self._address = int(_libc.getenv(MARK.encode()) or 0)

    def write(self, token: str) -> None:
        """This process carries `token` from here on, in /proc and in the environment of its children."""
        if self._address:
            ctypes.memmove(self._address, token.encode()[:MARK_ROOM].ljust(MARK_ROOM, b"\0"), MARK_ROOM)
        os.environ[MARK] = token


def placeholder(text: str) -> str:
    """A value for DAGD_TRY with room for any token. It begins with `text` and a dot."""
    return f"{text}.".ljust(MARK_ROOM, "_")
