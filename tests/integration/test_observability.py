"""Metrics of a living daemon, over the command line and over HTTP, and runbooks whose commands exist."""

from __future__ import annotations

import json
import re
import shlex
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from dagd.cli.main import cli
from tests.e2e.home import Home, wait_for

ROOT = Path(__file__).parents[2]
RUNBOOKS = (ROOT / "docs" / "runbooks.md").read_text("utf-8")
SAMPLE = re.compile(r'([a-z_]+)(\{[a-z_]+="(?:[^"\\]|\\.)*"(?:,[a-z_]+="(?:[^"\\]|\\.)*")*\})? (\S+)')
HELLO = """
from dagd import dag, task

@dag(schedule=None)
def hello():
    @task
    def one():
        return 1
    one()
hello()
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A home on the embedded database."""
    found = Home(tmp_path)
    yield found
    found.close()


def parsed(text: str) -> dict[str, float]:
    """Samples by name and labels. Fails for a sample without its type, and for a type that is told twice."""
    kinds: dict[str, str] = {}
    found: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            continue
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in kinds
            assert (kind == "counter") == name.endswith("_total")
            kinds[name] = kind
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample, line
        name = re.sub("_(bucket|sum|count)$", "", sample[1])
        assert (kinds.get(name) == "histogram") or sample[1] in kinds, line
        key = sample[1] + (sample[2] or "")
        assert key not in found, line
        found[key] = float(sample[3])
    return found


def total(samples: dict[str, float], name: str, *labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    return sum(
        value for key, value in samples.items() if key.split("{")[0] == name and all(one in key for one in labels)
    )


def fetch(url: str) -> tuple[int, str]:
    """Status and body, whatever the status."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_up_serves_metrics_and_health(home: Home) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home.environment["DAGD_LOG__FORMAT"] = "json"
    home.write("hello.py", HELLO)
    home.up("--port", str(port))
    assert home.run("trigger", "hello", "--wait").returncode == 0
    url = f"http://127.0.0.1:{port}"

    def counted() -> dict[str, float]:
        status, body = fetch(f"{url}/metrics")
        assert status == 200
        found = parsed(body)
        return found if total(found, "dagd_tries_ended_total", 'event="succeed"') else {}

    samples = wait_for(counted)
    for name in ("dagd_turns_total", "dagd_commits_total", "dagd_statements_total", "dagd_tries_enqueued_total",
                 "dagd_turn_seconds_count", "dagd_launch_seconds_count", "dagd_up", "dagd_parses_total"):  # fmt: skip
        assert total(samples, name) >= 1, name
    assert total(samples, "dagd_turn_seconds_bucket", 'le="+Inf"') == total(samples, "dagd_turn_seconds_count")
    assert total(samples, "dagd_parse_seconds", 'file="hello.py"') > 0
    assert total(samples, "dagd_outbox_age_seconds") == 0
    assert parsed(home.run("metrics").stdout).keys() >= samples.keys() - {"dagd_component_ok"}
    status, body = fetch(f"{url}/health")
    assert (status, json.loads(body)["ok"]) == (200, True)
    assert fetch(f"{url}/../keys")[0] == 404
    for line in (home.path / "logs" / "scheduler.log").read_text().splitlines():
        assert {"at", "level", "part", "message"} <= set(json.loads(line)), line


def commands() -> list[str]:
    """Every command that the runbooks name."""
    found = re.findall(r"`(dagd [^`]+)`", re.sub(r"\s+", " ", RUNBOOKS))
    return sorted({one for one in found if not one.startswith("dagd up says")})


@pytest.mark.parametrize("words", commands())
def test_every_command_of_a_runbook_exists_with_its_options(words: str) -> None:
    context, command = cli.make_context("dagd", ["version"]), cli
    rest = shlex.split(words)[1:]
    while rest and hasattr(command, "get_command"):
        found = command.get_command(context, rest[0])
        assert found is not None, words
        command, rest = found, rest[1:]
    known = {option for param in command.params for option in param.opts} | {"-o", "--output"}
    assert {one for one in rest if one.startswith("-")} <= known
    assert CliRunner().invoke(command, ["--help"]).exit_code == 0


def test_every_metric_of_a_runbook_is_exposed() -> None:
    source = (ROOT / "scheduler" / "dagd" / "cli" / "metrics.py").read_text("utf-8")
    for name in set(re.findall(r"`(dagd_[a-z_]+)", RUNBOOKS)):
        assert name in source or name.startswith("dagd_pool_"), name


def test_there_are_ten_runbooks_each_with_its_four_parts() -> None:
    parts = re.split(r"^## \d+\. ", RUNBOOKS, flags=re.MULTILINE)[1:]
    assert len(parts) == 10
    for part in parts:
        for word in ("**You see**", "**It means**", "**Type**", "**It is over when**"):
            assert word in part, part.splitlines()[0]
