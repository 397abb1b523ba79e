"""Timetables of an installed package: what `dags next` shows of them, and that a bad one hurts its own DAG alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dagd.cli.main import cli
from dagd.engine import timetables
from dagd.store import dialects
from dagd.store.schema import dag, dag_run
from tests.engine_rig import Rig
from tests.factories import NOW, spec, task

HOUR = 3_600_000_000
SOURCE = '''
import time
from dagd.timetables.base import Slot, Timetable
HOUR = 3_600_000_000


class Tides(Timetable):
    """Every so many hours from the start date, else from 1970."""

    def __init__(self, frame, hours, mood="calm"):
        if hours < 1:
            raise ValueError("the tide does not stand still")
        self.frame, self.step, self.mood = frame, hours * HOUR, mood

    def slot(self, at):
        if self.mood == "stormy":
            raise ZeroDivisionError
        if self.mood == "endless":
            self.wait()
        return 17 if self.mood == "odd" else Slot(at, at, at - self.step, at)

    def wait(self):
        while True:
            try:
                time.sleep(0.01)
            except Exception:
                pass

    def next_after(self, at):
        return self.slot(at - at % self.step + (0 if self.mood == "early" else self.step))

    def last_until(self, at):
        return self.slot(at - at % self.step)

    def first(self):
        return None if self.frame.start_at is None else self.next_after(self.frame.start_at - 1)
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A distribution `tides` with one entry point, as an installer leaves it."""
    site = tmp_path / "site"
    info = site / "tides-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "tides.py").write_text(SOURCE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tides\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dagd.timetables]\ntides = tides:Tides\n")
    monkeypatch.syspath_prepend(str(site))
    yield site
    sys.modules.pop("tides", None)


def next_of(folder: Path, schedule: str) -> Result:
    file = folder / "sea.py"
    file.write_text(
        "from dagd import DAG, Asset, Custom\n"
        "from dagd_operators.empty import EmptyOperator\n"
        f"with DAG('sea', schedule={schedule}):\n    EmptyOperator(task_id='a')\n"
    )
    words = ["dags", "next", str(file), "-n", "2", "--after", "2026-01-01T05:00Z", "-o", "json"]
    return CliRunner().invoke(cli, words, prog_name="dagd")


@pytest.mark.parametrize("schedule", ["Custom('tides', {'hours': 6})", "Asset('a') | Custom('tides', {'hours': 6})"])
def test_dags_next_shows_the_slots_of_an_installed_timetable(package: Path, tmp_path: Path, schedule: str) -> None:
    done = next_of(tmp_path, schedule)
    assert done.exit_code == 0, done.stderr
    assert [(row["due_at"], row["data_interval_start"]) for row in json.loads(done.stdout)] == [
        ("2026-01-01T06:00:00Z", "2026-01-01T00:00:00Z"), ("2026-01-01T12:00:00Z", "2026-01-01T06:00:00Z"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "args, said",
    [
        ("{'hours': 0}", "ValueError: the tide does not stand still"),
        ("{'hour': 6}", "TypeError"),
        ("{'hours': 6, 'mood': 'stormy'}", "next_after raised ZeroDivisionError"),
        ("{'hours': 6, 'mood': 'odd'}", "next_after answered 17"),
        ("{'hours': 6, 'mood': 'early'}", "which is not later"),
    ],
)
def test_dags_next_says_what_is_wrong_with_it(package: Path, tmp_path: Path, args: str, said: str) -> None:
    done = next_of(tmp_path, f"Custom('tides', {args})")
    assert done.exit_code in (1, 2)
    assert "tides" in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def sea(mood: str) -> dict[str, object]:
    return {"kind": "custom", "entry_point": "tides", "args": {"hours": 1, "mood": mood}}


@pytest.mark.parametrize(
    "mood, said", [("stormy", "ZeroDivisionError"), ("endless", "longer than 1 s"), ("early", "not later")]
)
def test_a_bad_timetable_sets_its_own_dag_aside_and_no_other(
    package: Path, tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch, mood: str, said: str
) -> None:
    monkeypatch.setattr(timetables, "LONGEST_S", 1.0)
    made: list[Rig] = []
    monkeypatch.setattr(dialects, "clock", lambda _connection: made[0].clock.at if made else NOW)
    good = spec("other", task("x"), schedule=sea("calm"))
    made.append(Rig(tmp_path, sqlite_url, spec("sales", task("a"), schedule=sea(mood)), good))
    rig = made[0]
    try:
        rig.settle()
        for _ in range(8):
            rig.pass_time(HOUR // 4_000_000)
        held = {row.name: row.held for row in rig.rows(dag)}
        assert held["other"] is None
        assert said in held["sales"]
        runs = [row for row in rig.rows(dag_run) if row.slot is not None]
        assert len(runs) == 2
        rig.store(spec("sales", task("a"), schedule=sea("calm")))
        rig.pass_time(HOUR // 1_000_000)
        assert {row.name: row.held for row in rig.rows(dag)} == {"sales": None, "other": None}
        assert len([row for row in rig.rows(dag_run) if row.slot is not None]) == 4
    finally:
        rig.close()
