"""From a committed plan to launch frames: the version's sources once, each try with what its body needs."""

from __future__ import annotations

import hashlib
import json
import logging
from typing import Any

from dagd.authoring.params import merge_params
from dagd.decide.state import DagState, RunView, State
from dagd.engine.values import Values
from dagd.executors.protocol import Executor
from dagd.model.plans import Launch
from dagd.model.settings import Settings
from dagd.model.states import RunKind
from dagd.observe.logs import ids
from dagd.store import facts
from dagd.store.database import Database, LazyRead, Row

LOG = logging.getLogger("dagd.launcher")


class Launcher:
    """Hands tries to the executor after their commit."""

    def __init__(self, database: Database, settings: Settings, values: Values) -> None:
        self._database, self._settings, self._values = database, settings, values
        self._runs: dict[int, dict[str, Any]] = {}
        self._limits = {
            "xcom_folder": str(settings.xcom_folder),
            "inline_limit": settings["xcom.inline_kb"] * 1024,
            "xcom_limit": settings["xcom.limit_mb"] * 1024 * 1024,
        }

    def launch(self, state: State, executor: Executor, launches: list[Launch]) -> list[dict[str, Any]]:
        """Submit the launches whose run and instance are still as the plan left them. Returns a result for each try
        that cannot be launched because a value that it needs is not there: it fails, and nobody else."""
        if not launches:
            return []
        tries, failed = [], []
        common: dict[int, dict[str, Any]] = {}
        with self._database.lazy_read() as read:
            rows = self._unknown_versions(read, state, executor, launches)
            for launch in launches:
                run = state.runs.get(launch.key[0])
                if run is None or not run.tasks:
                    continue
                dag = state.dags[run.dag]
                try:
                    self.tell_version(read, dag, run, executor, rows)
                    if run.id not in common:
                        common[run.id] = self._common(read, dag, run)
                    tries.append(self._frame(read, dag, run, launch))
                except (LookupError, OSError, ValueError) as error:
                    told = ids(token=launch.token, run=run.run_id, dag=state.dags[run.dag].name, try_no=launch.try_no)
                    LOG.warning("a try cannot be launched", exc_info=error, extra=told)
                    problem = {"type": type(error).__name__, "message": f"its values cannot be read: {error}"}
                    failed.append({"token": launch.token, "outcome": "fail", "ended_at": launch.now, "error": problem})
        places = {run_id: place for place, run_id in enumerate(common)}
        for entry in tries:
            entry["shared"] = places[entry["shared"]]
        executor.submit(tries, list(common.values()))
        return failed

    def _frame(self, read: LazyRead, dag: DagState, run: RunView, launch: Launch) -> dict[str, Any]:
        """The launch frame of one try; `shared` holds the run's id until its place is known."""
        spec = run.graph.tasks[launch.task]
        timeout = spec.execution_timeout_us
        if timeout is not None and launch.first_started_at is not None:
            timeout = max(1, launch.first_started_at + timeout - launch.now)
        grade = "spawn" if run.graph.spec.fork_unsafe and spec.isolation == "fork" else spec.isolation
        run_id, task_no, index = launch.key
        found = {
            "token": launch.token,
            "grade": grade,
            "version": run.graph.version,
            "worker_key": (spec.worker_key or "").removeprefix(dag.name),  # the version says the rest
            "grace_us": spec.cancel_grace_us,
            "log": log_path(dag.id, run_id, task_no, index, launch.try_no),
            "shared": run_id,
            "payload": self._payload(read, run, launch),
        }
        if timeout is not None:
            found["timeout_us"] = timeout
        return found

    def _unknown_versions(
        self, read: LazyRead, state: State, executor: Executor, launches: list[Launch]
    ) -> dict[int, Row[Any]]:
        """The rows of all versions that this connection has yet to be told of, in one go."""
        runs = (state.runs.get(launch.key[0]) for launch in launches)
        unknown = {run.graph.version for run in runs if run is not None and not executor.knows(run.graph.version)}
        return facts.loadables(read.connection, sorted(unknown)) if unknown else {}

    def tell_version(
        self, read: LazyRead, dag: DagState, run: RunView, executor: Executor, rows: dict[int, Row[Any]] | None = None
    ) -> None:
        """Tell of a version before its first launch on this connection; of what it loads only when that is new, too.

        What one parse gave to the DAGs of one file is one content: processes that have loaded it serve them all.
        """
        version_id = run.graph.version
        if executor.knows(version_id):
            return
        row = (rows or facts.loadables(read.connection, [version_id]))[version_id]
        folder = self._settings.dags_folder
        file = str(folder / run.graph.spec.file)
        content = hashlib.blake2b(f"{file}\0{row.created_at}\0{row.sources}".encode(), digest_size=16).hexdigest()
        frame: dict[str, Any] = {"id": version_id, "dag_id": dag.name, "content": content}
        if not executor.has_content(content):
            hashes: dict[str, str] = json.loads(row.sources)
            bodies = facts.source_bodies(read.connection, hashes.values())
            sources = {path: bodies[digest] for path, digest in hashes.items()}
            frame |= {"file": file, "folder": str(folder), "sources": sources}
        executor.know_version(frame)

    def _common(self, read: LazyRead, dag: DagState, run: RunView) -> dict[str, Any]:
        """The part of a payload that all tries of a run share."""
        return {"dag_id": dag.name, "run": self.run_facts(read, run), **self._limits}

    def _payload(self, read: LazyRead, run: RunView, launch: Launch) -> dict[str, Any]:
        """A try's own part; what has the value that the runtime takes for granted is left out."""
        task = run.tasks[launch.task]
        pos = task.pos(launch.key[2])
        instance = task.instances.get(pos)
        used = instance.retries_used if instance is not None else 0
        payload = {
            "task_id": task.spec.task_id,
            "map_index": launch.key[2],
            "try_no": launch.try_no,
            "max_tries": launch.try_no + max(0, task.spec.retries - used),
            "idempotency_key": f"{run.id}/{task.no}/{launch.key[2]}",
        }
        if launch.leg > 1:
            payload["leg"] = launch.leg
        if launch.first_started_at is not None:
            payload["started_first_at"] = launch.first_started_at
        if launch.leg_state:
            payload["state"] = json.loads(launch.leg_state)
        xcom = self._values.inputs(read, run, task, pos)
        if xcom:
            payload["xcom"] = xcom
        expand = run.graph.expands[launch.task]
        if expand:
            payload["items"], payload["map_sizes"] = self._values.items(read, run, expand, pos)
        return payload

    def callback_payload(self, read: LazyRead, dag: DagState, run: RunView, told: dict[str, Any]) -> dict[str, Any]:
        """What a callback's process is told: the run, the instance, the event."""
        index = told.get("map_index")
        return {
            "dag_id": dag.name,
            "task_id": told.get("task_id"),
            "map_index": -1 if index is None else index,
            "try_no": told.get("try_no") or 1,
            "max_tries": 1,
            "leg": 1,
            "state": None,
            "run": self.run_facts(read, run),
            "xcom": {},
            "items": None,
            "map_sizes": [],
            "started_first_at": None,
            "idempotency_key": f"{run.id}/callback",
            "callback": {name: told.get(name) for name in ("event", "error", "reason", "index")},
            **self._limits,
        }

    def run_facts(self, read: LazyRead, run: RunView) -> dict[str, Any]:
        """What every try of a run is told of it; made once a run."""
        found = self._runs.get(run.id)
        if found is None:
            conf = json.loads(run.conf)
            found = self._runs[run.id] = {
                "id": run.id,
                "run_id": run.run_id,
                "kind": run.kind.word,
                "logical_date": run.logical_at,
                "interval_start": run.interval_start,
                "interval_end": run.interval_end,
                "due_at": run.due_at,
                "started_at": run.started_at,
                "conf": conf,
                "partition": run.partition,
                "timezone": run.graph.spec.timezone,
                "params": merge_params(run.graph.spec.params, conf),
                "events": facts.events_of(read.connection, run.id) if run.kind is RunKind.ASSET else [],
            }
            if len(self._runs) > 2000:
                self._runs.pop(next(iter(self._runs)))
        return found

    def forget(self, run_id: int) -> None:
        """The run ended."""
        self._runs.pop(run_id, None)
        self._values.forget_run(run_id)


def log_path(dag_id: int, run_id: int, task_no: int, map_index: int, try_no: int) -> str:
    """Where a try's log is, below the log folder: integers only, so that no id of a user reaches a path."""
    return f"{dag_id}/{run_id}/{task_no}.{map_index}.{try_no}.log"
