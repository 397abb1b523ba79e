"""A TCP proxy before Postgres that can lose what travels: whole connections, or just the answer to a COMMIT."""

from __future__ import annotations

import contextlib
import socket
import threading


class Proxy:
    """Listens on a free port of 127.0.0.1 and hands on to a server's socket: a path, or (host, port)."""

    def __init__(self, target: str | tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._commits_to_lose = 0
        self._is_shut = False
        self.lost = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_commits(self, number: int) -> None:
        """The server carries out the next so many COMMITs; whoever sent them never hears of it."""
        with self._lock:
            self._commits_to_lose = number

    def shut(self) -> None:
        """Drop every connection, and every new one until `open`."""
        self._is_shut = True
        self.drop()

    def open(self) -> None:
        """Let connections through again."""
        self._is_shut = False

    def drop(self) -> None:
        """End all connections of the moment."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._end(pair)

    def close(self) -> None:
        """End everything."""
        self.shut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._is_shut:
                client.close()
                continue
            family = socket.AF_UNIX if isinstance(self._target, str) else socket.AF_INET
            server = socket.socket(family, socket.SOCK_STREAM)
            try:
                server.connect(self._target)
            except OSError:
                client.close()
                server.close()
                continue
            pair = (client, server)
            with self._lock:
                self._pairs.add(pair)
            losing = threading.Event()
            threading.Thread(target=self._ask, args=(pair, losing), daemon=True).start()
            threading.Thread(target=self._answer, args=(pair, losing), daemon=True).start()

    def _ask(self, pair: tuple[socket.socket, socket.socket], losing: threading.Event) -> None:
        client, server = pair
        with contextlib.suppress(OSError):
            while chunk := client.recv(1 << 16):
                if b"COMMIT" in chunk:
                    with self._lock:
                        if self._commits_to_lose:
                            self._commits_to_lose -= 1
                            losing.set()
                server.sendall(chunk)
        self._end(pair)

    def _answer(self, pair: tuple[socket.socket, socket.socket], losing: threading.Event) -> None:
        client, server = pair
        with contextlib.suppress(OSError):
            while chunk := server.recv(1 << 16):
                if losing.is_set():
                    self.lost += 1  # the server has answered, hence committed
                    break
                client.sendall(chunk)
        self._end(pair)

    def _end(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with self._lock:
            self._pairs.discard(pair)
        for end in pair:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
