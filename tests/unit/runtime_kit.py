"""Runs tries of a DAG file's text in this process: `load`, `launch`, `Answers`, `drive`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dagd.runtime.entry import LoadedDag, load_version, run_try

DUE = 1_704_067_200_000_000  # 2024-01-01 00:00 UTC


class Answers:
    """A channel that answers from tables and remembers what was asked."""

    def __init__(self, **tables: Any) -> None:
        self.tables, self.asked = tables, []

    def request(self, kind: str, args: dict[str, Any]) -> Any:
        self.asked.append((kind, args))
        answer = self.tables.get(kind)
        return answer(args) if callable(answer) else answer


def load(folder: Path, text: str, dag_id: str = "d", **others: str) -> LoadedDag:
    """The DAG of a file's text; `others` are modules beside it."""
    for name, source in others.items():
        (folder / f"{name}.py").write_text(source)
    (folder / "dags.py").write_text(text)
    return load_version({"id": 1, "dag_id": dag_id, "file": "dags.py", "folder": str(folder), "sources": {}})


def launch(task_id: str, folder: Path | None = None, **given: Any) -> dict[str, Any]:
    """A launch payload with defaults; `run=` adds to the run's facts."""
    run = {
        "run_id": "m-1", "kind": "manual", "logical_date": DUE, "interval_start": DUE - 86_400_000_000, "events": [],
        "interval_end": DUE, "due_at": DUE, "started_at": DUE, "conf": {}, "params": {}, "partition": None,
        **given.pop("run", {}),
    }  # fmt: skip
    return {
        "dag_id": "d", "task_id": task_id, "map_index": -1, "try_no": 1, "max_tries": 1, "leg": 1, "state": None,
        "run": run, "xcom": {}, "items": None, "map_sizes": [], "xcom_folder": str(folder) if folder else None,
        "inline_limit": 65536, "xcom_limit": 16 << 20, "started_first_at": None, "callback": None, **given,
    }  # fmt: skip


def drive(loaded: LoadedDag, task_id: str, answers: Answers | None = None, **given: Any) -> dict[str, Any]:
    """The result frame of one try."""
    return run_try(loaded, launch(task_id, **given), answers or Answers())


def value_of(frame: dict[str, Any], key: str = "return_value") -> str | None:
    """The encoded text that a try pushed under a key."""
    assert frame["outcome"] == "succeed", frame
    return next((entry["text"] for entry in frame["xcom"] if entry["key"] == key), None)
