"""Compiling: the same file gives the same text, and each argument lands where the scheduler looks for it."""
# ruff: noqa: E501 - a case of a table, or a line of a DAG file, is one line

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from dagd.authoring.ambient import AMBIENT
from dagd.authoring.compile import compile_dag
from dagd.authoring.params import Param, ParamsDict, merge_params
from dagd.model.errors import InvalidParams
from dagd.model.specs import MapSource, spec_from_json, spec_to_json

HEAD = """
from dagd import *
from dagd import DAG, task, task_group
from dagd_operators.bash import BashOperator
from dagd_operators.empty import EmptyOperator
from dagd_operators.filesystem import FileSensor
from dagd_operators.http import HttpOperator
from dagd_operators.python import ShortCircuitOperator, PythonSensor
from dagd_operators.latest_only import LatestOnlyOperator
from datetime import datetime, timedelta, timezone, UTC
from zoneinfo import ZoneInfo
import pendulum
"""


def compiled(text, **given):
    AMBIENT.start_file(None)
    space: dict = {"__name__": "x"}
    exec(compile(HEAD + text, "x.py", "exec"), space)
    spec = compile_dag(space["d"], file="x.py", **given)
    assert spec_to_json(spec_from_json(spec_to_json(spec))) == spec_to_json(spec)
    return spec


RICH = """
with DAG("d", schedule="@daily", start_date=datetime(2024, 1, 1, tzinfo=UTC), tags={"b", "a", "c"},
         params={"z": 1, "a": Param({"k": {3, 1, 2}}, type="object")}) as d:
    @task(outlets=[Asset("o"), Asset("p")])
    def a(): return [1]
    @task
    def b(x, y): return x
    with TaskGroup("g"):
        one = a()
        b.partial(y={"q", "r"}).expand(x=one.zip([1, 2]))
    [BashOperator(task_id=f"t{i}", bash_command="x") for i in range(4)] >> EmptyOperator(task_id="end") >> [one]
"""


def test_the_same_file_gives_the_same_text_whatever_the_hash_seed():
    code = """
from tests.unit.test_authoring_compile import RICH, compiled
from dagd.model.specs import spec_to_json
print(spec_to_json(compiled(RICH)))
"""
    texts = {
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True,
            env={"PYTHONPATH": ":".join(filter(None, sys.path)), "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(texts) == 1


TASKS = [
    ("EmptyOperator(task_id='t')", {"isolation": "engine", "worker_key": None}),
    ("EmptyOperator(task_id='t', outlets=[Asset('x')])", {"isolation": "engine", "outlets": ("x",)}),
    ("EmptyOperator(task_id='t', on_execute_callback=print)", {"isolation": "fork", "callbacks": ("execute",)}),
    ("BashOperator(task_id='t', bash_command='x')", {"isolation": "fork", "worker_key": None}),
    ("BashOperator(task_id='t', bash_command='x', isolation='spawn')", {"isolation": "spawn"}),
    ("FileSensor(task_id='t', filepath='x', timeout=60, soft_fail=True)",
     {"isolation": "warm", "worker_key": "d/operators", "sensor_timeout_us": 60_000_000, "soft_fail": True}),
    ("FileSensor.partial(task_id='t', timeout=5).expand(filepath=['x'])", {"isolation": "warm", "worker_key": "d/operators", "sensor_timeout_us": 5_000_000}),
    ("FileSensor(task_id='t', filepath='x', retry_policy=ExceptionRetryPolicy())", {"isolation": "fork"}),
    ("HttpOperator(task_id='t', endpoint='x')", {"isolation": "warm", "worker_key": "d/operators"}),
    ("HttpOperator(task_id='t', endpoint='x', response_check=print)", {"isolation": "fork"}),
    ("task(lambda: 1, task_id='t')()", {"isolation": "fork", "operator": "PythonTask"}),
    ("task(lambda: 1, task_id='t', isolation='warm')()", {"isolation": "warm", "worker_key": "d"}),
    ("task.branch(lambda: 1, task_id='t')()", {"decides": "branch"}),
    ("task.short_circuit(lambda: 1, task_id='t')()", {"decides": "short_circuit"}),
    ("ShortCircuitOperator(task_id='t', python_callable=print, ignore_downstream_trigger_rules=False)", {"decides": "short_circuit_direct"}),
    ("LatestOnlyOperator(task_id='t')", {"decides": "branch", "isolation": "warm"}),
    ("EmptyOperator(task_id='t', trigger_rule=TriggerRule.ONE_FAILED)", {"trigger_rule": "one_failed"}),
    ("EmptyOperator(task_id='t', wait_for_downstream=True)", {"wait_for_downstream": True, "depends_on_past": True}),
    ("EmptyOperator(task_id='t', execution_timeout=timedelta(minutes=1), cancel_grace=3)", {"execution_timeout_us": 60_000_000, "cancel_grace_us": 3_000_000}),
    ("EmptyOperator(task_id='t', pool='p', pool_slots=2, queue='q', executor='e')", {"pool": "p", "pool_slots": 2, "queue": "q", "executor": "e"}),
    ("EmptyOperator(task_id='t', inlets=Asset('i'), allow_failure=True)", {"inlets": ("i",), "allow_failure": True}),
    ("EmptyOperator(task_id='t', on_failure_callback=[print], on_retry_callback=print)", {"callbacks": ("failure", "retry")}),
]  # fmt: skip


@pytest.mark.parametrize("text,expected", TASKS, ids=[case[0][:50] for case in TASKS])
def test_a_task_is_compiled_with_its_arguments(text, expected):
    found = compiled(f"with DAG('d') as d:\n    {text}\n").task("t")
    assert {name: getattr(found, name) for name in expected} == expected


INPUTS = [
    ("b(a1, y=a1['k'])", (("a", "k"), ("a", "return_value"))),
    ("b([1, {'q': (a1,)}])", (("a", "return_value"),)),
    ("b.expand(x=a1)", ()),
    ("b.partial(y=a2).expand(x=a1)", (("a__1", "return_value"),)),
    ("b.expand(x=a1.zip(a2['k']))", (("a", "return_value"), ("a__1", "k"))),
    ("b.expand(x=[a1, 2])", (("a", "return_value"),)),
    ("BashOperator(task_id='b', bash_command=a1, env={'x': a2['e']})", (("a", "return_value"), ("a__1", "e"))),
    ("BashOperator(task_id='b', bash_command=f'echo {a1}')", ()),
]


@pytest.mark.parametrize("text,expected", INPUTS)
def test_a_launch_carries_what_the_arguments_name(text, expected):
    head = "with DAG('d') as d:\n    @task\n    def a(): ...\n    @task\n    def b(x, y=None): ...\n    a1, a2 = a(), a()\n"
    assert compiled(f"{head}    {text}\n").task("b").xcom_inputs == expected


def test_sources_of_mapping_are_compiled():
    head = "with DAG('d') as d:\n    @task\n    def a(): ...\n    @task\n    def b(**k): ...\n    a1, a2 = a(), a()\n"
    spec = compiled(head + "    b.expand(x=a1.map(str), y=[1, 2], z=a1.zip(a2['k'], fillvalue=0).concat({'q': 1}))\n")
    one, two = MapSource("xcom", task_id="a"), MapSource("xcom", task_id="a__1", key="k")
    joint = MapSource("concat", parts=(MapSource("zip", parts=(one, two), longest=True), MapSource("literal", count=1)))
    expand = spec.task("b").expand
    assert (expand.kind, expand.names) == ("product", ("x", "y", "z"))
    assert expand.sources == (one, MapSource("literal", count=2), joint)
    assert compiled(head + "    b.expand_kwargs(a1)\n").task("b").expand.names == ()


def test_groups_are_compiled_with_their_parents_and_mapping():
    spec = compiled(
        "with DAG('d') as d:\n    @task\n    def a(x=1): ...\n    @task_group\n    def g(v):\n        with TaskGroup('in', tooltip='t'):\n"
        "            a(v)\n    g.expand(v=[1, 2, 3])\n"
    )
    outer, inner = spec.groups
    assert (outer.group_id, outer.parent, outer.expand.sources[0].count) == ("g", None, 3)
    assert (inner.group_id, inner.parent, inner.tooltip) == ("g.in", "g", "t")
    found = spec.task("g.in.a")
    assert (found.group, found.mapped_group, found.expand) == ("g.in", "g", None)


WEIGHTS = [
    ("downstream", {"a": 1 + 10 + 100 + 5, "b": 10 + 5, "c": 100 + 5, "d": 5}),
    ("upstream", {"a": 1, "b": 11, "c": 101, "d": 116}),
    ("absolute", {"a": 1, "b": 10, "c": 100, "d": 5}),
]


@pytest.mark.parametrize("rule,expected", WEIGHTS)
def test_priority_counts_each_neighbour_once(rule, expected):
    spec = compiled(
        f"with DAG('d', default_args=dict(weight_rule='{rule}')) as d:\n"
        "    a, b, c, e = (EmptyOperator(task_id=n, priority_weight=w) for n, w in zip('abcd', (1, 10, 100, 5)))\n    a >> [b, c] >> e\n"
    )
    assert {one.task_id: one.priority for one in spec.tasks} == expected


ZONES = [
    ("", "UTC"),
    ("start_date=datetime(2024, 1, 1)", "Europe/Rome"),
    ("start_date=datetime(2024, 1, 1, tzinfo=UTC)", "UTC"),
    ("start_date=datetime(2024, 1, 1, tzinfo=ZoneInfo('Asia/Tokyo'))", "Asia/Tokyo"),
    ("start_date=pendulum.datetime(2024, 1, 1, tz='Asia/Tokyo')", "Asia/Tokyo"),
    ("start_date=datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=2)))", "Europe/Rome"),
    ("timezone='America/New_York', start_date=datetime(2024, 1, 1, tzinfo=UTC)", "America/New_York"),
    ("timezone=ZoneInfo('Asia/Tokyo')", "Asia/Tokyo"),
]


@pytest.mark.parametrize("text,zone", ZONES)
def test_the_zone_of_a_dag(text, zone):
    given = {"default_timezone": "Europe/Rome"} if zone != "UTC" else {}
    assert compiled(f"d = DAG('d', {text})\n", **given).timezone == zone


def test_a_naive_start_date_is_read_in_the_dags_zone():
    assert (
        compiled("d = DAG('d', start_date=datetime(2024, 1, 1), timezone='Asia/Tokyo')").start_at
        == (1_704_067_200 - 9 * 3600) * 10**6
    )


SCHEDULES = [
    ("None", {"kind": "none"}, None, None),
    ("'@once'", {"kind": "once"}, None, "@once"),
    ("timedelta(hours=1)", {"kind": "delta", "micros": 3_600_000_000}, None, "every 1:00:00"),
    ("Asset('a')", {"kind": "assets"}, ["asset", "a"], "a"),
    ("[Asset('a'), Dataset('b')]", {"kind": "assets"}, ["all", [["asset", "a"], ["asset", "b"]]], "a & b"),
    ("(Asset('a') & Asset('b')) | Asset('c')", {"kind": "assets"}, ["any", [["all", [["asset", "a"], ["asset", "b"]]], ["asset", "c"]]], "(a & b) | c"),
]  # fmt: skip


@pytest.mark.parametrize("text,schedule,condition,shown", SCHEDULES)
def test_schedules_are_compiled(text, schedule, condition, shown):
    spec = compiled(f"d = DAG('d', schedule={text})\n")
    assert (spec.schedule, spec.condition, spec.schedule_text) == (schedule, condition, shown)


@pytest.mark.parametrize(
    "text", ["Asset('a') | Cron('0 5 * * *')", "Cron('0 5 * * *') | Asset('a')", "Asset('a') | '0 5 * * *'"]
)
def test_assets_or_time(text):
    spec = compiled(f"d = DAG('d', schedule={text})\n")
    assert spec.schedule["kind"] == "asset_or_time"
    assert spec.schedule["time"]["exprs"] == ["0 5 * * *"]
    assert (spec.condition, spec.schedule_text) == (["asset", "a"], "a | 0 5 * * *")


def test_the_fullest_declaration_of_an_asset_is_kept():
    spec = compiled(
        "with DAG('d', schedule=Asset('b')) as d:\n    EmptyOperator(task_id='x', outlets=[Asset('a', 's3://a', owner='o',"
        " freshness=Every('6h', warn='5h'))])\n    EmptyOperator(task_id='y', inlets=[Asset('a'), Asset('s3://z')])\n"
    )
    assert [(one.key, one.uri, one.owner) for one in spec.assets] == [
        ("a", "s3://a", "o"),
        ("b", None, None),
        ("s3://z", "s3://z", None),
    ]
    assert spec.assets[0].freshness["warn_us"] == 5 * 3600 * 10**6


ASSETS = """
from dagd import asset
@asset(schedule='@daily', group="shop", freshness=Every("1d"))
def features(sessions, raw_events): return sessions
@asset(group="shop")
def sessions(raw_events, ds=None): return 1
"""


def test_asset_functions_become_one_dag_with_producers_first():
    from dagd.authoring.asset_decorator import finish_assets

    AMBIENT.start_file(None)
    exec(HEAD + ASSETS, {"__name__": "x"})
    (dag,) = finish_assets("file")
    spec = compile_dag(dag, file="x.py")
    assert (spec.dag_id, spec.schedule_text) == ("shop", "@daily")
    assert [(one.task_id, one.upstreams, one.inlets, one.outlets) for one in spec.tasks] == [
        ("sessions", (), ("raw_events",), ("sessions",)),
        ("features", ("sessions",), ("sessions", "raw_events"), ("features",)),
    ]
    assert spec.task("features").xcom_inputs == (("sessions", "return_value"),)


# --- params ----------------------------------------------------------------------------------------------------------

PARAMS = {
    "n": Param(5, type="integer", minimum=1).to_json(),
    "day": Param("2024-01-01", type="string", format="date").to_json(),
    "at": Param(None, type=["null", "string"], format="date-time").to_json(),
    "must": Param(type="string", enum=["red", "green"]).to_json(),
    "free": Param([1]).to_json(),
}


def test_a_runs_params_are_the_defaults_under_the_conf():
    conf = {"must": "red", "n": 7, "at": "2024-01-01T00:00:00Z", "other": 1}
    expected = {"n": 7, "day": "2024-01-01", "at": "2024-01-01T00:00:00Z", "must": "red", "free": [1]}
    assert merge_params(PARAMS, conf) == expected


REFUSED = [
    ({}, "'must' has no default"),
    ({"must": "redd"}, "Did you mean 'red'"),
    ({"must": "red", "n": 0}, "less than the minimum"),
    ({"must": "red", "n": "7"}, "not of type 'integer'"),
    ({"must": "red", "n": True}, "not of type 'integer'"),
    ({"must": "red", "day": "yesterday"}, "not a 'date'"),
    ({"must": "red", "at": "2024-01-01"}, "not a 'date-time'"),
]


@pytest.mark.parametrize("conf,words", REFUSED)
def test_params_that_the_schema_refuses_are_named(conf, words):
    with pytest.raises(InvalidParams, match=words):
        merge_params(PARAMS, conf)


def test_a_default_is_not_shared_between_runs():
    merge_params({"free": PARAMS["free"]}, {})["free"].append(2)
    assert merge_params({"free": PARAMS["free"]}, {})["free"] == [1]


def test_params_read_like_a_dict():
    params = ParamsDict({"a": 1, "b": Param(2, type="integer")})
    assert dict(params) == {"a": 1, "b": 2}
    assert params.get_param("b").resolve(3) == 3
    assert json.loads(json.dumps(params.get_param("a").to_json())) == {"schema": {}, "description": None, "value": 1}


def test_the_parameters_of_a_dag_function_are_params():
    AMBIENT.start_file(None)
    space: dict = {"__name__": "x"}
    exec(
        HEAD
        + "from dagd import dag\n@dag(schedule=None)\ndef d(n, m=3):\n    'Doc.'\n    @task\n    def a(x, y): ...\n    a(n, f'{m}')\nmade = d(5)\n",
        space,
    )
    spec = compile_dag(space["made"], file="x.py")
    assert {name: one["value"] for name, one in spec.params.items()} == {"n": 5, "m": 3}
    assert (spec.dag_id, spec.doc_md) == ("d", "Doc.")


def test_pendulums_durations_and_instants_are_taken_as_plain_ones():
    spec = compiled(
        "with DAG('d', start_date=pendulum.datetime(2024, 1, 1, tz='Europe/Paris'), dagrun_timeout=pendulum.duration(hours=1),"
        " deadline=Deadline(within=pendulum.duration(minutes=2))) as d:\n"
        "    EmptyOperator(task_id='t', retry_delay=pendulum.duration(seconds=9), execution_timeout=pendulum.duration(seconds=7))\n"
    )
    assert spec.start_at == (1_704_067_200 - 3600) * 10**6
    assert (spec.dagrun_timeout_us, spec.deadlines[0].within_us) == (3_600_000_000, 120_000_000)
    assert (spec.task("t").retry_delay_us, spec.task("t").execution_timeout_us) == (9_000_000, 7_000_000)
