"""Retries, timeouts, sensors, stops: how tries end and what follows."""

from __future__ import annotations

import pytest

from dagd.model.settings import Settings
from tests.integration.outcome_kit import Case, check

CASES = {
    "retries": Case(
        """
@task(retries=2,retry_delay=0)
def f(): raise ValueError("e")
f()
        """,
        {"f": "failed"},
        run="failed",
        fields={"f": {"try": 3, "max_tries": 3, "error": "ValueError: e"}},
    ),
    "retry ok": Case(
        """
@task(retries=2,retry_delay=60)
def f(ti=None): assert ti.try_number==2
f()
        """,
        {"f": "success"},
        fields={"f": {"try": 2, "max_tries": 3}},
    ),
    "failtask": Case(
        """
@task(retries=2,retry_delay=0)
def f(): raise FailTask("no")
f()
        """,
        {"f": "failed"},
        run="failed",
        fields={"f": {"try": 1}},
    ),
    "skiptask retries": Case(
        """
@task(retries=2,retry_delay=0)
def f(): raise SkipTask("no")
f()>>empty("x")
        """,
        {"f": "skipped", "x": "skipped"},
        fields={"f": {"try": 1, "reason": "no"}},
    ),
    "policy": Case(
        """
pol=ExceptionRetryPolicy(rules=[RetryRule(exception=KeyError,action=RetryAction.FAIL),RetryRule(exception="ValueError",action=RetryAction.RETRY,retry_delay=timedelta(seconds=1))],default=RetryAction.DEFAULT)
@task(retries=3,retry_delay=0,retry_policy=pol)
def f(): raise KeyError("a")
@task(retries=3,retry_delay=0,retry_policy=pol)
def g(): raise ValueError("a")
@task(retries=3,retry_delay=0,retry_policy=pol)
def h(): raise TypeError("a")
@task(retry_policy=pol)
def i(): raise ValueError("a")
f(),g(),h(),i()
        """,
        {"f": "failed", "g": "failed", "h": "failed", "i": "failed"},
        run="failed",
        fields={"f": {"try": 1}, "g": {"try": 4}, "h": {"try": 4}, "i": {"try": 1}},
    ),
    "policy default fail": Case(
        """
pol=ExceptionRetryPolicy(rules=[RetryRule(exception=ConnectionError,action=RetryAction.RETRY)],default=RetryAction.FAIL)
@task(retries=3,retry_delay=0,retry_policy=pol)
def f(): raise BrokenPipeError("a")
@task(retries=3,retry_delay=0,retry_policy=pol)
def g(): raise ValueError("a")
f(),g()
        """,
        {"f": "failed", "g": "failed"},
        run="failed",
        fields={"f": {"try": 4}, "g": {"try": 1}},
    ),
    "exec timeout retry": Case(
        """
@task(retries=1,retry_delay=0,execution_timeout=timedelta(seconds=.2),cancel_grace=0.1)
def f(): time.sleep(20)
f()
        """,
        {"f": "failed"},
        run="failed",
        fields={"f": {"try": 2, "reason": "~timeout"}},
    ),
    "sensor timeout": Case(
        """
@task.sensor(poke_interval=10,timeout=35,retries=3,retry_delay=0)
def f(): return False
@task.sensor(poke_interval=10,timeout=35,soft_fail=True)
def g(): return False
@task.sensor(poke_interval=10,timeout=35,mode="reschedule",retries=2,retry_delay=0)
def h(): raise ValueError
@task.sensor(poke_interval=10,timeout=35,soft_fail=True)
def i(): raise ValueError
@task.sensor(poke_interval=10,timeout=35)
def k(): return PokeReturnValue(is_done=True,xcom_value=[1,2])
@task.sensor(poke_interval=10,timeout=35)
def k2(): return PokeReturnValue(is_done=False,xcom_value=[1,2])
@task
def use(v): assert v==[1,2]
@task
def m(v): pass
kk=k(); use(kk); m.expand(v=kk)
f();g();h();i();k2()
        """,
        {
            "f": "failed",
            "g": "skipped",
            "h": "failed",
            "i": "failed",
            "k": "success",
            "k2": "failed",
            "use": "success",
            "m/0": "success",
            "m/1": "success",
        },
        run="failed",
        fields={"f": {"try": 1, "reason": "sensor timeout"}, "h": {"try": 3}},
    ),
    "sensor exec timeout": Case(
        """
@task.sensor(poke_interval=10,timeout=1000,execution_timeout=timedelta(seconds=25))
def f(): return False
f()
        """,
        {"f": "failed"},
        run="failed",
        fields={"f": {"reason": "~timeout"}},
    ),
    "dagrun timeout retry": Case(
        """
@task(retries=5,retry_delay=3600)
def f(): raise ValueError
@task
def g(): pass
f()>>g()
        """,
        {"f": "skipped", "g": "skipped"},
        run="failed",
        dag="dagrun_timeout=timedelta(seconds=60)",
    ),
    "dagrun timeout teardown": Case(
        """
@setup
def s(): pass
@task
def w(): time.sleep(30)
@teardown
def t(): pass
@task
def n(): pass
with t().as_teardown(setups=s()): w()>>n()
        """,
        {"s": "success", "w": "failed", "n": "skipped", "t": "success"},
        run="failed",
        dag="dagrun_timeout=timedelta(seconds=1)",
        fields={"w": {"reason": "dagrun_timeout"}},
    ),
    "dagrun timeout sensor": Case(
        """
@task.sensor(poke_interval=10)
def w(): return False
w()
        """,
        {"w": "failed"},
        run="failed",
        dag="dagrun_timeout=timedelta(seconds=60)",
        fields={"w": {"reason": "dagrun_timeout"}},
    ),
    "fail fast retries": Case(
        """
@task(retries=1,retry_delay=0)
def bad(): raise ValueError
@task
def n(): pass
bad()>>n()
        """,
        {"bad": "failed", "n": "skipped"},
        run="failed",
        dag="fail_fast=True",
        fields={"bad": {"try": 2}},
    ),
    "fail fast allowed": Case(
        """
@task(allow_failure=True)
def bad(): raise ValueError
@task(trigger_rule="all_done")
def n(): pass
bad()>>n()
        """,
        {"bad": "failed", "n": "success"},
        dag="fail_fast=True",
    ),
    "async task": Case(
        """
@task
async def f():
    import asyncio; await asyncio.sleep(0); return 4
@task
def g(v): assert v==4
g(f())
        """,
        {"f": "success", "g": "success"},
    ),
    "bash exit": Case(
        """
BashOperator(task_id="a",bash_command="exit 99")
BashOperator(task_id="b",bash_command="exit 7",skip_on_exit_code=[7,8])
BashOperator(task_id="c",bash_command="exit 99",skip_on_exit_code=7)
BashOperator(task_id="d",bash_command="exit 3")
e=BashOperator(task_id="e",bash_command="echo one; echo two")
@task
def g(v): assert v=="two"
g(e.output)
@task.bash
def h(): return "echo hi; exit 0"
h()
        """,
        {"a": "skipped", "b": "skipped", "c": "failed", "d": "failed", "e": "success", "g": "success", "h": "success"},
        run="failed",
        fields={"d": {"exit_code": 3}},
    ),
    "kill self": Case(
        """
@task
def a(): os.kill(os.getpid(),9)
@task
def b(): os._exit(0)
a();b()
        """,
        {"a": "failed", "b": "failed"},
        run="failed",
        fields={"a": {"signal": 9}, "b": {"reason": "no result"}},
    ),
    "override": Case(
        """
@task(retries=0)
def f(): raise ValueError
f.override(task_id="g",retries=1,retry_delay=0,trigger_rule="all_done")()
f.override(allow_failure=True)()
        """,
        {"g": "failed", "f": "failed"},
        run="failed",
        fields={"g": {"try": 2}, "f": {"try": 1}},
    ),
    "push failed try": Case(
        """
@task(retries=1,retry_delay=0)
def f(ti=None):
    if ti.try_number==1:
        ti.xcom_push("k",1); raise ValueError
    assert ti.xcom_pull(task_ids="f",key="k") is None
@task
def g(ti=None): assert ti.xcom_pull(task_ids="f",key="k") is None
f()>>g()
        """,
        {"f": "success", "g": "success"},
    ),
    "one success early": Case(
        """
@task
def a(): pass
@task
def b(): raise ValueError
@task(trigger_rule="one_success")
def j(): pass
[a(),b()]>>j()
        """,
        {"a": "success", "b": "failed", "j": "success"},
        run="failed",
    ),
    "shortcircuit op": Case(
        """
ShortCircuitOperator(task_id="c",python_callable=lambda:False)>>empty("x")>>empty("y",trigger_rule="all_done")
ShortCircuitOperator(task_id="c2",python_callable=lambda:False,ignore_downstream_trigger_rules=False)>>empty("x2")>>empty("y2",trigger_rule="all_done")
        """,
        {"c": "success", "x": "skipped", "y": "skipped", "c2": "success", "x2": "skipped", "y2": "success"},
    ),
    "xcom key push": Case(
        """
@task
def f(ti=None):
    ti.xcom_push(key="k",value=[1,2]); return 5
@task
def g(v): return v
@task
def h(v,t): assert list(v)==[1,2] and t==5
ff=f()
h(g.expand(v=ff["k"]),ff)
        """,
        {"f": "success", "g/0": "success", "g/1": "success", "h": "success"},
    ),
    "big xcom": Case(
        """
@task
def f(): return "x"*200000
@task
def g(v): assert len(v)==200000
g(f())
@task
def h(): return "x"*(17*1024*1024)
h()
        """,
        {"f": "success", "g": "success", "h": "failed"},
        run="failed",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_tries_end_as_the_page_says(known: Settings, name: str) -> None:
    check(known, CASES[name])
