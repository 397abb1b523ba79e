"""A try of the spawn grade: `python -m dagd.agent.spawned CHANNEL OUTPUT UMASK LIMITS USER`, an interpreter of its own.

For DAG files whose import leaves threads, which a fork would not take along, and for systems without zygotes.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from typing import NoReturn

from dagd.agent import child
from dagd.agent.zygote import describe
from dagd.model.frames import Frame, FrameBuffer, encode_frame
from dagd.model.states import Reason
from dagd.observe.user import become
from dagd.runtime.channel import Channel
from dagd.runtime.entry import load_version, run_try
from dagd.runtime.importing import ImportAsker


def main(words: Sequence[str]) -> NoReturn:
    """Reads its version and its launch, runs the body, sends the result."""
    channel_fd, output, umask = map(int, words[:3])
    become(words[4])
    os.set_inheritable(channel_fd, False)
    child.prepare()
    child.enter(output, (), child.read_limits(words[3]))
    with socket.socket(fileno=channel_fd) as peer:
        peer.setblocking(True)
        version, launch = _read_two(peer)
        os.umask(umask if launch.get("umask") is None else int(launch["umask"]))
        channel = Channel(peer)
        asker = ImportAsker(lambda key: channel.request("variable", {"key": key}))
        try:
            loaded = load_version(version, asker)
        except BaseException as error:
            problem = describe(error, asker.secrets)
            sys.stderr.write(str(problem["traceback"]))
            body = {"outcome": "fail", "reason": Reason.EXCEPTION, "error": problem}
        else:
            body = run_try(loaded, launch["payload"], channel)
        child.flush_output()
        peer.sendall(encode_frame(child.result_frame(body)))
        os._exit(0)


def _read_two(peer: socket.socket) -> tuple[Frame, Frame]:
    buffer, frames = FrameBuffer(), list[Frame]()
    while len(frames) < 2:
        chunk = peer.recv(256 * 1024)
        if not chunk:
            os._exit(70)
        frames += buffer.feed(chunk)
    return frames[0], frames[1]


if __name__ == "__main__":
    main(sys.argv[1:])
