"""What users write: accepted names, and errors that name the line and the way out."""
# ruff: noqa: E501 - a case of a table, or a line of a DAG file, is one line

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import pytest

from dagd.authoring.ambient import AMBIENT
from dagd.authoring.arguments import DAG_ARGUMENTS, TASK_ARGUMENTS
from dagd.authoring.compile import compile_dag
from dagd.model.errors import (
    AuthoringError,
    CycleFound,
    DuplicateTask,
    InvalidId,
    InvalidSchedule,
    UnknownArgument,
    WrongArgument,
)

HEAD = "from dagd import *\nfrom dagd import DAG, task\nfrom dagd_operators.bash import BashOperator\nfrom datetime import timedelta, datetime\n"


def write(text):
    """The DAG `d` of a file's text; lines count from HEAD's first."""
    AMBIENT.start_file("/dags")
    space: dict = {"__name__": "x"}
    exec(compile(HEAD + text, "/dags/x.py", "exec"), space)
    return compile_dag(space.get("d") or AMBIENT.made[-1], file="x.py")


# (text after HEAD, error, line, words, remedy)
ERRORS = [
    ("with DAG('d', schedul='@daily') as d: pass", UnknownArgument, 5, "'schedul'", "'schedule'"),
    ("with DAG('d', schedule_interval='@daily') as d: pass", UnknownArgument, 5, "'schedule_interval'", "'schedule'"),
    ("with DAG('d', concurrency=4) as d: pass", UnknownArgument, 5, "'concurrency'", "'max_active_tasks'"),
    ("with DAG('d') as d:\n    BashOperator(task_id='a',\n        bash_command='x', retrys=1)", UnknownArgument, 6, "'retrys'", "'retries'"),
    ("with DAG('d') as d:\n    BashOperator(task_id='a', bash_comand='x')", UnknownArgument, 6, "'bash_comand'", "'bash_command'"),
    ("with DAG('d') as d:\n    BashOperator(task_id='a')", WrongArgument, 6, "needs bash_command", "bash_command="),
    ("with DAG('d') as d:\n    BashOperator(bash_command='a')", WrongArgument, 6, "task_id", "task_id="),
    ("with DAG('d') as d:\n    @task(retrys=3)\n    def a(): ...", UnknownArgument, 6, "'retrys'", "'retries'"),
    ("with DAG('d') as d:\n    @task\n    def a(amount): ...\n    a(amout=3)", UnknownArgument, 8, "'amout'", "'amount'"),
    ("with DAG('d') as d:\n    @task\n    def a(amount): ...\n    a()", WrongArgument, 8, "'amount'", "default"),
    ("with DAG('d') as d:\n    @task\n    def a(x): ...\n    a(1, 2)", WrongArgument, 8, "too many positional", ""),
    ("with DAG('d') as d:\n    @task\n    def a(x): ...\n    a.expand(y=[1])", UnknownArgument, 8, "'y'", ""),
    ("with DAG('d') as d:\n    @task\n    def a(x): ...\n    a.expand(x='text')", WrongArgument, 8, "list, dict", ".partial()"),
    ("with DAG('d') as d:\n    @task\n    def a(x): ...\n    a.partial(x=1).expand(x=[1])", WrongArgument, 8, "both", ""),
    ("with DAG('d') as d:\n    BashOperator.partial(task_id='a').expand(bash_command=['x'], retries=[1])", WrongArgument, 6, "retries", ".partial()"),
    ("with DAG('d') as d:\n    BashOperator.partial(task_id='a')", WrongArgument, 6, "BashOperator.partial(...) without .expand()", ".expand(...)"),
    ("with DAG('d') as d:\n    @task\n    def a(x, y): ...\n    p = a.override(task_id='b').partial(x=1)", WrongArgument, 8, "a.partial(...) without", ".expand(...)"),
    ("with DAG('d') as d:\n    @task_group\n    def g(x, y): ...\n    g.partial(x=1)", WrongArgument, 8, "g.partial(...) without", ".expand(...)"),
    ("with DAG('d') as d:\n    BashOperator.partial(task_id='a').expand(env=[{}])", WrongArgument, 6, "bash_command", ""),
    ("with DAG('d', default_args={'retrys': 2}) as d:\n    BashOperator(task_id='a', bash_command='x')", UnknownArgument, 5, "'retrys'", "'retries'"),
    ("with DAG('d', catchup='yes') as d: pass", WrongArgument, 5, "catchup='yes'", "True or False"),
    ("with DAG('d', max_active_runs=0) as d: pass", WrongArgument, 5, "max_active_runs=0", "from 1"),
    ("with DAG('d', dst='never') as d: pass", WrongArgument, 5, "'never'", "once"),
    ("with DAG('d') as d:\n    BashOperator(task_id='a', bash_command='x', retries=True)", WrongArgument, 6, "retries=True", "whole number"),
    ("with DAG('d') as d:\n    BashOperator(task_id='a', bash_command='x', execution_timeout=60)", WrongArgument, 6, "execution_timeout", "timedelta"),
    ("with DAG('d') as d:\n    BashOperator(task_id='a', bash_command='x', trigger_rule='all_sucess')", WrongArgument, 6, "'all_sucess'", "'all_success'"),
    ("with DAG('d') as d:\n    BashOperator(task_id='a', bash_command='x', pool_slots=0)", WrongArgument, 6, "pool_slots", "from 1"),
    ("with DAG('d') as d:\n    BashOperator(task_id='a', bash_command='x', outlets=['s3://x'])", WrongArgument, 6, "no asset", "Asset"),
    ("with DAG('d') as d:\n    BashOperator(task_id='a', bash_command='x', on_failure_callback='mail')", WrongArgument, 6, "'mail'", "function"),
    ("with DAG('d/e') as d: pass", InvalidId, 5, "'d/e'", "letters"),
    ("with DAG('d') as d:\n    BashOperator(task_id='a b', bash_command='x')", InvalidId, 6, "'a b'", "letters"),
    ("with DAG('d') as d:\n    BashOperator(task_id='a', bash_command='x')\n    BashOperator(task_id='a', bash_command='x')", DuplicateTask, 7, "x.py:6", "another task_id"),
    ("with DAG('d', schedule='@dayly') as d: pass", InvalidSchedule, 5, "@dayly", "@daily"),
    ("with DAG('d', schedule=5) as d: pass", InvalidSchedule, 5, "5", "cron"),
    ("with DAG('d', timezone='here', start_date=datetime(2024, 1, 1)) as d: pass", InvalidSchedule, 5, "'here'", ""),
    ("with DAG('d', schedule='@daily', params={'p': Param(type='string')}) as d: pass", WrongArgument, 5, "'p'", "default"),
    ("with DAG('d') as d:\n    class Op(BaseOperator): ...\n    Op(task_id='a')", WrongArgument, 7, "defines no execute", "EmptyOperator"),
    ("with DAG('d') as d:\n    @task.brnch\n    def a(): ...", UnknownArgument, 6, ".brnch", ".branch"),
    ("with DAG('d') as d:\n    @task\n    def a(): ...\n    @task\n    def b(): ...\n    a() >> b", WrongArgument, 10, "no task yet", "Call it"),
    ("with DAG('d') as d:\n    @task\n    def a(): ...\n    for x in a(): pass", WrongArgument, 8, "iterated", ".expand"),
    ("with DAG('d') as d:\n    @task_group(tooltp='x')\n    def g(): ...", UnknownArgument, 6, "'tooltp'", "'tooltip'"),
    ("d = DAG('d')\nTaskGroup('g')", WrongArgument, 6, "outside a DAG", "with DAG"),
    ("with DAG('d', deadline=Deadline(within=timedelta(0))) as d: pass", WrongArgument, 5, "within", ""),
    ("with DAG('d') as d:\n    @task\n    def a(): ...\n    a().as_setup()\n    with a(): pass", WrongArgument, 9, "no setup", ""),
]  # fmt: skip


@pytest.mark.parametrize("text,kind,line,words,remedy", ERRORS, ids=[case[0][-50:] for case in ERRORS])
def test_an_error_names_line_value_and_way_out(text, kind, line, words, remedy):
    with pytest.raises(AuthoringError) as caught:
        write(text)
    error = caught.value
    assert type(error) is kind
    assert words in error.what
    assert (error.where.file, error.where.line) == ("x.py", line)
    assert remedy in (error.remedy or "")


def test_a_partial_may_be_gone_on_with_called_and_expanded_twice():
    text = "    @task\n    def a(x, y): ...\n    p = a.partial(x=1)\n    p.override(task_id='b').expand(y=[1])\n"
    more = "    p.expand(y=[1])\n    p.expand(y=[2])\n    a.partial(x=1).partial(y=2)()\n"
    spec = write(f"with DAG('d') as d:\n{text}{more}")
    assert sorted(one.task_id for one in spec.tasks) == ["a", "a__1", "a__2", "b"]


@pytest.mark.parametrize("links", ["a >> b >> c >> a", "a >> [b, c]\nb >> c >> b", "a >> a"])
def test_a_cycle_is_named_with_its_tasks(links):
    tasks = "".join(f"    {name} = BashOperator(task_id='{name}', bash_command='x')\n" for name in "abc")
    with pytest.raises(CycleFound, match=r"(\w) -> .*\1"):
        write(f"with DAG('d') as d:\n{tasks}" + "".join(f"    {line}\n" for line in links.splitlines()))


DAG_NAMES = ["dag_id", "schedule", "start_date", "end_date", "catchup", "max_active_runs", "max_active_tasks", "dagrun_timeout", "default_args", "params", "tags", "on_success_callback", "on_failure_callback", "description", "doc_md", "fail_fast", "timezone", "is_paused_upon_creation", "max_consecutive_failed_runs", "user_defined_macros", "user_defined_filters", "template_searchpath", "sla", "success_when", "dst", "pin", "deadline"]  # fmt: skip
TASK_NAMES = ["retries", "retry_delay", "retry_exponential_backoff", "max_retry_delay", "execution_timeout", "trigger_rule", "pool", "pool_slots", "priority_weight", "weight_rule", "queue", "depends_on_past", "wait_for_downstream", "max_active_tis_per_dag", "inlets", "outlets", "sla", "on_execute_callback", "on_failure_callback", "on_retry_callback", "on_skipped_callback", "on_success_callback", "executor", "doc_md", "owner", "multiple_outputs", "max_active_tis_per_dagrun", "isolation", "allow_failure", "cancel_grace", "retry_policy", "infra_retries", "on_lost", "deadline"]  # fmt: skip


def test_every_promised_argument_exists():
    assert set(DAG_NAMES) - {"dag_id"} <= DAG_ARGUMENTS.keys()
    assert set(TASK_NAMES) <= TASK_ARGUMENTS.keys()


def test_default_args_reach_what_takes_them():
    spec = write(
        "with DAG('d', default_args={'retries': 2, 'bash_command': 'x', 'email': 'a@b', 'pool': 'p', 'owner': 'ann'}) as d:\n"
        "    BashOperator(task_id='a')\n    BashOperator(task_id='b', retries=0, default_args={'pool': 'q'})\n"
        "    with TaskGroup('g', default_args={'retries': 7, 'pool': 'g'}):\n        BashOperator(task_id='c')\n"
        "        BashOperator.partial(task_id='m').expand(bash_command=['1'])\n    @task\n    def f(): ...\n    f()\n"
    )
    found = {one.task_id: (one.retries, one.pool) for one in spec.tasks}
    assert found == {"a": (2, "p"), "b": (0, "q"), "g.c": (7, "g"), "g.m": (7, "g"), "f": (2, "p")}
    assert spec.owner == "ann"


@pytest.mark.parametrize("given,factor", [("", 1.0), ("True", 2.0), ("False", 1.0), ("3", 3.0), ("1.5", 1.5)])
def test_exponential_backoff_is_a_factor(given, factor):
    more = f", retry_exponential_backoff={given}" if given else ""
    spec = write(f"with DAG('d') as d:\n    BashOperator(task_id='a', bash_command='x'{more}, retry_delay=90)")
    assert (spec.tasks[0].retry_factor, spec.tasks[0].retry_delay_us) == (factor, 90_000_000)
    assert spec.tasks[0].retry_jitter == 0


def test_airflows_names_without_meaning_are_accepted_and_noted():
    write("with DAG('d') as d:\n    BashOperator(task_id='a', bash_command='x', email_on_failure=True)")
    assert "email_on_failure" in AMBIENT.warnings[0][1]


def test_an_operator_of_the_users_is_checked_like_ours():
    text = (
        "class Base(BaseOperator):\n    def __init__(self, *, table, **kwargs):\n        super().__init__(**kwargs)\n        self.table = table\n"
        "    def execute(self, context): ...\n"
        "class Op(Base):\n    def __init__(self, limit=5, **kwargs):\n        super().__init__(**kwargs)\n        self.limit = limit\n"
    )
    spec = write(text + "with DAG('d', default_args={'table': 't'}) as d:\n    Op(task_id='a', limit=1)")
    assert spec.tasks[0].operator == "Op"
    with pytest.raises(UnknownArgument, match="'tabel'"):
        write(text + "with DAG('d') as d:\n    Op(task_id='a', tabel='x', table='y')")


def test_sla_and_deadlines_are_compiled():
    spec = write(
        "with DAG('d', sla=timedelta(hours=1), deadline=[Deadline(by='start', after='created', within=timedelta(minutes=5))]) as d:\n"
        "    BashOperator(task_id='a', bash_command='x', deadline=Deadline(by='duration', within=timedelta(seconds=9), callback=print))"
    )
    assert [(one.by, one.after, one.within_us) for one in spec.deadlines] == [
        ("finish", "due", timedelta(hours=1) // timedelta(microseconds=1)), ("start", "created", 300_000_000),
    ]  # fmt: skip
    one = spec.tasks[0].deadlines[0]
    assert (one.by, one.after, one.has_callback) == ("duration", "started", True)


def test_import_dagd_is_light():
    code = (
        "import sys, time\nbefore = time.process_time()\nimport dagd\nfrom dagd import DAG, task, Asset, Cron\n"
        "used = time.process_time() - before\nheavy = [m for m in ('jinja2', 'pendulum', 'croniter', 'sqlalchemy', 'asyncio') if m in sys.modules]\n"
        "assert not heavy, heavy\nassert used < 0.3, used\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(filter(None, sys.path))}, check=False
    )
    assert done.returncode == 0


def test_everything_that_is_exported_can_be_imported():
    import dagd

    for name in dagd.__all__:
        assert getattr(dagd, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Dagg'"):
        _ = dagd.Dagg
