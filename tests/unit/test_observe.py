"""Logs with ids, metrics in files, and what systemd is told."""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dagd.observe.logs import FORMAT, JsonFormatter, UtcFormatter, ids
from dagd.observe.metrics import BOUNDS_S, Histogram, SchedulerMetrics, read_metrics, remove_metrics, write_metrics
from dagd.observe.systemd import Notify


def logged(formatter: logging.Formatter, **more: Any) -> str:
    """A warning of a logger of its own."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.Logger("dagd.test")
    logger.addHandler(handler)
    logger.warning("evil\x1b[2J\nname %s", 5, **more)
    return stream.getvalue()


def test_a_line_of_text_has_its_ids_at_the_end_and_no_control_character() -> None:
    line = logged(UtcFormatter(FORMAT), extra=ids(dag="sales", run=None, token="1.abcdef.0123456789"))
    assert line.endswith("WARNING dagd.test evil\\x1b[2J\\nname 5 dag=sales token=1.abcdef.012\n")


def test_a_line_of_json_has_its_ids_as_fields() -> None:
    try:
        raise ValueError("x")
    except ValueError as error:
        line = logged(JsonFormatter(), extra=ids(dag="sales", turn=7), exc_info=error)
    found = json.loads(line)
    assert line.count("\n") == 1
    assert found["message"] == "evil\x1b[2J\nname 5"
    assert (found["level"], found["part"], found["dag"], found["turn"]) == ("warning", "dagd.test", "sales", 7)
    assert found["error"] == "ValueError"
    assert "ValueError: x" in found["traceback"]


def test_a_histogram_counts_each_value_in_its_bucket() -> None:
    histogram = Histogram()
    for seconds in (0.0001, 0.001, 0.0011, 3.0, 99.0):
        histogram.add(seconds)
    assert histogram.counts[0] == 2
    assert histogram.counts[1] == 1
    assert histogram.counts[BOUNDS_S.index(5.0)] == 1
    assert histogram.counts[-1] == 1
    assert histogram.total == pytest.approx(102.0022)


def nothing(**parts: Any) -> SimpleNamespace:
    """An empty turn's inputs and plan in one."""
    names = ("started", "results", "commands", "enqueues", "ends", "instant_ends", "launches")
    return SimpleNamespace(**{name: [] for name in names} | parts)


def test_a_try_is_counted_when_it_is_made_when_it_begins_and_when_it_ends() -> None:
    metrics = SchedulerMetrics()
    launch = SimpleNamespace(token="a", now=1_000_000)
    metrics.turned(0.0, nothing(), nothing(enqueues=[1], launches=[launch]), committed=True)
    metrics.turned(0.0, nothing(started=[("a", 5, 1_500_000, "host")]), nothing(), committed=False)
    end = SimpleNamespace(event="succeed")
    metrics.turned(0.0, nothing(results=[{"token": "a", "started_at": 1_500_000}]), nothing(ends=[end]), committed=True)
    assert (metrics.turns, metrics.commits, metrics.events) == (3, 2, 2)
    assert (metrics.tries_enqueued, metrics.tries_started, metrics.tries_ended) == (1, 1, {"succeed": 1})
    assert metrics.launch_s.total == pytest.approx(0.5)


def test_numbers_of_a_dead_part_are_not_read_and_taken_away(tmp_path: Path) -> None:
    write_metrics(tmp_path, "scheduler", SchedulerMetrics(turns=7))
    gone = subprocess.Popen(["true"])
    gone.wait()
    dead = tmp_path / f"metrics-scheduler-{gone.pid}.json"
    dead.write_text(json.dumps({"part": "scheduler", "pid": gone.pid}))
    (tmp_path / "metrics-scheduler-1x.json").write_text("{")
    assert [(one["pid"], one["turns"]) for one in read_metrics(tmp_path, "scheduler")] == [(os.getpid(), 7)]
    assert not dead.exists()
    remove_metrics(tmp_path, "scheduler")
    assert list(tmp_path.iterdir()) == []


def test_systemd_is_told_and_its_socket_reaches_no_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "30000000")
        notify = Notify()
        notify.say("READY=1", "STATUS=5 DAGs")
        assert manager.recv(1000) == b"READY=1\nSTATUS=5 DAGs"
    assert notify.every_s == 10.0
    assert "NOTIFY_SOCKET" not in os.environ
    notify.say("WATCHDOG=1")  # nobody listens any more
    assert Notify().every_s is None
