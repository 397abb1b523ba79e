"""Short-circuits, mapped groups, setups and teardowns: what becomes of each task."""

from __future__ import annotations

import pytest

from dagd.model.settings import Settings
from tests.integration.outcome_kit import Case, check

CASES = {
    "sc in mapped group": Case(
        """
@task_group
def g(n):
    @task.short_circuit
    def b(n): return n%2==0
    @task
    def w(): pass
    @task(trigger_rule="always")
    def v(): pass
    b(n)>>w()>>v()
@task(trigger_rule="all_done")
def after(): pass
g.expand(n=[0,1])>>after()
        """,
        {
            "g.b/0": "success",
            "g.b/1": "success",
            "g.w/0": "success",
            "g.w/1": "skipped",
            "g.v/0": "success",
            "g.v/1": "skipped",
            "after": "success",
        },
    ),
    "sc direct in group": Case(
        """
@task_group
def g(n):
    @task.short_circuit(ignore_downstream_trigger_rules=False)
    def b(n): return n%2==0
    @task
    def w(): pass
    @task(trigger_rule="all_done")
    def v(): pass
    b(n)>>w()>>v()
g.expand(n=[0,1])
        """,
        {
            "g.b/0": "success",
            "g.b/1": "success",
            "g.w/0": "success",
            "g.w/1": "skipped",
            "g.v/0": "success",
            "g.v/1": "success",
        },
    ),
    "sc teardown in group": Case(
        """
@task_group
def g(n):
    @setup
    def s(n): pass
    @task.short_circuit
    def b(n): return n%2==0
    @task
    def w(): pass
    @teardown
    def t(): pass
    ss=s(n); tt=t().as_teardown(setups=ss)
    ss>>b(n)>>w()>>tt
g.expand(n=[0,1])
        """,
        {
            "g.s/0": "success",
            "g.s/1": "success",
            "g.b/0": "success",
            "g.b/1": "success",
            "g.w/0": "success",
            "g.w/1": "skipped",
            "g.t/0": "success",
            "g.t/1": "success",
        },
    ),
    "sc zero": Case(
        """
@task.short_circuit
def c(): return []
c()>>empty("x",trigger_rule="all_done")>>empty("y",trigger_rule="always")
        """,
        {"c": "success", "x": "skipped", "y": "skipped"},
    ),
    "sc mapped group below": Case(
        """
@task.short_circuit
def c(): return False
@task_group
def g(n):
    @task
    def w(n): pass
    @task(trigger_rule="all_done")
    def v(): pass
    w(n)>>v()
c()>>g.expand(n=[0,1])
        """,
        {"c": "success", "g.w": "skipped", "g.v": "skipped"},
    ),
    "branch unchosen mapped group": Case(
        """
@task.branch
def c(): return "x"
@task_group
def g(n):
    @task
    def w(n): pass
    @task
    def v(): pass
    w(n)>>v()
c()>>[g.expand(n=[0,1]),empty("x")]
        """,
        {"c": "success", "g.w": "skipped", "g.v": "skipped", "x": "success"},
    ),
    "branch unchosen mapped task": Case(
        """
@task.branch
def c(): return "x"
@task
def w(n): pass
c()>>[w.expand(n=[0,1]),empty("x")]
        """,
        {"c": "success", "w": "skipped", "x": "success"},
    ),
    "branch mapped": Case(
        """
@task.branch
def c(n): return n
c.expand(n=["x","y"])>>[empty("x"),empty("y"),empty("z")]
        """,
        {"c/0": "success", "c/1": "success", "x": "success", "y": "success", "z": "skipped"},
    ),
    "setup failed": Case(
        """
@setup
def s(): raise ValueError
@task
def w(): pass
@teardown
def t(): pass
ss=s()
with t().as_teardown(setups=ss): w()
        """,
        {"s": "failed", "w": "upstream_failed", "t": "upstream_failed"},
        run="failed",
    ),
    "setup skipped": Case(
        """
@setup
def s(): raise SkipTask
@task
def w(): pass
@teardown
def t(): pass
ss=s()
with t().as_teardown(setups=ss): w()
        """,
        {"s": "skipped", "w": "skipped", "t": "skipped"},
    ),
    "two setups one ok": Case(
        """
@setup
def s(): raise ValueError
@setup
def s2(): pass
@task
def w(): pass
@teardown
def t(): pass
a,b=s(),s2()
with t().as_teardown(setups=[a,b]): w()
        """,
        {"s": "failed", "s2": "success", "w": "upstream_failed", "t": "success"},
        run="failed",
    ),
    "teardown failed": Case(
        """
@setup
def s(): pass
@task
def w(): pass
@teardown
def t(): raise ValueError
with t().as_teardown(setups=s()): w()
        """,
        {"s": "success", "w": "success", "t": "failed"},
    ),
    "teardown failed counts": Case(
        """
@setup
def s(): pass
@task
def w(): pass
@teardown(on_failure_fail_dagrun=True)
def t(): raise ValueError
with t().as_teardown(setups=s()): w()
        """,
        {"s": "success", "w": "success", "t": "failed"},
        run="failed",
    ),
    "work failed teardown": Case(
        """
@setup
def s(): pass
@task
def w(): raise ValueError
@task
def w2(): pass
@teardown
def t(): pass
with t().as_teardown(setups=s()): w()>>w2()
        """,
        {"s": "success", "w": "failed", "w2": "upstream_failed", "t": "success"},
        run="failed",
    ),
    "teardown mapped failfast": Case(
        """
@setup
def s(): pass
@task
def w(n):
    if n==1: raise ValueError
@teardown
def t(): pass
@task
def later(): pass
ss=s()
w_=w.expand(n=[0,1,2]); tt=t().as_teardown(setups=ss)
ss>>w_>>tt
w_>>later()
        """,
        {"s": "success", "w/0": "success", "w/1": "failed", "w*1": "skipped", "t": "success", "later": "skipped"},
        run="failed",
        dag="fail_fast=True",
    ),
    "group leaves no teardown": Case(
        """
with TaskGroup("g") as g:
    @setup
    def s(): pass
    @task
    def w(): pass
    @teardown
    def t(): raise ValueError
    with t().as_teardown(setups=s()): w()
g>>empty("n")
        """,
        {"g.s": "success", "g.w": "success", "g.t": "failed", "n": "success"},
    ),
    "mapped setup teardown": Case(
        """
@setup
def s(n):
    if n==1: raise ValueError
@task
def w(): pass
@teardown
def t(): pass
ss=s.expand(n=[0,1])
tt=t().as_teardown(setups=ss)
ss>>w()>>tt
        """,
        {"s/0": "success", "s/1": "failed", "w": "upstream_failed", "t": "success"},
        run="failed",
    ),
    "nested scopes": Case(
        """
@setup
def o(): pass
@teardown
def od(): pass
@setup
def i(): raise ValueError
@teardown
def id_(): pass
@task
def w(): pass
with od().as_teardown(setups=o()):
    with id_().as_teardown(setups=i()):
        w()
        """,
        {"o": "success", "i": "failed", "w": "upstream_failed", "id_": "upstream_failed", "od": "success"},
        run="failed",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_scopes_end_as_the_page_says(known: Settings, name: str) -> None:
    check(known, CASES[name])
