"""Legs that wait for a trigger: their frames, what the next leg is told, and what must not be stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dagd.runtime.xcom import decode
from tests.unit.runtime_kit import Answers, drive, load, value_of

HEAD = """
from datetime import UTC, datetime, timedelta
from dagd import DAG, BaseOperator, FileTrigger, HttpTrigger, TimeDeltaTrigger, Variable, task, get_current_context
from dagd_operators.filesystem import FileSensor
from dagd_operators.http import HttpSensor
from dagd_operators.sql import SqlSensor
"""


def of(folder: Path, text: str) -> Any:
    return load(folder, f"{HEAD}{text}")


def resumed(frame: dict[str, Any], event: Any) -> dict[str, Any]:
    """The state that the scheduler gives the next leg."""
    return {**frame["state"], "event": event}


def test_a_task_waits_for_a_trigger_and_sees_its_event(tmp_path: Path) -> None:
    loaded = of(
        tmp_path,
        """
with DAG("d"):
    @task
    def a(trigger_event=None):
        context = get_current_context()
        if trigger_event is None:
            context.defer(trigger=FileTrigger("/in/x.csv"), timeout=timedelta(hours=1), state={"n": 1})
        return [trigger_event, context.trigger_event["path"], context.state["n"]]
    a()
""",
    )
    frame = drive(loaded, "a")
    assert frame["outcome"] == "defer"
    assert frame["trigger"] == {"kind": "file", "path": "/in/x.csv", "recursive": False, "every_us": 60_000_000}
    assert (frame["until"], frame["poke_every_us"], frame["timeout_us"]) == (None, None, 3_600_000_000)
    again = drive(loaded, "a", state=resumed(frame, {"path": "/in/x.csv"}), leg=2)
    assert json.loads(value_of(again) or "") == [{"path": "/in/x.csv"}, "/in/x.csv", 1]


def test_an_operator_goes_on_in_the_method_that_it_named(tmp_path: Path) -> None:
    loaded = of(
        tmp_path,
        """
class Waits(BaseOperator):
    def execute(self, context):
        later = TimeDeltaTrigger(timedelta(hours=1))
        self.defer(trigger=later, method_name="complete", kwargs={"at": (1, 2)}, timeout=9)
    def complete(self, context, event=None, at=None):
        if at == (1, 2):
            self.defer(trigger={"kind": "file", "path": "/x"}, method_name="complete", kwargs={"at": event["n"]})
        return [context["ti"].try_number, event["n"], at]
with DAG("d"):
    Waits(task_id="a")
""",
    )
    first = drive(loaded, "a", started_first_at=5, now=1_000_000)
    assert (first["trigger"], first["timeout_us"]) == ({"kind": "time", "at": 3601 * 1_000_000}, 9_000_000)
    second = drive(loaded, "a", state=resumed(first, {"n": 7}), leg=2)
    assert second["trigger"]["kind"] == "file"
    assert decode(second["state"]["text"])["started_at"] == 5
    third = drive(loaded, "a", state=resumed(second, {"n": 8}), leg=3)
    assert json.loads(value_of(third) or "") == [1, 8, 7]


def test_a_method_that_is_not_there_fails_at_once(tmp_path: Path) -> None:
    text = """
class Waits(BaseOperator):
    def execute(self, context):
        self.defer(trigger={"kind": "file", "path": "/x"}, method_name="complete")
with DAG("d"):
    Waits(task_id="a")
"""
    frame = drive(of(tmp_path, text), "a")
    assert (frame["outcome"], frame["error"]["type"]) == ("fail", "AttributeError")


@pytest.mark.parametrize(
    "trigger,said",
    [
        ("HttpTrigger('http://x', headers={'Authorization': 'Bearer 1'})", "the header 'Authorization'"),
        ("HttpTrigger('http://x?key=' + Variable.get('api_key'))", "a secret that this task has read"),
        ("FileTrigger('x' * 70_000)", "the limit is 65,536"),
        ("{'kind': 'nope'}", "is unknown"),
    ],
)
def test_a_trigger_with_a_secret_or_too_much_in_it_is_refused(trigger: str, said: str, tmp_path: Path) -> None:
    text = f"""
with DAG("d"):
    @task
    def a(): get_current_context().defer(trigger={trigger})
    a()
"""
    frame = drive(of(tmp_path, text), "a", Answers(variable="hunter22"))
    assert frame["outcome"] == "fail"
    assert said in frame["error"]["message"]
    assert "hunter22" not in json.dumps(frame)


SENSORS = [
    ("FileSensor(task_id='a', filepath='/no/x', {})", {"kind": "file", "path": "/no/x", "recursive": False}),
    (
        "SqlSensor(task_id='a', conn_id='sqlite://', sql='select 0', {})",
        {"kind": "sql", "conn_id": "sqlite://", "sql": "select 0"},
    ),
]
PACE = {"every_us": 5_000_000, "was_checked": True}


@pytest.mark.parametrize("text,trigger", SENSORS)
def test_a_sensor_pokes_once_and_then_waits_by_trigger(text: str, trigger: dict[str, Any], tmp_path: Path) -> None:
    more = "poke_interval=5, timeout=60, deferrable=True"
    loaded = of(tmp_path, f"with DAG('d'):\n    {text.format(more)}")
    frame = drive(loaded, "a", started_first_at=1_000_000, now=11_000_000)
    assert (frame["outcome"], frame["trigger"], frame["timeout_us"]) == ("defer", {**trigger, **PACE}, 50_000_000)
    assert drive(loaded, "a", state=resumed(frame, {}), leg=2)["outcome"] == "succeed"


@pytest.mark.parametrize(
    "sensor",
    [
        "FileSensor(task_id='a', filepath='/no/x', silent_fail=True)",
        "FileSensor(task_id='a', filepath='/no/x', never_fail=True)",
        "Own(task_id='a', filepath='/no/x')",
        "SqlSensor(task_id='a', conn_id='sqlite://', sql='select 0', success=bool)",
        "SqlSensor(task_id='a', conn_id='sqlite://', sql='select :at < 0', parameters={'at': Decimal(1)})",
        "FileSensor(task_id='a', filepath='/no/{{ var.value.api_key }}')",
    ],
)
def test_a_sensor_that_only_a_poke_can_answer_pokes(sensor: str, tmp_path: Path) -> None:
    text = f"""
class Own(FileSensor):
    def poke(self, context): return False
import sqlite3
from decimal import Decimal
sqlite3.register_adapter(Decimal, str)
with DAG("d"):
    {sensor}
"""
    frame = drive(of(tmp_path, text), "a", Answers(variable="hunter22"))
    assert (frame["outcome"], frame["trigger"], frame["poke_every_us"]) == ("defer", None, 60_000_000), frame


def test_backoff_and_its_bound_go_with_the_trigger(tmp_path: Path) -> None:
    sensor = "FileSensor(task_id='a', filepath='/no/x', exponential_backoff=True, max_wait=90)"
    trigger = drive(of(tmp_path, f"with DAG('d'):\n    {sensor}"), "a")["trigger"]
    assert (trigger["backoff"], trigger["max_wait_us"]) == (True, 90_000_000)
