"""The private socket of a try: requests up, answers down, and one result frame at the end."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any

from dagd.model.errors import NotFound, Refused
from dagd.model.frames import Frame, FrameBuffer, encode_frame

_CHUNK = 1 << 16


class ChannelClosed(ConnectionError):
    """The agent is gone; whoever replaces it will find this try."""


class Channel:
    """Speaks frames over a connected socket. Threads may share it; a forked child may not."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self.buffer = sock, FrameBuffer()
        self._lock, self._pid = threading.Lock(), os.getpid()
        self._last_id = 0
        self._strangers: list[Frame] = []

    @property
    def strangers(self) -> list[Frame]:
        """What came while an answer was waited for and is none, once."""
        found, self._strangers = self._strangers, []
        return found

    def request(self, kind: str, args: dict[str, Any]) -> Any:
        """The value of one request; blocks until it is answered. Raises NotFound or Refused with the answer's words."""
        if os.getpid() != self._pid:
            remedy = "Ask in the task itself and hand the value to its child processes."
            raise Refused(f"a child process of a task asked for a {kind}", remedy=remedy)
        with self._lock:
            self._last_id += 1
            number = self._last_id
            self._sock.sendall(encode_frame({"t": "request", "id": number, "kind": kind, "args": args}))
            reply = self._wait_for(number)
        return value_of(reply)

    def _wait_for(self, number: int) -> Frame:
        while True:
            chunk = self._sock.recv(_CHUNK)
            if not chunk:
                raise ChannelClosed("the agent closed the connection of this try")
            found = None
            for frame in self.buffer.feed(chunk):
                if frame.get("t") != "reply":
                    self._strangers.append(frame)
                elif frame.get("id") == number:
                    found = frame
            if found is not None:
                return found

    def send_result(self, frame: dict[str, Any]) -> None:
        """Send the result frame: the only thing that counts as the end of a leg."""
        with self._lock:
            self._sock.sendall(encode_frame({"t": "result", **frame}))


def value_of(reply: Frame) -> Any:
    """What an answer brings. Raises NotFound or Refused with its words."""
    if reply.get("ok"):
        return reply.get("value")
    raise _as_error(reply.get("error"))


def _as_error(error: Any) -> Exception:
    """An answer's error: text, or {code, what, remedy}."""
    if isinstance(error, dict):
        cls = NotFound if error.get("code") == NotFound.code else Refused
        return cls(str(error.get("what") or error.get("message") or error), remedy=error.get("remedy"))
    return Refused(str(error or "the request was refused"))
