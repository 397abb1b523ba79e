"""Joins, allowed failures, branches: what becomes of each task."""

from __future__ import annotations

import pytest

from dagd.model.settings import Settings
from tests.integration.outcome_kit import Case, check

CASES = {
    "rule join sf all success": Case(
        """
@task
def a(): return 1
@task
def bad(): raise ValueError("x")
@task
def sk(): raise SkipTask("no")
j=empty("j")
[bad(),sk()]>>j
        """,
        {"bad": "failed", "sk": "skipped", "j": "upstream_failed"},
        run="failed",
    ),
    "allow failure join done": Case(
        """
@task(allow_failure=True)
def bad(): raise ValueError
@task(trigger_rule="all_done")
def j(): pass
bad()>>j()
        """,
        {"bad": "failed", "j": "success"},
    ),
    "allow failure uf": Case(
        """
@task(allow_failure=True)
def bad(): raise ValueError
@task
def j(): pass
bad()>>j()
        """,
        {"bad": "failed", "j": "upstream_failed"},
        run="failed",
    ),
    "allow failure mapped": Case(
        """
@task(allow_failure=True)
def m(x):
    if x==1: raise ValueError
    return x
@task(trigger_rule="all_done")
def j(xs): assert list(xs)==[0,2], list(xs)
j(m.expand(x=[0,1,2]))
        """,
        {"m/0": "success", "m/1": "failed", "m/2": "success", "j": "success"},
    ),
    "leaves": Case(
        """
@task
def bad(): raise ValueError
@task(trigger_rule="all_done")
def j(): pass
bad()>>j()
        """,
        {"bad": "failed", "j": "success"},
        dag="success_when='leaves'",
    ),
    "fail then done": Case(
        """
@task
def bad(): raise ValueError
@task(trigger_rule="all_done")
def j(): pass
bad()>>j()
        """,
        {"bad": "failed", "j": "success"},
        run="failed",
    ),
    "branch none": Case(
        """
@task.branch
def b(): return None
b()>>[empty("x"),empty("y")]
        """,
        {"b": "success", "x": "skipped", "y": "skipped"},
    ),
    "branch unknown": Case(
        """
@task.branch
def b(): return "nope"
b()>>[empty("x"),empty("y",trigger_rule="all_done")]
        """,
        {"b": "failed", "x": "upstream_failed", "y": "success"},
        run="failed",
    ),
    "branch unknown retries": Case(
        """
@task.branch(retries=2,retry_delay=0)
def b(ti=None): return "nope" if ti.try_number<2 else "x"
b()>>[empty("x"),empty("y",trigger_rule="all_done")]
        """,
        {"b": "success", "x": "success", "y": "skipped"},
    ),
    "branch group": Case(
        """
@task.branch
def b(): return "g"
with TaskGroup("g") as g:
    r=empty("r"); r2=empty("r2"); r>>empty("d")
o=empty("o")
b()>>[g,o]
        """,
        {"b": "success", "g.r": "success", "g.r2": "success", "g.d": "success", "o": "skipped"},
    ),
    "branch list ids": Case(
        """
@task.branch
def b(): return ["x","g.r"]
with TaskGroup("g") as g:
    r=empty("r"); r2=empty("r2"); r>>empty("d")
b()>>[g,empty("o"),empty("x")]
        """,
        {"b": "success", "g.r": "success", "g.r2": "skipped", "g.d": "success", "o": "skipped", "x": "success"},
    ),
    "branch bare id in group": Case(
        """
with TaskGroup("g") as g:
    @task.branch
    def b(): return "r"
    b()>>[empty("r"),empty("q")]
        """,
        {"g.b": "failed", "g.r": "upstream_failed", "g.q": "upstream_failed"},
        run="failed",
    ),
    "branch kept downstream": Case(
        """
@task.branch
def b(): return "x"
x=empty("x"); j=empty("j");
z=empty("z")
bb=b(); bb>>[x,j,z]; x>>j
z>>empty("j2",trigger_rule="all_done")
        """,
        {"b": "success", "x": "success", "j": "success", "z": "skipped", "j2": "success"},
    ),
    "branch empty string": Case(
        """
@task.branch
def b(): return ""
b()>>empty("x")
        """,
        {"b": "failed", "x": "upstream_failed"},
        run="failed",
    ),
    "branch tuple set": Case(
        """
@task.branch
def b(): return {"x"}
b()>>[empty("x"),empty("y")]
        """,
        {"b": "success", "x": "success", "y": "skipped"},
    ),
    "branch unchosen teardown": Case(
        """
@setup
def s(): pass
@teardown
def t(): pass
@task.branch
def b(): return "x"
ss=s(); tt=t().as_teardown(setups=ss)
bb=b(); x=empty("x"); y=empty("y")
ss>>bb>>[x,y]>>tt
bb>>tt
        """,
        {"s": "success", "b": "success", "x": "success", "y": "skipped", "t": "success"},
    ),
    "branch in mapped group": Case(
        """
@task_group
def g(n):
    @task.branch
    def b(n): return "g.even" if n%2==0 else "g.odd"
    @task
    def even(): return "e"
    @task(trigger_rule="all_done")
    def odd(): return "o"
    @task(trigger_rule="none_failed_min_one_success")
    def j(): pass
    b(n)>>[even(),odd()]>>j()
g.expand(n=[0,1])
        """,
        {
            "g.b/0": "success",
            "g.b/1": "success",
            "g.even/0": "success",
            "g.even/1": "skipped",
            "g.odd/0": "skipped",
            "g.odd/1": "success",
            "g.j/0": "success",
            "g.j/1": "success",
        },
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_tasks_end_as_the_page_says(known: Settings, name: str) -> None:
    check(known, CASES[name])
