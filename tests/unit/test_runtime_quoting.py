"""A rendered value reaches the shell as one piece of data, wherever it stands in the command."""
# ruff: noqa: E501 - a case of a table, or a line of a DAG file, is one line

from __future__ import annotations

import subprocess

import pytest

from dagd.model.errors import TemplateFailed
from dagd.runtime.quoting import Raw, mark, quote_marked

NASTY = [
    "plain", "two words", "$(touch pwned)", "`touch pwned`", "it's", '"double"', "a\\b", "\\", "-n", "a;b", "a\nb", "$HOME",
    "*", "", "!x", "'; touch pwned; '", '"; touch pwned; "', "${HOME}", "é", "#no comment", "a\tb", "$((1+1))", "\n", "'\\''",
]  # fmt: skip

# Commands that print the value and a dot; %s is where the value stands.
PLACES = [
    "printf '%%s.' %s",
    'printf "%%s." "%s"',
    "printf '%%s.' '%s'",
    "x=%s; printf '%%s.' \"$x\"",
    "printf '%%s.' \"$(printf '%%s' %s; printf .)\" | sed -z 's/\\.\\.$/./'",
    "printf '%%s.' \"$(printf '%%s.' \"%s\")\" | sed -z 's/\\.\\.$/./'",
    "true # a comment ' with a quote\nprintf '%%s.' %s",
    'printf "%%s." "${undefined:-"%s"}"',
    "if [[ -n x ]]; then printf '%%s.' %s; fi",
    "printf '%%s.' pre%s | sed -z 's/^pre//'",
]


def run(command: str, cwd) -> str:
    done = subprocess.run(["bash", "-c", command], cwd=cwd, capture_output=True, text=True, check=False)
    assert not list(cwd.iterdir()), f"the value was executed in {command!r}"
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("place", PLACES)
def test_bash_sees_the_value_and_nothing_else(place, tmp_path):
    commands = [
        quote_marked(place.replace("%s", mark(value)).replace("%%", "%").replace("%" + mark(value), "%s"))
        for value in NASTY
    ]
    assert run("\n".join(commands), tmp_path) == "".join(f"{value}." for value in NASTY)


@pytest.mark.parametrize("opening", ["<<EOF", "<<-EOF", "<<'EOF'", '<<"EOF"'])
def test_a_here_document_shows_the_value(opening, tmp_path):
    values = [value for value in NASTY if value]
    commands = [quote_marked(f"cat {opening}\n[{mark(value)}]\nEOF\nprintf after") for value in values]
    assert run("\n".join(commands), tmp_path) == "".join(f"[{value}]\nafter" for value in values)


def test_a_value_cannot_end_a_here_document():
    with pytest.raises(TemplateFailed, match="early"):
        quote_marked(f"cat <<EOF\n{mark('a' + chr(10) + 'EOF' + chr(10) + 'touch pwned')}\nEOF\n")
    with pytest.raises(TemplateFailed, match="early"):
        quote_marked(f"cat <<EOF\nE{mark('OF')}\ntouch pwned\n")


@pytest.mark.parametrize(
    "command,value,what",
    [
        ("echo `echo %s`", "a b", "backticks"),
        ("echo \\%s", "a b", "backslash"),
        ("echo $((1 + %s))", "a[$(touch pwned)]", "whole number"),
        ("x=$(case a in a) echo %s;; esac)", "a;b", "safely"),
    ],
)
def test_where_no_quoting_is_safe_the_task_fails(command, value, what):
    with pytest.raises(TemplateFailed, match=what):
        quote_marked(command.replace("%s", mark(value)))


def test_numbers_and_names_stay_as_they_are():
    assert quote_marked(f"echo `echo {mark('a-b_1.txt')}` $((1 + {mark(41)})) {mark('2024-01-01')}") == (
        "echo `echo a-b_1.txt` $((1 + 41)) 2024-01-01"
    )


def test_raw_text_is_not_quoted():
    assert quote_marked(f"ls {mark(Raw('-l | wc'))}") == "ls -l | wc"


def test_a_nul_cannot_reach_a_command():
    with pytest.raises(TemplateFailed, match="NUL"):
        mark("a\0b")
