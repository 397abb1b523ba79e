"""One try: what the body does becomes one result frame."""
# ruff: noqa: E501 - a case of a table, or a line of a DAG file, is one line

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from dagd.runtime.masking import Masker
from dagd.runtime.xcom import decode
from tests.unit.runtime_kit import DUE, Answers, drive, load, value_of

HEAD = "from dagd import *\nfrom dagd import DAG, task\nimport sys, os, time\nfrom datetime import timedelta, datetime, timezone\n"


def body(folder, text, decorator="@task", more=""):
    """A DAG with one task `a` whose body is `text`."""
    lines = "\n".join(f"        {line}" for line in text.splitlines())
    return load(
        folder, f"{HEAD}{more}\nwith DAG('d') as dag:\n    {decorator}\n    def a(**context):\n{lines}\n    a()\n"
    )


ENDS = [
    ("return 5", {"outcome": "succeed"}),
    ("raise SkipTask('not today')", {"outcome": "skip", "message": "not today"}),
    ("raise ValueError('bad')", {"outcome": "fail", "no_retry": False, "reason": "exception"}),
    ("raise FailTask('bad')", {"outcome": "fail", "no_retry": True}),
    ("sys.exit(0)", {"outcome": "fail", "no_retry": False}),
    ("raise KeyboardInterrupt", {"outcome": "fail"}),
    ("return (x for x in [1])", {"outcome": "fail"}),
    ("def f(): return f()\nf()", {"outcome": "fail"}),
]


@pytest.mark.parametrize("text,expected", ENDS, ids=[text[:25] for text, _ in ENDS])
def test_the_end_of_a_body_is_its_frame(text, expected, tmp_path):
    frame = drive(body(tmp_path, text), "a")
    assert {key: frame[key] for key in expected} == expected


def test_a_body_may_close_its_streams(tmp_path, monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, os.fdopen(os.dup(2), "w"))
    frame = drive(body(tmp_path, "sys.stdout.close()\nsys.stderr.close()\nraise ValueError('x')"), "a")
    assert frame["error"]["message"] == "x"


def test_an_error_names_the_users_line(tmp_path):
    (tmp_path / "beside.py").write_text("def boom():\n    raise KeyError('amount')\n")
    frame = drive(body(tmp_path, "import beside\nbeside.boom()"), "a")
    error = frame["error"]
    assert (error["type"], error["message"], error["file"], error["line"]) == ("KeyError", "'amount'", "beside.py", 2)
    assert 'dags.py", line 10, in a' in error["traceback"]
    assert "entry.py" not in error["traceback"]


def test_an_async_task_is_awaited(tmp_path):
    text = (
        HEAD
        + "import asyncio\nwith DAG('d'):\n    @task\n    async def a(x):\n        await asyncio.sleep(0)\n        return x\n    a(3)\n"
    )
    assert value_of(drive(load(tmp_path, text), "a")) == "3"


def test_nothing_is_pushed_for_none(tmp_path):
    frame = drive(body(tmp_path, "return None"), "a")
    assert frame["xcom"] == []
    assert frame["map_length"] is None


def test_pushed_and_returned_values_travel_in_the_frame(tmp_path):
    frame = drive(
        body(
            tmp_path, "ti = context['ti']\nti.xcom_push('k', [1])\nti.xcom_push(key='k', value=[1, 2])\nreturn {'a': 1}"
        ),
        "a",
    )
    assert value_of(frame, "k") == "[1,2]"
    assert frame["map_length"] == 1


def test_multiple_outputs_are_values_of_their_own(tmp_path):
    frame = drive(body(tmp_path, "return {'x': 1, 'y': [2]}", "@task(multiple_outputs=True)"), "a")
    assert (value_of(frame, "x"), value_of(frame, "y"), value_of(frame)) == ("1", "[2]", '{"x":1,"y":[2]}')
    for bad in ("return [1]", "return None", "return {1: 2}"):
        assert drive(body(tmp_path, bad, "@task(multiple_outputs=True)"), "a")["outcome"] == "fail"


def test_an_annotated_dict_gives_multiple_outputs(tmp_path):
    text = HEAD + "with DAG('d'):\n    @task\n    def a() -> dict[str, int]:\n        return {'x': 1}\n    a()\n"
    assert value_of(drive(load(tmp_path, text), "a"), "x") == "1"


def test_a_dataclass_of_the_file_comes_back_as_that_class(tmp_path):
    more = "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n"
    text = (
        HEAD
        + more
        + "with DAG('d'):\n    @task\n    def a(): return P(4)\n    @task\n    def b(p): return [type(p) is P, p.x]\n    b(a())\n"
    )
    loaded = load(tmp_path, text)
    carried = {"a|return_value": {"kind": "value", "text": value_of(drive(loaded, "a"))}}
    assert value_of(drive(loaded, "b", xcom=carried)) == "[true,4]"


PULLS = [
    ("ti.xcom_pull('up')", "[1, 2]"),
    ("ti.xcom_pull('none')", "None"),
    ("ti.xcom_pull('none', default=7)", "7"),
    ("ti.xcom_pull(['up', 'none'])", "[[1, 2], None]"),
    ("ti.xcom_pull('m')", "['x', 'y']"),
    ("ti.xcom_pull('m', map_indexes=2)", "'y'"),
    ("ti.xcom_pull('m', 'return_value', 2)", "'y'"),
    ("ti.xcom_pull('none', 'return_value', None, 7)", "7"),
    ("ti.xcom_pull('m', map_indexes=[2, 0, 1])", "['y', 'x', None]"),
    ("ti.xcom_pull('up', key='other')", "None"),
]


@pytest.mark.parametrize("call,expected", PULLS)
def test_xcom_pull_answers_as_in_airflow(call, expected, tmp_path):
    rows = {("up", "return_value"): [[-1, "[1,2]", None]], ("m", "return_value"): [[0, '"x"', None], [2, '"y"', None]]}
    answers = Answers(xcom=lambda args: rows.get((args["task_id"], args["key"]), []))
    loaded = body(
        tmp_path,
        f"ti = context['ti']\nfound = {call}\nreturn repr(list(found) if not isinstance(found, (int, str, type(None), list)) else found)",
    )
    assert decode(value_of(drive(loaded, "a", answers))) == expected


def test_a_value_that_came_with_the_launch_is_not_asked_for(tmp_path):
    text = (
        HEAD
        + "with DAG('d'):\n    @task\n    def up(): ...\n    @task\n    def a(x, y=None): return [x, y]\n    u = up()\n    a(u, y={'k': [u['key']]})\n"
    )
    carried = {"up|return_value": {"kind": "value", "text": "1"}, "up|key": {"kind": "value", "text": None}}
    answers = Answers()
    assert value_of(drive(load(tmp_path, text), "a", answers, xcom=carried)) == '[1,{"k":[null]}]'
    assert answers.asked == []


DECISIONS = [
    ("@task.branch", "return 'x'", ["x"], None),
    ("@task.branch", "return ['x', 'g.y']", ["x", "g.y"], None),
    ("@task.branch", "return 'g'", ["g"], None),
    ("@task.branch", "return None", [], None),
    ("@task.branch", "return []", [], None),
    ("@task.short_circuit", "return 0", None, True),
    ("@task.short_circuit", "return 'yes'", None, False),
]


@pytest.mark.parametrize("decorator,text,branch,short", DECISIONS)
def test_a_decider_hands_its_decision_over(decorator, text, branch, short, tmp_path):
    more = "from dagd_operators.empty import EmptyOperator"
    loaded = load(
        tmp_path,
        f"{HEAD}{more}\nwith DAG('d'):\n    {decorator}\n    def a():\n        {text}\n    d = a()\n    with TaskGroup('g'):\n"
        "        y = EmptyOperator(task_id='y')\n    d >> [EmptyOperator(task_id='x'), y]\n",
    )
    frame = drive(loaded, "a")
    assert (frame["branch"], frame["short_circuit"]) == (branch, short)


def test_an_unknown_id_fails_the_branch(tmp_path):
    frame = drive(body(tmp_path, "return ['nope']", "@task.branch"), "a")
    assert "no task or group" in frame["error"]["message"]


SENSOR = "@task.sensor(poke_interval=30, timeout=3600, mode='reschedule'%s)"


def test_a_sensor_that_is_not_done_frees_its_slot(tmp_path):
    frame = drive(body(tmp_path, "return False", SENSOR % ""), "a", started_first_at=time.time_ns() // 1000)
    assert (frame["outcome"], frame["poke_every_us"], frame["until"]) == ("defer", 30_000_000, None)
    state = decode(frame["state"]["text"])
    assert state["pokes"] == 1
    assert (
        drive(body(tmp_path, "return PokeReturnValue(True, 'v')", SENSOR % ""), "a", state=frame["state"], leg=2)[
            "outcome"
        ]
        == "succeed"
    )


@pytest.mark.parametrize("more,outcome", [("", "fail"), (", soft_fail=True", "skip")])
def test_a_sensors_own_timeout_is_not_retried(more, outcome, tmp_path):
    started = time.time_ns() // 1000 - 3601 * 1_000_000
    frame = drive(body(tmp_path, "return False", SENSOR % more), "a", state={"started_at": started}, leg=5)
    assert frame["outcome"] == outcome
    assert outcome == "skip" or (frame["no_retry"] and frame["reason"] == "sensor timeout")


def test_an_exception_in_a_poke_is_an_ordinary_failure(tmp_path):
    frame = drive(body(tmp_path, "raise OSError('x')", SENSOR % ", soft_fail=True"), "a")
    assert (frame["outcome"], frame["no_retry"]) == ("fail", False)


def test_backoff_doubles_the_pause_up_to_max_wait(tmp_path):
    loaded = body(tmp_path, "return False", SENSOR % ", exponential_backoff=True, max_wait=100")
    pauses, state = [], None
    for leg in range(1, 5):
        frame = drive(loaded, "a", state=state, leg=leg)
        state = frame["state"]
        pauses.append(frame["poke_every_us"] // 1_000_000)
    assert pauses == [30, 60, 100, 100]


def test_a_task_may_defer_itself(tmp_path):
    text = "c = get_current_context()\nif c.state.get('n') == 1: return 'done'\ntry:\n    c.defer(every=timedelta(seconds=5), state={'n': 1})\nexcept Exception:\n    return 'swallowed'"
    loaded = body(tmp_path, text)
    frame = drive(loaded, "a")
    assert (frame["outcome"], frame["poke_every_us"]) == ("defer", 5_000_000)
    assert value_of(drive(loaded, "a", state=frame["state"], leg=2)) == '"done"'


POLICY = """
policy = ExceptionRetryPolicy(rules=[
    RetryRule(exception="builtins.OSError", action=RetryAction.RETRY, retry_delay=timedelta(minutes=5)),
    RetryRule(exception=[KeyError, ValueError], action=RetryAction.FAIL)])
"""


@pytest.mark.parametrize(
    "text,action,delay",
    [
        ("raise ConnectionError", "retry", 300_000_000),
        ("raise UnicodeError", "fail", None),
        ("raise TypeError", "default", None),
    ],
)
def test_a_retry_policy_decides_by_the_exception(text, action, delay, tmp_path):
    frame = drive(body(tmp_path, text, "@task(retry_policy=policy)", POLICY), "a")
    assert frame["retry"] == {"action": action, "delay_us": delay}


def test_a_policy_that_fails_itself_counts_as_none(tmp_path):
    more = "class Bad:\n    def evaluate(self, *args): raise RuntimeError('x')\n"
    frame = drive(body(tmp_path, "raise OSError", "@task(retry_policy=Bad())", more), "a")
    assert frame["retry"]["action"] == "default"


SECRET = "s3cr3t/pass word"


def test_secrets_that_a_task_fetched_are_masked_in_its_error(tmp_path):
    text = (
        "from urllib.parse import quote\nimport base64\np = Connection.get('pg').password\nv = Variable.get('api_token')\n"
        "raise ValueError(f\"{p} {quote(p, safe='')} {base64.b64encode(p.encode()).decode()} {v} {Variable.get('plain')}\")"
    )
    values = {"api_token": "tok-123456", "plain": "visible"}
    answers = Answers(
        connection={"password": SECRET, "extra": '{"token": "deep-secret"}'}, variable=lambda args: values[args["key"]]
    )
    frame = drive(body(tmp_path, text), "a", answers)
    assert frame["error"]["message"] == "*** *** *** *** visible"
    assert SECRET not in frame["error"]["traceback"]


@pytest.mark.parametrize("shift", [0, 1, 2])
def test_a_secret_inside_longer_base64_is_masked(shift):
    import base64

    masker = Masker()
    masker.add_all(["correct horse battery"])
    text = base64.b64encode(b"x" * shift + b"correct horse battery" + b"yz").decode()
    assert "***" in masker.mask(text)


def test_rendered_fields_are_shown_masked(tmp_path):
    text = HEAD + "with DAG('d'):\n    @task\n    def a(x): return 1\n    a('{{ var.value.password }}-{{ ds }}')\n"
    frame = drive(load(tmp_path, text), "a", Answers(variable="hunter22"))
    assert frame["rendered"]["op_args"] == "['***-2024-01-01']"


CALLBACK = """
seen = []
def note(context):
    seen.append((context["dag_run"].run_id, str(context["exception"]), context["ti"].task_id))
    if Variable.get("x", None) == "boom": raise RuntimeError("in the callback")
with DAG("d", on_failure_callback=note) as dag:
    @task(on_failure_callback=[note], on_execute_callback=note)
    def a(): ...
    a()
"""


def test_a_callback_is_a_launch_of_its_own(tmp_path):
    loaded = load(tmp_path, HEAD + CALLBACK)
    told = {"event": "failure", "error": {"type": "KeyError", "message": "'k'"}}
    assert drive(loaded, "a", callback=told)["outcome"] == "succeed"
    assert drive(loaded, "", callback=told)["outcome"] == "succeed"
    frame = drive(loaded, "a", Answers(variable="boom"), callback=told)
    assert "note: RuntimeError: in the callback" in frame["error"]["message"]
    seen = loaded.dag.on_failure_callback[0].__globals__["seen"]
    assert seen[:2] == [("m-1", "KeyError: 'k'", "a"), ("m-1", "KeyError: 'k'", "")]


def test_an_execute_callback_that_fails_does_not_fail_the_task(tmp_path):
    loaded = load(tmp_path, HEAD + CALLBACK)
    assert drive(loaded, "a", Answers(variable="boom"))["outcome"] == "succeed"


def test_a_task_told_to_stop_can_clean_up(tmp_path):
    text = (
        "import signal\ntry:\n    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(0)\nfinally:\n    open('%s', 'w').close()"
        % (tmp_path / "clean")
    )
    before = signal.getsignal(signal.SIGTERM)
    frame = drive(body(tmp_path, text), "a")
    assert (frame["outcome"], frame["error"]["type"]) == ("fail", "Stopped")
    assert (tmp_path / "clean").exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_a_task_says_of_its_assets_travels_with_its_success(tmp_path):
    text = "c = get_current_context()\nc['outlet_events'][out].extra['rows'] = 5\nc.data_version('v1', out)\nreturn 1"
    frame = drive(body(tmp_path, text, "@task(outlets=[out])", "out = Asset('x.y')"), "a")
    assert frame["assets"] == [
        {"asset": "x.y", "metadata": {"rows": 5}, "data_version": "v1", "data_time": None, "partition": None}
    ]


def test_the_context_has_airflows_keys_and_events(tmp_path):
    text = "c = get_current_context()\nevents = c['triggering_asset_events']\nreturn [c['run_id'], c['dag_run'].conf, [e['source'] for e in events[Asset('k')]], c['dag'].dag_id, c['ti'].max_tries]"
    frame = drive(
        body(tmp_path, text),
        "a",
        run={"conf": {"q": 1}, "events": [{"event_id": 1, "asset": "k", "source": "p/r/t"}]},
        max_tries=4,
    )
    assert value_of(frame) == '["m-1",{"q":1},["p/r/t"],"d",3]'


def test_a_decorated_task_called_inside_a_task_is_refused(tmp_path):
    text = HEAD + "with DAG('d'):\n    @task\n    def b(): return 1\n    @task\n    def a(): return b()\n    a()\n"
    frame = drive(load(tmp_path, text), "a")
    assert "b.function(...)" in str(frame["error"]["traceback"])


def test_one_task_object_serves_several_tries(tmp_path):
    text = HEAD + "with DAG('d'):\n    @task(isolation='warm')\n    def a(x): return x\n    a('{{ run_id }}')\n"
    loaded = load(tmp_path, text)
    for run in ("r1", "r2"):
        assert value_of(drive(loaded, "a", run={"run_id": run})) == f'"{run}"'


def test_dates_are_pendulums_in_utc(tmp_path):
    text = "c = get_current_context()\nd = c['logical_date']\nreturn [type(d).__name__, d.timezone_name, c['data_interval_start'].to_date_string()]"
    assert value_of(drive(body(tmp_path, text), "a")) == '["DateTime","UTC","2023-12-31"]'


def test_elapsed_counts_from_the_first_leg(tmp_path):
    text = "return get_current_context().elapsed() >= timedelta(days=1)"
    assert value_of(drive(body(tmp_path, text), "a", started_first_at=DUE)) == "true"


def test_a_tasks_own_params_stand_over_the_runs(tmp_path):
    text = (
        HEAD
        + "with DAG('d', params={'a': 1, 'b': 2}):\n    @task(params={'b': 3, 'c': Param(4, type='integer')})\n    def t(params): return params\n    t()\n"
    )
    loaded = load(tmp_path, text)
    run = {"params": {"a": 1, "b": 2}, "conf": {}}
    assert decode(value_of(drive(loaded, "t", run=run))) == {"a": 1, "b": 3, "c": 4}
    run = {"params": {"a": 1, "b": 9}, "conf": {"b": 9, "c": 5}}
    assert decode(value_of(drive(loaded, "t", run=run))) == {"a": 1, "b": 9, "c": 5}
