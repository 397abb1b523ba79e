"""Commands on DAG files and schedules: no database, no daemon."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dagd.cli.main import cli

TWO = """
from datetime import datetime, UTC
from dagd import dag, task

@dag(schedule="0 6 * * *", timezone="Europe/Berlin", start_date=datetime(2026, 1, 1, tzinfo=UTC))
def sales():
    @task
    def make():
        print("made")
        return 3

    @task
    def use(n):
        print("used", n)

    use(make())

sales()

@dag(schedule=None)
def other():
    @task
    def rest():
        pass

    rest()

other()
"""
FAILS = """
from dagd import DAG, task

with DAG("fails", schedule=None):
    @task
    def broken():
        raise ValueError("no")

    broken()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAGD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGD_DATABASE_URL", "postgresql://127.0.0.1:1/nobody-may-look-here")
    monkeypatch.setenv("DAGD_DAGS_FOLDER", str(tmp_path / "dags"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dags").mkdir()
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words), prog_name="dagd")


def read(*words: str) -> Any:
    return json.loads(run(*words, "-o", "json").stdout)


PREVIEWS: list[tuple[str, list[str], list[str]]] = [
    ("0 2 * * *", ["--tz", "Europe/Berlin", "--after", "2026-10-24T12:00:00"],
     ["2026-10-25T02:00:00+02:00", "2026-10-26T02:00:00+01:00"]),
    ("@daily", ["--after", "2026-02-28T00:00:00Z"], ["2026-03-01T00:00:00+00:00", "2026-03-02T00:00:00+00:00"]),
    ("P1M", ["--start", "2026-01-31", "--after", "2026-01-31"],
     ["2026-02-28T00:00:00+00:00", "2026-03-31T00:00:00+00:00"]),
    ("PT90S", ["--after", "1970-01-01T00:00:00Z"], ["1970-01-01T00:01:30+00:00", "1970-01-01T00:03:00+00:00"]),
    ("*/30 * * * * *", ["--seconds", "--after", "2026-01-01"],
     ["2026-01-01T00:00:30+00:00", "2026-01-01T00:01:00+00:00"]),
]  # fmt: skip


@pytest.mark.parametrize("spec,more,local", PREVIEWS, ids=[spec for spec, _, _ in PREVIEWS])
def test_a_preview_shows_the_slots_after_an_instant(folder: Path, spec: str, more: list[str], local: list[str]) -> None:
    rows = read("schedules", "preview", spec, "-n", "2", *more)
    assert [row["local"] for row in rows] == local
    assert set(rows[0]) == {"due_at", "logical_date", "data_interval_start", "data_interval_end", "local"}


@pytest.mark.parametrize(
    "spec", ["P0D", "PT0S", "P1", "61 * * * *", "0 0 30 2 *", "@foo", "", "* * * *", "P-1D", "0 0 * * * *"]
)
def test_what_can_never_fire_is_exit_2(folder: Path, spec: str) -> None:
    assert run("schedules", "preview", spec).exit_code == 2


def test_the_slots_of_a_file_are_told_without_a_database(folder: Path) -> None:
    path = folder / "two.py"
    path.write_text(TWO)
    rows = read("dags", "next", str(path), "-n", "2", "--after", "2026-03-28T12:00:00Z")
    assert [row["due_at"] for row in rows] == ["2026-03-29T04:00:00Z", "2026-03-30T04:00:00Z"]
    assert rows[0]["local"] == "2026-03-29T06:00:00+02:00"
    assert read("dags", "next", str(path), "--dag", "other") == []
    assert run("dags", "next", str(path), "--dag", "sale").exit_code == 3


def test_a_table_of_slots_is_in_the_zone_of_tables(folder: Path) -> None:
    path = folder / "two.py"
    path.write_text(TWO)
    told = run(
        "dags", "next", str(path), "-n", "1", "--after", "2026-03-28T12:00:00Z", "--tz", "America/New_York"
    ).stdout
    assert "2026-03-29 00:00:00-04:00" in told


def test_a_check_names_file_and_line_and_is_exit_1(folder: Path) -> None:
    (folder / "dags" / "good.py").write_text(TWO)
    assert run("dags", "check", "dags").exit_code == 0
    (folder / "dags" / "bad.py").write_text("from dagd import DAG\nx = (1,\n\n")
    done = run("lint", "dags", "-o", "json")
    (row,) = json.loads(done.stdout)
    assert (done.exit_code, row["file"], row["line"], row["kind"]) == (1, "bad.py", 2, "error")
    assert "never closed" in row["error"]
    assert run("dags", "check", "dags/good.py").exit_code == 0
    assert "never closed" in run("dags", "check").stdout


def test_two_files_with_one_dag_are_told(folder: Path) -> None:
    for name in ("a.py", "b.py"):
        (folder / "dags" / name).write_text(FAILS)
    (row,) = read("dags", "check")
    assert (row["file"], row["code"]) == ("b.py", "DAGD-107")


def test_a_lint_finding_is_exit_1(folder: Path) -> None:
    (folder / "dags" / "clock.py").write_text(f"import datetime\nNOW = datetime.datetime.now()\n{FAILS}")
    done = run("dags", "check", "-o", "json")
    assert (done.exit_code, [row["kind"] for row in json.loads(done.stdout)]) == (1, ["warning"])


def test_a_dag_is_run_here_with_its_json_on_stdout_and_its_output_on_stderr(folder: Path) -> None:
    path = folder / "two.py"
    path.write_text(TWO.replace("other()\n", ""))
    done = run("dags", "test", str(path), "--date", "2026-03-01T05:00:00Z", "-c", '{"a": 1}', "-o", "json")
    shown = json.loads(done.stdout)
    assert (done.exit_code, shown["state"], shown["conf"]) == (0, "success", {"a": 1})
    assert (shown["logical_date"], shown["data_interval_start"]) == ("2026-03-01T05:00:00Z", "2026-02-28T05:00:00Z")
    assert {task["task_id"]: task["state"] for task in shown["tasks"]} == {"make": "success", "use": "success"}


def test_a_dag_that_fails_here_is_exit_1_with_its_json(folder: Path) -> None:
    (folder / "fails.py").write_text(FAILS)
    done = run("dags", "test", "fails.py", "-o", "json")
    shown = json.loads(done.stdout)
    assert (done.exit_code, shown["state"], shown["tasks"][0]["error"]) == (1, "failed", "ValueError: no")


@pytest.mark.parametrize(
    "words,code",
    [
        ("dags test nope.py", 3), ("dags test fails.py --task nope", 3), ("dags test fails.py --mock broken", 2),
        ("dags test fails.py --mock broken={", 2), ("dags test fails.py -c []", 4), ("dags test fails.py -c {", 2),
        ("dags test fails.py --date never", 2), ("dags test .", 2), ("dags next empty.py", 3),
    ],
)  # fmt: skip
def test_a_test_that_cannot_begin_says_why(folder: Path, words: str, code: int) -> None:
    (folder / "fails.py").write_text(FAILS)
    (folder / "empty.py").write_text("x = 1\n")
    done = run(*words.split())
    assert done.exit_code == code, done.output


def test_a_mock_stands_for_a_task(folder: Path) -> None:
    (folder / "fails.py").write_text(FAILS)
    assert run("dags", "test", "fails.py", "--mock", "broken=5").exit_code == 0


def test_init_writes_a_project_that_checks_and_keeps_what_is_there(folder: Path) -> None:
    (folder / "new").mkdir()
    done = run("init", "new")
    assert done.exit_code == 0
    assert done.stdout.count("  dagd ") + done.stdout.count("&& dagd ") == 3
    written = folder / "new" / "dags" / "hello.py"
    assert len(written.read_text().splitlines()) <= 18
    assert run("dags", "check", str(written)).exit_code == 0
    written.write_text("mine")
    assert run("init", "new").exit_code == 0
    assert written.read_text() == "mine"
    (folder / "file").write_text("")
    assert run("init", "file").exit_code == 2


def test_help_and_version_import_no_database(folder: Path) -> None:
    assert run("--help").exit_code == 0
    assert run("version").stdout.startswith("dagd ")
    assert run("--version").stdout.startswith("dagd ")


LIGHT = "import sys, dagd.cli.main; print([m for m in sys.modules if m.startswith('dagd.') and m != 'dagd.cli'])"
LIST = "import sys, dagd.cli.dags; print(sorted({m.split('.')[0] for m in sys.modules}))"
HEAVY = {"alembic", "croniter", "pendulum", "apscheduler", "jsonschema", "psycopg", "jinja2", "nacl"}


def modules(code: str) -> list[str]:
    """What a fresh Python has imported after `code`."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return list(ast.literal_eval(done.stdout))


def test_help_imports_click_alone_and_a_list_nothing_heavy_but_the_database() -> None:
    assert modules(LIGHT) == ["dagd.cli.main"]
    assert "sqlalchemy" not in modules(LIGHT.replace("'dagd.'", "'sqlalchemy'"))
    assert not HEAVY & set(modules(LIST))
