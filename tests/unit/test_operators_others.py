"""The other operators: what they decide, ask and wait for."""
# ruff: noqa: E501 - a case of a table, or a line of a DAG file, is one line

from __future__ import annotations

import json
import sqlite3
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from dagd.model.errors import Refused, WrongArgument
from dagd.runtime.xcom import decode
from dagd_operators.email import EmailOperator
from dagd_operators.sql import connection_url, split_statements
from dagd_operators.weekday import WeekDay, read_days
from tests.unit.runtime_kit import DUE, Answers, drive, load, value_of

HEAD = """
from dagd import *
from dagd import DAG, task
from datetime import datetime, time, timedelta, UTC
from dagd_operators.datetime import BranchDateTimeOperator
from dagd_operators.empty import EmptyOperator
from dagd_operators.external_task import ExternalTaskMarker, ExternalTaskSensor
from dagd_operators.filesystem import FileSensor
from dagd_operators.http import HttpOperator, HttpSensor
from dagd_operators.latest_only import LatestOnlyOperator
from dagd_operators.python import BranchPythonOperator, ExternalPythonOperator, PythonOperator, PythonSensor, ShortCircuitOperator
from dagd_operators.sql import SQLExecuteQueryOperator, SqlSensor
from dagd_operators.time import DateTimeSensor, TimeDeltaSensor, TimeSensor, WaitSensor
from dagd_operators.trigger_dagrun import TriggerDagRunOperator
from dagd_operators.weekday import BranchDayOfWeekOperator, DayOfWeekSensor
with DAG("d", timezone="Europe/Berlin"):
"""
DAY = 86_400_000_000
HOUR = 3_600_000_000


def one(folder, text, answers=None, **given):
    """The frame of the task `a`."""
    return drive(load(folder, f"{HEAD}    {text}\n"), "a", answers, **given)


def outcome(frame):
    """(outcome, until in hours after DUE or None, pause in s or None)."""
    until, pause = frame.get("until"), frame.get("poke_every_us") or (frame.get("trigger") or {}).get("every_us")
    return frame["outcome"], None if until is None else (until - DUE) / HOUR, None if pause is None else pause / 1e6


WAITS = [
    ("DateTimeSensor(task_id='a', target_time='2024-01-01T02:00:00')", 1, ("defer", 2, None)),
    ("DateTimeSensor(task_id='a', target_time='{{ data_interval_end.add(hours=2) }}')", 1, ("defer", 2, None)),
    ("DateTimeSensor(task_id='a', target_time=datetime(2024, 1, 1, 2, tzinfo=UTC))", 2, ("succeed", None, None)),
    ("TimeDeltaSensor(task_id='a', delta=timedelta(hours=5))", 4, ("defer", 5, None)),
    ("TimeDeltaSensor(task_id='a', delta=timedelta(hours=5))", 5, ("succeed", None, None)),
    ("TimeSensor(task_id='a', target_time=time(8))", 1, ("defer", 7, None)),
    ("TimeSensor(task_id='a', target_time=time(8))", 7, ("succeed", None, None)),
    ("DateTimeSensor(task_id='a', target_time='2024-01-09T00:00:00', timeout=3600)", 1, ("defer", 2, None)),
    ("DayOfWeekSensor(task_id='a', week_day='monday', poke_interval=5)", 0, ("succeed", None, None)),
    ("DayOfWeekSensor(task_id='a', week_day={'Tuesday', 'SUNDAY'}, poke_interval=5)", 0, ("defer", None, 5)),
    ("DayOfWeekSensor(task_id='a', week_day='tuesday', poke_interval=5)", 23.5, ("succeed", None, None)),
    ("DayOfWeekSensor(task_id='a', week_day='monday', use_task_logical_date=True)", 50, ("succeed", None, None)),
]


@pytest.mark.parametrize("text,hour,expected", WAITS)
def test_a_wait_is_one_leap_to_its_instant(text, hour, expected, tmp_path):
    assert outcome(one(tmp_path, text, now=DUE + int(hour * HOUR))) == expected


BRANCHES = [
    ("BranchDayOfWeekOperator(task_id='a', week_day='Monday', follow_task_ids_if_true='x', follow_task_ids_if_false=['y'])", 0, ["x"]),
    ("BranchDayOfWeekOperator(task_id='a', week_day=['Sunday'], follow_task_ids_if_true='x', follow_task_ids_if_false=['y'])", 0, ["y"]),
    ("BranchDateTimeOperator(task_id='a', target_lower=time(1), target_upper=time(3), follow_task_ids_if_true='x', follow_task_ids_if_false='y')", 2, ["x"]),
    ("BranchDateTimeOperator(task_id='a', target_lower=time(1), target_upper=time(3), follow_task_ids_if_true='x', follow_task_ids_if_false='y')", 4, ["y"]),
    ("BranchDateTimeOperator(task_id='a', target_lower=time(22), target_upper=time(3), follow_task_ids_if_true='x', follow_task_ids_if_false='y')", 23, ["x"]),
    ("BranchDateTimeOperator(task_id='a', target_lower=None, target_upper=datetime(2024, 1, 1, 1), follow_task_ids_if_true='x', follow_task_ids_if_false='y')", 0, ["x"]),
    ("LatestOnlyOperator(task_id='a')", 1, ["x", "y"]),
    ("LatestOnlyOperator(task_id='a')", 30, []),
    ("BranchPythonOperator(task_id='a', python_callable=lambda: 'x')", 0, ["x"]),
]  # fmt: skip


@pytest.mark.parametrize("text,hour,chosen", BRANCHES)
def test_a_branch_chooses(text, hour, chosen, tmp_path):
    text += " >> [EmptyOperator(task_id='x'), EmptyOperator(task_id='y')]"
    assert one(tmp_path, text, now=DUE + hour * HOUR, run={"kind": "scheduled"})["branch"] == chosen


def test_latest_only_lets_manual_runs_through(tmp_path):
    frame = one(tmp_path, "LatestOnlyOperator(task_id='a') >> EmptyOperator(task_id='x')", now=DUE + 99 * DAY)
    assert frame["branch"] == ["x"]


def test_an_unknown_day_is_refused_with_the_nearest():
    assert read_days(["monday", WeekDay.SUNDAY]) == {WeekDay.MONDAY, WeekDay.SUNDAY}
    with pytest.raises(WrongArgument, match="Did you mean 'Monday'"):
        read_days("Mondy")


# --- other runs ------------------------------------------------------------------------------------------------------


def test_triggering_asks_once_and_returns_the_run(tmp_path):
    answers = Answers(trigger={"run_id": "m-9", "created": True})
    frame = one(tmp_path, "TriggerDagRunOperator(task_id='a', trigger_dag_id='other', conf={'k': '{{ ds }}'})", answers)
    assert value_of(frame) == '"m-9"'
    assert answers.asked == [
        (
            "trigger",
            {
                "dag_id": "other",
                "run_id": None,
                "conf": {"k": "2024-01-01"},
                "logical_date": None,
                "reset": False,
                "refuse_paused": False,
            },
        )
    ]


def test_waiting_for_a_triggered_run_holds_no_slot_and_triggers_once(tmp_path):
    text = "TriggerDagRunOperator(task_id='a', trigger_dag_id='other', wait_for_completion=True, poke_interval=7)"
    states = iter([{"state": "running"}, {"state": "success"}, {"state": "failed"}])
    answers = Answers(trigger={"run_id": "m-9"}, run_state=lambda args: next(states))
    first = one(tmp_path, text, answers)
    assert outcome(first) == ("defer", None, 7)
    assert one(tmp_path, text, answers, state=first["state"], leg=2)["outcome"] == "succeed"
    assert "ended failed" in one(tmp_path, text, answers, state=first["state"], leg=2)["error"]["message"]
    assert [kind for kind, _ in answers.asked].count("trigger") == 1


def test_an_existing_run_can_mean_skip(tmp_path):
    def refuse(args):
        raise Refused("the run exists")

    text = "TriggerDagRunOperator(task_id='a', trigger_dag_id='other', trigger_run_id='r'%s)"
    assert one(tmp_path, text % ", skip_when_already_exists=True", Answers(trigger=refuse))["outcome"] == "skip"
    assert one(tmp_path, text % "", Answers(trigger=refuse))["outcome"] == "fail"


EXTERNAL = [
    ("", None, ("defer", None, 60)),
    ("", {"state": "running"}, ("defer", None, 60)),
    ("", {"state": "success"}, ("succeed", None, None)),
    (", failed_states=['failed']", {"state": "failed"}, ("fail", None, None)),
    (", skipped_states=['failed']", {"state": "failed"}, ("skip", None, None)),
    (", external_task_id='t'", {"state": "success", "tasks": {"t": ["running"]}}, ("defer", None, 60)),
    (", external_task_id='t'", {"state": "running", "tasks": {"t": ["success", "success"]}}, ("succeed", None, None)),
    (", external_task_ids=['t', 'u']", {"state": "running", "tasks": {"t": ["success"]}}, ("defer", None, 60)),
    (", external_task_group_id='g'", {"state": "running", "tasks": {"g.t": ["success"], "x": ["failed"]}}, ("succeed", None, None)),
]  # fmt: skip


@pytest.mark.parametrize("more,found,expected", EXTERNAL)
def test_a_sensor_over_another_dag(more, found, expected, tmp_path):
    answers = Answers(run_state=found and {"run_id": "r", **found})
    frame = one(
        tmp_path,
        f"ExternalTaskSensor(task_id='a', external_dag_id='o', execution_delta=timedelta(hours=1){more})",
        answers,
    )
    assert outcome(frame) == expected
    assert answers.asked == [("run_state", {"dag_id": "o", "logical_date": DUE - HOUR})]


@pytest.mark.parametrize(
    "more",
    [", external_task_id='t', external_task_ids=['u']", ", allowed_states=['sucess']", ", failed_states=['success']"],
)
def test_a_sensor_over_another_dag_checks_its_arguments(more, tmp_path):
    with pytest.raises(WrongArgument):
        load(tmp_path, f"{HEAD}    ExternalTaskSensor(task_id='a', external_dag_id='o'{more})\n")


# --- files, functions, SQL, HTTP, mail -------------------------------------------------------------------------------


def test_a_file_sensor_sees_files_globs_and_filled_folders(tmp_path):
    (tmp_path / "in").mkdir()
    text = f"FileSensor(task_id='a', filepath='{tmp_path}/%s', poke_interval=3)"
    assert outcome(one(tmp_path, text % "in")) == ("defer", None, 3)
    (tmp_path / "in" / "x.csv").write_text("")
    for path in ("in", "in/*.csv", "in/x.csv"):
        assert one(tmp_path, text % path)["outcome"] == "succeed"
    assert (
        one(
            tmp_path,
            "FileSensor(task_id='a', filepath='in/x.csv', fs_conn_id='fs')",
            Answers(connection={"extra": json.dumps({"path": str(tmp_path)})}),
        )["outcome"]
        == "succeed"
    )


def test_python_operators_call_with_context(tmp_path):
    text = "PythonOperator(task_id='a', python_callable=lambda x, ds, templates_dict, **k: [x, ds, templates_dict, 'ti' in k], op_args=[1], templates_dict={'q': '{{ ds }}'})"
    assert decode(value_of(one(tmp_path, text))) == [1, "2024-01-01", {"q": "2024-01-01"}, True]
    assert outcome(one(tmp_path, "PythonSensor(task_id='a', python_callable=lambda: 0, poke_interval=2)")) == (
        "defer",
        None,
        2,
    )
    assert one(tmp_path, "ShortCircuitOperator(task_id='a', python_callable=lambda: [])")["short_circuit"] is True


def test_a_function_runs_in_another_interpreter(tmp_path):
    text = f"""@task.external_python(python={sys.executable!r})
    def a(x, y):
        import sys
        if x == 0: sys.exit(5)
        return {{"sum": x + y, "dagd": "dagd" in sys.modules}}
    a(%s, y=2)"""
    assert decode(value_of(one(tmp_path, text % 1))) == {"sum": 3, "dagd": False}
    frame = one(tmp_path, text % 0)
    assert (frame["outcome"], frame["exit_code"]) == ("fail", 5)
    assert "plain JSON" in one(tmp_path, text % "{1}")["error"]["message"]


def test_sql_runs_statements_in_one_transaction(tmp_path):
    url = f"sqlite:///{tmp_path / 'db'}"
    text = f"SQLExecuteQueryOperator(task_id='a', conn_id={url!r}, sql=%r, parameters=%r)"
    frame = one(
        tmp_path,
        text % ("create table t (x int); insert into t values (1), (2); select x, 'a;b' from t order by x", None),
    )
    assert decode(value_of(frame)) == [[1, "a;b"], [2, "a;b"]]
    assert one(tmp_path, text % ("insert into t values (3); select nope", None))["outcome"] == "fail"
    assert decode(value_of(one(tmp_path, text % ("select count(*) from t where x <= :most", {"most": 5})))) == [[2]]
    sensor = f"SqlSensor(task_id='a', conn_id={url!r}, sql=%r, poke_interval=4)"
    assert outcome(one(tmp_path, sensor % "select count(*) from t where x = 9")) == ("defer", None, 4)
    assert one(tmp_path, sensor % "select count(*) from t")["outcome"] == "succeed"
    with sqlite3.connect(tmp_path / "db") as connection:
        assert connection.execute("select count(*) from t").fetchone() == (2,)
    connection.close()


SCRIPTS = [
    ("select 1", ["select 1"]),
    ("a; b;\n", ["a", "b"]),
    ("select ';' ; select \";\"", ["select ';'", 'select ";"']),
    ("a -- no; split\n; b /* no; split */ c", ["a -- no; split", "b /* no; split */ c"]),
    ("select 'it''s; fine'", ["select 'it''s; fine'"]),
]


@pytest.mark.parametrize("script,statements", SCRIPTS)
def test_scripts_are_split_outside_quotes_and_comments(script, statements):
    assert split_statements(script) == statements


def test_a_url_is_taken_as_it_is():
    assert connection_url("postgresql://u:p@h/d") == "postgresql://u:p@h/d"


class Site(BaseHTTPRequestHandler):
    """Answers with what it was asked."""

    def do_GET(self):
        status = 404 if "missing" in self.path else 500 if "broken" in self.path else 200
        body = json.dumps({"path": self.path, "auth": self.headers.get("Authorization")}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture(scope="module")
def site():
    with HTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_http_requests_go_to_the_connection(site, tmp_path):
    answers = Answers(
        connection={"conn_type": "http", "host": "127.0.0.1", "port": site, "login": "u", "password": "p"}
    )
    text = "HttpOperator(task_id='a', endpoint='x/{{ ds }}', method='GET', data={'q': '1 2'}, response_filter=lambda r: r.json())"
    assert decode(value_of(one(tmp_path, text, answers))) == {"path": "/x/2024-01-01?q=1+2", "auth": "Basic dTpw"}
    text = "HttpOperator(task_id='a', endpoint='x', data={'a': 1}, headers={'Content-Type': 'application/json'})"
    assert decode(value_of(one(tmp_path, text, answers))) == '{"a": 1}'


def test_http_errors_fail_and_the_sensor_waits_on_404(site, tmp_path):
    base = f"http_conn_id='http://127.0.0.1:{site}'"
    assert (
        "answered 500"
        in one(tmp_path, f"HttpOperator(task_id='a', endpoint='broken', method='GET', {base})")["error"]["message"]
    )
    assert outcome(one(tmp_path, f"HttpSensor(task_id='a', endpoint='missing', {base}, poke_interval=6)")) == (
        "defer",
        None,
        6,
    )
    assert one(tmp_path, f"HttpSensor(task_id='a', endpoint='there', {base})")["outcome"] == "succeed"
    assert one(tmp_path, f"HttpSensor(task_id='a', endpoint='broken', {base})")["outcome"] == "fail"
    assert (
        "no http or https URL"
        in one(tmp_path, "HttpOperator(task_id='a', endpoint='file:///etc/passwd')", Answers())["error"]["message"]
    )


def test_a_mail_is_composed_without_room_for_injected_headers():
    mail = EmailOperator(task_id="a", to="a@x, b@y", subject="Hi", html_content="<b>é</b>", cc=["c@z"])
    message = mail.compose("me@x")
    assert (message["To"], message["Cc"], message.get_content_type()) == ("a@x, b@y", "c@z", "text/html")
    with pytest.raises(ValueError, match=r"linefeed|header"):
        EmailOperator(task_id="a", to="a@x", subject="Hi\nBcc: evil@x", html_content="").compose("me@x")
