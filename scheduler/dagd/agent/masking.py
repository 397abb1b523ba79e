"""Hiding secrets in a stream of bytes: whole, base64, URL-encoded, JSON-escaped, also when split over two writes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from dagd.runtime.masking import Ends, Form, as_bytes, ends_of, find_spans, secret_forms

MASK = b"***"


class Masker:
    """Masks one stream. What may be the beginning of a secret is held back until more arrives or the stream ends."""

    def __init__(self) -> None:
        self._forms: set[Form] = set()
        self._pattern: re.Pattern[bytes] | None = None
        self._longest = 0
        self._ends: Ends[bytes] = {}
        # By first byte the spellings that may begin so: the bytes before the text, the text, whether one may follow it.
        self._begins: dict[int, list[tuple[int, bytes, bool]]] = {}
        self._held = b""

    def learn(self, secrets: Iterable[str]) -> None:
        """More secrets, from the next byte on."""
        fresh = {form for secret in secrets for form in secret_forms(secret)} - self._forms
        if not fresh:
            return
        self._forms |= fresh
        self._ends = ends_of(self._forms, as_bytes)
        self._pattern = re.compile(b"|".join(re.escape(text) for text in self._ends))
        for form in fresh:
            text, has_trail = as_bytes(form.text), bool(form.trail)
            self._longest = max(self._longest, bool(form.lead) + len(text) + has_trail)
            self._begins.setdefault(text[0], []).append((0, text, has_trail))
            for byte in as_bytes(form.lead):
                self._begins.setdefault(byte, []).append((1, text, has_trail))

    def feed(self, chunk: bytes) -> bytes:
        """What may be written now."""
        if self._pattern is None:
            return chunk
        text = self._held + chunk
        cut, done, parts = self._open_end(text), 0, list[bytes]()
        for start, end in find_spans(self._pattern, self._ends, text):
            if end > cut:
                # It may be the beginning of a longer one: both wait.
                cut = min(cut, start)
                break
            parts += (text[done:start], MASK)
            done = end
        self._held = text[cut:]
        return b"".join(parts) + text[done:cut]

    def end(self) -> bytes:
        """What was held back."""
        held, self._held = self._held, b""
        if self._pattern is None:
            return held
        done, parts = 0, list[bytes]()
        for start, end in find_spans(self._pattern, self._ends, held):
            parts += (held[done:start], MASK)
            done = end
        return b"".join(parts) + held[done:]

    def _open_end(self, text: bytes) -> int:
        """Where the last bytes begin that may be the first ones of a secret; the length of `text` when none may."""
        for start in range(max(0, len(text) - self._longest + 1), len(text)):
            for skip, form, has_trail in self._begins.get(text[start], ()):
                tail = text[start + skip :]
                if len(tail) < len(form) + has_trail and form.startswith(tail):
                    return start
        return len(text)
