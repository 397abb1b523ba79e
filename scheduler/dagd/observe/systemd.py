"""What systemd is told (`Type=notify`): ready, how it goes, and that the watchdog need not bite. Nothing without it."""

from __future__ import annotations

import os
import socket


class Notify:
    """The socket that systemd gave; taken out of the environment, so that no child of ours speaks for us."""

    def __init__(self) -> None:
        self._address = os.environ.pop("NOTIFY_SOCKET", "")
        watchdog = os.environ.pop("WATCHDOG_USEC", "")
        os.environ.pop("WATCHDOG_PID", None)
        self.every_s = int(watchdog) / 3e6 if self._address and watchdog.isdigit() else None

    def say(self, *lines: str) -> None:
        """For example `READY=1`, `STATUS=...`, `WATCHDOG=1`. A manager that does not listen is no error."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
            try:
                peer.sendto("\n".join(lines).encode(), address)
            except OSError:
                return
