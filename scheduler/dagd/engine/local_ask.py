"""What a test run is asked: the arguments of `DAG.test()`, Airflow's among them, checked and in one place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from dagd.authoring.arguments import unknown_argument
from dagd.authoring.instants import exact_micros
from dagd.engine.environment import connection_fields
from dagd.engine.local_clock import Clock, make_clock
from dagd.model.errors import NotFound, UsageError, WrongArgument

# Other names of the same: Airflow 2's, and those of the command line.
ALIASES = {"execution_date": "logical_date", "date": "logical_date", "conf": "run_conf"}
REFUSED = {
    "use_executor": "a test run has no executor: tasks run one after the other",
    "run_after": "a test run starts at once; give logical_date=, or clock= for another present",
    "session": "a test run has no database",
}


@dataclass(slots=True)
class Ask:
    """One test run. `mocks` by task_id: a value, XComs, a function, an exception. `fork=False` runs tasks in this very
    process, where mocks can be looked at afterwards and a coverage tool sees them; no timeout is enforced then."""

    logical_at: int | None = None
    conf: dict[str, Any] = field(default_factory=dict)
    mocks: dict[str, Any] = field(default_factory=dict)
    selection: str | None = None
    clock: Clock = field(default_factory=lambda: make_clock(None))
    variables: dict[str, str] = field(default_factory=dict)
    connections: dict[str, dict[str, Any]] = field(default_factory=dict)
    successes: re.Pattern[str] | None = None
    fork: bool = True
    debug: bool = False


KNOWN = (
    "logical_date", "run_conf", "clock", "mocks", "task_selection", "variables", "connections", "fork", "debug",
    "mark_success_pattern", "conn_file_path", "variable_file_path",
)  # fmt: skip


def read_ask(options: Mapping[str, Any]) -> Ask:
    """The arguments of `DAG.test()`. Raises UnknownArgument, WrongArgument, UsageError, NotFound."""
    given = _known(options)
    variables = {**_read_file(given.get("variable_file_path")), **(given.get("variables") or {})}
    connections = {**_read_file(given.get("conn_file_path")), **(given.get("connections") or {})}
    pattern, selection = given.get("mark_success_pattern"), given.get("task_selection")
    return Ask(
        logical_at=_instant(given.get("logical_date")),
        conf=dict(given.get("run_conf") or {}),
        mocks=dict(given.get("mocks") or {}),
        selection=selection,
        clock=make_clock(given.get("clock")),
        variables={name: one if isinstance(one, str) else json.dumps(one) for name, one in variables.items()},
        connections={name: connection_fields(one, f"the connection {name!r}") for name, one in connections.items()},
        successes=None if pattern is None else re.compile(pattern),
        fork=bool(given.get("fork", True)),
        debug=bool(given.get("debug", False)),
    )


def _known(options: Mapping[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, value in options.items():
        known = ALIASES.get(name, name)
        if name in REFUSED:
            if value:
                raise UsageError(f"DAG.test({name}={value!r}): {REFUSED[name]}")
        elif known not in KNOWN:
            raise unknown_argument("DAG.test()", name, [*KNOWN, *ALIASES], None)
        elif value is not None:
            if known in given:
                raise WrongArgument(f"DAG.test() was given {known} twice, once as {name}")
            given[known] = value
    return given


def _instant(date: datetime | None) -> int | None:
    if date is None:
        return None
    if date.tzinfo is None:
        raise WrongArgument(f"logical_date={date!r} has no time zone", remedy="Give it one: tzinfo=UTC.")
    return exact_micros(date)


def _read_file(path: str | None) -> dict[str, Any]:
    """A file of variables or connections: a JSON object, or lines NAME=VALUE. Raises NotFound, UsageError."""
    if path is None:
        return {}
    if Path(path).suffix in {".yaml", ".yml"}:
        raise UsageError(f"{path}: YAML is not read here", remedy="Write JSON, or lines NAME=VALUE.")
    try:
        text = Path(path).read_text("utf-8")
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}") from None
    try:
        found = json.loads(text) if text.lstrip().startswith("{") else _read_lines(text.splitlines())
    except ValueError as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    return dict(found)


def _read_lines(lines: Iterable[str]) -> dict[str, str]:
    found = {}
    for number, line in enumerate(lines, 1):
        name, equals, value = line.strip().partition("=")
        if line.strip() and not line.lstrip().startswith("#"):
            if not equals:
                raise ValueError(f"line {number} is not NAME=VALUE")
            found[name.strip()] = value.strip()
    return found
