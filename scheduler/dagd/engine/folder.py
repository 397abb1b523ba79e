"""What the DAG folder says, in memory: which file defines which DAG, and who wins when two define one."""

from __future__ import annotations

from dataclasses import dataclass, field

from dagd.model.errors import DuplicateDag
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

    def dependents(self, changed: set[str]) -> set[str]:
        """The files whose sources include one of the changed absolute paths."""
        return {name for name, known in self.files.items() if changed.intersection(known.sources)}
