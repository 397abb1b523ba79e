"""Tries on this host, through the agent's socket. A lost connection is made again; what was outstanding is adopted."""

from __future__ import annotations

import logging
import selectors
import socket
from collections.abc import Callable, Iterable
from typing import Any

from dagd.model.errors import ProtocolMismatch
from dagd.model.frames import PROTOCOL, FrameBuffer, encode_frame

Frame = dict[str, Any]
LOG = logging.getLogger("dagd.executor")
CHUNK = 1 << 16


class LocalExecutor:
    """One scheduler's connection to the agent of its home.

    `connect` returns a connected stream socket, starting the agent when there is none; it may raise OSError.
    """

    def __init__(self, connect: Callable[[], socket.socket], incarnation: int, release: str) -> None:
        self._connect = connect
        self._incarnation, self._release = incarnation, release
        self._socket: socket.socket | None = None
        self._buffer = FrameBuffer()
        self._outgoing = bytearray()
        self._slots = 0
        self._versions: set[int] = set()
        self._contents: set[str] = set()
        self._launched: set[str] = set()
        self.waits: set[str] = set()
        self.agent: str | None = None
        self.connections = 0

    def fileno(self) -> int | None:
        """The socket's descriptor."""
        return None if self._socket is None else self._socket.fileno()

    @property
    def is_connected(self) -> bool:
        """Whether an agent answers."""
        return self._socket is not None

    @property
    def wants_write(self) -> bool:
        """Whether bytes wait because the socket was full."""
        return bool(self._outgoing)

    def capacity(self) -> int:
        """The credits that the agent gave."""
        return self._slots

    def open(self) -> bool:
        """Connect when there is no connection; True when a new one was made."""
        if self._socket is not None:
            return False
        try:
            peer = self._connect()
        except OSError as error:
            LOG.warning("the agent cannot be reached: %s", error)
            return False
        peer.setblocking(False)
        self._socket, self._buffer = peer, FrameBuffer()
        self._outgoing.clear()
        self._versions.clear()
        self._contents.clear()
        self._launched.clear()
        self.waits.clear()
        self.connections += 1
        self._put({"t": "hello", "protocol": PROTOCOL, "incarnation": self._incarnation, "release": self._release})
        self.flush()
        return True

    def close(self) -> None:
        """Let the connection go; the agent keeps its tries."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._slots = None, 0

    def poll(self) -> list[Frame]:
        """Frames that came in; an empty list and a closed connection when the agent is gone."""
        frames: list[Frame] = []
        while self._socket is not None:
            try:
                chunk = self._socket.recv(CHUNK)
            except BlockingIOError:
                break
            except OSError:
                chunk = b""
            if not chunk:
                self.close()
                break
            frames += self._buffer.feed(chunk)
            if len(chunk) < CHUNK:
                break
        return [frame for frame in frames if not self._take(frame)]

    def _take(self, frame: Frame) -> bool:
        kind = frame["t"]
        if kind == "hello":
            if frame["protocol"] != PROTOCOL:
                raise ProtocolMismatch(f"the agent speaks protocol {frame['protocol']}, this scheduler {PROTOCOL}")
            self.agent = str(frame["agent"])
            self._slots = self._slots or 0
        elif kind == "credits":
            self._slots = int(frame["slots"])
        return kind in {"hello", "beat"}

    def knows(self, version_id: int) -> bool:
        """Whether this connection was told of the version."""
        return version_id in self._versions

    def has_content(self, content: str) -> bool:
        """Whether this connection was told what such a version loads."""
        return content in self._contents

    def know_version(self, version: Frame) -> None:
        """Send a version, once a connection, and what it loads with the first that loads it."""
        self._versions.add(version["id"])
        self._contents.add(version["content"])
        self._put({"t": "version", **version})

    def submit(self, tries: list[Frame], shared: list[Frame] | None = None) -> None:
        """Queue launches; `flush` sends them."""
        if tries:
            self._launched.update(one["token"] for one in tries)
            self._put({"t": "launch", "tries": tries, "shared": shared or []})

    def has_launched(self, token: str) -> bool:
        """Whether this connection was told to start it, and has not acknowledged its end."""
        return token in self._launched

    def cancel(self, tokens: Iterable[str], grace_us: int, reason: str) -> None:
        """Ask tries to stop."""
        self._put({"t": "cancel", "tokens": list(tokens), "grace_us": grace_us, "reason": reason})

    def wait(self, triggers: list[Frame]) -> None:
        """Look for what deferred tries wait for."""
        self.waits.update(one["token"] for one in triggers)
        self._put({"t": "wait", "triggers": triggers})

    def end_waits(self, tokens: Iterable[str]) -> None:
        """Look no more; tokens that nobody waits for do not matter."""
        over = self.waits.intersection(tokens)
        if over:
            self.waits -= over
            self._put({"t": "unwait", "tokens": sorted(over)})

    def adopt(self, tokens: Iterable[str]) -> None:
        """Ask what became of tries."""
        self._put({"t": "adopt", "tokens": list(tokens)})

    def acknowledge(self, tokens: Iterable[str]) -> None:
        """Results are committed."""
        told = list(tokens)
        self._launched.difference_update(told)
        self._put({"t": "ack", "tokens": told})

    def reply(self, frame: Frame) -> None:
        """Answer a request."""
        self._put({"t": "reply", **frame})

    def _put(self, frame: Frame) -> None:
        if self._socket is not None:
            self._outgoing += encode_frame(frame)

    def flush(self) -> None:
        """Send what is queued; what does not fit is sent when the socket takes more."""
        while self._outgoing and self._socket is not None:
            try:
                sent = self._socket.send(self._outgoing)
            except BlockingIOError:
                return
            except OSError:
                self.close()
                return
            del self._outgoing[:sent]

    def watch(self, selector: selectors.BaseSelector, tag: object) -> None:
        """Register the socket with a selector (for writing too, while bytes wait)."""
        if self._socket is not None:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._outgoing else 0)
            selector.register(self._socket, events, tag)
