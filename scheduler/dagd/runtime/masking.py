"""What is secret, how it may be spelt, and its `***` in what a task itself reports (the log writer masks the logs)."""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, AnyStr, NamedTuple
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


# By spelling: the characters before it and those after it that are hidden with it.
Ends = dict[AnyStr, tuple[set[AnyStr], set[AnyStr]]]


def is_sensitive(name: str) -> bool:
    """Whether a variable of that name holds a secret."""
    lowered = name.lower()
    return any(word in lowered for word in SENSITIVE)


def is_secret_field(name: str) -> bool:
    """Whether a field of a connection's extra holds a secret: keys are ones too."""
    return is_sensitive(name) or name.lower().endswith("key")


class Form(NamedTuple):
    """One spelling. A character of `lead` right before it, and one of `trail` right after it, is hidden with it: they
    have some bits of the secret."""

    text: str
    lead: str = ""
    trail: str = ""


def secret_forms(secret: str) -> set[Form]:
    """The texts under which a secret may show up: itself, each of its lines, base64, URL-encoded, JSON-escaped, quoted
    for a shell."""
    lines = {line.strip() for line in secret.splitlines()}
    parts = {secret, secret.strip(), *(line for line in lines if len(line) >= _LINE)}
    found = {Form(text) for part in parts for text in _spellings(part) if len(text) >= SHORTEST}
    return found | {form for part in parts for form in _inside_base64(part)}


def _spellings(part: str) -> Iterator[str]:
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
    whole = base64.b64encode(raw).decode("ascii")
    yield from (whole, whole.rstrip("="), whole.translate(_URLSAFE), whole.rstrip("=").translate(_URLSAFE))


def _inside_base64(part: str) -> Iterator[Form]:
    """Inside a longer base64 text (user:password) a secret stands at one of three offsets. The characters at its ends
    depend on what is beside it, too: each can be one of a few."""
    raw = as_bytes(part)
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw).decode("ascii").rstrip("=")
        rest = (len(raw) + shift) % 3
        text = encoded[(0, 2, 3)[shift] : len(encoded) - (rest > 0)]
        if len(text) < 4:
            continue
        lead = trail = ""
        if shift:
            own, step = _ALPHABET.index(encoded[shift]), (0, 16, 4)[shift]
            lead = "".join(_ALPHABET[own + other] for other in range(0, 64, step))
        if rest:
            own, room = _ALPHABET.index(encoded[-1]), (0, 16, 4)[rest]
            trail = _ALPHABET[own : own + room]
        for table in ({}, _URLSAFE):
            yield Form(text.translate(table), lead.translate(table), trail.translate(table))


_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
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
        self._forms: set[Form] = set()
        self._ends: Ends[str] = {}
        self._pattern: re.Pattern[str] | None = None

    def add_all(self, secrets: Iterable[str]) -> None:
        """Remember secrets."""
        fresh = {form for secret in secrets for form in secret_forms(secret)} - self._forms
        if fresh:
            self._forms |= fresh
            self._ends = ends_of(self._forms, str)
            self._pattern = re.compile("|".join(re.escape(text) for text in self._ends))

    def mask(self, text: str) -> str:
        """The text with each secret as ***."""
        if self._pattern is None:
            return text
        done, parts = 0, list[str]()
        for start, end in find_spans(self._pattern, self._ends, text):
            parts += (text[done:start], "***")
            done = end
        return "".join(parts) + text[done:]


def ends_of(forms: Iterable[Form], write: Callable[[str], AnyStr]) -> Ends[AnyStr]:
    """The texts of these spellings, the longest first, each with what is hidden with it before and after it."""
    found: Ends[AnyStr] = {}
    for form in sorted(forms, key=lambda form: (-len(form.text), form)):
        lead, trail = found.setdefault(write(form.text), (set(), set()))
        lead.update(write(one) for one in form.lead)
        trail.update(write(one) for one in form.trail)
    return found


def find_spans(pattern: re.Pattern[AnyStr], ends: Ends[AnyStr], text: AnyStr) -> Iterator[tuple[int, int]]:
    """Where the secrets stand in a text, with the characters that belong to them; none before the end of another."""
    done = 0
    for match in pattern.finditer(text):
        (start, end), (lead, trail) = match.span(), ends[match[0]]
        start -= text[start - 1 : start] in lead
        end += text[end : end + 1] in trail
        yield max(start, done), end
        done = end


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
