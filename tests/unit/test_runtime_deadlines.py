"""Callbacks of deadlines, and the events of a task's inlets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.runtime_kit import Answers, drive, load, value_of

HEAD = "from pathlib import Path\nfrom datetime import timedelta\nfrom dagd import *\n"


@pytest.mark.parametrize("index,told", [(0, ""), (1, ""), (2, "late")])
def test_a_deadline_calls_its_own_callback_alone(index: int, told: str, tmp_path: Path) -> None:
    note = tmp_path / "told"
    note.touch()
    text = f"""{HEAD}
def late(context): Path({str(note)!r}).write_text("late")
S = timedelta(seconds=1)
with DAG("d") as dag:
    @task(sla=S, deadline=[Deadline(within=S), Deadline(within=S, by="duration", callback=late)])
    def a(): pass
    a()
"""
    frame = drive(load(tmp_path, text), "a", callback={"event": "deadline", "error": None, "index": index})
    assert frame["outcome"] == "succeed"
    assert note.read_text() == told


def test_a_task_reads_the_events_of_its_inlets_and_of_no_others(tmp_path: Path) -> None:
    text = f"""{HEAD}
A = Asset("raw.x")
with DAG("d") as dag:
    @task(inlets=[A])
    def a(inlet_events=None):
        last = inlet_events[A][-1]
        return [last.extra["n"], last.source_task_id, last.timestamp.year, list(inlet_events)]
    @task
    def b(inlet_events=None): inlet_events[A]
    a(), b()
"""
    event = {"asset": "raw.x", "ts": 1_800_000_000_000_000, "metadata": '{"n": 7}', "task_id": "o"}
    loaded = load(tmp_path, text)
    assert value_of(drive(loaded, "a", Answers(asset_events=[event]))) == '[7,"o",2027,["raw.x"]]'
    assert "no inlet" in drive(loaded, "b")["error"]["message"]
