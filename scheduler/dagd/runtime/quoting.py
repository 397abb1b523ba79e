"""Quoting of rendered values in a shell command, by where in the command each value stands.

`echo {{ x }}`, `echo "{{ x }}"`, `echo '{{ x }}'` and a here-document need different quoting; blind quoting would show
quote characters to the user in one place and open a hole in another. The template's text is scanned once, each value
is quoted for the state that the scan is in, and never changes that state.
"""

from __future__ import annotations

import re
import shlex
from typing import Any

from dagd.model.errors import TemplateFailed

OPEN, CLOSE = "\0<", "\0>"
_SAFE = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
_NUMBER = re.compile(r"[+-]?[0-9]+")
_HERE = re.compile(r"<<(-?)[ \t]*(?:'([^'\n]*)'|\"([^\"\n]*)\"|(\\?[^\s|&;()<>'\"]+))")
_SPLIT = re.compile("(\0<.*?\0>)", re.DOTALL)


class Raw(str):
    """Text that goes into a command as it is."""

    __slots__ = ()


def mark(value: Any) -> str:
    """A value on its way into a command, between marks."""
    if isinstance(value, Raw):
        return str(value)
    text = str(value).replace(OPEN, "").replace(CLOSE, "")
    if "\0" in text:
        raise TemplateFailed("a value for a shell command contains a NUL character")
    return f"{OPEN}{text}{CLOSE}"


def quote_marked(text: str) -> str:
    """The command with every marked value quoted for its place. Raises TemplateFailed where no quoting is safe."""
    scanner = _Scanner(has_case="esac" in text)
    parts: list[str] = []
    for part in _SPLIT.split(text):
        if part.startswith(OPEN):
            parts.append(scanner.place(part[len(OPEN) : -len(CLOSE)]))
        else:
            scanner.scan(part)
            parts.append(part)
    return "".join(parts)


class _Here:
    """A here-document that the next line begins."""

    def __init__(self, word: str, *, strips_tabs: bool, is_literal: bool) -> None:
        self.word, self.strips_tabs, self.is_literal = word, strips_tabs, is_literal

    def ends_with(self, line: str) -> bool:
        return (line.lstrip("\t") if self.strips_tabs else line) == self.word


class _Scanner:
    """Where in a command the scan is: a stack of open constructs, outermost first."""

    def __init__(self, *, has_case: bool) -> None:
        self.stack: list[str] = []
        self.waiting: list[_Here] = []
        self.here: list[_Here] = []
        self.line, self.line_has_value = "", False
        self.has_case, self.is_unsure = has_case, False
        self.word_starts, self.escaped = True, False

    @property
    def top(self) -> str:
        return self.stack[-1] if self.stack else "plain"

    def scan(self, text: str) -> None:
        position = 0
        while position < len(text):
            position += self._step(text, position)

    def _step(self, text: str, at: int) -> int:
        """Take one construct at `at`; the number of characters taken."""
        char = text[at]
        if self.escaped:
            self.escaped = False
            self.word_starts = False
            return 1
        top = self.top
        if top == "here":
            return self._step_here(text, at)
        if top in {"single", "ansi", "comment"}:
            return self._step_closed(char, top)
        if char == "\\":
            self.escaped = True
            return 1
        if char == "`":
            self._toggle("backtick")
            return 1
        if char == '"':
            self._toggle("double")
            return 1
        for opening, names in (("$((", ["arith", "arith"]), ("$(", ["paren"]), ("${", ["brace"])):
            if text.startswith(opening, at):
                self.stack.extend(names)
                self.word_starts = True
                return len(opening)
        if top == "brace" and char == "}":
            self.stack.pop()
        elif self._kind() != "double":
            return self._step_plain(text, at)
        return 1

    def _step_plain(self, text: str, at: int) -> int:
        char = text[at]
        if char == "'" or text.startswith("$'", at):
            self.stack.append("single" if char == "'" else "ansi")
            return 1 if char == "'" else 2
        if char == "#" and self.word_starts:
            self.stack.append("comment")
            return 1
        if text.startswith("<<<", at):
            return 3
        found = _HERE.match(text, at) if char == "<" and "arith" not in self.stack else None
        if found:
            quoted = found[2] if found[2] is not None else found[3]
            word = quoted if quoted is not None else found[4].lstrip("\\")
            is_literal = quoted is not None or found[4].startswith("\\")
            self.waiting.append(_Here(word, strips_tabs=bool(found[1]), is_literal=is_literal))
            return found.end() - at
        if text.startswith("((", at) and self.word_starts:
            self.stack.extend(["arith", "arith"])
            return 2
        if char == "(":
            self.stack.append("paren")
        elif char == ")" and self.top in {"paren", "arith"}:
            self.is_unsure = self.is_unsure or (self.has_case and self.top == "paren")
            self.stack.pop()
        elif char == "\n":
            self._end_line()
        self.word_starts = char in " \t\n;&|()"
        return 1

    def _step_closed(self, char: str, top: str) -> int:
        if top == "ansi" and char == "\\":
            self.escaped = True
        elif (top == "comment" and char == "\n") or (top != "comment" and char == "'"):
            self.stack.pop()
            if char == "\n":
                self._end_line()
                self.word_starts = True
        return 1

    def _step_here(self, text: str, at: int) -> int:
        char, here = text[at], self.here[0]
        if char == "\n":
            self._end_here_line()
            return 1
        if not here.is_literal:
            if char == "\\":
                self.escaped = True
            elif char == "`":
                self.stack.append("backtick")
            elif text.startswith(("$(", "${"), at):
                self.stack.append("paren" if text[at + 1] == "(" else "brace")
                return 2
        self.line += char
        return 1

    def _end_line(self) -> None:
        if self.waiting:
            self.here, self.waiting = self.waiting, []
            self.stack.append("here")
            self.line, self.line_has_value = "", False

    def _end_here_line(self) -> None:
        if self.here[0].ends_with(self.line):
            if self.line_has_value:
                raise TemplateFailed(f"a value would end the here-document {self.here[0].word!r} early")
            self.here.pop(0)
            if not self.here:
                self.stack.pop()
                self.word_starts = True
        self.line, self.line_has_value = "", False

    def _toggle(self, name: str) -> None:
        if self.top == name:
            self.stack.pop()
        else:
            self.stack.append(name)
        self.word_starts = True

    def _kind(self) -> str:
        """The construct whose quoting rules hold: a `${...}` has those of what is around it."""
        for name in reversed(self.stack):
            if name != "brace":
                return name
        return "plain"

    def place(self, value: str) -> str:
        """The value as it must stand here."""
        kind = self._kind()
        self.word_starts = False
        if kind == "here":
            return self._place_here(value)
        if kind == "arith" and not _NUMBER.fullmatch(value):
            raise TemplateFailed(f"{value!r} in shell arithmetic is no whole number")
        was_escaped, self.escaped = self.escaped, False
        if _SAFE.fullmatch(value):
            return value
        if was_escaped:
            raise TemplateFailed(f"the value {value!r} stands right after a backslash", remedy="Remove the backslash.")
        if "backtick" in self.stack or self.is_unsure:
            what = f"the value {value!r} stands where it cannot be quoted safely"
            raise TemplateFailed(what, remedy="Use $(...) instead of backticks, or hand the value over in env=.")
        if kind == "double":
            return re.sub(r'([\\"$`])', r"\\\1", value)
        if kind == "single":
            return value.replace("'", "'\\''")
        if kind == "ansi":
            return value.replace("\\", "\\\\").replace("'", "\\'")
        if kind == "comment":
            return re.sub(r"[\r\n]+", " ", value)
        return shlex.quote(value)

    def _place_here(self, value: str) -> str:
        first, *others = value.split("\n")
        self.line += first
        self.line_has_value = True
        for other in others:
            self._end_here_line()
            self.line, self.line_has_value = other, True
        return value if self.here[0].is_literal else re.sub(r"([\\$`])", r"\\\1", value)
