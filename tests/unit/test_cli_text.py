"""What the command line prints, piece by piece."""

from __future__ import annotations

import io
import json
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dagd.cli.connection_form import from_uri, masked
from dagd.cli.glyphs import STATES
from dagd.cli.output import Column, Output, duration, plain
from dagd.cli.text import escape_controls, first_line, is_utf8, width
from dagd.cli.yaml import to_yaml
from dagd.cli.zones import read_age, read_instant
from dagd.model.errors import UsageError
from dagd.model.states import AttemptState, DeadlineState, RunState

HOUR = 3_600_000_000
DAY = 24 * HOUR


@pytest.mark.parametrize(
    "text,shown",
    [
        ("plain ü 🦄", "plain ü 🦄"), ("\x1b[31mred", "\\x1b[31mred"), ("a\rb", "a\\rb"), ("nul\0", "nul\\x00"),
        ("back\b", "back\\x08"), ("c1\x9b31m", "c1\\x9b31m"), ("rtl\u202e", "rtl\\u202e"), ("\udcff", "\\udcff"),
        ("line\nnext\t", "line\nnext\t"),
    ],
)  # fmt: skip
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert escape_controls(text, keep="\n\t") == shown


@pytest.mark.parametrize("text,columns", [("abc", 3), ("ü", 1), ("日本", 4), ("e\u0301", 1)])
def test_width_counts_columns(text: str, columns: int) -> None:
    assert width(text) == columns


def test_the_first_line_is_the_first_that_says_something() -> None:
    assert first_line("\n\n  what \nmore") == "what"
    assert first_line("x" * 20, 10) == "x" * 9 + "…"


@pytest.mark.parametrize(
    "seconds,text", [(0.012, "12ms"), (4.25, "4.2s"), (41.4, "41s"), (72, "1m12s"), (7500, "2h05m"), (273_600, "3d04h")]
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text


YAML: list[tuple[Any, str]] = [
    ({"a": 1, "b": None, "c": "yes", "d": True}, 'a: 1\nb: null\nc: "yes"\nd: true'),
    ({"a": {"b": [1, {"c": 2, "d": []}]}, "e": {}}, "a:\n  b:\n    - 1\n    - c: 2\n      d: []\ne: {}"),
    ([[1, 2], ["x"]], '- - 1\n  - 2\n- - "x"'),
    ([], "[]"),
    ({"a b": "line\nnext", "null": "\x7f\u2028"}, '"a b": "line\\nnext"\n"null": "\\u007f\\u2028"'),
    ({"é": "ü 🦄: #"}, '"é": "ü 🦄: #"'),
]


@pytest.mark.parametrize("value,text", YAML, ids=range(len(YAML)))
def test_yaml_quotes_every_text(value: Any, text: str) -> None:
    assert to_yaml(value) == text


ROWS = [{"id": "a", "state": "success", "at": "2026-03-29T00:30:00Z", "n": [1]}, {"id": "b", "state": None, "at": None}]
COLUMNS = [
    Column("id", "id"),
    Column("state", "state", "state"),
    Column("at", "at", "instant"),
    Column("n", "n", wide=True),
]


def printed(capsys: pytest.CaptureFixture[str], format_: str, **more: Any) -> str:
    Output(format_, ZoneInfo("Europe/Berlin"), **more).rows(iter(ROWS), COLUMNS, name="id")
    return capsys.readouterr().out


def test_a_list_has_each_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(printed(capsys, "json")) == ROWS
    assert [json.loads(line) for line in printed(capsys, "jsonl").splitlines()] == ROWS
    assert printed(capsys, "name") == "a\nb\n"
    assert printed(capsys, "plain") == "a\tsuccess\t2026-03-29T00:30:00Z\t[1]\nb\t\t\t\n"
    assert printed(capsys, "yaml").startswith('- id: "a"\n  state: "success"\n')


def test_a_table_shows_glyph_word_and_local_time_with_its_offset(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "table").splitlines()
    assert lines == [
        "ID  STATE      AT",
        "a   ✓ success  2026-03-29 01:30:00+01:00",
        "b   -          -",
    ]
    assert printed(capsys, "wide").splitlines()[0].endswith("N")


def test_without_utf8_nothing_but_ascii_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    for format_ in ("table", "json", "jsonl"):
        assert printed(capsys, format_, utf8=False).isascii()


def test_an_empty_list_is_empty_json_and_a_word_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    Output("json").rows([], COLUMNS, name="id")
    assert capsys.readouterr().out == "[]\n"
    Output("table").rows([], COLUMNS, name="id", empty="no runs")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "no runs\n")


def test_colour_is_only_where_it_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    assert "\x1b[32m" in printed(capsys, "table", color=True)
    assert "\x1b" not in printed(capsys, "table", color=False)
    assert "\x1b" not in printed(capsys, "json", color=True)


def test_every_state_has_a_glyph() -> None:
    derived = {"none", "scheduled", "up_for_retry"}
    stored = {state.word for states in (AttemptState, RunState, DeadlineState) for state in states}
    assert derived | stored <= set(STATES)


def test_plain_is_one_line() -> None:
    assert plain(["a", "b"]) == "a,b"
    assert plain({"a": "x\ny"}) == '{"a": "x\\ny"}'
    assert plain("tab\there") == "tab\\there"


def test_a_stream_that_is_not_utf8_gets_no_glyphs() -> None:
    assert not is_utf8(io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert not is_utf8(io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))


@pytest.mark.parametrize(
    "text,at",
    [
        ("1970-01-01T01:00:00Z", HOUR),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01 01:00", HOUR),
        ("1970-01-02", 24 * HOUR),
    ],
)
def test_instants_are_read(text: str, at: int) -> None:
    assert read_instant(text) == at


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "12:00", "1970-01-01T25:00", "0000-01-01", "9" * 30])
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read_instant(text)


def test_an_age_counts_back_from_now() -> None:
    assert read_age("2h", 10 * HOUR) == 8 * HOUR
    assert read_age("1970-01-01T01:00:00Z", 10 * HOUR) == HOUR


@pytest.mark.parametrize(
    "uri,parts",
    [
        ("postgres://u:p%40@h:1/db", ("postgres", "h", 1, "u", "p@", "db", None)),
        ("http://h/", ("http", "h", None, None, None, None, None)),
        ("sqlite:////tmp/x.db", ("sqlite", None, None, None, None, "/tmp/x.db", None)),
        ("aws://?region=eu", ("aws", None, None, None, None, None, '{"region": "eu"}')),
        ("x://?__extra__=%7B%22a%22%3A%201%7D", ("x", None, None, None, None, None, '{"a": 1}')),
    ],
)
def test_a_uri_says_the_parts_of_a_connection(uri: str, parts: tuple[Any, ...]) -> None:
    found = from_uri(uri)
    names = ("conn_type", "host", "port", "login", "password", "schema", "extra")
    assert tuple(found[name] for name in names) == parts


@pytest.mark.parametrize("uri", ["", "nothing", "http:/h", "http://h:port/", "://h", "http://[::1"])
def test_a_uri_that_cannot_be_read_is_refused(uri: str) -> None:
    with pytest.raises(UsageError):
        from_uri(uri)


def test_secrets_are_hidden_wherever_they_are() -> None:
    extra = {"Token": "t", "nested": {"private_key": "k", "port": 1}, "list": [{"api_key": "z"}], "empty_secret": ""}
    shown = masked({"password": "p", "extra": json.dumps(extra), "host": "h"})
    assert shown["password"] == "***"
    assert json.loads(shown["extra"]) == {
        "Token": "***", "nested": {"private_key": "***", "port": 1}, "list": [{"api_key": "***"}], "empty_secret": "",
    }  # fmt: skip
    assert masked({"extra": "token=abc"})["extra"] == "***"
