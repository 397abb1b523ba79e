"""GET /metrics and /health over HTTP, on 127.0.0.1 unless told otherwise.

A thread of `dagd scheduler`; a process of its own below `dagd up`, which stays small (`python -m dagd.cli.serving HOST
PORT`; it ends with its standard input).
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from dagd.cli.context import settings
from dagd.cli.metrics import exposition
from dagd.cli.opening import opened
from dagd.cli.status import read_health
from dagd.model.errors import DagdError, Refused
from dagd.model.settings import Settings

TEXT = "text/plain; version=0.0.4; charset=utf-8"


def serve_metrics(known: Settings, host: str, port: int) -> int:
    """Begin to answer; returns the port (another one when 0 was asked for). Raises Refused when it is taken."""

    class Answers(BaseHTTPRequestHandler):
        server_version, sys_version, timeout = "dagd", "", 10

        def do_GET(self) -> None:
            try:
                status, kind, body = answer(known, self.path)
            except DagdError as error:
                status, kind, body = 503, TEXT, f"{error}\n"
            encoded = body.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the base class
            """Nothing: who looks, and how often, is no event."""

    try:
        server = ThreadingHTTPServer((host, port), Answers)
    except OSError as error:
        raise Refused(f"{host}:{port} cannot be had: {error.strerror}", remedy="Choose another port.") from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return int(server.server_address[1])


def answer(known: Settings, path: str) -> tuple[int, str, str]:
    """Status, content type and body. Raises Unreachable."""
    if path.partition("?")[0] == "/metrics":
        return 200, TEXT, exposition(known)
    if path.partition("?")[0] == "/health":
        with opened(known) as database, database.read() as connection:
            health = read_health(connection, known)
        return 200 if health["ok"] else 503, "application/json", json.dumps(health) + "\n"
    return 404, TEXT, "there are /metrics and /health\n"


def main() -> None:
    """Serve until standard input ends; a line when it is ready."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        port = serve_metrics(settings(), sys.argv[1], int(sys.argv[2]))
    except DagdError as error:
        raise SystemExit(f"dagd: {error}") from error
    print(port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
