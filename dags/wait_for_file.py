"""Sensors: tasks that wait for something outside, here for a file that another task writes in its own time.

    name_file ──▶ deliver                                    takes three seconds, writes the file in two steps
              ──▶ wait_for_file ──▶ wait_until_complete ──▶ read ──▶ remove

A waiting sensor holds no worker: it looks, gives its place back, and comes again. A thousand may wait at a time.

    dagd why wait_for_file/latest/wait_for_file      # while it waits
"""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

from demo_store import demo_folder

from dagd import PokeReturnValue, dag, task
from dagd_operators.filesystem import FileSensor

END = "-- end --"


@dag(schedule=timedelta(minutes=2), tags=["example"])
def wait_for_file():
    """Wait for a file, then until it is complete, then read it."""

    @task
    def name_file(run_id: str) -> str:
        """A name for each run, so that runs do not take each other's files."""
        folder = demo_folder() / "inbox"
        folder.mkdir(exist_ok=True)
        return str(folder / f"{run_id}.txt")

    @task
    def deliver(path: str) -> None:
        """What would be another system."""
        time.sleep(1)
        Path(path).write_text("one\ntwo\nthree\n", encoding="utf-8")
        time.sleep(2)
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{END}\n")

    @task.sensor(poke_interval=1, timeout=60)
    def wait_until_complete(path: str) -> PokeReturnValue:
        """Any function can be a sensor. It ends when what it returns is true; its value may come along."""
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        return PokeReturnValue(is_done=END in lines, xcom_value=lines[:-1])

    @task
    def read(lines: list[str]) -> int:
        print("delivered:", ", ".join(lines))
        return len(lines)

    @task(trigger_rule="all_done")
    def remove(path: str) -> None:
        """Also after a failure: `all_done` runs when all before it have ended, however."""
        Path(path).unlink(missing_ok=True)

    path = name_file()
    delivered = deliver(path)
    # A ready-made sensor. Look every second; give up after a minute, which is final, whatever `retries` says.
    arrived = FileSensor(task_id="wait_for_file", filepath=path, poke_interval=1, timeout=60)
    lines = wait_until_complete(path)
    arrived >> lines
    [delivered, read(lines)] >> remove(path)


wait_for_file()
