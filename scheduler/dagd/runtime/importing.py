"""What a DAG file may ask while it is imported: the same in the parser, in a zygote and in a spawned try."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import Any

from dagd.model.errors import Refused
from dagd.runtime.masking import secrets_of

Ask = Callable[[str], str | None]


class ImportAsker:
    """Answers variables by `ask`, each name once, and nothing else; knows what was asked and what of it is secret."""

    def __init__(self, ask: Ask) -> None:
        self._ask, self._lock = ask, threading.Lock()
        self._known: dict[str, str | None] = {}
        self.secrets: list[str] = []

    def request(self, kind: str, args: dict[str, Any]) -> str | None:
        """A variable's text, or None. Raises Refused for anything else."""
        if kind != "variable":
            what = f"a DAG file asked for a {kind.replace('_', ' ')} while it was imported"
            raise Refused(what, remedy="Ask inside a task.")
        key = str(args["key"])
        with self._lock:
            if key not in self._known:
                self._known[key] = self._ask(key)
                self.secrets += secrets_of(kind, args, self._known[key])
            return self._known[key]

    @property
    def asked(self) -> dict[str, str]:
        """The names, each with a fingerprint of its value: whether it is another one now, without the value."""
        return {key: fingerprint(value) for key, value in self._known.items()}


def fingerprint(value: str | None) -> str:
    """A short digest of a variable's text; empty for one that there is not."""
    if value is None:
        return ""
    return hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
