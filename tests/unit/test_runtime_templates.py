"""Templates: Airflow's names, strict and sandboxed, rendered once."""
# ruff: noqa: E501 - a case of a table, or a line of a DAG file, is one line

from __future__ import annotations

import subprocess
import sys

import pytest

from dagd.runtime.xcom import decode
from tests.unit.runtime_kit import DUE, Answers, drive, load, value_of

SHOW = """
from dagd import DAG, BaseOperator, task
class Show(BaseOperator):
    template_fields = ("text",)
    template_ext = (".sql",)
    def __init__(self, *, text, **arguments):
        super().__init__(**arguments)
        self.text = text
    def execute(self, context):
        return self.text
with DAG("d", params={"n": 5}, user_defined_macros={"twice": lambda x: x * 2}, user_defined_filters={"loud": str.upper}%s):
    Show(task_id="show", text=%r)
"""


def show(folder, text, more="", **given):
    loaded = load(folder, SHOW % (more, text))
    given["run"] = {"params": {"n": 5, "name": "Ada"}, "conf": {"k": [1, 2]}, **given.pop("run", {})}
    frame = drive(loaded, "show", **given)
    return decode(value_of(frame) or "null") if frame["outcome"] == "succeed" else frame["error"]["message"]


TEXTS = [
    ("no template at all {", "no template at all {"),
    ("{{ ds }} {{ ds_nodash }}", "2024-01-01 20240101"),
    (
        "{{ ts }} {{ ts_nodash }} {{ ts_nodash_with_tz }}",
        "2024-01-01T00:00:00+00:00 20240101T000000 20240101T000000+0000",
    ),
    ("{{ logical_date | ds }} {{ data_interval_start | ts_nodash }}", "2024-01-01 20231231T000000"),
    ("{{ data_interval_end.format('YYYY') }}", "2024"),
    ("{{ params.n + 1 }} {{ params['name'] }}", "6 Ada"),
    ("{{ dag_run.conf['k'][1] }} {{ dag_run.run_id }} {{ run_id }}", "2 m-1 m-1"),
    ("{{ dag.dag_id }} {{ task.task_id }} {{ ti.task_id }} {{ ti.try_number }}", "d show show 1"),
    ("{{ macros.ds_add(ds, -1) }} {{ macros.ds_format(ds, '%Y-%m-%d', '%d/%m') }}", "2023-12-31 01/01"),
    ("{{ macros.timedelta(days=1) + logical_date }}", "2024-01-02 00:00:00+00:00"),
    ("{{ task_instance_key_str }}", "d__show__20240101"),
    ("{{ twice(4) }} {{ 'x' | loud }}", "8 X"),
    ("{% for i in range(3) %}{{ i }}{% endfor %}\n", "012\n"),
    (["{{ ds }}", {"a": ("{{ run_id }}",)}], ["2024-01-01", {"a": ("m-1",)}]),
    ({"{{ ds }}": "{{ ds }}"}, {"{{ ds }}": "2024-01-01"}),
    ("{{ '{{ ds }}' }}", "{{ ds }}"),
    ("{{ var.value.a }} {{ var.json.b.c }} {{ var.value.get('none', 'x') }}", "A 7 x"),
    ("{{ conn.pg.host }}:{{ conn.pg.port }}", "db:5432"),
    ("{{ ti.xcom_pull(task_ids='up')[0] }}", "9"),
]


@pytest.mark.parametrize("text,expected", TEXTS, ids=[str(text)[:30] for text, _ in TEXTS])
def test_a_field_is_rendered_with_airflows_names(text, expected, tmp_path):
    answers = Answers(
        variable=lambda args: {"a": "A", "b": '{"c": 7}'}.get(args["key"]),
        connection={"conn_type": "postgres", "host": "db", "port": "5432"},
        xcom=[[-1, "[9]", None]],
    )
    assert show(tmp_path, text, answers=answers) == expected


FAILING = [
    ("{{ nope }}", "'nope' is undefined"),
    ("{{ params.nope }}", "has no attribute 'nope'"),
    ("{{ ''.__class__.__mro__ }}", "unsafe"),
    ("{{ dag.__init__.__globals__ }}", "unsafe"),
    ("{{ ds", "TemplateSyntaxError"),
    ("{% if %}", "TemplateSyntaxError"),
]


@pytest.mark.parametrize("text,what", FAILING)
def test_a_template_that_cannot_be_rendered_fails_the_task(text, what, tmp_path):
    message = show(tmp_path, text)
    assert what in message
    assert text in message


def test_a_template_file_is_rendered_from_the_dag_folder(tmp_path):
    (tmp_path / "q.sql").write_text("select '{{ ds }}' {% include 'part.sql' %}")
    (tmp_path / "part.sql").write_text("from {{ params.name }}")
    assert show(tmp_path, "q.sql") == "select '2024-01-01' from Ada"
    assert show(tmp_path, "missing.sql") == "missing.sql"


def test_native_rendering_keeps_types(tmp_path):
    assert show(tmp_path, "{{ params.n }}", ", render_template_as_native_obj=True") == 5


def test_a_run_without_a_logical_date_is_dated_by_when_it_was_due(tmp_path):
    assert show(tmp_path, "{{ ds }}", run={"logical_date": None, "due_at": DUE + 86_400_000_000}) == "2024-01-02"


def test_what_was_rendered_is_never_rendered_again(tmp_path):
    text = """
from dagd import DAG, task
with DAG("d"):
    @task
    def up(): return ["{{ ds }}"]
    @task
    def down(a, b, c=None): return [a, b, c]
    down(up(), {"x": ["{{ params.p }}"]}, c="{{ ds }}")
    down.override(task_id="m").partial(b="{{ ds }}").expand(a=["{{ ds }}", 2])
"""
    loaded = load(tmp_path, text)
    xcom = {"up|return_value": {"kind": "value", "text": '["{{ ds }}"]'}}
    frame = drive(loaded, "down", xcom=xcom, run={"params": {"p": "{{ ds }}"}})
    assert decode(value_of(frame)) == [["{{ ds }}"], {"x": ["{{ ds }}"]}, "2024-01-01"]
    frame = drive(loaded, "m", map_index=0, map_sizes=[2])
    assert decode(value_of(frame)) == ["{{ ds }}", "2024-01-01", None]


def test_a_field_without_templates_imports_no_jinja(tmp_path):
    code = f"""
import sys
from pathlib import Path
from tests.unit.runtime_kit import drive, load
loaded = load(Path({str(tmp_path)!r}), '''
from dagd import DAG, task
with DAG("d"):
    @task
    def a(x, ds): return x
    a("text")
''')
assert drive(loaded, "a")["outcome"] == "succeed"
heavy = [name for name in ("jinja2", "pendulum", "croniter", "sqlalchemy", "jsonschema", "asyncio") if name in sys.modules]
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(filter(None, sys.path))}, check=False
    )
    assert done.returncode == 0
