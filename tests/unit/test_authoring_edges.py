"""Dependencies as written become dependencies as compiled."""
# ruff: noqa: E501 - a case of a table, or a line of a DAG file, is one line

from __future__ import annotations

import pytest

from dagd.authoring.ambient import AMBIENT
from dagd.authoring.compile import compile_dag
from dagd.model.errors import AuthoringError, WrongArgument

HEAD = """
from dagd import *
from dagd import DAG, task
from dagd_operators.empty import EmptyOperator
def e(name, **k): return EmptyOperator(task_id=name, **k)
with DAG("d") as d:
    a, b, c, x, y = (e(n) for n in "abcxy")
    with TaskGroup("g") as g:
        g1, g2, g3 = e("1"), e("2"), e("3")
        g1 >> g2
"""


def edges(text, head=HEAD):
    """The edges of the DAG as sorted `up>down` texts."""
    AMBIENT.start_file(None)
    space: dict = {"__name__": "x"}
    exec(head + "".join(f"    {line}\n" for line in text.splitlines()), space)
    spec = compile_dag(space["d"], file="x.py")
    return sorted(f"{up}>{one.task_id}" for one in spec.tasks for up in one.upstreams)


INNER = ["g.1>g.2"]

CASES = [
    ("a >> b >> c", ["a>b", "b>c"]),
    ("c << b << a", ["a>b", "b>c"]),
    ("a >> [b, c] >> x", ["a>b", "a>c", "b>x", "c>x"]),
    ("[a, b] << c", ["c>a", "c>b"]),
    ("a.set_downstream([b, c])\nx.set_upstream(a)", ["a>b", "a>c", "a>x"]),
    ("a >> Label('no') >> b", ["a>b"]),
    ("b << Label('no') << [a, c]", ["a>b", "c>b"]),
    ("[a, b] >> Label('no') >> [c, x]", ["a>c", "a>x", "b>c", "b>x"]),
    ("chain(a, [b, c], [x, y], Label('l'), g1)", ["a>b", "a>c", "b>x", "c>y", "x>g.1", "y>g.1"]),
    ("chain_linear(a, [b, c], [x, y])", ["a>b", "a>c", "b>x", "b>y", "c>x", "c>y"]),
    ("cross_downstream([a, b], [x, y])", ["a>x", "a>y", "b>x", "b>y"]),
    ("a >> g >> b", ["a>g.1", "a>g.3", "g.2>b", "g.3>b"]),
    ("g << a\nb << g", ["a>g.1", "a>g.3", "g.2>b", "g.3>b"]),
    ("[a, g] >> b", ["a>b", "g.2>b", "g.3>b"]),
    ("a >> g\nwith g:\n    e('late')", ["a>g.1", "a>g.3", "a>g.late"]),
    ("with TaskGroup('h') as h:\n    h1 = e('1')\ng >> h >> a", ["g.2>h.1", "g.3>h.1", "h.1>a"]),
    (
        "with TaskGroup('o') as o:\n    with TaskGroup('p') as p: e('1')\n    with TaskGroup('q') as q: e('2')\n    a >> o >> b\n    p >> q",
        ["a>o.p.1", "o.p.1>o.q.2", "o.q.2>b"],
    ),
    ("with TaskGroup('n', prefix_group_id=False) as n: e('plain')\na >> n", ["a>plain"]),
    ("with TaskGroup('empty') as n: pass\na >> n >> b", []),
    ("t = e('t').as_teardown(setups=a)\na >> b >> t", ["a>b", "a>t", "b>t"]),
    ("with TaskGroup('w') as w:\n    s = e('s').as_setup()\n    k = e('k')\n    t = e('t').as_teardown(setups=s)\n    s >> k >> t\nw >> a",
     ["w.k>a", "w.k>w.t", "w.s>w.k", "w.s>w.t"]),
    ("t = e('t').as_teardown(setups=a)\nwith a:\n    w1, w2 = e('w1'), e('w2')\n    w1 >> w2", ["a>t", "a>w1", "w1>w2", "w2>t"]),
    ("s = e('s').as_setup()\nwith e('t').as_teardown(setups=s):\n    e('w')", ["s>t", "s>w", "w>t"]),
]  # fmt: skip


@pytest.mark.parametrize("text,expected", CASES, ids=[case[0][:40] for case in CASES])
def test_what_is_written_is_what_runs(text, expected):
    assert edges(text) == sorted(expected + INNER)


FLOW = """
from dagd import *
from dagd import DAG, task, task_group, setup, teardown
with DAG("d") as d:
    @task
    def a(*args, **kwargs): ...
"""

VALUES = [
    ("a(a(1))", ["a>a__1"]),
    ("one = a()\na([one, {'k': (one['x'],)}], y=one)", ["a>a__1"]),
    ("one = a()\na.expand(x=one)", ["a>a__1"]),
    ("one, two = a(), a()\na.partial(y=one).expand(x=two.map(str))", ["a>a__2", "a__1>a__2"]),
    ("one, two = a(), a()\na.expand_kwargs(one.zip(two).concat([1]).map(dict))", ["a>a__2", "a__1>a__2"]),
    (
        "one = a()\n@task_group\ndef g(v):\n    a.override(task_id='in')(v)\n    a.override(task_id='more')()\ng(one)",
        ["a>g.in"],
    ),
    (
        "one = a()\n@task_group\ndef g(v):\n    return a.override(task_id='in')(a.override(task_id='pre')(v))\ng.expand(v=one) >> a()",
        ["a>g.pre", "g.in>a__1", "g.pre>g.in"],
    ),
    ("@task_group\ndef g():\n    a()\ng()\ng()", []),
    ("@setup\ndef s(): ...\n@teardown(on_failure_fail_dagrun=True)\ndef t(): ...\ns() >> a() >> t()", ["a>t", "s>a"]),
]


@pytest.mark.parametrize("text,expected", VALUES, ids=[case[0][:40] for case in VALUES])
def test_a_value_that_is_used_is_a_dependency(text, expected):
    assert edges(text, FLOW) == sorted(expected)


def test_what_is_written_twice_gets_a_number():
    AMBIENT.start_file(None)
    space: dict = {"__name__": "x"}
    exec(
        FLOW
        + "    @task_group\n    def g():\n        a()\n        a()\n    for _ in range(2): g()\n    a(); a(); a()\n",
        space,
    )
    assert space["d"].task_ids == ["g.a", "g.a__1", "g__1.a", "g__1.a__1", "a", "a__1", "a__2"]


def test_setups_and_teardowns_are_told_to_the_scheduler():
    AMBIENT.start_file(None)
    space: dict = {"__name__": "x"}
    exec(
        FLOW
        + "    s1, s2, w = a(), a(), a()\n    t = a().as_teardown(setups=[s1, s2], on_failure_fail_dagrun=True)\n    s1 >> w >> t\n",
        space,
    )
    spec = compile_dag(space["d"], file="x.py")
    one = spec.task("a__3")
    assert (one.is_teardown, one.setups, one.on_failure_fail_dagrun) == (True, ("a", "a__1"), True)
    assert [spec.task(name).is_setup for name in ("a", "a__1", "a__2")] == [True, True, False]


REFUSED = [
    ("a >> 5", "no task, group or list"),
    ("a >> None", "no task, group or list"),
    ("with DAG('other'): z = e('z')\na >> z", "different DAGs"),
    ("chain([a, b], [c, x, y])", "2 and 3"),
    ("Label('x').set_upstream(a)", "none itself"),
    ("e('t', trigger_rule='one_failed').as_teardown()", "rule of its own"),
]


@pytest.mark.parametrize("text,words", REFUSED)
def test_what_cannot_be_a_dependency_is_refused(text, words):
    with pytest.raises(AuthoringError, match=words):
        edges(text)


def test_tasks_outside_any_dag_can_be_put_into_one_by_an_edge():
    AMBIENT.start_file(None)
    space: dict = {"__name__": "x"}
    exec(HEAD.partition("with DAG")[0] + "z = e('z')\nd = DAG('d')\nw = e('w', dag=d)\nw >> z\n", space)
    assert space["d"].task_ids == ["w", "z"]
    with pytest.raises(WrongArgument, match="no DAG"):
        exec("e('p') >> e('q')", space)
