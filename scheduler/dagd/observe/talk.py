"""What `dagd up` says while it runs: one line for each thing that a person at the terminal wants to know."""

from __future__ import annotations

import os
import re
import sys
import time
from typing import TextIO

GLYPHS = {"success": "✓", "failed": "✗", "cancelled": "■", "new": "+", "gone": "-", "error": "✗", "start": "▶"}
ASCII = {
    "success": "ok",
    "failed": "FAILED",
    "cancelled": "cancelled",
    "new": "+",
    "gone": "-",
    "error": "!",
    "start": ">",
}
COLOURS = {"success": "32", "failed": "31", "error": "31", "cancelled": "33", "new": "36", "start": "36"}
# Control characters, and those that reorder or hide others: names and errors of DAG files come from anywhere.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def plain(text: str) -> str:
    """One line of text as a terminal or a log may show it."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class Talk:
    """Writes lines with the local time to a stream; says nothing when `stream` is None."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        encoding = (getattr(stream, "encoding", "") or "").lower()
        self._glyphs = GLYPHS if "utf" in encoding else ASCII
        self._colour = stream is not None and stream.isatty() and "NO_COLOR" not in os.environ

    def say(self, glyph: str, text: str) -> None:
        """One line: time, glyph, text. A closed terminal is no reason to stop."""
        if self._stream is None:
            return
        mark = self._glyphs.get(glyph, glyph)
        if self._colour and glyph in COLOURS:
            mark = f"\x1b[{COLOURS[glyph]}m{mark}\x1b[0m"
        try:
            self._stream.write(f"{time.strftime('%H:%M:%S')} {mark} {plain(text)}\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = None


def to_stdout() -> Talk:
    """Talk on stdout."""
    return Talk(sys.stdout)


def duration_text(micros: int) -> str:
    """A duration as people read it: 0.3s, 41s, 1m12s, 2h05m."""
    seconds = micros / 1_000_000
    if seconds < 10:
        return f"{seconds:.1f}s"
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    return f"{minutes // 60}h{minutes % 60:02d}m"
