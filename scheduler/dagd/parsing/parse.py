"""The parse of one file, in a process that may be lost: import it, compile its DAGs, or say what is wrong with it."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
import traceback
from collections.abc import Iterator
from typing import Any

from dagd.authoring.ambient import AMBIENT
from dagd.authoring.compile import compile_dag
from dagd.authoring.dag import DAG
from dagd.authoring.params import check_value
from dagd.model.errors import AuthoringError, BrokenFile, DagdError, HostileFile, InvalidParams, SourceRef
from dagd.model.specs import DagSpec, storable
from dagd.parsing.closure import closure, decode_source, hash_sources, open_regular
from dagd.parsing.lint.file import FileLint
from dagd.parsing.results import FileError, ParsedFile, Pools
from dagd.runtime.failures import describe_error
from dagd.runtime.importing import ImportAsker
from dagd.runtime.loading import collect_dags, execute_file, threads_left
from dagd.runtime.masking import Masker
from dagd.runtime.pinned import put_last, search_folders
from dagd.runtime.templates import find_template_file
from dagd.timetables.build import build

_LARGEST_SOURCES = 32 << 20


class TimeUp(BaseException):
    """Raised in a file that runs too long, at the line where it is."""


def parse_file(
    path: str, folder: str, *, default_timezone: str = "UTC", lint: bool = False, pools: Pools | None = None,
    asker: ImportAsker | None = None,
) -> ParsedFile:  # fmt: skip
    """Parse one file in this process. Never raises for what the file does, short of ending the process. `asker` answers
    `Variable.get` in it; what of that is secret is kept out of its error."""
    AMBIENT.channel = asker
    try:
        parsed = _parse(path, folder, default_timezone, lint, pools)
    finally:
        AMBIENT.channel = None
    if asker is None:
        return parsed
    masker = Masker()
    masker.add_all(asker.secrets)
    error = parsed.error and parsed.error.masked(masker.mask)
    return dataclasses.replace(parsed, asked=asker.asked, error=error)


def _parse(
    path: str, folder: str, default_timezone: str, lint: bool, pools: Pools | None
) -> ParsedFile:  # fmt: skip
    began = time.perf_counter()
    path, folder = os.path.abspath(path), os.path.abspath(folder)
    name = os.path.relpath(path, folder).replace(os.sep, "/")
    shown = storable(name)
    sources: dict[str, str] = {}
    linter: FileLint | None = None
    specs: tuple[DagSpec, ...] = ()
    try:
        if shown != name:
            raise BrokenFile("the name of the file is no UTF-8", where=SourceRef(shown), remedy="Rename it.")
        text = read_source(path, shown)
        sources.update(closure(path, folder, text))
        put_last(search_folders(folder, path))
        if lint:
            linter = FileLint(text, shown, now=time.time_ns() // 1000, pools=pools)
            with linter.watching():
                module = execute_file(path, folder, linter.source())
        else:
            module = execute_file(path, folder, text)
        dags = collect_dags(module)
        specs = tuple(_compile(dag, shown, default_timezone) for dag in dags)
        _add_observed(sources, folder)
        for dag in dags:
            _add_templates(sources, dag)
        findings = linter.findings(dags, specs) if linter else ()
        error = None
    except BaseException as problem:
        specs, error = (), describe_problem(problem, path, shown)
        findings = linter.findings((), ()) if linter else ()
    if not sources:
        sources = _readable(path)
    return ParsedFile(
        path, shown, specs, sources, hash_sources(sources, folder), error, findings,
        seconds=time.perf_counter() - began,
    )  # fmt: skip


def read_source(path: str, shown: str) -> str:
    """The text of a file. Raises BrokenFile with the line for NUL characters and for bytes that are no text."""
    try:
        with open_regular(path) as file:
            raw = file.read()
    except FileNotFoundError:
        what = "the link leads nowhere" if os.path.islink(path) else "the file is gone"
        raise BrokenFile(what, where=SourceRef(shown)) from None
    except OSError as error:
        raise BrokenFile(f"it cannot be read: {error.strerror}", where=SourceRef(shown)) from None
    if b"\0" in raw:
        line = raw.count(b"\n", 0, raw.index(b"\0")) + 1
        raise BrokenFile("the file contains a NUL character", where=SourceRef(shown, line))
    try:
        return decode_source(raw)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        what = f"the byte 0x{raw[error.start]:02x} is no {error.encoding.upper()}"
        raise BrokenFile(what, where=SourceRef(shown, line), remedy="Save it as UTF-8.") from None
    except (SyntaxError, LookupError) as error:
        line = 1
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError as bad:
            line = raw.count(b"\n", 0, bad.start) + 1
        raise BrokenFile(f"its encoding cannot be read: {error}", where=SourceRef(shown, line)) from None


def _readable(path: str) -> dict[str, str]:
    try:
        with open_regular(path) as file:
            return {path: file.read(_LARGEST_SOURCES).decode("utf-8", "backslashreplace")}
    except OSError:
        return {}


def _compile(dag: DAG, shown: str, default_timezone: str) -> DagSpec:
    spec = compile_dag(dag, file=shown, default_timezone=default_timezone)
    try:
        time_spec = spec.schedule.get("time", spec.schedule)
        if time_spec["kind"] != "assets":
            build(time_spec, timezone=spec.timezone, dst=spec.dst, start_at=spec.start_at, end_at=spec.end_at)
        if spec.schedule["kind"] != "none":
            for name, param in spec.params.items():
                check_value(name, param)
    except (AuthoringError, InvalidParams) as error:
        error.where = error.where or dag.where
        raise
    return dataclasses.replace(spec, fork_unsafe=threads_left())


def _add_observed(sources: dict[str, str], folder: str) -> None:
    """Modules of the DAG folder that were imported in a way that reading alone does not show."""
    prefix = folder.rstrip(os.sep) + os.sep
    for module in list(sys.modules.values()):
        path: Any = getattr(module, "__file__", None)
        if isinstance(path, str) and path.startswith(prefix) and path.endswith(".py") and path not in sources:
            sources.update(_readable(path))


def _add_templates(sources: dict[str, str], dag: DAG) -> None:
    """Template files that tasks name are part of the version."""
    folders = [*(dag.template_searchpath or ()), os.path.dirname(dag.file)]
    for task in dag.tasks:
        cls: Any = getattr(task, "operator_class", type(task))
        extensions: Any = getattr(task, "template_ext", None) or getattr(cls, "template_ext", ())
        for name in getattr(cls, "template_fields", ()) if extensions else ():
            value = getattr(task, "shared", {}).get(name) or getattr(task, name, None)
            for text in _texts(value):
                found = find_template_file(text, extensions, folders, sources)
                if found and found not in sources:
                    sources.update(_readable(found))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _texts(one)


def describe_problem(error: BaseException, path: str, shown: str) -> FileError:
    """An exception as the file's error, with the line in this file that Python names."""
    try:
        detail = describe_error(error, None, None)
        text, message = str(detail["traceback"]), str(detail["message"])
    except BaseException as second:
        text, message = "", f"(its message cannot be shown: {type(second).__name__})"
    line = _line_of(error, path, shown)
    remedy = error.remedy if isinstance(error, DagdError) else None
    if isinstance(error, DagdError):
        return FileError(error.code, error.what, line, text, remedy)
    if isinstance(error, TimeUp):
        return FileError(HostileFile.code, message, line, text, "Move slow work into tasks.")
    if isinstance(error, SystemExit):
        what = f"the file ended the interpreter: sys.exit({error.code!r})"
        return FileError(HostileFile.code, what, line, text, "Remove it: a DAG file is imported.")
    if isinstance(error, MemoryError):
        return FileError(HostileFile.code, "MemoryError: the file needs more memory than a parse may take", line, text)
    if isinstance(error, SyntaxError) and error.msg:
        message = error.msg if error.filename == path else f"{error.msg} ({error.filename}:{error.lineno})"
    what = type(error).__name__ + (f": {message}" if message else "")
    return FileError(BrokenFile.code, what, line, text)


def _line_of(error: BaseException, path: str, shown: str) -> int | None:
    where = getattr(error, "where", None)
    if isinstance(where, SourceRef) and where.file in {path, shown}:
        return where.line
    if isinstance(error, SyntaxError) and error.filename == path:
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return lines[-1] if lines else None
