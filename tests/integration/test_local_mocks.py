"""What `DAG.test()` and `run_task` take: mocks, a clock, Airflow's arguments."""

from __future__ import annotations

import os
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from dagd import DAG, Connection, FailTask, Param, SkipTask, Variable, task
from dagd.model.errors import InvalidParams, NotFound, UnknownArgument, UsageError, WrongArgument
from dagd.testing import FrozenClock, XComs, run_task
from dagd_operators.bash import BashOperator
from dagd_operators.time import TimeDeltaSensor


def chain() -> DAG:
    with DAG("chain") as dag:

        @task(retries=2, retry_delay=timedelta(hours=1))
        def first(n: int = 2) -> list[int]:
            return list(range(n))

        @task
        def each(x: int, ds: str = "") -> int:
            return x + 1

        @task
        def last(xs: Any, ti: Any = None) -> int:
            ti.xcom_push("seen", len(xs))
            return sum(xs)

        shell = BashOperator(task_id="shell", bash_command="echo {{ params.word }}", params={"word": "hi"})
        last(each.expand(x=first())) >> shell
    return dag


@pytest.mark.parametrize(
    "mock,state,tries,value",
    [
        ([5], "success", 1, [5]),
        (XComs(return_value=[5], other=1), "success", 1, [5]),
        (lambda: [5], "success", 1, [5]),
        (lambda n=0: [n], "success", 1, [0]),
        (SkipTask, "skipped", 1, None),
        (FailTask("no"), "failed", 1, None),
        (ValueError("no"), "failed", 3, None),
    ],
)
def test_a_mock_is_a_value_a_function_or_an_exception(mock: Any, state: str, tries: int, value: Any) -> None:
    run = chain().test(mocks={"first": mock})
    row = next(one for one in run["tasks"] if one["task_id"] == "first")
    assert (row["state"], row["try"], run.value("first")) == (state, tries, value)


def test_a_function_is_given_what_the_task_would_be_given() -> None:
    each, shell = Mock(side_effect=lambda x, ds: x * 10), Mock(return_value="said")
    run = chain().test(datetime(2026, 3, 4, tzinfo=UTC), mocks={"each": each, "shell": shell})
    assert [one.kwargs for one in each.call_args_list] == [{"x": 0, "ds": "2026-03-04"}, {"x": 1, "ds": "2026-03-04"}]
    assert run.value("each") == [0, 10]
    assert run.xcoms("last") == {"return_value": 10, "seen": 2}
    assert (run.value("shell"), shell.call_args.args[0]["ds"]) == ("said", "2026-03-04")


def test_a_mock_that_fails_twice_is_asked_a_third_time_hours_later() -> None:
    clock, flaky = FrozenClock(), Mock(side_effect=[OSError("a"), OSError("b"), [1]])
    run = chain().test(mocks={"first": flaky}, clock=clock)
    assert (run.state, flaky.call_count) == ("success", 3)
    assert clock.now() == datetime(2026, 1, 1, 2, tzinfo=UTC)


def test_the_dag_is_as_it_was_after_a_mock() -> None:
    dag = chain()
    before = dict(dag.tasks_by_id)
    dag.test(mocks={"first": ValueError, "shell": lambda: 1})
    assert dag.tasks_by_id == before


def test_a_mocked_branch_and_short_circuit_decide() -> None:
    with DAG("d") as dag:

        @task.branch
        def choose() -> str:
            return "left"

        @task.short_circuit
        def gate() -> bool:
            return True

        ends = [BashOperator(task_id=name, bash_command="true") for name in ("left", "right")]
        choose() >> ends
        gate() >> BashOperator(task_id="behind", bash_command="true")
    for mocks in ({"choose": "right", "gate": False}, {"choose": lambda: "right", "gate": lambda: 0}):
        states = dag.test(mocks=mocks).states
        assert (states["left"], states["right"], states["behind"]) == ("skipped", "success", "skipped")


# --- arguments -------------------------------------------------------------------------------------------------------


def reading() -> DAG:
    with DAG("reading") as dag:

        @task
        def look() -> list[Any]:
            return [Variable.get("v"), Variable.get("w", deserialize_json=True), Connection.get("c").password]

        look()
    return dag


def test_variables_and_connections_are_given_or_read_from_files(tmp_path: Path) -> None:
    given = {"variables": {"v": "1", "w": {"a": 2}}, "connections": {"c": "http://me:p@host"}}
    assert reading().test(**given).value("look") == ["1", {"a": 2}, "p"]
    (tmp_path / "v.json").write_text('{"v": "1", "w": {"a": 2}}')
    (tmp_path / "c.env").write_text("# ours\nc = http://me:p@host\n")
    files = {"variable_file_path": str(tmp_path / "v.json"), "conn_file_path": str(tmp_path / "c.env")}
    assert reading().test(**files).value("look") == ["1", {"a": 2}, "p"]
    fields = {"c": {"conn_type": "http", "password": "q"}}
    assert reading().test(**{**files, "connections": fields}).value("look")[2] == "q"
    whole = {"c": Connection(conn_type="http", host="h", login="l", password="p w")}
    assert reading().test(**{**files, "connections": whole}).value("look")[2] == "p w"


def test_airflows_arguments_mean_what_they_meant_or_are_refused_with_the_reason(tmp_path: Path) -> None:
    run = chain().test(execution_date=datetime(2026, 3, 4, tzinfo=UTC), mark_success_pattern="fir.*|each")
    assert (run["logical_date"], run.value("first")) == ("2026-03-04T00:00:00Z", None)
    assert chain().test(use_executor=False, session=None).state == "success"
    with pytest.raises(UsageError, match="no executor"):
        chain().test(use_executor=True)
    with pytest.raises(UsageError, match="clock="):
        chain().test(run_after=datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(UnknownArgument, match="mock_s") as unknown:
        chain().test(mock_s={})
    assert unknown.value.remedy is not None
    assert "mocks" in unknown.value.remedy
    with pytest.raises(WrongArgument, match="no time zone"):
        chain().test(datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(NotFound, match="firsst"):
        chain().test(mocks={"firsst": 1})
    with pytest.raises(UsageError, match="YAML"):
        chain().test(variable_file_path=str(tmp_path / "v.yaml"))


# --- one task --------------------------------------------------------------------------------------------------------


def test_one_task_is_run_with_its_values_params_and_log() -> None:
    dag = chain()
    result = run_task(dag, "last", xcoms={"each": 3})
    assert (result.state, result.try_number, result.error) == ("success", 1, None) or result.error
    shell = run_task(dag.get_task("shell"))
    assert (shell.value, shell.rendered["bash_command"]) == ("hi", "echo hi")
    assert "hi" in shell.log.splitlines()


def test_a_mapped_task_gives_the_list_of_its_values() -> None:
    result = run_task(chain(), "each", xcoms={"first": [4, 5]})
    assert (result.state, result.value) == ("success", [5, 6])


def test_a_task_that_fails_tells_its_error_and_tries() -> None:
    with DAG("d") as dag:

        @task(retries=1)
        def bad() -> None:
            print("before")
            raise KeyError("amount")

        bad()
    result = run_task(dag, "bad")
    assert (result.state, result.try_number, result.error) == ("failed", 2, "KeyError: 'amount'")
    assert result.log.count("before") == 2


@pytest.mark.parametrize("fork", [True, False])
def test_a_log_has_what_commands_of_the_task_print(fork: bool) -> None:
    with DAG("d") as dag:

        @task
        def loud() -> None:
            os.system("echo deep; echo low >&2")
            print("high", file=sys.stderr)

        loud()
    result = run_task(dag, "loud", fork=fork)
    assert {"deep", "low", "high"} <= set(result.log.splitlines())


def test_a_child_may_die_and_an_execution_timeout_holds_there() -> None:
    with DAG("d") as dag:

        @task
        def leaves() -> None:
            os._exit(3)

        @task(execution_timeout=timedelta(seconds=0.3))
        def hangs() -> None:
            threading.Event().wait()

        leaves(), hangs()
    assert run_task(dag, "leaves", fork=True).state == "failed"
    assert "timeout" in str(run_task(dag, "hangs", fork=True).reason)


def test_a_task_below_a_failure_rule_or_a_branch_still_runs_alone() -> None:
    with DAG("d") as dag:

        @task.branch
        def choose() -> str:
            return "other"

        @task(trigger_rule="one_failed")
        def alarm(what: Any) -> Any:
            return what

        alarm(choose()) >> BashOperator(task_id="other", bash_command="true")
    assert run_task(dag, "alarm", xcoms={"choose": "x"}).value == "x"


def test_what_cannot_be_run_is_said() -> None:
    with pytest.raises(NotFound, match="no task 'laast'"):
        run_task(chain(), "laast")
    with pytest.raises(UsageError, match="which task"):
        run_task(chain())
    with pytest.raises(UsageError, match="no param 'm'"):
        run_task(chain(), "first", params={"m": 1})
    with pytest.raises(UsageError, match="neither a task nor a DAG"):
        run_task("chain", "first")
    with DAG("p", params={"n": 1}) as dag:
        BashOperator(task_id="a", bash_command="true")
    assert run_task(dag, "a", params={"n": 2}).state == "success"
    with DAG("q", params={"n": Param(1, type="integer")}) as typed:
        BashOperator(task_id="a", bash_command="true")
    with pytest.raises(InvalidParams):
        run_task(typed, "a", params={"n": "x"})


# --- the clock -------------------------------------------------------------------------------------------------------


def test_a_frozen_clock_goes_where_it_is_put_and_a_run_moves_it_on() -> None:
    clock = FrozenClock("2026-03-29T00:30:00+01:00")
    assert clock.now() == datetime(2026, 3, 28, 23, 30, tzinfo=UTC)
    assert clock.tick(90) == datetime(2026, 3, 28, 23, 31, 30, tzinfo=UTC)
    clock.set(datetime(2020, 1, 1, tzinfo=UTC))
    clock.tick(timedelta(days=1))
    with DAG("d") as dag:
        TimeDeltaSensor(task_id="wait", delta=timedelta(hours=3))
    run = dag.test(clock=clock)
    assert clock.now() == datetime(2020, 1, 2, 3, tzinfo=UTC)
    assert run["duration_s"] == 3 * 3600
    for wrong in ("soon", "2026-01-01", datetime(2026, 1, 1)):  # noqa: DTZ001
        with pytest.raises(WrongArgument):
            clock.set(wrong)
    with pytest.raises(WrongArgument):
        clock.tick(-1)


def test_a_dagrun_timeout_on_a_frozen_clock_ends_the_run() -> None:
    with DAG("d", dagrun_timeout=timedelta(seconds=0.5)) as dag:

        @task
        def hangs() -> None:
            threading.Event().wait()

        hangs()
    run = dag.test(clock=FrozenClock())
    assert (run.state, run["reason"]) == ("failed", "dagrun_timeout")
