"""What a new agent does before it listens: it reads what dead agents of this home left, and kills what they started."""

from __future__ import annotations

import time
from pathlib import Path

from dagd.agent import kill, procfs
from dagd.agent.journal import NAME, Contents, Token, encode_result, is_live, read
from dagd.agent.results import Ending, conclude
from dagd.model.frames import Frame

PATIENCE_S = 5.0


def inherit(folder: Path) -> tuple[Contents, dict[Token, Path]]:
    """The contents of all dead agents' journals, with a result for each try; and the open tokens of living ones.

    A living agent beside this one is one of another release that drains: its tokens are not started here.
    """
    past, foreign = Contents(), dict[Token, Path]()
    dead: list[Path] = []
    for path in sorted(folder.glob("draining.*.journal")):
        if is_live(path):
            foreign.update(dict.fromkeys(read(path).open_tries, path))
        else:
            dead.append(path)
    for path in (*dead, folder / NAME):
        _merge(past, read(path))
    _end_open(past)
    return past, foreign


def absorb(path: Path) -> dict[Token, bytes]:
    """The results that a dead draining agent left, those of its killed tries included. Its journal is deleted by the
    caller, when they are in another."""
    past = read(path)
    _end_open(past)
    return past.results


def remove_dead(folder: Path) -> None:
    """Deletes the handed over journals whose writers are gone: their contents are in the new one by now."""
    for path in folder.glob("draining.*.journal"):
        if not is_live(path):
            path.unlink(missing_ok=True)


def _merge(past: Contents, more: Contents) -> None:
    past.incarnations += more.incarnations
    past.open_tries |= more.open_tries
    past.results |= more.results
    past.ended |= more.ended


def _end_open(past: Contents) -> None:
    _sweep(past)
    for token, (pid, _start) in past.open_tries.items():
        past.results[token] = encode_result(_lost(token, pid))
    past.open_tries.clear()


def _sweep(past: Contents) -> None:
    """Kills every process of an open try, and the zygotes of those incarnations, and waits for their deaths."""
    tokens = {str(token) for token in past.open_tries} | set(past.incarnations)
    victims = [pid for pid, start in past.open_tries.values() if pid and procfs.is_alive(pid, start)]
    victims += procfs.marked(tokens) if tokens else ()
    deadline = time.monotonic() + PATIENCE_S
    while victims and time.monotonic() < deadline:
        dying = [member for pid in victims for member in kill.kill_tree(pid)]
        kill.await_deaths(dying, deadline)
        victims = [pid for pid in procfs.marked(tokens) if procfs.is_alive(pid)]


def _lost(token: Token, pid: int) -> Frame:
    at = time.time_ns() // 1000
    return {"token": token, "pid": pid or None, "started_at": None, "ended_at": at, **conclude(Ending())}
