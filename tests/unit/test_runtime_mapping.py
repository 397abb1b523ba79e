"""Each mapped instance finds its own arguments."""
# ruff: noqa: E501 - a case of a table, or a line of a DAG file, is one line

from __future__ import annotations

import pytest

from dagd.runtime.xcom import decode, encode
from tests.unit.runtime_kit import Answers, drive, load, value_of

HEAD = """
from dagd import DAG, task, task_group, SkipTask, BaseOperator
with DAG("d"):
    @task
    def nums(): return [1, 2, 3]
    @task
    def words(): return ["a", "b"]
    @task
    def show(*args, **kwargs): return sorted((k, v) for k, v in kwargs.items() if k in "abc")
    n, w = nums(), words()
"""
CARRIED = {
    "nums|return_value": {"kind": "value", "text": "[1,2,3]"},
    "words|return_value": {"kind": "mapped", "items": [[0, '"a"'], [1, None], [2, '"b"']]},
}

# (expand, sizes, [(index, arguments)])
CASES = [
    ("show.expand(a=[1, 2], b=['x', 'y', 'z'])", [2, 3], [(0, {"a": 1, "b": "x"}), (1, {"a": 1, "b": "y"}), (5, {"a": 2, "b": "z"})]),
    ("show.partial(c=9).expand(a=n)", [3], [(0, {"a": 1, "c": 9}), (2, {"a": 3, "c": 9})]),
    ("show.expand(a={'k': 1, 'l': 2})", [2], [(1, {"a": ("l", 2)})]),
    ("show.expand(a=n, b=w)", [3, 2], [(1, {"a": 1, "b": "b"}), (4, {"a": 3, "b": "a"})]),
    ("show.expand(a=n.map(lambda x: x * 10))", [3], [(1, {"a": 20})]),
    ("show.expand(a=n.map(lambda x: x * 10).map(str))", [3], [(2, {"a": "30"})]),
    ("show.expand(a=n.zip(w))", [2], [(1, {"a": (2, "b")})]),
    ("show.expand(a=n.zip(w, fillvalue='-'))", [3], [(2, {"a": (3, "-")})]),
    ("show.expand(a=n.map(str).zip(w.map(str.upper)))", [2], [(0, {"a": ("1", "A")})]),
    ("show.expand(a=n.concat(w, ['z']))", [6], [(2, {"a": 3}), (4, {"a": "b"}), (5, {"a": "z"})]),
    ("show.expand(a=n.concat(w.map(str.upper)).map(lambda x: [x]))", [5], [(0, {"a": [1]}), (4, {"a": ["B"]})]),
    ("show.expand_kwargs([{'a': 1}, {'b': n}])", [2], [(0, {"a": 1}), (1, {"b": [1, 2, 3]})]),
    ("show.expand_kwargs(n.map(lambda x: {'a': x}))", [3], [(1, {"a": 2})]),
    ("show.expand(a=[n, w])", [2], [(0, {"a": [1, 2, 3]}), (1, {"a": ["a", "b"]})]),
    ("show.expand(a=w)", [2], [(1, {"a": "b"})]),
]  # fmt: skip


@pytest.mark.parametrize("with_sizes", [True, False], ids=["sizes", "own sizes"])
@pytest.mark.parametrize("expand,sizes,instances", CASES, ids=[case[0] for case in CASES])
def test_an_instance_gets_the_items_of_its_index(expand, sizes, instances, with_sizes, tmp_path):
    loaded = load(tmp_path, HEAD + f"    {expand}\n")
    for index, arguments in instances:
        frame = drive(loaded, "show", map_index=index, map_sizes=sizes if with_sizes else [], xcom=CARRIED)
        assert decode(value_of(frame)) == sorted(arguments.items())


def test_an_item_that_the_scheduler_sliced_is_taken_as_it_is(tmp_path):
    loaded = load(tmp_path, HEAD + "    show.expand(a=n.map(lambda x: x + 1), b=['x', 'y'])\n")
    answers = Answers()
    frame = drive(loaded, "show", answers, map_index=3, map_sizes=[3, 2], items={"a": "41", "b": None})
    assert decode(value_of(frame)) == [("a", 42), ("b", "y")]
    assert not answers.asked
    loaded = load(tmp_path, HEAD + "    show.expand_kwargs(n)\n")
    frame = drive(loaded, "show", answers, map_index=0, map_sizes=[3], items={"": encode({"c": 5})})
    assert decode(value_of(frame)) == [("c", 5)]


def test_a_function_of_map_may_skip_its_instance(tmp_path):
    text = HEAD + "    def f(x):\n        raise SkipTask('odd')\n    show.expand(a=n.map(f))\n"
    frame = drive(load(tmp_path, text), "show", map_index=0, map_sizes=[3], xcom=CARRIED)
    assert frame == {"outcome": "skip", "message": "odd"}


def test_tasks_of_a_mapped_group_meet_index_by_index(tmp_path):
    text = """
from dagd import DAG, task, task_group
with DAG("d"):
    @task
    def one(x, y): return [x, y]
    @task
    def two(z): return z
    @task_group
    def g(x, y):
        return two(one(x, {"y": y}))
    done = g.partial(y=7).expand(x=["a", "b"])
    @task
    def after(all): return list(all)
    after(done)
"""
    loaded = load(tmp_path, text)
    frame = drive(loaded, "g.one", map_index=1, map_sizes=[2])
    assert decode(value_of(frame)) == ["b", {"y": 7}]
    mapped = {"kind": "mapped", "items": [[0, '"r0"'], [1, '"r1"']]}
    frame = drive(loaded, "g.two", map_index=1, map_sizes=[2], xcom={"g.one|return_value": mapped})
    assert decode(value_of(frame)) == "r1"
    frame = drive(loaded, "after", xcom={"g.two|return_value": mapped})
    assert decode(value_of(frame)) == ["r0", "r1"]


def test_a_mapped_operator_gets_its_items_as_constructor_arguments(tmp_path):
    text = """
from dagd import DAG, BaseOperator
class Add(BaseOperator):
    template_fields = ("a", "b")
    def __init__(self, a, b=0, **arguments):
        super().__init__(**arguments)
        self.a, self.b = a, b
    def execute(self, context):
        return [self.a, self.b, self.task_id, self.retries]
with DAG("d", default_args={"retries": 4}):
    Add.partial(task_id="add", b="{{ ds }}").expand(a=["{{ ds }}", 5])
    Add.partial(task_id="any").expand_kwargs([{"a": 1}, {"a": 2, "c": 3}])
"""
    loaded = load(tmp_path, text)
    assert decode(value_of(drive(loaded, "add", map_index=0, map_sizes=[2]))) == ["{{ ds }}", "2024-01-01", "add", 4]
    assert decode(value_of(drive(loaded, "any", map_index=0, map_sizes=[2]))) == [1, 0, "any", 4]
    frame = drive(loaded, "any", map_index=1, map_sizes=[2])
    assert "Add takes no argument 'c'" in frame["error"]["message"]


def test_an_instance_has_the_name_that_its_template_gives(tmp_path):
    text = """
from dagd import DAG, task, get_current_context
with DAG("d"):
    @task(map_index_template="city {{ city }}")
    def a(x):
        get_current_context()["city"] = x
    a.expand(x=["Rome", "Oslo"])
    @task
    def b(x, ti): ti.rendered_map_index = "mine"
    b.expand(x=[1])
"""
    loaded = load(tmp_path, text)
    assert drive(loaded, "a", map_index=1, map_sizes=[2])["label"] == "city Oslo"
    assert drive(loaded, "b", map_index=0, map_sizes=[1])["label"] == "mine"


@pytest.mark.parametrize("value", ['"text"', "5"])
def test_text_and_numbers_cannot_be_mapped_over(value, tmp_path):
    loaded = load(tmp_path, HEAD + "    show.expand(a=n)\n")
    carried = {"nums|return_value": {"kind": "value", "text": value}}
    frame = drive(loaded, "show", map_index=0, map_sizes=[1], xcom=carried)
    assert "it takes a list or dict" in frame["error"]["message"]
