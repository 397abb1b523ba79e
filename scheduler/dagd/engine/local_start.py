"""`dagd dags test`, `dagd tasks test` and `DAG.test()`: find the DAG, cut it to what was selected, run it here."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from dagd.authoring.compile import compile_dag
from dagd.authoring.dag import DAG
from dagd.engine.local_answers import variable_of
from dagd.engine.local_ask import Ask, read_ask
from dagd.engine.local_rows import Shown
from dagd.engine.local_run import run_dag
from dagd.model.errors import BrokenFile, NotFound, SourceRef, UsageError, did_you_mean
from dagd.model.settings import Settings
from dagd.model.specs import DagSpec
from dagd.parsing.parse import parse_file
from dagd.parsing.results import Limits, ParsedFile
from dagd.parsing.sandbox import parse_many
from dagd.parsing.sweep import scan
from dagd.runtime.entry import LoadedDag, load_version
from dagd.runtime.importing import ImportAsker
from dagd.runtime.loading import threads_left

SELECTION = re.compile(r"(\+?)(.+?)(\+?)")


def load_for_test(path: str, folder: str, default_timezone: str, asker: ImportAsker) -> ParsedFile:
    """Parse a file in this process. Raises BrokenFile with its place."""
    found = parse_file(path, folder, default_timezone=default_timezone, asker=asker)
    if found.error is not None:
        raise BrokenFile(found.error.message, where=SourceRef(found.file, found.error.line), remedy=found.error.remedy)
    return found


def run_place(place: str, *, settings: Settings, **options: Any) -> Shown:
    """Run a DAG, named by its file or its id, in this process. `options` are those of `DAG.test()`.

    Raises NotFound, BrokenFile, UsageError, InvalidParams.
    """
    ask = read_ask(options)
    asker = ImportAsker(partial(variable_of, ask.variables))
    path, dag_id = _find(place, settings, ask.variables)
    had_threads = threads_left() is not None
    folder = _folder_of(path, settings)
    parsed = load_for_test(path, folder, settings["core.default_timezone"], asker)
    spec = _one_dag(parsed, dag_id)
    version = {"id": None, "dag_id": spec.dag_id, "file": path, "folder": folder, "sources": parsed.sources}
    loaded = load_version(version, asker)
    if had_threads:
        loaded.fork_unsafe = None  # they are of the process that asked (a test runner), not of the file
    return _run(spec, loaded, ask)


def run_made_dag(dag: DAG, **options: Any) -> Shown:
    """`DAG.test()`: run a DAG object of this process. Raises what `run_place` raises."""
    return _run(_compile(dag), _loaded(dag), read_ask(options))


def run_made_task(dag: DAG, task_id: str, **options: Any) -> Shown:
    """One task of a DAG object, whatever its trigger rule says of the mocked tasks above it."""
    ask, spec = read_ask(options), _compile(dag)
    _check_task(spec, task_id)
    tasks = [
        replace(task, trigger_rule="all_done") if task.task_id == task_id else replace(task, decides=None)
        for task in spec.tasks
    ]
    ask.selection = task_id
    return _run(replace(spec, tasks=tuple(tasks)), _loaded(dag), ask)


def _compile(dag: DAG) -> DagSpec:
    return compile_dag(dag, file=os.path.basename(dag.file))


def _loaded(dag: DAG) -> LoadedDag:
    return LoadedDag(dag, None, dag.file, dag.folder, {})


def _run(spec: DagSpec, loaded: LoadedDag, ask: Ask) -> Shown:
    for name in ask.mocks:
        _check_task(spec, name)
    if ask.successes is not None:
        found = [task.task_id for task in spec.tasks if ask.successes.fullmatch(task.task_id)]
        ask.mocks = {**dict.fromkeys(found), **ask.mocks}
    if ask.selection is not None:
        spec = select_tasks(spec, ask.selection, set(ask.mocks))
    return run_dag(spec, loaded, ask)


def _find(place: str, settings: Settings, variables: Mapping[str, str | None]) -> tuple[str, str | None]:
    """The file of a place, and the dag_id when it was named by that. Raises NotFound, UsageError."""
    if "\0" not in place and os.path.isfile(place):
        return os.path.abspath(place), None
    if os.path.isdir(place):
        raise UsageError(f"{place} is a folder", remedy="Name one file, or a dag_id.")
    limits = Limits(settings["parsing.timeout_s"], settings["parsing.cpu_s"], settings["parsing.memory_mb"])
    folder, known = str(settings.dags_folder), []
    for found in parse_many(
        sorted(scan(folder)), folder, limits, default_timezone=settings["core.default_timezone"],
        variables=partial(variable_of, variables),
    ):  # fmt: skip
        known += [spec.dag_id for spec in found.dags]
        if place in known:
            return found.path, place
    raise NotFound(f"there is no file and no DAG {place!r} in {folder}", remedy=did_you_mean(place, known))


def _folder_of(path: str, settings: Settings) -> str:
    folder = str(settings.dags_folder)
    return folder if path.startswith(folder + os.sep) else os.path.dirname(path)


def _one_dag(parsed: ParsedFile, dag_id: str | None) -> DagSpec:
    named = [spec for spec in parsed.dags if dag_id in (None, spec.dag_id)]
    if len(named) == 1:
        return named[0]
    if not named:
        raise NotFound(f"{parsed.file} defines no DAG")
    names = ", ".join(spec.dag_id for spec in named)
    raise UsageError(f"{parsed.file} defines several DAGs: {names}", remedy="Name one by its dag_id.")


def _check_task(spec: DagSpec, task_id: str) -> None:
    known = [task.task_id for task in spec.tasks]
    if task_id not in known:
        raise NotFound(f"DAG {spec.dag_id!r} has no task {task_id!r}", remedy=did_you_mean(task_id, known))


def select_tasks(spec: DagSpec, selection: str, mocked: set[str]) -> DagSpec:
    """The DAG cut to a selection, with the mocked tasks. Raises NotFound, and UsageError for a map without its source.

    Edges to what was cut away are gone: a selected task without upstreams runs at once.
    """
    match = SELECTION.fullmatch(selection)
    assert match is not None
    above, name, below = match.groups()
    _check_task(spec, name)
    kept = {name} | mocked
    kept |= _closure({task.task_id: set(task.upstreams) for task in spec.tasks}, name) if above else set()
    if below:
        downs: dict[str, set[str]] = {task.task_id: set() for task in spec.tasks}
        for task in spec.tasks:
            for up in task.upstreams:
                downs[up].add(task.task_id)
        kept |= _closure(downs, name)
    groups = {group.group_id: group for group in spec.groups}
    tasks = []
    for task in (one for one in spec.tasks if one.task_id in kept):
        if task.task_id in mocked - {name}:
            tasks.append(replace(task, upstreams=(), setups=(), expand=None, mapped_group=None))
            continue
        expand = groups[task.mapped_group].expand if task.mapped_group else task.expand
        for source in expand.xcom_sources() if expand else ():
            if source not in kept:
                remedy = f"Select +{name}, or give its value: --mock {source}=JSON."
                raise UsageError(f"{task.task_id} is mapped over the value of {source}", remedy=remedy)
        ups = tuple(up for up in task.upstreams if up in kept)
        setups = tuple(up for up in task.setups if up in kept)
        tasks.append(replace(task, upstreams=ups, setups=setups))
    return replace(spec, tasks=tuple(tasks))


def _closure(edges: Mapping[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    stack = [start]
    while stack:
        for other in edges[stack.pop()]:
            if other not in seen:
                seen.add(other)
                stack.append(other)
    return seen
