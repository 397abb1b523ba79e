"""DAG files that a command is given: parsed in the sandbox, without database and daemon."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from dagd.engine.environment import variable_from
from dagd.model.errors import BrokenFile, NotFound, SourceRef, UsageError
from dagd.model.settings import Settings
from dagd.model.specs import DagSpec
from dagd.parsing.results import Limits, ParsedFile, Pools
from dagd.parsing.sandbox import parse_many
from dagd.parsing.sweep import scan


def parse_paths(
    paths: tuple[str, ...], known: Settings, *, lint: bool, pools: Pools | None = None
) -> Iterator[ParsedFile]:
    """Parse files, and all DAG files of folders. Raises NotFound for what is not there."""
    for path in paths:
        yield from _parse(path, known, lint=lint, pools=pools)


def _parse(path: str, known: Settings, *, lint: bool, pools: Pools | None = None) -> Iterator[ParsedFile]:
    if "\0" in path or not os.path.lexists(path):
        raise NotFound(f"there is no file or folder {path!r}")
    whole = os.path.abspath(path)
    files = sorted(scan(whole)) if os.path.isdir(whole) else [whole]
    folder = _folder_of(whole, known)
    limits = Limits(known["parsing.timeout_s"], known["parsing.cpu_s"], known["parsing.memory_mb"])
    yield from parse_many(
        files, folder, limits, default_timezone=known["core.default_timezone"], lint=lint, pools=pools,
        variables=variable_from,
    )  # fmt: skip


def _folder_of(path: str, known: Settings) -> str:
    """The folder that a file's neighbours are imported from: the project's DAG folder when the file is in it."""
    folder = str(known.dags_folder)
    if path == folder or path.startswith(folder + os.sep):
        return folder
    return path if os.path.isdir(path) else os.path.dirname(path)


def parse_one(path: str, known: Settings) -> list[DagSpec]:
    """The DAGs of one file. Raises NotFound, UsageError, and BrokenFile with its place."""
    if Path(path).is_dir():
        raise UsageError(f"{path} is a folder", remedy="Name one file.")
    found = next(iter(_parse(path, known, lint=False)))
    if found.error is not None:
        raise BrokenFile(found.error.message, where=SourceRef(found.file, found.error.line), remedy=found.error.remedy)
    if not found.dags:
        raise NotFound(f"{path} defines no DAG")
    return list(found.dags)
