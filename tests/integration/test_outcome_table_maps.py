"""Mapping: products, keyword sets, zip, map, concat, sources that fail or are empty."""

from __future__ import annotations

import pytest

from dagd.model.settings import Settings
from tests.integration.outcome_kit import Case, check

CASES = {
    "product order": Case(
        """
@task
def m(x,y): return (x,y)
@task
def j(v): assert [tuple(i) for i in v]==[(1,"a"),(1,"b"),(2,"a"),(2,"b")], list(v)
j(m.expand(x=[1,2],y=["a","b"]))
        """,
        {"m/0": "success", "m/1": "success", "m/2": "success", "m/3": "success", "j": "success"},
    ),
    "product xcom": Case(
        """
@task
def l(): return [1,2]
@task
def m(x,y): return [x,y]
@task
def j(v): assert list(v)==[[1,"a"],[1,"b"],[1,"c"],[2,"a"],[2,"b"],[2,"c"]], list(v)
j(m.expand(x=l(),y=["a","b","c"]))
        """,
        {
            "l": "success",
            "m/0": "success",
            "m/1": "success",
            "m/2": "success",
            "m/3": "success",
            "m/4": "success",
            "m/5": "success",
            "j": "success",
        },
    ),
    "partial": Case(
        """
@task
def m(k,x): return k*x
@task
def j(v): assert list(v)==[10,20]
j(m.partial(k=10).expand(x=[1,2]))
        """,
        {"m/0": "success", "m/1": "success", "j": "success"},
    ),
    "partial xcom": Case(
        """
@task
def k(): return 10
@task
def m(k,x): return k*x
@task
def j(v): assert list(v)==[10,20]
j(m.partial(k=k()).expand(x=[1,2]))
        """,
        {"k": "success", "m/0": "success", "m/1": "success", "j": "success"},
    ),
    "expand kwargs literal": Case(
        """
@task
def m(a,b=5): return a+b
@task
def j(v): assert list(v)==[6,3]
j(m.expand_kwargs([{"a":1},{"a":1,"b":2}]))
        """,
        {"m/0": "success", "m/1": "success", "j": "success"},
    ),
    "expand kwargs xcom": Case(
        """
@task
def l(): return [{"a":1},{"a":1,"b":2}]
@task
def m(a,b=5): return a+b
@task
def j(v): assert list(v)==[6,3]
j(m.expand_kwargs(l()))
        """,
        {"l": "success", "m/0": "success", "m/1": "success", "j": "success"},
    ),
    "expand kwargs bad item": Case(
        """
@task
def l(): return [{"a":1},3]
@task
def m(a,b=5): return a+b
m.expand_kwargs(l())
        """,
        {"l": "success", "m/0": "success", "m/1": "failed"},
        run="failed",
    ),
    "expand kwargs unknown arg": Case(
        """
@task
def l(): return [{"a":1},{"zz":3}]
@task
def m(a,b=5): return a+b
m.expand_kwargs(l())
        """,
        {"l": "success", "m/0": "success", "m/1": "failed"},
        run="failed",
    ),
    "expand kwargs conflict partial": Case(
        """
@task
def l(): return [{"a":1},{"a":2,"b":9}]
@task
def m(a,b=5): return a+b
m.partial(b=1).expand_kwargs(l())
m.override(task_id="n").partial(b=1).expand_kwargs(l(),strict=False)
        """,
        {"l": "success", "l__1": "success", "m/0": "success", "m/1": "failed", "n/0": "success", "n/1": "success"},
        run="failed",
    ),
    "zip": Case(
        """
@task
def l(): return [1,2,3]
@task
def r(): return ["a","b"]
@task
def m(x): return x
@task
def j(v): assert [tuple(i) for i in v]==[(1,"a"),(2,"b")],list(v)
j(m.expand(x=l().zip(r())))
        """,
        {"l": "success", "r": "success", "m/0": "success", "m/1": "success", "j": "success"},
    ),
    "zip fill": Case(
        """
@task
def l(): return [1,2,3]
@task
def r(): return ["a","b"]
@task
def m(x): return x
@task
def j(v): assert [tuple(i) for i in v]==[(1,"a"),(2,"b"),(3,None)],list(v)
j(m.expand(x=l().zip(r(),fillvalue=None)))
        """,
        {"l": "success", "r": "success", "m/0": "success", "m/1": "success", "m/2": "success", "j": "success"},
    ),
    "map fn": Case(
        """
@task
def l(): return [1,2,3]
@task
def m(x): return x
@task
def j(v): assert list(v)==[2,3,4],list(v)
j(m.expand(x=l().map(lambda x:x+1)))
        """,
        {"l": "success", "m/0": "success", "m/1": "success", "m/2": "success", "j": "success"},
    ),
    "map skip": Case(
        """
@task
def l(): return [1,2,3]
def f(x):
    if x==2: raise SkipTask
    return x
@task
def m(x): return x
@task(trigger_rule="all_done")
def j(v): assert list(v)==[1,3],list(v)
j(m.expand(x=l().map(f)))
        """,
        {"l": "success", "m/0": "success", "m/1": "skipped", "m/2": "success", "j": "success"},
    ),
    "concat": Case(
        """
@task
def l(): return [1,2]
@task
def r(): return [3]
@task
def m(x): return x
@task
def j(v): assert list(v)==[1,2,3],list(v)
j(m.expand(x=l().concat(r())))
        """,
        {"l": "success", "r": "success", "m/0": "success", "m/1": "success", "m/2": "success", "j": "success"},
    ),
    "concat literal map zip": Case(
        """
@task
def l(): return [1,2]
@task
def m(x): return x
@task
def j(v): assert list(v)==[2,4,"p"],list(v)
j(m.expand(x=l().map(lambda v:v*2).concat(["p"])))
        """,
        {"l": "success", "m/0": "success", "m/1": "success", "m/2": "success", "j": "success"},
    ),
    "dict xcom": Case(
        """
@task
def l(): return {"a":1,"b":2}
@task
def m(x): return x
@task
def j(v): assert [tuple(i) for i in v]==[("a",1),("b",2)],list(v)
j(m.expand(x=l()))
        """,
        {"l": "success", "m/0": "success", "m/1": "success", "j": "success"},
    ),
    "dict literal": Case(
        """
@task
def m(x): return x
@task
def j(v): assert [tuple(i) for i in v]==[("a",1),("b",2)],list(v)
j(m.expand(x={"a":1,"b":2}))
        """,
        {"m/0": "success", "m/1": "success", "j": "success"},
    ),
    "text xcom": Case(
        """
@task
def l(): return "abc"
@task
def m(x): return x
m.expand(x=l())
        """,
        {"l": "success", "m": "failed"},
        run="failed",
    ),
    "number xcom": Case(
        """
@task
def l(): return 5
@task
def m(x): return x
@task(trigger_rule="all_done")
def n(): pass
m.expand(x=l())>>n()
        """,
        {"l": "success", "m": "failed", "n": "success"},
        run="failed",
    ),
    "none xcom": Case(
        """
@task
def l(): return None
@task
def m(x): return x
m.expand(x=l())
        """,
        {"l": "success", "m": "failed"},
        run="failed",
    ),
    "set tuple xcom": Case(
        """
@task
def l(): return (1,2)
@task
def l2(): return [7]
@task
def m(x): return x
@task
def j(a,b): assert list(a)==[1,2] and list(b)==[7]
j(m.expand(x=l()),m.override(task_id="m2").expand(x=l2()))
        """,
        {"l": "success", "l2": "success", "m/0": "success", "m/1": "success", "m2/0": "success", "j": "success"},
    ),
    "zero": Case(
        """
@task
def l(): return []
@task
def m(x): return x
@task
def j(v): pass
@task(trigger_rule="all_done")
def k(v): assert list(v or [])==[], v
@task(trigger_rule="one_success")
def o(): pass
@task(trigger_rule="none_failed")
def nf(v): assert len(v)==0
mm=m.expand(x=l())
j(mm);k(mm); mm>>o(); nf(mm)
        """,
        {"l": "success", "m": "skipped", "j": "skipped", "k": "success", "o": "skipped", "nf": "success"},
    ),
    "zero literal rule always": Case(
        """
@task(trigger_rule="always")
def m(x): return x
m.expand(x=[])
        """,
        {"m": "skipped"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_maps_expand_as_the_page_says(known: Settings, name: str) -> None:
    check(known, CASES[name])
