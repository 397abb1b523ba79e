"""Nonblocking Unix sockets of the loop: streams of frames, and packets that carry descriptors."""

from __future__ import annotations

import array
import json
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from dagd.agent.loop import READ, WRITE, Loop
from dagd.model.frames import Frame, FrameBuffer, FrameTooLong

_CHUNK = 64 * 1024  # more would be a mapping of its own for each read
_PACKET = 128 * 1024


class Garbage(ValueError):
    """What a peer sent is not this protocol."""


class Stream:
    """One peer that speaks frames. What is sent leaves at `flush`, and waits for the peer when that is slow."""

    def __init__(
        self, loop: Loop, peer: socket.socket, on_frames: Callable[[list[Frame]], None], on_end: Callable[[str], None],
        *, limit: int,
    ) -> None:  # fmt: skip
        """`on_end` is called once, with an empty text at the peer's end of file, else with what was wrong."""
        peer.setblocking(False)
        self._loop, self._peer, self._limit = loop, peer, limit
        self._on_frames, self._on_end = on_frames, on_end
        self._buffer = FrameBuffer()
        self._partial = 0
        self._out = bytearray()
        self._waits = False
        self._is_ignored = False
        self.is_open = True
        # The peer closed with something of ours unread: it cannot have acted on it.
        self.was_reset = False
        self.is_broken = False
        self.fd = peer.fileno()
        loop.watch(self.fd, self._ready)

    @property
    def backlog(self) -> int:
        """Bytes that the peer has not taken."""
        return len(self._out)

    def send(self, frame: bytes) -> None:
        """Queues one encoded frame."""
        self._out += frame

    def flush(self) -> None:
        """Hands what is queued to the kernel, as far as it takes it."""
        if not self._out or not self.is_open or self._is_ignored:
            return
        try:
            sent = self._peer.send(self._out)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            # The read side tells the end, after what the peer sent before it went.
            self.is_broken = True
            sent = len(self._out)
        del self._out[:sent]
        if bool(self._out) != self._waits:
            self._waits = bool(self._out)
            self._loop.rewatch(self.fd, self._ready, READ | WRITE if self._waits else READ)

    def drain(self) -> None:
        """Takes in what has arrived and was not read yet."""
        while self.is_open and self._read() == _CHUNK:
            continue

    def ignore(self) -> None:
        """Nothing that comes or goes matters any more; `drain` and `close` still work."""
        self._is_ignored = True
        self._loop.unwatch(self.fd)

    def close(self) -> None:
        """Drops the connection. `on_end` is not called."""
        if self.is_open:
            self.is_open = False
            self._loop.unwatch(self.fd)
            self._peer.close()

    def _ready(self) -> None:
        if self._waits:
            self.flush()
        self._read()

    def _read(self) -> int:
        try:
            chunk = self._peer.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self.was_reset, chunk = True, b""
        if not chunk:
            self._end("")
            return 0
        try:
            frames = self._buffer.feed(chunk)
        except (FrameTooLong, ValueError, RecursionError) as error:
            self._end(f"not a frame: {error}")
            return 0
        self._partial = 0 if frames else self._partial + len(chunk)
        if frames:
            if not all(isinstance(frame, dict) for frame in frames):
                self._end("a frame that is no object")
                return 0
            self._on_frames(frames)
        elif self._partial > self._limit:
            self._end(f"a frame of more than {self._limit} bytes")
        return len(chunk)

    def _end(self, problem: str) -> None:
        self.close()
        self._on_end(problem)


class Packets:
    """The agent's end of a control socket: small JSON messages, each whole, with descriptors beside them."""

    def __init__(
        self, loop: Loop, peer: socket.socket, on_message: Callable[[Frame], None], on_end: Callable[[], None]
    ) -> None:
        peer.setblocking(False)
        self._loop, self._peer = loop, peer
        self._on_message, self._on_end = on_message, on_end
        self._out: deque[tuple[bytes, list[int]]] = deque()
        self._waits = False
        self.is_open = True
        loop.watch(peer.fileno(), self._ready)

    def send(self, message: Frame, fds: Sequence[int] = ()) -> None:
        """Sends now, or when the peer has room. The caller closes its descriptors afterwards, in either case."""
        packet = json.dumps(message).encode()
        if self.is_open and (self._out or not self._try(packet, fds)):
            self._out.append((packet, [os.dup(fd) for fd in fds]))
            self._watch_room()

    @property
    def is_clear(self) -> bool:
        """Whether the peer has been handed all that was sent."""
        return not self._out

    def close(self) -> None:
        """Drops the connection; a zygote or log writer ends by that. `on_end` is not called."""
        if self.is_open:
            self.is_open = False
            self._loop.unwatch(self._peer.fileno())
            self._peer.close()
            for _message, fds in self._out:
                for fd in fds:
                    os.close(fd)
            self._out.clear()

    def _try(self, packet: bytes, fds: Sequence[int]) -> bool:
        try:
            send_packet(self._peer, packet, fds)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True  # the read side tells the end
        return True

    def _flush(self) -> None:
        while self._out and self._try(*self._out[0]):
            for fd in self._out.popleft()[1]:
                os.close(fd)
        self._watch_room()

    def _watch_room(self) -> None:
        if bool(self._out) != self._waits:
            self._waits = bool(self._out)
            self._loop.rewatch(self._peer.fileno(), self._ready, READ | WRITE if self._waits else READ)

    def _ready(self) -> None:
        if self._waits:
            self._flush()
        while self.is_open:
            try:
                packet = self._peer.recv(_PACKET)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                packet = b""
            if not packet:
                self.close()
                self._on_end()
                return
            self._on_message(json.loads(packet))


def packet_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a control socket."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send_packet(peer: socket.socket, message: bytes, fds: Sequence[int] = ()) -> None:
    """One message with its descriptors."""
    if fds:
        peer.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
    else:
        peer.send(message)


def receive_packet(peer: socket.socket, *, most_fds: int = 4, wait: bool = True) -> tuple[dict[str, Any], list[int]]:
    """One message and its descriptors. Raises EOFError when the other end is gone, BlockingIOError without `wait`."""
    flags = getattr(socket, "MSG_CMSG_CLOEXEC", 0) | (0 if wait else socket.MSG_DONTWAIT)
    room = socket.CMSG_SPACE(most_fds * array.array("i").itemsize)
    try:
        message, beside, _flags, _address = peer.recvmsg(_PACKET, room, flags)
    except ConnectionError:
        raise EOFError from None
    fds = array.array("i")
    for level, kind, content in beside:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    if not message:
        raise EOFError
    return json.loads(message), list(fds)
