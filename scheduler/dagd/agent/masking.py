"""Hiding secrets in a stream of bytes: whole, base64, URL-encoded, JSON-escaped, also when split over two writes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from dagd.runtime.masking import as_bytes, secret_forms

MASK = b"***"


def forms(secret: str) -> set[bytes]:
    """The spellings of a secret that are hidden."""
    return {as_bytes(form) for form in secret_forms(secret)}


class Masker:
    """Masks one stream. What may be the beginning of a secret is held back until more arrives or the stream ends."""

    def __init__(self) -> None:
        self._forms: set[bytes] = set()
        self._pattern: re.Pattern[bytes] | None = None
        self._longest = 0
        self._first_bytes: frozenset[int] = frozenset()
        self._held = b""

    def learn(self, secrets: Iterable[str]) -> None:
        """More secrets, from the next byte on."""
        for secret in secrets:
            self._forms |= forms(secret)
        if self._forms:
            longest_first = sorted(self._forms, key=len, reverse=True)
            self._longest = len(longest_first[0])
            self._first_bytes = frozenset(form[0] for form in longest_first)
            self._pattern = re.compile(b"|".join(re.escape(form) for form in longest_first))

    def feed(self, chunk: bytes) -> bytes:
        """What may be written now."""
        if self._pattern is None:
            return chunk
        text = self._held + chunk
        cut, done, parts = self._open_end(text), 0, list[bytes]()
        for match in self._pattern.finditer(text):
            if match.end() > cut:
                # It may be the beginning of a longer one: both wait.
                cut = min(cut, match.start())
                break
            parts += (text[done : match.start()], MASK)
            done = match.end()
        self._held = text[cut:]
        return b"".join(parts) + text[done:cut]

    def end(self) -> bytes:
        """What was held back."""
        held, self._held = self._held, b""
        return self._pattern.sub(MASK, held) if self._pattern is not None else held

    def _open_end(self, text: bytes) -> int:
        """Where the last bytes begin that may be the first ones of a secret; the length of `text` when none may."""
        for start in range(max(0, len(text) - self._longest + 1), len(text)):
            if text[start] in self._first_bytes:
                tail = text[start:]
                if any(form.startswith(tail) for form in self._forms if len(form) > len(tail)):
                    return start
        return len(text)
