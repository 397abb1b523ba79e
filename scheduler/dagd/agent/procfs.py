"""Reading /proc: start times, children, and who carries the mark of a try."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from dagd.agent.linux import IS_LINUX, MARK

# Kernels built without CONFIG_PROC_CHILDREN have no such file; then one pass over /proc/*/stat answers instead.
HAS_CHILDREN_FILES = os.path.exists(f"/proc/{os.getpid()}/task/{os.getpid()}/children")


def _stat_fields(pid: int) -> list[bytes] | None:
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return None
    try:
        text = os.read(fd, 4096)
    except OSError:
        return None
    finally:
        os.close(fd)
    return text[text.rindex(b")") + 2 :].split()


def start_time(pid: int) -> int:
    """When the process started, in clock ticks since boot (field 22 of its stat); 0 when there is no such process."""
    fields = _stat_fields(pid)
    return int(fields[19]) if fields else 0


def parent_of(pid: int) -> int:
    """Its parent; 0 when there is no such process."""
    fields = _stat_fields(pid)
    return int(fields[1]) if fields else 0


def exists(pid: int) -> bool:
    """Whether there is such a process, even one that /proc hides from us."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def name_of(pid: int) -> str:
    """The name that the process gave itself (its comm); empty when there is none to be seen."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def is_alive(pid: int, started: int = 0) -> bool:
    """Whether `pid` runs (a zombie does not) and, with `started`, is still the same process."""
    fields = _stat_fields(pid)
    return fields is not None and fields[0] not in (b"Z", b"X") and (not started or int(fields[19]) == started)


def pids() -> list[int]:
    """All processes that /proc shows."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()] if IS_LINUX else []


def _children_by_parent() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for pid in pids():
        fields = _stat_fields(pid)
        if fields is not None:
            found.setdefault(int(fields[1]), []).append(pid)
    return found


def _children_files(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
    except OSError:
        return found
    return found


def children_of(parents: Iterable[int]) -> list[int]:
    """The children of all these processes, zombies included."""
    if HAS_CHILDREN_FILES:
        return [child for parent in parents for child in _children_files(parent)]
    by_parent = _children_by_parent()
    return [child for parent in parents for child in by_parent.get(parent, ())]


def mark_of(pid: int) -> str | None:
    """The value of DAGD_TRY in the environment that the process shows, without a placeholder's padding."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            variables = file.read().split(b"\0")
    except OSError:
        return None
    for variable in variables:
        if variable.startswith(MARK.encode() + b"="):
            return variable[len(MARK) + 1 :].decode("utf-8", "replace")
    return None


def words_of(pid: int) -> set[str]:
    """The words of its command line."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return set(file.read().decode("utf-8", "replace").split("\0"))
    except OSError:
        return set()


def marked(tokens: set[str]) -> Iterator[int]:
    """The processes whose environment carries one of the tokens; a placeholder counts by its text before the dot.

    A zygote shows its environment to nobody: it has its agent's incarnation in its command line.
    """
    for pid in pids():
        mark = mark_of(pid)
        if mark is None and tokens & words_of(pid):
            yield pid
        if mark is not None and (mark in tokens or mark.partition(".")[0] in tokens):
            yield pid
