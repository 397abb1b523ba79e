"""The doorbell: a datagram socket in the run folder that says "look". A hint only; the rows are the truth."""

from __future__ import annotations

import os
import socket
from pathlib import Path

PREFIX, SUFFIX = "bell-", ".sock"


class Doorbell:
    """One scheduler's bell. `ring_all` rings every bell of the home, its own left out when asked."""

    def __init__(self, run_folder: Path, name: str) -> None:
        self._folder, self._name = run_folder, f"{PREFIX}{name}{SUFFIX}"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        (run_folder / self._name).unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            with _folder_path(run_folder) as base:
                self.socket.bind(f"{base}/{self._name}")
        finally:
            os.umask(mask)

    def drain(self) -> bool:
        """Take all rings; True when there was one."""
        rung = False
        while True:
            try:
                self.socket.recv(64)
            except BlockingIOError:
                return rung
            rung = True

    def close(self) -> None:
        """Take the bell down."""
        self.socket.close()
        (self._folder / self._name).unlink(missing_ok=True)


class _folder_path:
    """A short path of a folder for socket addresses, which hold 108 bytes only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor = -1

    def __enter__(self) -> str:
        if not Path("/proc/self/fd").is_dir():
            return str(self._folder)
        self._descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._descriptor}"

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


def ring_all(run_folder: Path, *, but: str | None = None) -> int:
    """Ring every bell in the folder; returns how many answered. Bells of dead schedulers are taken down."""
    answered = 0
    if not run_folder.is_dir():
        return 0
    ringer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ringer.setblocking(False)
    with ringer, _folder_path(run_folder) as base:
        for path in run_folder.glob(f"{PREFIX}*{SUFFIX}"):
            if path.name == f"{PREFIX}{but}{SUFFIX}":
                continue
            try:
                ringer.sendto(b"!", f"{base}/{path.name}")
            except (ConnectionRefusedError, FileNotFoundError):
                path.unlink(missing_ok=True)
                continue
            except BlockingIOError:
                pass  # its queue is full of rings: it will look
            answered += 1
    return answered
