"""Secrets in a stream, however it is cut."""

from __future__ import annotations

import itertools

import pytest

from dagd.agent.masking import Masker


def masked(secrets: list[str], *chunks: bytes) -> bytes:
    masker = Masker()
    masker.learn(secrets)
    return b"".join([*map(masker.feed, chunks), masker.end()])


@pytest.mark.parametrize(
    "text, seen",
    [
        (b"user p@ss w=rd!", b"user ***!"),
        (b"cEBzcyB3PXJk.", b"***."),
        (b"cEBzcyB3PXJk==", b"***=="),
        (b"p%40ss%20w%3Drd", b"***"),
        (b"p%40ss+w%3Drd", b"***"),
        (b"p@ss", b"p@ss"),
        (b"nothing here", b"nothing here"),
    ],
)
def test_every_spelling_of_a_secret_is_hidden(text: bytes, seen: bytes) -> None:
    assert masked(["p@ss w=rd"], text) == seen


def test_json_escapes_are_hidden_with_and_without_unicode() -> None:
    assert masked(['a"ö'], b'{"k": "a\\"\\u00f6"} {"k": "a\\"\xc3\xb6"}') == b'{"k": "***"} {"k": "***"}'


def test_a_secret_is_hidden_wherever_the_stream_is_cut() -> None:
    text = b"xx secret-secrets yy sec secret"
    whole = masked(["secret", "secrets", "cret-x"], text)
    assert whole == b"xx ***-*** yy sec ***"
    for one, two in itertools.combinations(range(len(text) + 1), 2):
        assert masked(["secret", "secrets", "cret-x"], text[:one], text[one:two], text[two:]) == whole


def test_only_what_may_begin_a_secret_is_held_back() -> None:
    masker = Masker()
    masker.learn(["secret"])
    assert masker.feed(b"a line\n") == b"a line\n"
    assert masker.feed(b"the sec") == b"the "
    assert masker.feed(b"ond\n") == b"second\n"
    assert masker.end() == b""


def test_without_secrets_bytes_pass_untouched() -> None:
    assert masked([], b"\xff\x00 sec", b"ret") == b"\xff\x00 secret"
    assert masked(["", "x"], b"x marks") == b"x marks"
