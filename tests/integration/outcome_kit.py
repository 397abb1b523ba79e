"""Tables of outcomes: a small DAG, and the states that the behaviour page gives it. Run in one process, no daemon."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from dagd.engine.local_start import Shown, run_place
from dagd.model.settings import Settings

HEAD = """
import os, time
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from dagd import *
from dagd_operators.bash import BashOperator
from dagd_operators.empty import EmptyOperator
from dagd_operators.python import BranchPythonOperator, PythonOperator, ShortCircuitOperator

def empty(task_id, **more):
    return EmptyOperator(task_id=task_id, **more)
"""
DATE = datetime(2026, 3, 4, tzinfo=UTC)


@dataclass(frozen=True)
class Case:
    """`states` are words by task, or by task/index; "a*3" are three indices that never began. `fields` are further
    columns by task; a value that begins with ~ is contained."""

    body: str
    states: dict[str, str]
    run: str = "success"
    dag: str = ""
    before: str = ""
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    conf: dict[str, Any] | None = None


def many(task: str, count: int, state: str = "success") -> dict[str, str]:
    """The states of `count` indices."""
    return {f"{task}/{at}": state for at in range(count)}


def write(known: Settings, case: Case) -> str:
    """The case as a DAG file; its path."""
    lines = "\n".join(f"    {line}" for line in case.body.strip("\n").splitlines())
    file = known.dags_folder / "d.py"
    file.write_text(f"{HEAD}{case.before}\nwith DAG('d', {case.dag}):\n{lines}\n")
    return str(file)


def check(known: Settings, case: Case) -> Shown:
    """Run the case and compare."""
    shown = run_place(write(known, case), settings=known, conf=case.conf, date=DATE)
    errors = {row["task_id"]: row["error"] for row in shown["tasks"] if row["error"]}
    assert (states_of(shown), shown.state) == (case.states, case.run), errors
    for name, wanted in case.fields.items():
        row = next(row for row in shown["tasks"] if name in (row["task_id"], f"{row['task_id']}/{row['map_index']}"))
        for key, value in wanted.items():
            if isinstance(value, str) and value.startswith("~"):
                assert value[1:] in str(row[key]), (name, key, row[key])
            else:
                assert row[key] == value, (name, key)
    return shown


def states_of(shown: dict[str, Any]) -> dict[str, str]:
    """The states as a case writes them."""
    found: dict[str, str] = {}
    for row in shown["tasks"]:
        index = row["map_index"]
        suffix = f"*{row['count']}" if index is None else "" if index < 0 else f"/{index}"
        found[row["task_id"] + suffix] = row["state"]
    return found
