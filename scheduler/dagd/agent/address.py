"""Where the agent listens: `<home>/run/agent.sock`, reached through a folder's descriptor.

A socket path holds 108 bytes and a home may be deeper than that, hence bind and connect by /proc/self/fd/N/agent.sock.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from dagd.agent import procfs
from dagd.agent.linux import IS_LINUX

SOCKET_NAME = "agent.sock"
# As /proc/PID/comm shows the processes above which nobody who commands an agent can be.
AGENT_NAME, PARSER_NAME = "dagd-agent", "dagd-parse"


def connect(home: Path, timeout_s: float = 5.0) -> socket.socket:
    """A blocking connection to the agent of this home. Raises OSError when none listens."""
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        peer.settimeout(timeout_s)
        _at_folder(home / "run", peer.connect)
        peer.settimeout(None)
    except BaseException:
        peer.close()
        raise
    return peer


def listen(home: Path) -> socket.socket:
    """The agent's listening socket, mode 0600. Takes over a stale one: the caller holds the lock of the home."""
    (home / "run" / SOCKET_NAME).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        _at_folder(home / "run", listener.bind)
        listener.listen(64)
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(mask)
    listener.setblocking(False)
    return listener


def peer_pid(peer: socket.socket) -> int | None:
    """The process that listens at the other end; None where the system does not say."""
    if not IS_LINUX:
        return None
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[0])


def may_command(peer: socket.socket, home: Path) -> bool:
    """Whether a peer may speak as a scheduler: not when it comes from below an agent of this home (a task) or from
    below a parser (a DAG file), whatever user it runs as. Ancestors cannot be forged; a peer that has ended by now is
    nobody's. Where /proc hides a living peer there is no evidence against it.
    """
    pid = peer_pid(peer)
    if pid is None or pid == os.getpid():
        return True
    if not procfs.exists(pid):
        return False
    while pid > 1:
        name, words = procfs.name_of(pid), procfs.words_of(pid)
        if name == PARSER_NAME or (name == AGENT_NAME and str(home.absolute()) in words):
            return False
        pid = procfs.parent_of(pid)
    return True


def _at_folder(folder: Path, act: Callable[[str], None]) -> None:
    if not IS_LINUX:
        act(str(folder / SOCKET_NAME))
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        act(f"/proc/self/fd/{fd}/{SOCKET_NAME}")
    finally:
        os.close(fd)
