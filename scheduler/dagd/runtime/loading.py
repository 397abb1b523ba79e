"""Executing a DAG file, and finding the DAGs that it made."""

from __future__ import annotations

import ast
import os
import sys
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from dagd.authoring.ambient import AMBIENT
from dagd.authoring.asset_decorator import finish_assets
from dagd.authoring.dag import DAG
from dagd.model.errors import BrokenFile, DagdError, DuplicateDag, NoDagFound, SourceRef
from dagd.runtime.importing import ImportAsker
from dagd.runtime.pinned import drop_modules, install, search_folders


@dataclass(slots=True)
class LoadedDag:
    """One DAG of one version, in this process, and the other DAGs of its file. `fork_unsafe` says why no try should be
    forked from here, or is None. `secrets` are in what the file asked for while it was imported."""

    dag: DAG
    version: int | None
    file: str
    folder: str
    sources: dict[str, str]
    fork_unsafe: str | None = None
    environments: dict[str, Any] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)
    siblings: dict[str, LoadedDag] = field(default_factory=dict)

    def of(self, dag_id: str) -> LoadedDag:
        """The DAG of that id in the same file. Raises NoDagFound."""
        if dag_id == self.dag.dag_id:
            return self
        if dag_id not in self.siblings:
            raise _no_dag(self.file, dag_id)
        return self.siblings[dag_id]


def module_name(file: str, folder: str) -> str:
    """The name of a DAG file's module: the same in the parser and in every task."""
    shown = os.path.relpath(file, folder)
    stem = "".join(char if char.isalnum() and char.isascii() else "_" for char in os.path.splitext(shown)[0])
    return f"dagd_file_{zlib.crc32(shown.encode('utf-8', 'surrogateescape')):08x}_{stem}"


def execute_file(file: str, folder: str, source: str | bytes | ast.Module) -> ModuleType:
    """Run a DAG file's text as a module of its own name. Whatever it raises comes through."""
    name = module_name(file, folder)
    code = compile(source, file, "exec", dont_inherit=True)
    module = ModuleType(name)
    module.__file__ = file
    AMBIENT.start_file(folder)
    sys.modules[name] = module
    try:
        exec(code, module.__dict__)  # noqa: S102 - a DAG file is code of the deployment's own
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def collect_dags(module: ModuleType) -> list[DAG]:
    """The DAGs of an executed file: those opened by `with` or `@dag`, and those that stand in a global name.

    A DAG that was made while another file was being imported belongs to that file. Raises DuplicateDag.
    """
    file = str(module.__file__)
    shown = {id(value) for value in vars(module).values() if isinstance(value, DAG)}
    found: dict[str, DAG] = {}
    finished = finish_assets(os.path.splitext(os.path.basename(file))[0])
    for dag in AMBIENT.made:
        is_here = dag.file == file or dag in finished
        if not is_here or not (dag.is_registered or id(dag) in shown):
            continue
        dag.file = file
        if dag.dag_id in found:
            raise DuplicateDag(f"the file defines two DAGs {dag.dag_id!r}", where=dag.where)
        found[dag.dag_id] = dag
    return list(found.values())


def load_version(version: dict[str, Any], asker: ImportAsker | None = None) -> LoadedDag:
    """Load the DAG of a version frame {id, dag_id, file, folder, sources}, with the others of its file. Whatever the
    file raises comes through.

    `asker` answers `Variable.get` meanwhile; without it only one with a default has an answer.
    """
    AMBIENT.channel = asker
    try:
        loaded = _load(version)
    finally:
        AMBIENT.channel = None
    loaded.secrets += asker.secrets if asker is not None else ()
    return loaded


def _load(version: dict[str, Any]) -> LoadedDag:
    folder = os.path.abspath(version["folder"])
    file = os.path.join(folder, version["file"])
    sources = {os.path.join(folder, path): text for path, text in (version.get("sources") or {}).items()}
    if file not in sources:
        with open(file, "rb") as opened:
            source: str | bytes = opened.read()
    else:
        source = sources[file]
    folders = search_folders(folder, file)
    drop_modules(folders)
    install(folders, sources)
    dags = {dag.dag_id: dag for dag in collect_dags(execute_file(file, folder, source))}
    if version["dag_id"] not in dags:
        raise _no_dag(file, version["dag_id"])
    dags[version["dag_id"]].resolve()
    unsafe = threads_left()
    loaded: dict[str, LoadedDag] = {}
    secrets: list[str] = []
    for dag_id, dag in dags.items():
        with suppress(DagdError):  # a DAG with a mistake in it has no version: nobody will ask for it
            loaded[dag_id] = LoadedDag(
                dag.resolve(), version.get("id"), file, folder, sources, unsafe, secrets=secrets, siblings=loaded
            )
    return loaded[version["dag_id"]]


def _no_dag(file: str, dag_id: str) -> NoDagFound:
    return NoDagFound(f"the file defines no DAG {dag_id!r}", where=SourceRef(AMBIENT.show_path(file)))


def threads_left() -> str | None:
    """Why this process must not be forked: threads that an import started. None when there is but one thread."""
    try:
        count = len(os.listdir("/proc/self/task"))
    except OSError:
        return None
    return None if count == 1 else f"importing it left {count - 1} thread(s) running"


def broken(error: BaseException, shown: str, line: int | None) -> BrokenFile:
    """A file's exception as an error with its place."""
    text = str(error)
    what = type(error).__name__ + (f": {text}" if text else "")
    return BrokenFile(what, where=SourceRef(shown, line))
