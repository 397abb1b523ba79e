"""The log writer process: `python -m dagd.agent.logwriter`. It reads the tries' pipes and writes their log files.

The agent sends descriptors of pipes with the file each belongs to, and what to hide in it. Text is written as the task
wrote it, less the secrets; a file is created at its first byte and capped. A log never holds a task up: when the disk
is full its output is dropped, with a notice.
"""

from __future__ import annotations

import gc
import json
import os
import select
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from dagd.agent.linux import name_process
from dagd.agent.masking import Masker
from dagd.agent.stream import receive_packet, send_packet
from dagd.observe.private import keep_private

CHUNK = 64 * 1024
# Reads of one pipe before the others have their turn, and at its end, when nobody writes any more.
READS = 8
LAST_READS = 64


class LogFile:
    """One try's log: masks, caps, writes."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path, self._limit = path, limit
        self.masker = Masker()
        self._fd = -1
        self._size = 0
        self._dropped = 0

    def write(self, chunk: bytes) -> None:
        """Output of the task, in order."""
        self._put(self.masker.feed(chunk))

    def close(self) -> None:
        """The try has ended."""
        self._put(self.masker.end())
        if self._dropped:
            self._append(f"\n[dagd] {self._dropped} bytes of output were dropped: no space\n".encode())
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _put(self, text: bytes) -> None:
        if not text or self._size > self._limit:
            return
        if self._size + len(text) > self._limit:
            kept = text[: self._limit - self._size]
            text = kept + f"\n[dagd] the log is cut here: it reached {self._limit >> 20} MB\n".encode()
            self._size = self._limit + 1
        if self._dropped:
            notice = f"\n[dagd] {self._dropped} bytes of output were dropped: no space\n".encode()
            if self._append(notice):
                self._dropped = 0
        self._dropped += len(text) - self._append(text)
        self._size += len(text)

    def _append(self, text: bytes) -> int:
        """How many bytes the disk took."""
        written = 0
        try:
            if self._fd < 0:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
                self._fd = os.open(self._path, flags, 0o600)
                self._size += os.fstat(self._fd).st_size
            while written < len(text):
                written += os.write(self._fd, text[written:])
        except OSError:
            return written
        return written


class LogWriter:
    """All pipes that the agent has handed over, by the key that it gave them."""

    def __init__(self, control: socket.socket, folder: Path, limit: int) -> None:
        self._control, self._folder, self._limit = control, folder, limit
        self._files: dict[Any, LogFile] = {}
        self._pipes: dict[Any, int] = {}
        self._keys: dict[int, Any] = {}
        self._secrets: dict[Any, list[str]] = {}
        self._inbox: list[tuple[dict[str, Any], list[int]]] = []
        self._is_left = False
        self._poller = select.poll()
        self._poller.register(control.fileno(), select.POLLIN)

    def serve(self) -> None:
        """Until the agent is gone and its pipes have been read."""
        while not self._is_left:
            for fd, _events in self._poller.poll():
                if fd == self._control.fileno():
                    self._listen()
                elif fd in self._keys:
                    self._drain(self._keys[fd], READS)
            inbox, self._inbox = self._inbox, []
            for message, fds in inbox:
                self._obey(message, fds)
        for key in list(self._pipes):
            self._detach(key)

    def _listen(self) -> None:
        while not self._is_left:
            try:
                message, fds = receive_packet(self._control, wait=False)
            except BlockingIOError:
                return
            except EOFError:
                self._is_left = True
                return
            if message["t"] == "mask":
                self._mask(message["key"], fds[0])
            else:
                self._inbox.append((message, fds))

    def _mask(self, key: Any, fd: int) -> None:
        with open(fd, "rb") as file:
            secrets = json.loads(file.read())
        # Before the pipe comes, too: no byte is read without them.
        self._secrets.setdefault(key, []).extend(secrets)
        if key in self._files:
            self._files[key].masker.learn(secrets)

    def _obey(self, message: dict[str, Any], fds: list[int]) -> None:
        key = message["key"]
        if message["t"] == "attach":
            self._attach(key, str(message["log"]), fds[0])
        elif message["t"] == "detach":
            self._detach(key)
            self._tell({"t": "drained", "key": key})

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            send_packet(self._control, json.dumps(message).encode())
        except OSError:
            self._is_left = True

    def _attach(self, key: Any, log: str, fd: int) -> None:
        file = self._files[key] = LogFile(self._folder / log, self._limit)
        file.masker.learn(self._secrets.get(key, ()))
        os.set_blocking(fd, False)
        self._pipes[key], self._keys[fd] = fd, key
        self._poller.register(fd, select.POLLIN)

    def _drain(self, key: Any, reads: int) -> None:
        """Reads what is there. A secret is told before its task gets it, hence the look at the control socket between
        reading a chunk and writing it."""
        while reads and key in self._pipes:
            reads -= 1
            fd = self._pipes[key]
            try:
                chunk = os.read(fd, CHUNK)
            except BlockingIOError:
                return
            if not chunk:
                if fd in self._keys:
                    self._poller.unregister(fd)
                    del self._keys[fd]
                return
            file = self._files[key]
            self._listen()
            file.write(chunk)

    def _detach(self, key: Any) -> None:
        if key not in self._pipes:
            return
        self._drain(key, LAST_READS)
        fd = self._pipes.pop(key)
        if self._keys.pop(fd, None) is not None:
            self._poller.unregister(fd)
        os.close(fd)
        self._files.pop(key).close()
        self._secrets.pop(key, None)


def main(words: Sequence[str]) -> NoReturn:
    """`words`: control descriptor, log folder, limit of one log in MB."""
    control, folder, limit_mb = int(words[0]), Path(words[1]), int(words[2])
    keep_private()
    name_process("dagd-log")
    gc.freeze()
    with socket.socket(fileno=control) as peer:
        os.set_inheritable(control, False)
        LogWriter(peer, folder, limit_mb << 20).serve()
    sys.exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
