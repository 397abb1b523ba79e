"""Killing trees. A process may fork while it is being killed: the tree is stopped first, from its root down."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Collection

from dagd.agent import procfs
from dagd.agent.linux import IS_LINUX


def send_signal(pid: int, number: int) -> bool:
    """Whether the process was there to be signalled."""
    if pid <= 1:
        return False
    try:
        os.kill(pid, number)
    except OSError:
        return False
    return True


def terminate_group(pid: int) -> None:
    """SIGTERM to the group that `pid` leads; to it alone while it has not made its session yet."""
    try:
        os.killpg(pid, signal.SIGTERM)
    except OSError:
        send_signal(pid, signal.SIGTERM)


def stop_tree(roots: Collection[int]) -> list[int]:
    """SIGSTOP for these processes and all below them, until no new one shows up. Returns all of them.

    A fork with a signal pending is not carried out by the kernel, hence a process seen after its parent was signalled
    is the last one which that parent made.
    """
    seen: dict[int, None] = {}
    fresh = list(dict.fromkeys(roots))
    while fresh:
        for pid in fresh:
            send_signal(pid, signal.SIGSTOP)
            seen[pid] = None
        fresh = [pid for pid in dict.fromkeys(procfs.children_of(seen)) if pid not in seen]
    return list(seen)


def kill_tree(pid: int, started: int = 0) -> list[int]:
    """SIGKILL for `pid` and all below it; nothing when `started` says that the number is another process by now."""
    if started and procfs.start_time(pid) not in (0, started):
        return []
    tree = stop_tree([pid]) if IS_LINUX else [pid]
    for member in tree:
        send_signal(member, signal.SIGKILL)
    if not IS_LINUX:
        try:
            os.killpg(pid, signal.SIGKILL)
        except OSError:
            return tree
    return tree


def has_children() -> bool:
    """Whether this process has any child, running or zombie."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def reap(pid: int) -> None:
    """Collects a dead child; one that is no child, or not dead, is left."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def await_deaths(victims: Collection[int], deadline: float, *, collect: bool = True) -> bool:
    """Waits until all are dead (zombies are), by pidfd, at most until the monotonic `deadline`. Whether they are.

    With `collect` own children are reaped, and their wait status is lost.
    """
    for pid in victims:
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            if collect:
                reap(pid)
            continue
        try:
            poller = select.poll()
            poller.register(fd, select.POLLIN)
            if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return False
        finally:
            os.close(fd)
        if collect:
            reap(pid)
    return True


def kill_strays(known: Collection[int], patience_s: float = 2.0) -> None:
    """Kills every child that is not in `known`, with its tree, and reaps it.

    What a dead try left behind falls to its zygote (a subreaper): whatever the zygote did not start has no business.
    """
    deadline = time.monotonic() + patience_s
    while IS_LINUX and time.monotonic() < deadline and has_children():
        strays = [pid for pid in procfs.children_of([os.getpid()]) if pid not in known]
        if not strays:
            return
        for pid in stop_tree(strays):
            send_signal(pid, signal.SIGKILL)
        if not await_deaths(strays, deadline):
            return
