"""Test runs: a DAG in one process, without database and daemon, on a clock that jumps."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dagd.engine.local_start import Shown, run_place
from dagd.model.errors import BrokenFile, InvalidParams, NotFound, Refused, UsageError
from dagd.model.settings import Settings

HEAD = """
import os, time
from datetime import datetime, timedelta
from dagd import DAG, task, task_group, Connection, Variable, get_current_context
"""
DATE = datetime(2026, 3, 4, tzinfo=UTC)


def ran(known: Settings, body: str, **more: Any) -> Shown:
    lines = "\n".join(f"    {line}" for line in body.strip("\n").splitlines())
    head = more.pop("dag", "DAG('d')")
    file = known.dags_folder / "d.py"
    file.write_text(f"{HEAD}\nwith {head} as dag:\n{lines}\n")
    return run_place(str(file), settings=known, **more)


def states(shown: Shown) -> dict[str, str]:
    named = [(one["task_id"], one["map_index"], one["state"]) for one in shown["tasks"]]
    return {name if index < 0 else f"{name}/{index}": state for name, index, state in named}


def test_values_go_from_task_to_task_and_a_map_expands(known: Settings) -> None:
    shown = ran(
        known,
        """
        @task
        def numbers(): return [1, 2, 3]
        @task
        def double(x): return 2 * x
        @task
        def check(xs): assert list(xs) == [2, 4, 6], list(xs)
        check(double.expand(x=numbers()))
        """.replace("\n        ", "\n"),
    )
    assert states(shown) == {"numbers": "success", **{f"double/{at}": "success" for at in range(3)}, "check": "success"}
    assert (shown.state, shown["kind"], shown["conf"]) == ("success", "manual", {})


def test_a_retry_waits_for_no_real_time(known: Settings) -> None:
    began = time.monotonic()
    shown = ran(
        known,
        """
@task(retries=3, retry_delay=timedelta(hours=5))
def flaky(ti=None):
    if ti.try_number < 3: raise ValueError("not yet")
flaky()
        """,
    )
    (row,) = shown["tasks"]
    assert (row["state"], row["try"], row["max_tries"]) == ("success", 3, 4)
    assert shown["duration_s"] >= 10 * 3600
    assert time.monotonic() - began < 20


def test_a_failure_names_its_error_and_place_and_fails_the_run(known: Settings) -> None:
    shown = ran(known, "@task\ndef bad(): raise KeyError('amount')\n@task\ndef below(): pass\nbad() >> below()")
    assert shown.state == "failed"
    assert states(shown) == {"bad": "failed", "below": "upstream_failed"}
    row = shown["tasks"][0]
    assert (row["error"], row["reason"]) == ("KeyError: 'amount'", "exception")
    assert row["error_at"].startswith("d.py:")


def test_silence_is_failure_and_a_timeout_is_enforced(known: Settings) -> None:
    shown = ran(
        known,
        """
@task
def silent(): os._exit(0)
@task(execution_timeout=timedelta(seconds=0.3))
def slow(): time.sleep(60)
silent(); slow()
        """,
    )
    reasons = {row["task_id"]: row["reason"] for row in shown["tasks"]}
    assert reasons["silent"] == "no result"
    assert "timeout" in reasons["slow"]


def test_dagrun_timeout_ends_what_runs(known: Settings) -> None:
    body = "@task\ndef slow(): time.sleep(60)\n@task\ndef below(): pass\nslow() >> below()"
    shown = ran(known, body, dag="DAG('d', dagrun_timeout=timedelta(seconds=0.5))")
    assert (states(shown), shown["reason"]) == ({"slow": "failed", "below": "skipped"}, "dagrun_timeout")


def test_a_sensor_that_nobody_satisfies_runs_into_its_timeout(known: Settings) -> None:
    shown = ran(known, "@task.sensor(poke_interval=60, timeout=7 * 86400)\ndef waits(): return False\nwaits()")
    (row,) = shown["tasks"]
    assert (row["state"], row["reason"], row["try"]) == ("failed", "sensor timeout", 1)


def test_a_sensor_waits_for_what_another_task_makes(known: Settings, tmp_path: Path) -> None:
    shown = ran(
        known,
        f"""
from pathlib import Path
flag = Path({str(tmp_path / "flag")!r})
@task.sensor(poke_interval=60)
def waits(): return flag.exists()
@task(retries=1, retry_delay=timedelta(minutes=10))
def makes(ti=None):
    if ti.try_number == 1: raise ValueError("later")
    flag.touch()
waits(); makes()
        """,
    )
    assert shown.state == "success"


def test_branches_short_circuits_setups_and_trigger_rules_are_those_of_the_scheduler(known: Settings) -> None:
    shown = ran(
        known,
        """
@task.branch
def choose(): return "left"
@task
def left(): pass
@task
def right(): pass
@task(trigger_rule="none_failed_min_one_success")
def join(): pass
@task.short_circuit
def stop(): return False
@task
def never(): pass
choose() >> [left(), right()] >> join()
stop() >> never()
        """,
    )
    assert states(shown) == {
        "choose": "success", "left": "success", "right": "skipped", "join": "success", "stop": "success",
        "never": "skipped",
    }  # fmt: skip


def test_variables_and_connections_come_from_the_environment(known: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGD_VAR_GREETING", "hello")
    monkeypatch.setenv("DAGD_CONN_WH", "postgres://me:secret@host:5/db")
    shown = ran(
        known,
        """
@task
def reads():
    assert Variable.get("greeting") == "hello"
    assert Connection.get("wh").password == "secret"
    Variable.set("mine", "1")
@task
def later(): assert Variable.get("mine") == "1" and Variable.get("none", "x") == "x"
reads() >> later()
        """,
    )
    assert shown.state == "success"


def test_the_date_is_the_slots_and_the_clock_can_be_set(known: Settings) -> None:
    body = """
@task
def look(**context):
    assert context["ds"] == "2026-03-04" and context["data_interval_start"].day == 3
look()
    """
    shown = ran(known, body, dag="DAG('d', schedule='@daily')", date=DATE, clock=datetime(2030, 1, 1, tzinfo=UTC))
    assert shown.state == "success"
    assert shown["logical_date"] == "2026-03-04T00:00:00Z"
    assert shown["created_at"].startswith("2030-01-01T00:00:00")


def test_params_are_validated_before_anything_runs(known: Settings) -> None:
    body = "@task\ndef look(params=None): assert params['n'] == 5\nlook()"
    head = "DAG('d', params={'n': __import__('dagd').Param(3, type='integer')})"
    assert ran(known, body, dag=head, conf={"n": 5}).state == "success"
    with pytest.raises(InvalidParams):
        ran(known, body, dag=head, conf={"n": "many"})


CHAIN = """
@task
def a(): return [1, 2]
@task
def b(x): return x + 1
@task
def c(xs): return sum(xs)
c(b.expand(x=a()))
"""


@pytest.mark.parametrize(
    "selection,mocks,expected",
    [
        ("+b", {}, ["a", "b/0", "b/1"]),
        ("b+", {"a": [5]}, ["a", "b/0", "c"]),
        ("c", {"b": [5, 6]}, ["b", "c"]),
        (None, {"a": [7]}, ["a", "b/0", "c"]),
    ],
)
def test_a_selection_runs_with_given_values_for_what_is_above(
    known: Settings, selection: str | None, mocks: dict[str, Any], expected: list[str]
) -> None:
    shown = ran(known, CHAIN, task_selection=selection, mocks=mocks)
    assert (shown.state, list(states(shown))) == ("success", expected)


def test_what_cannot_be_selected_is_said(known: Settings) -> None:
    with pytest.raises(NotFound, match="no task 'd'"):
        ran(known, CHAIN, task_selection="d")
    with pytest.raises(UsageError, match="mapped over the value of a"):
        ran(known, CHAIN, task_selection="b")
    with pytest.raises(NotFound):
        ran(known, CHAIN, mocks={"z": 1})


def test_a_dag_may_be_named_by_its_id_and_errors_have_their_place(known: Settings) -> None:
    ran(known, CHAIN)
    assert run_place("d", settings=known).state == "success"
    with pytest.raises(NotFound):
        run_place("dd", settings=known)
    (known.dags_folder / "broken.py").write_text("x = (\n")
    with pytest.raises(BrokenFile, match="never closed"):
        run_place(str(known.dags_folder / "broken.py"), settings=known)


def test_callbacks_run_and_a_failing_one_changes_nothing(known: Settings, tmp_path: Path) -> None:
    shown = ran(
        known,
        f"""
def told(context): open({str(tmp_path / "told")!r}, "a").write(context["ti"].task_id)
def breaks(context): 1 / 0
@task(on_failure_callback=[breaks, told])
def bad(): raise ValueError("x")
bad()
        """,
    )
    assert shown.state == "failed"
    assert (tmp_path / "told").read_text() == "bad"


def test_a_dag_object_tests_itself_and_prints_on_stderr_alone(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    body = (
        "\nwith DAG('own') as dag:\n    @task\n    def hello(): print('hello'); os.system('echo deep')\n    hello()\n"
    )
    file.write_text(HEAD + body + "if __name__ == '__main__':\n    print(dag.test().state)\n")
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "success\n", done.stderr
    assert "hello" in done.stderr
    assert "deep" in done.stderr


def test_a_task_that_waits_for_a_trigger_goes_on_when_another_has_made_it(known: Settings, tmp_path: Path) -> None:
    shown = ran(
        known,
        f"""
from dagd import FileTrigger, TimeDeltaTrigger, get_current_context
from dagd_operators.filesystem import FileSensor
flag = {str(tmp_path / "flag")!r}
@task
def waits(trigger_event=None):
    if trigger_event is None: get_current_context().defer(trigger=FileTrigger(flag))
    return trigger_event
@task
def makes(trigger_event=None):
    if trigger_event is None: get_current_context().defer(trigger=TimeDeltaTrigger(timedelta(days=3)))
    open(flag, "w").close()
    return trigger_event
waits(); makes(); FileSensor(task_id="sensor", filepath=flag)
        """,
    )
    assert shown.state == "success"
    assert shown["tasks"][1]["duration_s"] > 3 * 86_400 - 60  # passed at once, on the clock of the run


@pytest.mark.parametrize(
    "more,reason", [("timeout=timedelta(days=1)", "defer timeout"), ("", None)], ids=["timeout", "for ever"]
)
def test_a_trigger_that_never_fires_runs_into_its_timeout_or_is_told(
    more: str, reason: str | None, known: Settings
) -> None:
    body = f"""
from dagd import get_current_context
@task
def waits(): get_current_context().defer(trigger={{"kind": "file", "path": "/no/such/file"}}, {more})
waits()
    """
    if reason is None:
        with pytest.raises(Refused, match="waits in vain for file /no/such/file"):
            ran(known, body)
        return
    (row,) = ran(known, body)["tasks"]
    assert (row["state"], row["reason"]) == ("failed", reason)


def test_a_trigger_that_cannot_look_fails_its_task(known: Settings) -> None:
    body = """
from dagd import SqlTrigger, get_current_context
@task
def waits(): get_current_context().defer(trigger=SqlTrigger("shop", "select 1"))
waits()
    """
    (row,) = ran(known, body)["tasks"]
    assert (row["state"], row["error"]) == (
        "failed", "NotFound: DAGD-201: there is no connection 'shop'. Make it: dagd connections set shop --uri ...",
    )  # fmt: skip
