"""The parsing process: imports what DAG files will need, then forks children on demand. Started by `sandbox`."""

from __future__ import annotations

import gc
import os
import selectors
import socket
import sys
import time
from typing import Any

from dagd.authoring import asset_decorator, bash, decorators, groups, sensor, store_access  # noqa: F401 - for the children
from dagd.model.frames import FrameBuffer, encode_frame
from dagd.observe.private import keep_private
from dagd.observe.user import become
from dagd.parsing.orphans import LIBC, inherit_orphans
from dagd.parsing.supervisor import Supervisor

_PR_SET_NAME = 15
# What the agent knows it by: nothing below it may command an agent (`agent/address.py`).
NAME = b"dagd-parse"
HELD_UP_S = 0.2


def main(fd: int, run_as: str = "") -> None:
    """Serve one parent over the socket `fd` until it closes it, as another user if one is named."""
    become(run_as)
    keep_private()
    parent = socket.socket(fileno=fd)
    inherit_orphans()
    LIBC.prctl(_PR_SET_NAME, NAME, 0, 0, 0)
    gc.collect()
    gc.freeze()
    buffer = FrameBuffer()
    job: dict[str, Any] | None = None
    first: list[dict[str, Any]] = []
    while job is None:
        chunk = parent.recv(1 << 16)
        if not chunk:
            return
        for frame in buffer.feed(chunk):
            if job is None:
                job = frame
            else:
                first.append(frame)
    serve(parent, buffer, Supervisor(job, lambda frame: parent.sendall(encode_frame(frame)), parent.close), first)


def serve(parent: socket.socket, buffer: FrameBuffer, supervisor: Supervisor, frames: list[dict[str, Any]]) -> None:
    """The loop: frames of the parent, events of the children, what is due."""
    supervisor.selector.register(parent, selectors.EVENT_READ, None)
    try:
        while True:
            for frame in frames:
                if frame["t"] == "files":
                    supervisor.add(frame["paths"])
                else:
                    supervisor.answer(frame)
            frames = []
            pause = supervisor.turn()
            ready = supervisor.selector.select(pause)
            looked_at = time.monotonic()
            for key, _ in ready:
                if key.data is not None:
                    child, what = key.data
                    if child.pid in supervisor.children:
                        supervisor.on_event(child, what)
                    continue
                chunk = parent.recv(1 << 16)
                if not chunk:
                    return
                frames.extend(buffer.feed(chunk))
            held_up = time.monotonic() - looked_at
            if held_up > HELD_UP_S:
                supervisor.excuse(held_up)
    except (BrokenPipeError, ConnectionResetError):
        return
    finally:
        supervisor.emit = lambda _frame: None  # the parent is gone: nobody hears of what is ended now
        supervisor.close()
        os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
