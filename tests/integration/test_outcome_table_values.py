"""Mapped groups and the values that go between tasks."""

from __future__ import annotations

import pytest

from dagd.model.settings import Settings
from tests.integration.outcome_kit import Case, check

CASES = {
    "source failed rule": Case(
        """
@task
def l(): raise ValueError
@task(trigger_rule="all_done")
def m(x): return x
m.expand(x=l())
        """,
        {"l": "failed", "m": "upstream_failed"},
        run="failed",
    ),
    "source skipped rule": Case(
        """
@task
def l(): raise SkipTask
@task(trigger_rule="all_done")
def m(x): return x
m.expand(x=l())
        """,
        {"l": "skipped", "m": "skipped"},
    ),
    "mapped over mapped": Case(
        """
@task
def m(x):
    if x==2: raise SkipTask
    return x*10
@task
def n(x): return x+1
@task(trigger_rule="all_done")
def j(v): assert list(v)==[11,31],list(v)
nn=n.override(trigger_rule="none_failed").expand(x=m.expand(x=[1,2,3]))
j(nn)
        """,
        {"m/0": "success", "m/1": "skipped", "m/2": "success", "n/0": "success", "n/1": "success", "j": "success"},
    ),
    "lazy seq": Case(
        """
@task
def m(x):
    if x==2: return None
    return x*10
@task
def j(v):
    assert len(v)==3,len(v)
    assert v[0]==10 and v[-1]==40 and v[1]==30 and list(v[1:])==[30,40] and v[::-1][0]==40
    assert 30 in v and 99 not in v and list(v)==list(v)
    try: v[3]; assert False
    except IndexError: pass
    assert sum(v)==80
j(m.expand(x=[1,2,3,4]))
        """,
        {"m/0": "success", "m/1": "success", "m/2": "success", "m/3": "success", "j": "success"},
    ),
    "mapped group results": Case(
        """
@task_group
def g(x):
    @task
    def p(x): return x+1
    @task
    def q(y): return y*2
    return q(p(x))
@task
def j(v): assert list(v)==[4,6],list(v)
j(g.expand(x=[1,2]))
        """,
        {"g.p/0": "success", "g.p/1": "success", "g.q/0": "success", "g.q/1": "success", "j": "success"},
    ),
    "mapped group over xcom dict": Case(
        """
@task
def l(): return {"a":1,"b":2}
@task_group
def g(x):
    @task
    def p(x): return x
    return p(x)
@task
def j(v): assert [tuple(i) for i in v]==[("a",1),("b",2)],list(v)
j(g.expand(x=l()))
        """,
        {"l": "success", "g.p/0": "success", "g.p/1": "success", "j": "success"},
    ),
    "mapped group zero": Case(
        """
@task
def l(): return []
@task_group
def g(x):
    @task
    def p(x): return x
    @task(trigger_rule="all_done")
    def q(): pass
    p(x)>>q()
g.expand(x=l())>>empty("n",trigger_rule="none_failed")
        """,
        {"l": "success", "g.p": "skipped", "g.q": "skipped", "n": "success"},
    ),
    "mapped group failed source": Case(
        """
@task
def l(): raise ValueError
@task_group
def g(x):
    @task
    def p(x): return x
    @task(trigger_rule="all_done")
    def q(): pass
    p(x)>>q()
g.expand(x=l())
        """,
        {"l": "failed", "g.p": "upstream_failed", "g.q": "upstream_failed"},
        run="failed",
    ),
    "mapped group kwargs": Case(
        """
@task_group
def g(a,b):
    @task
    def p(a,b): return a+b
    return p(a,b)
@task
def j(v): assert list(v)==[3,7],list(v)
j(g.expand_kwargs([{"a":1,"b":2},{"a":3,"b":4}]))
        """,
        {"g.p/0": "success", "g.p/1": "success", "j": "success"},
    ),
    "mapped group nested plain": Case(
        """
@task_group
def g(a):
    @task
    def p(a): return a
    @task_group
    def h(v):
        @task
        def q(v): return v*2
        return q(v)
    return h(p(a))
@task
def j(v): assert list(v)==[2,4],list(v)
j(g.expand(a=[1,2]))
        """,
        {"g.p/0": "success", "g.p/1": "success", "g.h.q/0": "success", "g.h.q/1": "success", "j": "success"},
    ),
    "mapped group partial fail": Case(
        """
@task_group
def g(a):
    @task
    def p(a):
        if a==1: raise ValueError
        return a
    @task
    def q(v): return v*2
    return q(p(a))
@task(trigger_rule="all_done")
def j(v): assert list(v)==[4],list(v)
j(g.expand(a=[1,2]))
        """,
        {"g.p/0": "failed", "g.p/1": "success", "g.q/0": "upstream_failed", "g.q/1": "success", "j": "success"},
        run="failed",
    ),
    "map index template": Case(
        """
@task(map_index_template="{{ x }}-n")
def m(x): return x
m.expand(x=["a","b"])
@task(map_index_template="{{ my }}")
def n(x):
    get_current_context()["my"]=f"hi {x}"
n.expand(x=[1])
@task(map_index_template="{{ nothing }}")
def o(x): return x
o.expand(x=[1])
@task(map_index_template="bad {{ x }}")
def p(x): raise ValueError
p.expand(x=["q"])
        """,
        {"m/0": "success", "m/1": "success", "n/0": "success", "o/0": "success", "p/0": "failed"},
        run="failed",
        fields={"m/1": {"label": "b-n"}, "n/0": {"label": "hi 1"}, "o/0": {"label": None}, "p/0": {"label": "bad q"}},
    ),
    "op expand bash": Case(
        """
b=BashOperator.partial(task_id="b").expand(bash_command=["echo 1","echo 2"])
@task
def j(v): assert list(v)==["1","2"],list(v)
j(b.output)
        """,
        {"b/0": "success", "b/1": "success", "j": "success"},
    ),
    "op expand env": Case(
        """
BashOperator.partial(task_id="b",bash_command="echo $X; test $X = 1").expand(env=[{"X":"1"},{"X":"2"}])
        """,
        {"b/0": "success", "b/1": "failed"},
        run="failed",
    ),
    "xcom pull mapped": Case(
        """
@task
def m(x): return x
@task
def j(ti=None):
    assert list(ti.xcom_pull(task_ids="m"))==[1,2]
    assert ti.xcom_pull(task_ids="m",map_indexes=1)==2
    assert ti.xcom_pull(task_ids="m",map_indexes=[1,0])==[2,1]
    assert ti.xcom_pull(task_ids=["m","zz"],default=5)[1]==5
    assert ti.xcom_pull(task_ids="m",map_indexes=7,default="d")=="d"
    assert ti.xcom_pull(task_ids="m",key="k") is None
m.expand(x=[1,2])>>j()
        """,
        {"m/0": "success", "m/1": "success", "j": "success"},
    ),
    "missing key": Case(
        """
@task
def a(): return {"x":1}
@task
def j(v): pass
@task
def k(v): assert v==1
j(a()["nope"])
k(a()["x"])
        """,
        {"a": "success", "a__1": "success", "j": "failed", "k": "failed"},
        run="failed",
        fields={"j": {"error": "~no value under the key 'nope'"}},
    ),
    "multi out": Case(
        """
@task(multiple_outputs=True)
def a(): return {"x":1,"y":2}
@task
def k(v,w): assert v==1 and w=={"x":1,"y":2}
aa=a(); k(aa["x"],aa)
@task(multiple_outputs=True)
def b(): return [1]
b()
@task
def c()->dict: return {"q":3}
@task
def d(v): assert v==3
d(c()["q"])
        """,
        {"a": "success", "k": "success", "b": "failed", "c": "success", "d": "success"},
        run="failed",
    ),
    "dataclass xcom": Case(
        """
@task
def a(): return P(1,datetime(2026,1,1,tzinfo=timezone(timedelta(hours=2))))
@task
def b(p):
    assert isinstance(p,P) and p.x==1 and p.t.utcoffset()==timedelta(hours=2), p
    return [p,p]
@task
def c(p): assert isinstance(p,P)
c.expand(p=b(a()))
        """,
        {"a": "success", "b": "success", "c/0": "success", "c/1": "success"},
        before="""
@dataclass
class P:
    x: int
    t: datetime
""",
    ),
    "types xcom": Case(
        """
from decimal import Decimal; from pathlib import Path; from uuid import UUID
V={"d":Decimal("1.10"),
   "b":b"x\\xff","p":Path("/a"),"u":UUID(int=3),"s":{1,2},"t":(1,(2,)),"td":timedelta(days=1),"da":date(2026,1,1),
   "i":10**40,"n":{"__type":"set","v":[1]},"f":1.5,"inf":float("inf"),"":None,"k":{}}
@task
def a(): return V
@task
def b(v):
    assert v==V,v
    assert type(v["t"]) is tuple and type(v["t"][1]) is tuple and type(v["s"]) is set
b(a())
        """,
        {"a": "success", "b": "success"},
    ),
    "unpicklable": Case(
        """
@task
def a(): return object()
a()
        """,
        {"a": "failed"},
        run="failed",
    ),
    "map too many": Case(
        """
@task
def l(): return list(range(100001))
@task
def m(x): return x
m.expand(x=l())
        """,
        {"l": "success", "m": "failed"},
        run="failed",
        fields={"m": {"reason": "~core.max_map_length"}},
    ),
    "missing key in group": Case(
        """
@task_group
def g(n):
    @task
    def a(n,ti=None):
        if n==1: ti.xcom_push("k",n)
    @task
    def b(v): assert v==1
    b(a(n)["k"])
g.expand(n=[1,2])
        """,
        {"g.a/0": "success", "g.a/1": "success", "g.b/0": "success", "g.b/1": "failed"},
        run="failed",
    ),
    "group own index": Case(
        """
@task_group
def g(n):
    @task
    def a(n): return n*10
    @task
    def b(v,ti=None):
        assert ti.xcom_pull(task_ids="g.a")==v, v
        assert ti.xcom_pull(task_ids="g.a",map_indexes=2)==30
        assert ti.xcom_pull(task_ids="g.a",map_indexes=[0,1])==[10,20]
    b(a(n))
g.expand(n=[1,2,3])
        """,
        {
            "g.a/0": "success",
            "g.a/1": "success",
            "g.a/2": "success",
            "g.b/0": "success",
            "g.b/1": "success",
            "g.b/2": "success",
        },
    ),
    "expand setup in mapped group": Case(
        """
@task_group
def g(n):
    @setup
    def s(n):
        if n==1: raise ValueError
        if n==2: raise SkipTask
        return n
    @task
    def w(): pass
    @teardown
    def t(): pass
    ss=s(n)
    with t().as_teardown(setups=ss): w()
g.expand(n=[0,1,2])
        """,
        {
            "g.s/0": "success",
            "g.s/1": "failed",
            "g.s/2": "skipped",
            "g.w/0": "success",
            "g.w/1": "upstream_failed",
            "g.w/2": "skipped",
            "g.t/0": "success",
            "g.t/1": "upstream_failed",
            "g.t/2": "skipped",
        },
        run="failed",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_values_arrive_as_the_page_says(known: Settings, name: str) -> None:
    check(known, CASES[name])
