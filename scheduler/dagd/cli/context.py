"""What commands share that costs nothing to import: settings, now, asking, and reading what a person typed."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import Any

import click

from dagd.cli.text import is_terminal
from dagd.model.errors import InvalidId, Refused, UsageError
from dagd.model.settings import Settings, load_settings

ID = re.compile(r"[A-Za-z0-9_.~:+-]{1,250}")
LONGEST_NAME = 250


def settings(**flags: Any) -> Settings:
    """The settings in force. Raises InvalidSettings."""
    return load_settings(flags={name.replace("__", "."): value for name, value in flags.items()})


def now_micros() -> int:
    """Now, in microseconds UTC, by this host's clock."""
    return time.time_ns() // 1000


def is_id(text: str) -> bool:
    """Whether a text can be the id of a DAG, a run, a task or a pool."""
    return ID.fullmatch(text) is not None


def is_sayable(text: str) -> bool:
    """Whether a text can be the name of anything, and be asked for in both databases."""
    return len(text) > 0 and text.isprintable()


def new_id(text: str, what: str) -> str:
    """An id of something that is to be made. Raises InvalidId."""
    if not is_id(text):
        raise InvalidId(f"{what} {text!r} is no id")
    return text


def new_name(text: str, what: str) -> str:
    """A name of something that is to be made where any short text may be one. Raises UsageError."""
    if not 0 < len(text) <= LONGEST_NAME or text.strip() != text or not text.isprintable():
        raise UsageError(f"{what} {text[:80]!r} is no name", remedy="It is 1 to 250 printable characters.")
    return text


def storable(text: str, what: str) -> str:
    """A text that both databases can keep. Raises UsageError for NUL and for bytes that are no UTF-8."""
    if "\0" in text:
        raise UsageError(f"{what} has a NUL character", remedy="Encode it, for example as base64.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(f"{what} is no UTF-8", remedy="Encode it, for example as base64.") from error
    return text


def read_json(text: str, what: str) -> Any:
    """JSON as typed; NaN and Infinity are none. Raises UsageError."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
        storable(json.dumps(value, ensure_ascii=False), what)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{what} is no JSON: {error}") from error
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def read_json_object(text: str, what: str) -> dict[str, Any]:
    """A JSON object. Raises UsageError for what is no JSON, Refused for other JSON."""
    value = read_json(text, what)
    if not isinstance(value, dict):
        raise Refused(f"{what} is no JSON object but {_kind(value)}", remedy='Write {"name": value}.')
    return value


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return {bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list"}[type(value)]


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal, unless told yes. Raises UsageError where nobody can answer, Refused when the answer is no."""
    if yes:
        return
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise UsageError(f"{question}: nobody can be asked here", remedy="Say -y, or look first with --dry-run.")
    if not click.confirm(f"{question}?", err=True):
        raise Refused("left as it was")


def destructive(command: Any) -> Any:
    """Give a command -y and --dry-run, as `yes` and `dry_run`."""
    command = click.option("--dry-run", is_flag=True, help="Only say what would be done.")(command)
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(command)


limit_option = click.option("--limit", type=click.IntRange(min=0), help="At most so many.")
