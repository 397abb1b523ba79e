"""Which values are secret, and every spelling under which they are hidden: in errors as in logs."""

from __future__ import annotations

import base64
import json
import shlex
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import hypothesis.strategies as st
import pytest
from hypothesis import given

from dagd.agent.masking import Masker as StreamMasker
from dagd.runtime.masking import Masker, secrets_of

SECRET = "p@ss/w=rd+'ü\"~?>"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


SPELLINGS = [
    SECRET, quote(SECRET), quote(SECRET, safe=""), quote_plus(SECRET), quote(SECRET, safe="").lower(),
    urlencode({"p": SECRET}), json.dumps(SECRET), json.dumps(SECRET, ensure_ascii=False), repr(SECRET),
    shlex.quote(SECRET), SECRET.replace("'", "'\\''"), b64(SECRET), b64(SECRET).rstrip("="),
    base64.urlsafe_b64encode(SECRET.encode()).decode(), b64(f"user:{SECRET}"), b64(f"me:{SECRET}\n"), b64(f"x{SECRET}"),
    base64.urlsafe_b64encode(f"ab{SECRET}cd".encode()).decode(), b64(f"{SECRET}\n"),
]  # fmt: skip
# What must not be left of any of them.
TRACES = ("p@ss", "p%40ss", "cEBzcy93", "BAc3MvdzXJk", "QHNzL3c9", "w=rd", "w%3Drd", "w%3drd")


def in_text(secrets: list[str], text: str) -> str:
    masker = Masker()
    masker.add_all(secrets)
    return masker.mask(text)


def in_stream(secrets: list[str], text: str, size: int) -> str:
    masker = StreamMasker()
    masker.learn(secrets)
    raw = text.encode()
    parts = [masker.feed(raw[at : at + size]) for at in range(0, len(raw), size)]
    return b"".join([*parts, masker.end()]).decode()


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("size", [1, 2, 7, 4096])
def test_no_spelling_of_a_secret_is_seen(spelling: str, size: int) -> None:
    text = f"before {spelling} after"
    for seen in (in_text([SECRET], text), in_stream([SECRET], text, size)):
        assert "***" in seen
        assert seen.startswith("before ")
        assert seen.endswith(" after")
        assert not [trace for trace in TRACES if trace in seen]


@given(st.text(min_size=6, max_size=30), st.text(max_size=9), st.text(max_size=9), st.integers(1, 50))
def test_whatever_surrounds_it_in_base64_the_secret_cannot_be_read_back(
    secret: str, before: str, after: str, size: int
) -> None:
    encoded = b64(before + secret + after)
    assert "***" in in_text([secret], encoded)
    assert "***" in in_stream([secret], encoded, size)


def test_each_line_of_a_key_is_hidden_where_it_is_indented() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----\n"
    shown = "\n".join(f"    | {line}" for line in key.splitlines())
    for seen in (in_text([key], shown), in_stream([key], shown, 5)):
        assert "MIIEv" not in seen
        assert "hkiG9" not in seen


def test_texts_that_are_no_unicode_break_nothing() -> None:
    for secret in ("a\udcffb" * 3, "a\ud800b" * 3):
        assert in_text([secret], f"x {secret} y") == "x *** y"
        in_stream([secret], "nothing", 3)


CASES: list[tuple[str, dict[str, Any], Any, list[str]]] = [
    ("variable", {"key": "greeting"}, "hello", []),
    ("variable", {"key": "DB_PASSWORD"}, "hello", ["hello"]),
    ("variable", {"key": "api_key"}, None, []),
    ("variable", {"key": "x_token"}, "", []),
    ("variable", {"key": "my_secret"}, '{"a": ["one", 12345], "b": true}', ["one", "12345"]),
    ("variable", {"key": "config"}, '{"db": {"password": "inner", "host": "h"}}', ["inner"]),
    ("variable", {"key": "config"}, "{no json", []),
    ("connection", {"id": "c"}, {"host": "h", "login": "me"}, []),
    ("connection", {"id": "c"}, {"password": "pw"}, ["pw"]),
    ("connection", {"id": "c"}, {"password": "", "extra": ""}, []),
    ("connection", {"id": "c"}, {"extra": '{"token": "t0k", "region": "eu", "api_key": "k3y"}'}, ["t0k", "k3y"]),
    ("connection", {"id": "c"}, {"extra": {"auth": {"client_secret": "deep"}, "use_token": True}}, ["deep"]),
    ("connection", {"id": "c"}, {"extra": {"account_key": "k3y", "credentials": [{"a": "one"}]}}, ["k3y", "one"]),
    ("connection", {"id": "c"}, {"extra": "no json at all"}, ["no json at all"]),
    ("connection", {"id": "c"}, None, []),
    ("xcom", {"task_id": "t"}, [[-1, '"x"', None]], []),
]


@pytest.mark.parametrize("kind,args,value,expected", CASES)
def test_what_is_secret_in_an_answer(kind: str, args: dict[str, Any], value: Any, expected: list[str]) -> None:
    found = secrets_of(kind, args, value)
    assert all(isinstance(one, str) for one in found)
    assert [one for one in found if one[:1] != "{"] == expected


@pytest.mark.parametrize("secret", ["tr0ub4dor&3", "tr0ub4dor&3x", "ÿ?>ÿ?>ÿ?>7"])
@pytest.mark.parametrize("before", range(6))
@pytest.mark.parametrize("after", range(5))
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("size", [1, 3, 4096])
def test_no_bit_of_a_secret_is_left_in_base64(secret: str, before: int, after: int, encode: Any, size: int) -> None:
    raw = secret.encode()
    text = encode(b"ana:ben"[:before] + raw + b"@db:5"[:after]).decode()
    first, last = before * 8 // 6, -(-(before + len(raw)) * 8 // 6)
    expected = (text[:first] + "***" + text[last:]).replace("=", "")  # padding tells nothing, and may be hidden too
    assert in_text([secret], text).replace("=", "") == expected
    assert in_stream([secret], f"basic {text}\n", size).replace("=", "") == f"basic {expected}\n"
