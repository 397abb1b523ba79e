"""Prefect: flows in this process with its thread runner, against a server of its own with SQLite."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request
from typing import Any

import kit

ORDER = kit.read_order()
LOG = ORDER.folder / "tasks.log"
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    PORT = free.getsockname()[1]
os.environ.update(
    PREFECT_HOME=str(ORDER.folder), PREFECT_API_URL=f"http://127.0.0.1:{PORT}/api", PREFECT_LOGGING_LEVEL="ERROR",
    PREFECT_SERVER_ANALYTICS_ENABLED="false", DO_NOT_TRACK="1",
)  # fmt: skip
from prefect import flow, task  # noqa: E402  (it reads the settings when it is imported)


@task(cache_policy=None)
def step() -> None:
    """One task."""
    kit.note(str(LOG))


@flow
def shaped(edges: list[tuple[str, list[str]]]) -> None:
    """A run of a shape."""
    futures: dict[str, Any] = {}
    for name, upstreams in edges:
        futures[name] = step.submit(wait_for=[futures[one] for one in upstreams])
    futures[edges[-1][0]].wait()


def run(shape: kit.Shape) -> None:
    """Run after run."""
    for _ in range(shape.runs):
        shaped(shape.edges())


def is_up() -> bool:
    """Whether the server answers."""
    try:
        with urllib.request.urlopen(f"{os.environ['PREFECT_API_URL']}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def main() -> None:
    """A server for the time of the measurement."""
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(PORT), "--no-ui"]
    server = subprocess.Popen(command, stdout=sys.stderr)
    try:
        kit.until(is_up, "Prefect's server")
        kit.measure(ORDER, LOG, run, "prefect", "flows in this process, server with SQLite")
    finally:
        server.terminate()
        server.wait(30)


main()
