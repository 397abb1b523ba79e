"""Secrets that this process fetched, and their `***` in what it reports itself (the log writer masks the logs)."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from dagd.authoring.ambient import Asker

SENSITIVE = (
    "access_token", "api_key", "apikey", "authorization", "passphrase", "passwd", "password", "private_key", "secret",
    "token", "keyfile_dict", "service_account",
)  # fmt: skip
_SHORTEST = 3


def is_sensitive(name: str) -> bool:
    """Whether a variable or field of that name holds a secret."""
    lowered = name.lower()
    return any(word in lowered for word in SENSITIVE)


def secret_forms(secret: str) -> set[str]:
    """The texts under which a secret may show up: as it is, base64, URL-encoded, JSON-escaped."""
    raw = secret.encode("utf-8", "surrogatepass")
    forms = {secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}
    forms |= {json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    # A secret inside a longer base64 text stands at one of three offsets; the characters at its ends depend on what
    # is beside it, and are left out.
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw).decode("ascii").rstrip("=")
        start = (0, 2, 3)[shift]
        whole = len(raw) + shift
        end = len(encoded) if whole % 3 == 0 else len(encoded) - 1
        if end - start >= 4:
            forms.add(encoded[start:end])
    forms.add(base64.b64encode(raw).decode("ascii"))
    return {form for form in forms if len(form) >= _SHORTEST}


class Masker:
    """Replaces what it knows to be secret."""

    def __init__(self) -> None:
        self._forms: list[str] = []

    def add(self, secret: Any) -> None:
        """Remember a secret, and each line of one that has several."""
        if isinstance(secret, str) and len(secret) >= _SHORTEST:
            known = set(self._forms)
            for part in {secret, *(line.strip() for line in secret.splitlines() if len(line.strip()) >= 8)}:
                known |= secret_forms(part)
            self._forms = sorted(known, key=len, reverse=True)

    def add_all(self, secrets: Iterable[Any]) -> None:
        """Remember several."""
        for secret in secrets:
            self.add(secret)

    def mask(self, text: str) -> str:
        """The text with each secret as ***."""
        for form in self._forms:
            text = text.replace(form, "***")
        return text


class MaskedAsker:
    """A channel that remembers the secrets which it brings."""

    def __init__(self, channel: Asker, masker: Masker) -> None:
        self._channel, self._masker = channel, masker

    def request(self, kind: str, args: dict[str, Any]) -> Any:
        """The value of one request."""
        value = self._channel.request(kind, args)
        if kind == "variable" and isinstance(value, str):
            self._masker.add_all(secrets_of_variable(str(args.get("key")), value))
        elif kind == "connection" and isinstance(value, dict):
            self._masker.add_all(secrets_of_connection(value))
        return value


def secrets_of_variable(key: str, value: str) -> list[Any]:
    """What is secret in a variable: its value, and the texts in it, when its name says so."""
    return _leaves(value) if is_sensitive(key) else []


def secrets_of_connection(body: Mapping[str, Any]) -> list[Any]:
    """What is secret in a connection: its password, and the fields of its extra whose names say so."""
    named = [_leaves(secret) for name, secret in _extra_of(body).items() if is_sensitive(name)]
    return [body.get("password"), *(leaf for leaves in named for leaf in leaves)]


def _extra_of(value: Mapping[str, Any]) -> dict[str, Any]:
    extra = value.get("extra") or {}
    if isinstance(extra, str):
        try:
            extra = json.loads(extra)
        except ValueError:
            return {"secret": extra}
    return extra if isinstance(extra, dict) else {}


def _leaves(value: Any) -> list[Any]:
    """A text, and the texts inside it when it is JSON."""
    if isinstance(value, str) and value[:1] in {"{", "["}:
        try:
            return [value, *_leaves(json.loads(value))]
        except ValueError:
            return [value]
    if isinstance(value, dict):
        return [one for inner in value.values() for one in _leaves(inner)]
    if isinstance(value, list):
        return [one for inner in value for one in _leaves(inner)]
    return [value]
