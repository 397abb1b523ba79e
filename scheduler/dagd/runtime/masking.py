"""What is secret, how it may be spelt, and its `***` in what a task itself reports (the log writer masks the logs)."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from dagd.authoring.ambient import Asker

SENSITIVE = (
    "access_token", "api_key", "apikey", "authorization", "credential", "passphrase", "passwd", "password",
    "private_key", "secret", "token", "keyfile", "service_account", "connection_string",
)  # fmt: skip
# A single character would hide half of a text and protect nothing.
SHORTEST = 2
_LINE = 8  # of a secret with several lines, those that are shorter are no secret by themselves


def is_sensitive(name: str) -> bool:
    """Whether a variable of that name holds a secret."""
    lowered = name.lower()
    return any(word in lowered for word in SENSITIVE)


def is_secret_field(name: str) -> bool:
    """Whether a field of a connection's extra holds a secret: keys are ones too."""
    return is_sensitive(name) or name.lower().endswith("key")


def secret_forms(secret: str) -> set[str]:
    """The texts under which a secret may show up: itself, each of its lines, base64, URL-encoded, JSON-escaped, quoted
    for a shell."""
    lines = {line.strip() for line in secret.splitlines()}
    parts = {secret, secret.strip(), *(line for line in lines if len(line) >= _LINE)}
    return {form for part in parts for form in _forms(part) if len(form) >= SHORTEST}


def _forms(part: str) -> Iterator[str]:
    if len(part) < SHORTEST:
        return
    raw = as_bytes(part)
    yield part
    for encoded in (quote(raw, safe=""), quote(raw), quote_plus(raw)):
        yield encoded
        yield _lower_escapes(encoded)
    for escaped in (json.dumps(part), json.dumps(part, ensure_ascii=False), repr(part), shlex.quote(part)):
        yield escaped[1:-1] if escaped[:1] in "\"'" else escaped
    if "'" in part:
        yield part.replace("'", "'\\''")
    # Inside a longer base64 text (user:password) a secret stands at one of three offsets; the characters at its ends
    # depend on what is beside it, and are left out.
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw).decode("ascii").rstrip("=")
        end = len(encoded) if (len(raw) + shift) % 3 == 0 else len(encoded) - 1
        inner = encoded[(0, 2, 3)[shift] : end]
        if len(inner) >= 4:
            yield inner
            yield inner.translate(_URLSAFE)
    whole = base64.b64encode(raw).decode("ascii")
    yield from (whole, whole.rstrip("="), whole.translate(_URLSAFE), whole.rstrip("=").translate(_URLSAFE))


_URLSAFE = str.maketrans("+/", "-_")


def _lower_escapes(encoded: str) -> str:
    """The same with %2f for %2F: both are written."""
    first, *rest = encoded.split("%")
    return "%".join([first, *(one[:2].lower() + one[2:] for one in rest)])


def as_bytes(text: str) -> bytes:
    """A text in UTF-8; what came in undecoded from the environment as the bytes that it was."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


class Masker:
    """Replaces what it knows to be secret."""

    def __init__(self) -> None:
        self._forms: list[str] = []

    def add_all(self, secrets: Iterable[str]) -> None:
        """Remember secrets."""
        known = set(self._forms)
        for secret in secrets:
            known |= secret_forms(secret)
        self._forms = sorted(known, key=len, reverse=True)

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
        self._masker.add_all(secrets_of(kind, args, value))
        return value


def secrets_of(kind: str, args: Mapping[str, Any], value: Any) -> list[str]:
    """What is secret in the answer to a request."""
    if kind == "variable" and isinstance(value, str):
        return secrets_of_variable(str(args.get("key")), value)
    return secrets_of_connection(value) if kind == "connection" and isinstance(value, dict) else []


def secrets_of_variable(key: str, value: str) -> list[str]:
    """What is secret in a variable: its value, and the texts in it, when its name says so; else what is named so in the
    JSON that it holds."""
    return list(_leaves(value)) if is_sensitive(key) else list(_named(_parsed(value), is_sensitive))


def secrets_of_connection(body: Mapping[str, Any]) -> list[str]:
    """What is secret in a connection: its password, and the fields of its extra whose names say so, at any depth."""
    extra = body.get("extra")
    if isinstance(extra, str) and extra:
        parsed = _parsed(extra)
        extra = parsed if isinstance(parsed, dict) else {"secret": extra}
    return [*_leaves(body.get("password")), *_named(extra, is_secret_field)]


def _named(value: Any, is_secret: Any) -> Iterator[str]:
    """The texts under names that say that they are secret."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield from _leaves(one) if is_secret(str(name)) else _named(one, is_secret)
    elif isinstance(value, list):
        for one in value:
            yield from _named(one, is_secret)


def _leaves(value: Any) -> Iterator[str]:
    """A text, and the texts inside it when it is JSON; numbers as they are written. True and null hide nothing."""
    if isinstance(value, str) and len(value) >= SHORTEST:
        yield value
        inner = _parsed(value)
        if isinstance(inner, (dict, list)):
            yield from _leaves(inner)
    elif isinstance(value, (dict, list)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _leaves(one)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from (text for text in [str(value)] if len(text) >= 4)


def _parsed(text: str) -> Any:
    if text.lstrip()[:1] not in {"{", "["}:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
