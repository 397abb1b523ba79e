"""The rules of `dagd dags check`, a case a line: what is found, and what is left alone."""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dagd.model.times import to_micros
from dagd.parsing.lint.reach import unreachable
from dagd.parsing.lint.times import lint_times
from dagd.parsing.parse import parse_file
from tests.factories import spec, task

HEAD = """\
from datetime import UTC, datetime, timedelta
from dagd import DAG, Variable, task
from dagd_operators.bash import BashOperator
from dagd_operators.empty import EmptyOperator
from dagd_operators.http import HttpOperator
"""
FIRST = len(HEAD.splitlines()) + 1
NOW = to_micros(datetime(2026, 6, 1, tzinfo=UTC))


def codes(folder: Path, text: str, pools: dict[str, int | None] | None = None) -> list[tuple[str, int | None]]:
    """(number, line after the head) of each finding."""
    path = folder / "d.py"
    path.write_text(HEAD + textwrap.dedent(text))
    parsed = parse_file(str(path), str(folder), lint=True, pools=pools)
    assert parsed.error is None, parsed.error
    return [(one.code.removeprefix("DAGD-"), one.line and one.line - FIRST + 1) for one in parsed.findings]


BASH = "with DAG('d'):\n    BashOperator(task_id='a', bash_command='ls'{})\n"
CASES: list[tuple[str, list[tuple[str, int]]]] = [
    (BASH.format(""), []),
    (BASH.format(", email_on_failure=True"), [("L001", 2)]),
    ("NOW = datetime.now()\n" + BASH.format(""), [("L002", 1)]),
    ("def f(): return datetime.now()\n" + BASH.format(""), []),
    ("V = Variable.get('x', 'y')\n" + BASH.format(""), [("L003", 1)]),
    ("with DAG('d', start_date=datetime(2026, 1, 1)):\n    EmptyOperator(task_id='a')", [("L005", 1)]),
    ("DAG('d')\nx = DAG('e')", [("L006", 2)]),
    (BASH.replace("ls", "ls {{{{ params.x | raw }}}}").format(""), [("L007", 2)]),
    ("with DAG('d'):\n    HttpOperator(task_id='h', retries=2, retry_delay=timedelta(0))", [("L008", 2)]),
    ("with DAG('d'):\n    HttpOperator(task_id='h', retries=2, retry_delay=5)", []),
    (BASH.format(", pool='etl'"), []),
    ("with DAG('d'):\n    EmptyOperator(task_id='a') >> BashOperator(task_id='b', bash_command='x', "
     "trigger_rule='one_failed')", [("L010", 2)]),
    ("with DAG('d'):\n    @task.branch\n    def b(): return 'x'\n    b() >> EmptyOperator(task_id='y')", [("L011", 4)]),
    ("with DAG('d'):\n    @task.branch\n    def b(): return 'y'\n    b() >> EmptyOperator(task_id='y')", []),
    ("with DAG('d', schedule='@daily', end_date=datetime(2020, 1, 1, tzinfo=UTC)):\n    EmptyOperator(task_id='a')",
     [("L013", 1)]),
    ("with DAG('d', schedule='@once'):\n    EmptyOperator(task_id='a')", []),
    ("with DAG('d', schedule='@hourly', catchup=True, start_date=datetime(2020, 1, 1, tzinfo=UTC)):\n"
     "    EmptyOperator(task_id='a')", [("L014", 1)]),
    ("with DAG('d', schedule=timedelta(seconds=5)):\n    @task\n    def a(): ...\n    a()", [("L015", 1)]),
    ("with DAG('d', schedule=timedelta(seconds=5)):\n    @task(isolation='warm')\n    def a(): ...\n    a()", []),
    # --- waved through ---
    ("NOW = datetime.now()  # noqa: DAGD-L002\n" + BASH.format(""), []),
    ("NOW = datetime.now()  # noqa\n" + BASH.format(""), []),
    ("NOW = datetime.now()  # noqa: DTZ005\n" + BASH.format(""), []),
    ("NOW = datetime.now()  # noqa: DAGD-L003\n" + BASH.format(""), [("L002", 1)]),
    ("with DAG(\n    'd',\n    start_date=datetime(2026, 1, 1),  # noqa: DAGD-L005, DAGD-L014\n):\n"
     "    EmptyOperator(task_id='a')", []),
]  # fmt: skip


@pytest.mark.parametrize("text,expected", CASES)
def test_a_finding_has_its_code_and_line(tmp_path: Path, text: str, expected: list[tuple[str, int]]) -> None:
    assert codes(tmp_path, text) == expected


def test_pools_are_checked_against_those_that_are_known(tmp_path: Path) -> None:
    text = BASH.format(", pool='etl'")
    assert codes(tmp_path, text, {"etl": None}) == []
    assert codes(tmp_path, text, {}) == [("L009", 2)]
    assert codes(tmp_path, BASH.format(""), {}) == []


def test_a_task_that_asks_for_more_slots_than_its_pool_has_is_told(tmp_path: Path) -> None:
    text = BASH.format(", pool='etl', pool_slots=3")
    assert codes(tmp_path, text, {"etl": 2}) == [("L016", 2)]
    assert codes(tmp_path, text, {"etl": 3}) == codes(tmp_path, text, {"etl": 0}) == codes(tmp_path, text) == []
    assert codes(tmp_path, BASH.format(", pool_slots=129"), {"default_pool": 128}) == [("L016", 2)]


def test_a_broken_file_still_shows_what_its_text_says(tmp_path: Path) -> None:
    (tmp_path / "d.py").write_text("import datetime\nNOW = datetime.datetime.now()\n1 / 0\n")
    parsed = parse_file(str(tmp_path / "d.py"), str(tmp_path), lint=True)
    assert parsed.error is not None
    assert [one.code for one in parsed.findings] == ["DAGD-L002"]


def test_an_import_is_measured_at_its_line_and_a_traceback_is_the_files_own(tmp_path: Path) -> None:
    busy = "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass\n"
    (tmp_path / "slow_to_import.py").write_text(busy)
    body = "try:\n    import slow_to_import\nfinally:\n    pass\nimport json\n" + BASH.format("")
    assert codes(tmp_path, body) == [("L004", 2)]
    (tmp_path / "breaks.py").write_text("1 / 0\n")
    (tmp_path / "d.py").write_text("'''Doc.'''\nfrom __future__ import annotations\nimport breaks\n")
    error = parse_file(str(tmp_path / "d.py"), str(tmp_path), lint=True).error
    assert error is not None
    assert error.line == 3
    assert "lint" not in error.traceback


def cron(expr: str, zone: str = "Europe/Berlin", dst: str = "once") -> list[str]:
    known = spec("d", task("a"), schedule={"kind": "cron", "exprs": [expr]}, timezone=zone, dst=dst)
    return [one.message for one in lint_times(known, "d.py", NOW)]


@pytest.mark.parametrize(
    "expr,zone,said",
    [
        ("30 2 * * *", "Europe/Berlin", "repeats 02:30 on 2026-10-25 and skips 02:30 on 2027-03-28"),
        ("0 3 * * *", "Europe/Berlin", None),
        ("30 2 * * 1", "Europe/Berlin", None),
        ("30 1 * * *", "America/New_York", "repeats 01:30 on 2026-11-01"),
        ("30 2 * * *", "America/New_York", "skips 02:30 on 2027-03-14"),
        ("0 0 * * *", "America/Havana", "repeats 00:00 on 2026-11-01 and skips 00:00 on 2027-03-14"),
        ("*/10 2 * * *", "Europe/Berlin", None),
        ("0 2 * * *", "UTC", None),
        ("15 2 * * *", "Australia/Lord_Howe", "skips 02:15 on 2026-10-04"),
    ],
)
def test_a_cron_on_a_night_of_clock_change_is_told(expr: str, zone: str, said: str | None) -> None:
    told = cron(expr, zone)
    assert (said is None) == (told == [])
    assert said is None or said in told[0]


def test_who_names_a_policy_for_clock_changes_is_not_asked_again() -> None:
    assert cron("30 2 * * *", dst="skip") == cron("30 2 * * *", dst="both") == []


# --- reach -----------------------------------------------------------------------------------------------------------

E: dict[str, Any] = {"isolation": "engine"}


def dead(*tasks: Any, choices: Any = None) -> list[str]:
    return [name for name, _ in unreachable(spec("d", *tasks), choices or {})]


@pytest.mark.parametrize(
    "rule,over_empty,over_work",
    [
        ("all_success", True, True), ("all_failed", False, True), ("all_done", True, True),
        ("one_success", True, True), ("one_failed", False, True), ("one_done", True, True),
        ("none_failed", True, True), ("none_failed_min_one_success", True, True), ("none_skipped", True, True),
        ("all_skipped", False, True), ("always", True, True), ("all_done_min_one_success", True, True),
    ],
)  # fmt: skip
def test_an_empty_task_cannot_fail_and_cannot_skip(rule: str, over_empty: bool, over_work: bool) -> None:
    down = task("x", "a", trigger_rule=rule)
    assert dead(task("a", **E), down) == ([] if over_empty else ["x"])
    assert dead(task("a"), down) == ([] if over_work else ["x"])


def test_what_only_follows_is_not_told_again() -> None:
    chain = [
        task("a", **E), task("x", "a", trigger_rule="one_failed"), task("y", "x"),
    ]  # fmt: skip
    assert dead(*chain) == ["x"]


ARMS = [
    task("b", decides="branch"), task("l", "b"), task("r", "b"),
    task("join", "l", "r"),
]  # fmt: skip
ONE, BOTH, NONE = [frozenset({"l"}), frozenset({"r"}), frozenset()], [frozenset({"l", "r"})], [frozenset[str]()]


def test_arms_that_exclude_each_other_never_join_under_all_success() -> None:
    assert dead(*ARMS, choices={"b": ONE}) == ["join"]
    assert dead(*ARMS, choices={"b": BOTH}) == dead(*ARMS) == []
    assert dead(*ARMS, choices={"b": [*ONE, *BOTH]}) == []
    mended = [*ARMS[:3], task("join", "l", "r", trigger_rule="none_failed_min_one_success")]
    assert dead(*mended, choices={"b": ONE}) == []


def test_an_arm_that_is_never_chosen_is_told_and_what_is_below_a_chosen_one_is_kept() -> None:
    assert dead(*ARMS[:3], choices={"b": [frozenset({"l"})]}) == ["r"]
    kept = [task("b", decides="branch"), task("l", "b"), task("r", "b", "l")]
    assert dead(*kept, choices={"b": [frozenset({"l"})]}) == []
    grouped = [task("b", decides="branch"), task("g.l", "b")]
    assert dead(*grouped, choices={"b": [frozenset({"g"})]}) == []


def test_two_branches_that_contradict_each_other_leave_nothing() -> None:
    tasks = [
        task("b", decides="branch"), task("l", "b"),
        task("c", decides="branch"), task("x", "l", "c"),
    ]  # fmt: skip
    assert dead(*tasks, choices={"b": [frozenset({"l"})], "c": [frozenset({"x"})]}) == []
    assert dead(*tasks, choices={"b": [frozenset({"l"})], "c": NONE}) == ["x"]


def test_many_branches_take_no_more_time_than_a_few() -> None:
    tasks = [task(f"b{i}", decides="branch") for i in range(20)]
    assert dead(*tasks, choices={one.task_id: [frozenset({"b1"}), frozenset()] for one in tasks}) == []
