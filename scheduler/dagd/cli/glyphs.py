"""States as people see them: a glyph and the word, in a colour."""

from __future__ import annotations

# word -> (glyph, ASCII, style)
STATES: dict[str, tuple[str, str, str]] = {
    "none": ("·", ".", "dim"),
    "scheduled": ("○", "o", "dim"),
    "queued": ("◌", "q", "cyan"),
    "running": ("▶", ">", "cyan"),
    "deferred": ("◔", "z", "cyan"),
    "up_for_retry": ("↻", "r", "yellow"),
    "success": ("✓", "+", "green"),
    "failed": ("✗", "x", "red"),
    "skipped": ("↷", "-", "dim"),
    "upstream_failed": ("⊘", "!", "red"),
    "cancelled": ("■", "#", "yellow"),
    "removed": ("∅", "0", "dim"),
    "pending": ("○", "o", "dim"),
    "done": ("✓", "+", "green"),
    "met": ("✓", "+", "green"),
    "missed": ("✗", "x", "red"),
    "ok": ("✓", "+", "green"),
    "late": ("✗", "x", "red"),
    "missing": ("✗", "x", "red"),
    "active": ("▶", ">", "green"),
    "paused": ("‖", "=", "yellow"),
    "error": ("✗", "x", "red"),
    "warning": ("▲", "!", "yellow"),
}
_CODES = {"dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36", "bold": "1"}


def painted(text: str, style: str) -> str:
    """Text in a colour or weight."""
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m"


def state_text(word: str | None, *, utf8: bool, color: bool, short: bool = False) -> str:
    """A state's glyph and word; `short`: the glyph alone."""
    if word is None:
        return "-"
    glyph, plain, style = STATES.get(word, ("?", "?", "dim"))
    text = (glyph if utf8 else plain) + ("" if short else f" {word}")
    return painted(text, style) if color else text
