"""Our code keeps the house rules, and the rules find what they are for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.rules import FILE_LINES, RULES, offences

CHECKOUT = Path(__file__).parents[2]
FOLDERS = ("scheduler", "operators", "tests")


def sources() -> Iterator[Path]:
    for folder in FOLDERS:
        yield from sorted((CHECKOUT / folder).rglob("*.py"))


def test_every_file_keeps_the_house_rules():
    found = [
        str(offence)
        for path in sources()
        for offence in offences(path.relative_to(CHECKOUT).as_posix(), path.read_text("utf-8"))
    ]
    assert not found, "\n" + "\n".join(found)


def test_the_rules_look_at_every_folder():
    seen = {path.relative_to(CHECKOUT).parts[:2] for path in sources()}
    assert {("scheduler", "dagd"), ("operators", "dagd_operators"), ("tests", "house")} <= seen


def function_of(lines: int, head: str = "def f():") -> str:
    return head + "\n    x = 1" * (lines - 1) + "\n"


BAD = [
    ("file_is_short", "scheduler/dagd/engine/loop.py", "x = 1\n" * (FILE_LINES + 1)),
    ("function_is_short", "scheduler/dagd/engine/loop.py", function_of(41)),
    ("function_is_short", "scheduler/dagd/engine/loop.py", function_of(61, "def f():  # long: a table of cases")),
    ("function_is_short", "scheduler/dagd/engine/loop.py", function_of(41, "def f():  # long:")),
    ("function_is_short", "operators/dagd_operators/bash.py", "class A:\n" + function_of(41, "    async def f():").replace("\n    x", "\n        x")),
    ("name_says_a_role", "scheduler/dagd/engine/utils.py", ""),
    ("name_says_a_role", "scheduler/dagd/engine/loop.py", "class PoolManager: ..."),
    ("name_says_a_role", "scheduler/dagd/engine/loop.py", "def handle_event(): ..."),
    ("own_imports_stand_at_the_top", "scheduler/dagd/engine/loop.py", "def f():\n    from dagd.store import x\n"),
    ("own_imports_stand_at_the_top", "scheduler/dagd/engine/loop.py", "def f():\n    import dagd.store.runs\n"),
    ("own_imports_stand_at_the_top", "scheduler/dagd/engine/loop.py", "def f():\n    from . import x\n"),
    ("own_imports_stand_at_the_top", "scheduler/dagd/cli/main.py", "def f():\n    from dagd.store import x\n"),
    ("own_modules_are_not_loaded_by_name", "scheduler/dagd/engine/loop.py", "import importlib\nimportlib.import_module('dagd.store')"),
    ("own_modules_are_not_loaded_by_name", "scheduler/dagd/engine/loop.py", "from importlib import import_module as load\ndef f(n):\n    load(f'dagd.cli.{n}')"),
    ("nothing_is_global", "scheduler/dagd/engine/loop.py", "x = 1\ndef f():\n    global x\n    x = 2\n"),
    ("instants_are_aware", "scheduler/dagd/cli/runs.py", "from datetime import datetime\ndatetime.now()"),
    ("instants_are_aware", "scheduler/dagd/cli/runs.py", "from datetime import datetime\ndatetime.now(tz=None)"),
    ("instants_are_aware", "scheduler/dagd/cli/runs.py", "import datetime as dt\ndt.datetime.utcnow()"),
    ("instants_are_aware", "scheduler/dagd/cli/runs.py", "import datetime\ndatetime.datetime(2026, 1, 1)"),
    ("instants_are_aware", "scheduler/dagd/cli/runs.py", "from datetime import datetime\ndatetime.fromtimestamp(0)"),
    ("instants_are_aware", "scheduler/dagd/cli/runs.py", "from datetime import date\ndate.today()"),
    ("timeless_code_reads_no_clock", "scheduler/dagd/model/times.py", "import time\ntime.time()"),
    ("timeless_code_reads_no_clock", "scheduler/dagd/store/runs.py", "from time import monotonic as m\nm()"),
    ("timeless_code_reads_no_clock", "scheduler/dagd/store/runs.py", "import time\ndef f(clock=time.perf_counter): ..."),
    ("timeless_code_reads_no_clock", "scheduler/dagd/timetables/cron.py", "from datetime import UTC, datetime\ndatetime.now(UTC)"),
    ("timeless_code_reads_no_clock", "scheduler/dagd/authoring/dag.py", "import pendulum\npendulum.now('UTC')"),
    ("decisions_are_pure", "scheduler/dagd/decide/runs.py", "import random\nrandom.random()"),
    ("decisions_are_pure", "scheduler/dagd/decide/runs.py", "from os.path import exists"),
    ("tests_wait_on_facts", "tests/e2e/test_x.py", "import time\ndef test_x():\n    time.sleep(2)"),
    ("tests_wait_on_facts", "tests/processes.py", "from time import sleep\nsleep(2)"),
    ("only_the_command_line_prints", "scheduler/dagd/engine/loop.py", "print('x')"),
    ("no_error_is_swallowed", "scheduler/dagd/engine/loop.py", "try:\n    x = 1\nexcept Exception:\n    pass"),
    ("no_error_is_swallowed", "scheduler/dagd/engine/loop.py", "try:\n    x = 1\nexcept (ValueError, BaseException):\n    ..."),
    ("no_error_is_swallowed", "scheduler/dagd/engine/loop.py", "for x in y:\n    try:\n        x = 1\n    except:\n        continue"),
    ("no_error_is_swallowed", "scheduler/dagd/engine/loop.py", "from contextlib import suppress\nwith suppress(Exception):\n    x = 1"),
    ("only_transitions_write_state", "scheduler/dagd/store/runs.py", "def f(c):\n    c.execute(update(run).where(a).values(state=1))"),
    ("only_transitions_write_state", "scheduler/dagd/store/runs.py", "def f(c):\n    c.execute(run.update().values({run.c.state: 1}))"),
    ("only_transitions_write_state", "scheduler/dagd/store/runs.py", "def f(c, rows):\n    c.execute(insert(run), [{'id': 1, 'state': r} for r in rows])"),
    ("only_transitions_write_state", "scheduler/dagd/store/runs.py", "def f(c):\n    row = dict(id=1, state=2)\n    c.execute(insert(run), row)"),
    ("only_transitions_write_state", "scheduler/dagd/store/runs.py", "END = text('UPDATE run SET ended_at = :t, state = :s WHERE id = :i')"),
    ("only_transitions_write_state", "scheduler/dagd/store/runs.py", "NEW = f'insert into {run} x'\nSQL = 'INSERT INTO run (id, state) VALUES (1, 2)'"),
    ("only_transitions_write_state", "scheduler/dagd/store/runs.py", "SQL = 'INSERT INTO run (id) VALUES (1) ON CONFLICT DO UPDATE SET state = 2'"),
]  # fmt: skip

GOOD = [
    ("file_is_short", "scheduler/dagd/engine/loop.py", "x = 1\n" * FILE_LINES),
    ("function_is_short", "scheduler/dagd/engine/loop.py", function_of(40)),
    ("function_is_short", "scheduler/dagd/engine/loop.py", function_of(60, "def f():  # long: a table of cases")),
    ("function_is_short", "scheduler/dagd/engine/loop.py", function_of(50, "def f(\n    a,\n):\n    '''Do.\n\n    long: a table.'''")),
    ("name_says_a_role", "scheduler/dagd/engine/rescuer.py", "class Rescuer: ...\ndef rescue_expired(): ..."),
    ("own_imports_stand_at_the_top", "scheduler/dagd/engine/loop.py", "from dagd.store import x\ndef f():\n    import json"),
    ("own_modules_are_not_loaded_by_name", "scheduler/dagd/cli/main.py", "import importlib\nimportlib.import_module('dagd.cli.runs')"),
    ("own_modules_are_not_loaded_by_name", "scheduler/dagd/runtime/load.py", "import importlib\ndef f(n):\n    importlib.import_module(n)"),
    ("nothing_is_global", "scheduler/dagd/engine/loop.py", "def f():\n    x = 1\n    def g():\n        nonlocal x\n        x = 2"),
    ("instants_are_aware", "scheduler/dagd/cli/runs.py", "from datetime import UTC, datetime\ndatetime.now(UTC), datetime(2026, 1, 1, tzinfo=UTC)"),
    ("instants_are_aware", "scheduler/dagd/timetables/cron.py", "from datetime import datetime\ndatetime(2026, 1, 1)  # naive: wall time of the zone"),
    ("instants_are_aware", "scheduler/dagd/cli/runs.py", "from datetime import datetime, UTC\ndatetime.fromtimestamp(0, UTC)"),
    ("timeless_code_reads_no_clock", "scheduler/dagd/engine/loop.py", "import time\ntime.monotonic()"),
    ("timeless_code_reads_no_clock", "scheduler/dagd/decide/runs.py", "def f(now, time):\n    return now + time.limit"),
    ("decisions_are_pure", "scheduler/dagd/decide/runs.py", "import heapq, random\nrandom.Random(7).random()\nfrom dagd.model.times import us"),
    ("tests_wait_on_facts", "tests/chaos/test_x.py", "import time\ntime.sleep(2)"),
    ("tests_wait_on_facts", "tests/e2e/dags/slow.py", "import time\ntime.sleep(2)"),
    ("only_the_command_line_prints", "scheduler/dagd/cli/runs.py", "print('x')"),
    ("no_error_is_swallowed", "scheduler/dagd/engine/loop.py", "try:\n    x = 1\nexcept FileNotFoundError:\n    pass\nexcept Exception:\n    log.exception('x')"),
    ("only_transitions_write_state", "scheduler/dagd/store/transitions.py", "def f(c):\n    c.execute(update(run).values(state=1))"),
    ("only_transitions_write_state", "scheduler/dagd/store/reads.py", "def f(c):\n    '''UPDATE x SET state = 1.'''\n    return [{'state': r.state} for r in c.execute(select(run).where(run.c.state == 1))]"),
    ("only_transitions_write_state", "scheduler/dagd/store/runs.py", "SQL = 'UPDATE run SET due = 1 WHERE state = 2'"),
]  # fmt: skip


@pytest.mark.parametrize("rule,path,text", BAD)
def test_a_rule_finds_what_it_is_for(rule, path, text):
    assert [offence.rule for offence in offences(path, text)] == [rule]


@pytest.mark.parametrize("rule,path,text", GOOD)
def test_a_rule_leaves_good_code_alone(rule, path, text):
    assert rule not in [offence.rule for offence in offences(path, text)]


def test_every_rule_has_a_bad_and_a_good_example():
    assert {rule for rule, _, _ in BAD} == {rule for rule, _, _ in GOOD} == set(RULES)
