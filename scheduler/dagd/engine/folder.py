"""What the DAG folder says, in memory: which file defines which DAG, and who wins when two define one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dagd.model.errors import DuplicateDag, PoolTooSmall
from dagd.model.specs import DagSpec
from dagd.parsing.results import FileError, ParsedFile
from dagd.parsing.sweep import Stamp


@dataclass(slots=True)
class KnownFile:
    """One file of the folder. `dag_ids` are those of its last good parse (or, before one, of its stored rows); `asked`
    are the variables that its last parse read, each with a fingerprint of what it got."""

    path: str
    stamp: Stamp | None = None
    content_hash: str = ""
    dag_ids: frozenset[str] = frozenset()
    specs: dict[str, DagSpec] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    error: FileError | None = None
    asked: dict[str, str] = field(default_factory=dict)
    tries: int = 0
    try_again_at: float = 0.0


@dataclass(slots=True)
class Folder:
    """Every known file by its path relative to the DAG folder."""

    files: dict[str, KnownFile] = field(default_factory=dict)

    def owners(self) -> dict[str, str]:
        """dag_id -> the file that defines it: of several the one whose path sorts first."""
        found: dict[str, str] = {}
        for name in sorted(self.files):
            for dag_id in self.files[name].dag_ids:
                found.setdefault(dag_id, name)
        return found

    def take(self, name: str, parsed: ParsedFile) -> None:
        """Remember a parse. A broken file keeps the DAGs of its last good version."""
        known = self.files[name]
        known.error = parsed.error
        known.sources = parsed.sources or known.sources
        known.content_hash, known.asked = parsed.content_hash, parsed.asked
        if parsed.error is None:
            known.tries = 0
            known.specs = {spec.dag_id: spec for spec in parsed.dags}
            known.dag_ids = frozenset(known.specs)

    def error_of(self, name: str, owners: dict[str, str]) -> FileError | None:
        """What `dags errors` shows of a file: its own error, else that another file has one of its DAGs."""
        known = self.files[name]
        if known.error is not None:
            return known.error
        for dag_id in sorted(known.dag_ids):
            if owners[dag_id] != name:
                spec = known.specs.get(dag_id)
                message = f"DAG {dag_id!r} is defined in {owners[dag_id]} already; that file wins"
                line = spec.line if spec is not None else None
                return FileError(DuplicateDag.code, message, line, remedy=DuplicateDag.remedy_default)
        return None

    def fitting(self, slots: Mapping[str, int]) -> set[str]:
        """The files that were refused for a small pool, and fit now."""
        return {
            name
            for name, known in self.files.items()
            if known.error is not None
            and known.error.code == PoolTooSmall.code
            and not any(too_wide(spec, slots) for spec in known.specs.values())
        }

    def dependents(self, changed: set[str]) -> set[str]:
        """The files whose sources include one of the changed absolute paths."""
        return {name for name, known in self.files.items() if changed.intersection(known.sources)}


def too_wide(spec: DagSpec, slots: Mapping[str, int]) -> FileError | None:
    """The first task that asks for more slots than its pool has. A pool that is missing, or closed with 0 slots,
    is waited for."""
    for task in spec.tasks:
        if task.pool_slots > slots.get(task.pool, 0) > 0:
            what = f"the task {task.task_id!r} asks for {task.pool_slots} slots of pool {task.pool!r}, "
            what += f"which has {slots[task.pool]}: it could never start"
            line = task.line if task.line is not None else spec.line
            return FileError(PoolTooSmall.code, what, line, remedy=PoolTooSmall.remedy_default)
    return None
