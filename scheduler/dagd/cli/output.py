"""What a command prints: tables for people, JSON, JSON lines, YAML, tab-separated text or names for programs.

Rows are dicts as JSON shows them: instants are RFC 3339 UTC texts. Tables turn them into local time with its offset,
and states into glyph and word. Lists may be iterators: JSON of a million runs is written as it is read.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from itertools import islice
from typing import Any, NamedTuple

import click

from dagd.cli.glyphs import painted, state_text
from dagd.cli.text import escape_controls, is_terminal, is_utf8, width
from dagd.cli.yaml import to_yaml
from dagd.cli.zones import read_zone

Row = dict[str, Any]
FORMATS = ("table", "wide", "json", "jsonl", "yaml", "plain", "name")
WATCH_S = 1.0


class Column(NamedTuple):
    """A column of a table. `kind`: text | state | instant | duration; `wide`: only with -o wide."""

    key: str
    title: str
    kind: str = "text"
    wide: bool = False


@dataclass
class Output:
    """Where and how a command prints."""

    format: str = "table"
    zone: tzinfo | None = None
    color: bool = False
    utf8: bool = True
    _held: list[str] | None = field(default=None, repr=False)

    @property
    def is_machine(self) -> bool:
        """Whether a program reads this."""
        return self.format in {"json", "jsonl", "yaml", "plain", "name"}

    # --- what commands call ---

    def rows(self, rows: Iterable[Row], columns: list[Column], *, name: str, empty: str = "nothing") -> None:
        """A list. `name` is the key that -o name prints; `empty` what a person is told when there is nothing."""
        match self.format:
            case "json":
                self._json_list(rows)
            case "jsonl":
                for row in rows:
                    self.line(self._json(row))
            case "yaml":
                self.line(to_yaml(list(rows)))
            case "plain":
                for row in rows:
                    self.line("\t".join(plain(row.get(column.key)) for column in columns))
            case "name":
                for row in rows:
                    self.line(plain(row.get(name)))
            case _:
                found = list(rows)
                self._table(found, columns) if found else click.echo(empty, err=True)

    def record(self, row: Row, columns: list[Column] | None = None, *, name: str = "") -> None:
        """One thing: a JSON object, or a line for each of its parts."""
        match self.format:
            case "json":
                self.line(self._json(row, indent=2))
            case "jsonl":
                self.line(self._json(row))
            case "yaml":
                self.line(to_yaml(row))
            case "name" if name:
                self.line(plain(row.get(name)))
            case "plain":
                for key, value in row.items():
                    self.line(f"{key}\t{plain(value)}")
            case _:
                shown = columns or [Column(key, key.replace("_", " ")) for key in row]
                self._pairs(row, [one for one in shown if self.format == "wide" or not one.wide])

    def result(self, row: Row, text: str, *, name: str = "") -> None:
        """What came of a change: its JSON for a program, a sentence for a person."""
        if self.is_machine:
            self.record(row, name=name)
        else:
            self.line(self.fit(text))

    def table(self, rows: list[Row], columns: list[Column]) -> None:
        """A table for a person, below other text."""
        self._table(rows, columns)

    def line(self, text: str = "") -> None:
        """A line on stdout."""
        if self._held is not None:
            self._held.append(text + "\n")
        else:
            sys.stdout.write(text + "\n")

    def flush(self) -> None:
        """What was written is there to be read."""
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Talk: stderr."""
        click.echo(self.fit(text), err=True)

    def state(self, word: str | None, *, short: bool = False) -> str:
        """A state as glyph and word, in its colour."""
        return state_text(word, utf8=self.utf8, color=self.color, short=short)

    def paint(self, text: str, style: str) -> str:
        """Text in a colour, where colours are wanted."""
        return painted(text, style) if self.color else text

    def fit(self, text: str) -> str:
        """Text as the locale can show it."""
        return text if self.utf8 else text.translate(_ASCII).encode("ascii", "backslashreplace").decode()

    def instant(self, text: str | None) -> str:
        """An RFC 3339 instant in the zone of tables."""
        if not text:
            return "-"
        instant = datetime.fromisoformat(text)
        try:
            instant = instant.astimezone(self.zone)
        except OverflowError:
            pass  # the zone's clock would show a year that no date has
        return instant.isoformat(" ", "seconds")

    # --- how ---

    def _json(self, value: Any, indent: int | None = None) -> str:
        return json.dumps(value, ensure_ascii=not self.utf8, indent=indent)

    def _json_list(self, rows: Iterable[Row]) -> None:
        written = iter(rows)
        first = next(written, None)
        if first is None:
            self.line("[]")
            return
        self.line("[")
        self.line(f"  {self._json(first)}" + "".join(self._following(written)))
        self.line("]")

    def _following(self, rows: Iterator[Row]) -> Iterator[str]:
        while part := list(islice(rows, 500)):
            yield "".join(f",\n  {self._json(row)}" for row in part)

    def _table(self, rows: list[Row], columns: list[Column]) -> None:
        shown = [one for one in columns if self.format == "wide" or not one.wide]
        cells = [[self._cell(row.get(one.key), one.kind) for one in shown] for row in rows]
        bare = [[_bare(cell) for cell in line] for line in cells]
        sizes = [max([len(one.title), *(width(line[i]) for line in bare)]) for i, one in enumerate(shown)]
        titles = "  ".join(one.title.upper().ljust(size) for one, size in zip(shown, sizes, strict=True))
        self.line(self.paint(titles.rstrip(), "dim"))
        for line, plain_line in zip(cells, bare, strict=True):
            padded = (
                cell + " " * (size - width(text)) for cell, text, size in zip(line, plain_line, sizes, strict=True)
            )
            self.line("  ".join(padded).rstrip())

    def _pairs(self, row: Row, columns: list[Column]) -> None:
        size = max((len(one.title) for one in columns), default=0)
        for one in columns:
            value = self._cell(row.get(one.key), one.kind, whole=True)
            self.line(f"{self.paint(one.title.ljust(size), 'dim')}  {value}".rstrip())

    def _cell(self, value: Any, kind: str, *, whole: bool = False) -> str:
        if value is None or value in ("", []):
            return "-"
        if kind == "state":
            return self.state(str(value))
        if kind == "instant":
            return self.instant(str(value))
        if kind == "duration":
            return duration(float(value))
        text = plain(value)
        return self.fit(text if whole or len(text) <= 80 else f"{text[:79]}…")


def plain(value: Any) -> str:
    """A value as one line of text: null is empty, lists have commas, everything else is as JSON has it."""
    if value is None:
        return ""
    if isinstance(value, str):
        return escape_controls(value)
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return escape_controls(",".join(value))
    return escape_controls(json.dumps(value, ensure_ascii=False))


def duration(seconds: float) -> str:
    """A duration as people read it: 12ms, 4.3s, 41s, 1m12s, 2h05m, 3d04h."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 10:
        return f"{seconds:.1f}s"
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours < 48 else f"{hours // 24}d{hours % 24:02d}h"


_ASCII = str.maketrans({"…": "...", "→": "->", "—": "-", "–": "-", "’": "'", "·": "-", "×": "x"})


def _bare(text: str) -> str:
    return click.unstyle(text) if "\x1b" in text else text


# --- the options that every reading command has ---


def wants_color(choice: str | None) -> bool:
    """Whether to colour stdout: the flag, else NO_COLOR, else FORCE_COLOR, else on a terminal."""
    chosen = choice or _root_color()
    if chosen in {"always", "never"}:
        return chosen == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in {"", "0"}:
        return True
    return is_terminal(sys.stdout) and os.environ.get("TERM") != "dumb"


def _root_color() -> str | None:
    context = click.get_current_context(silent=True)
    found = context.meta.get("dagd.color") if context is not None else None
    return found if isinstance(found, str) else None


def with_output(*, watch: bool = False, zone: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command -o, --tz, --color (and -w), and hand it an `Output` as `out`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def call(
            *args: Any, format_: str, tz: tzinfo | None = None, color: str | None, is_watched: bool = False, **more: Any
        ) -> None:
            out = Output(format_, tz, wants_color(color), is_utf8(sys.stdout))
            if is_watched:
                repeat(out, lambda: command(*args, out=out, **more))
            else:
                command(*args, out=out, **more)

        options: list[Any] = [
            click.option("-o", "--output", "format_", type=click.Choice(FORMATS), default="table", help="Form."),
            click.option("--color", type=click.Choice(["auto", "always", "never"]), help="Colours."),
        ]
        if zone:
            options.append(click.option("--tz", callback=_zone_option, help="Time zone of tables (the local one)."))
        if watch:
            options.append(click.option("-w", "--watch", "is_watched", is_flag=True, help="Print again each second."))
        decorated: Callable[..., Any] = call
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


def _zone_option(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tzinfo | None:
    return None if value is None else read_zone(value)


def repeat(out: Output, command: Callable[[], Any]) -> None:
    """Print again each second: in place on a terminal, else when something changed. Ends with Ctrl-C."""
    before: str | None = None
    while True:
        held: list[str] = []
        out._held = held
        try:
            command()
        except click.exceptions.Exit:
            pass  # a list of errors says by its exit code what it shows anyway
        finally:
            out._held = None
        text = "".join(held)
        if is_terminal(sys.stdout):
            sys.stdout.write(f"\x1b[H\x1b[2J{text}")
        elif text != before:
            sys.stdout.write(text)
        out.flush()
        before = text
        time.sleep(WATCH_S)
