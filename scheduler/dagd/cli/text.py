"""Texts as a terminal may show them: control characters escaped, ASCII where the locale has nothing else."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from typing import TextIO

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_NAMED = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def escape_controls(text: str, keep: str = "") -> str:
    """The text with control characters (and those that reorder or hide others) in escaped form, but for `keep`."""
    return _CONTROLS.sub(lambda found: found[0] if found[0] in keep else _escaped(found[0]), text)


def _escaped(char: str) -> str:
    if char in _NAMED:
        return _NAMED[char]
    return f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}"


def first_line(text: str, limit: int = 0) -> str:
    """The first line that says something, cut to `limit` characters (0: whole)."""
    line = next((part.strip() for part in text.splitlines() if part.strip()), "")
    return line if not limit or len(line) <= limit else f"{line[: limit - 1].rstrip()}…"


def width(text: str) -> int:
    """The columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF") for char in text)


def is_utf8(stream: TextIO) -> bool:
    """Whether glyphs may be written to a stream. Python's UTF-8 mode that nobody asked for means the C locale."""
    if "utf" not in (getattr(stream, "encoding", None) or "utf-8").lower():
        return False
    asked = os.environ.get("PYTHONUTF8") == "1" or os.environ.get("PYTHONIOENCODING", "").lower().startswith("utf")
    return not sys.flags.utf8_mode or asked


def is_terminal(stream: TextIO) -> bool:
    """Whether a person looks at a stream."""
    return bool(getattr(stream, "isatty", lambda: False)())
