"""Celery with Redis: two prefork processes, results kept. Redis as it comes, on a socket of its own: not durable."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kit
from celery import Celery, chain, chord, group

FOLDER = Path(sys.argv[1])
LOG, SOCKET = FOLDER / "tasks.log", FOLDER / "redis.sock"
app = Celery("celery_peer", broker=f"redis+socket://{SOCKET}", backend=f"redis+socket://{SOCKET}")
app.conf.worker_hijack_root_logger = False


@app.task  # type: ignore[misc]
def step(*_: Any) -> None:
    """One task."""
    kit.note(str(LOG))


def run(shape: kit.Shape) -> None:
    """Canvas of each run."""
    for _ in range(shape.runs):
        if shape.kind == "chain":
            chain(*(step.si() for _ in range(shape.tasks))).apply_async()
        else:
            chain(step.si(), chord(group(step.si() for _ in range(shape.tasks - 2)), step.si())).apply_async()


def main() -> None:
    """Redis and a worker for the time of the measurement."""
    order = kit.read_order()
    redis = shutil.which("redis-server")
    if redis is None:
        sys.exit("no redis-server on this machine")
    command = [redis, "--port", "0", "--unixsocket", str(SOCKET), "--dir", str(FOLDER), "--save", ""]
    parts = [subprocess.Popen(command, stdout=subprocess.DEVNULL)]
    try:
        kit.until(SOCKET.exists, "Redis")
        parts.append(subprocess.Popen([sys.executable, *sys.argv, "--worker"], stdout=sys.stderr))
        step.apply_async(ignore_result=True)
        kit.until(lambda: len(kit.spans(LOG)) > 0, "a Celery worker")
        kit.measure(order, LOG, run, "celery", "Redis without durability, prefork 2")
    finally:
        for part in reversed(parts):
            part.terminate()
            part.wait(20)


if __name__ == "__main__":
    if sys.argv[-1] == "--worker":
        app.worker_main(["worker", "-c", "2", "-l", "ERROR"])
    else:
        main()
