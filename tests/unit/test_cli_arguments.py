"""What a person types: references, params, selections, the tree of commands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import pytest

from dagd.cli import refs, selection
from dagd.cli.main import ALIASES, TREE, cli
from dagd.cli.trigger import read_param
from dagd.decide.graph import Graph
from dagd.model.errors import NotFound, UsageError
from tests.factories import spec, task


@pytest.mark.parametrize(
    "text,ref",
    [
        ("d", refs.Ref("d")), ("d/r", refs.Ref("d", "r")), ("d/r/t", refs.Ref("d", "r", "t")),
        ("d/r/t/3", refs.Ref("d", "r", "t", 3)), ("d/r/t+/1", refs.Ref("d", "r", "t", 1, down=True)),
        ("d/r/+t", refs.Ref("d", "r", "t", up=True)), ("d/r/+t+", refs.Ref("d", "r", "t", up=True, down=True)),
        ("d/scheduled__2026-01-01T00:00:00Z", refs.Ref("d", "scheduled__2026-01-01T00:00:00Z")),
        ("d/r/g.t", refs.Ref("d", "r", "g.t")), ("d/r/+", refs.Ref("d", "r", "+")),
    ],
)  # fmt: skip
def test_a_reference_is_read_and_written_back(text: str, ref: refs.Ref) -> None:
    assert refs.parse(text) == ref
    assert str(ref) == text


@pytest.mark.parametrize("text", ["", "/", "d/", "d//t", "a/b/c/d/e", "d/r/t/x", "d/r/t/1.5", "d/r/t/٣", "d/r/t/"])
def test_what_can_name_nothing_is_not_found(text: str) -> None:
    with pytest.raises(NotFound):
        refs.parse(text)


SPECS: dict[str, Any] = {
    "text": {"schema": {"type": "string"}, "value": "x"},
    "number": {"schema": {"type": "number"}},
    "whole": {"schema": {"type": "integer"}},
    "flag": {"schema": {"type": "boolean"}},
    "maybe": {"schema": {"type": ["null", "string"]}},
    "list": {"schema": {"type": "array"}},
    "plain_int": {"schema": {}, "value": 5},
    "plain_float": {"schema": {}, "value": 1.5},
    "plain_text": {"schema": {}, "value": "a"},
    "plain_bool": {"schema": {}, "value": False},
    "anything": {"schema": {}, "value": None},
    "one_of": {"schema": {"enum": ["1", "2"]}},
}


@pytest.mark.parametrize(
    "given,value",
    [
        ("text=5", "5"), ("text=true", "true"), ('text="q"', "q"), ("text=2026-01-01", "2026-01-01"), ("number=5", 5),
        ("number=1.5", 1.5), ("number=x", "x"), ("whole=5", 5), ("whole=5.0", 5.0), ("whole=5.5", "5.5"),
        ("flag=true", True), ("flag=1", "1"), ("maybe=null", None), ("maybe=5", "5"), ("list=[1]", [1]),
        ("plain_int=7", 7), ("plain_int=x", "x"), ("plain_float=2", 2), ("plain_text=7", "7"),
        ("plain_bool=true", True), ("anything=7", 7), ("anything=x", "x"), ("one_of=1", "1"), ("unknown=7", "7"),
        ("text=a=b", "a=b"),
        ("text=", ""), ("number=NaN", "NaN"),
    ],
)  # fmt: skip
def test_a_param_is_json_when_that_fits_its_type(given: str, value: Any) -> None:
    name, found = read_param(given, SPECS)
    assert (name, found) == (given.partition("=")[0], value)
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["", "name", "=value", "a=\0", "a=\udcff"])
def test_a_param_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read_param(text, SPECS)


def graph_of(*tasks: Any) -> Graph:
    return Graph(spec("d", *tasks), 1, 1, {one.task_id: number for number, one in enumerate(tasks, 1)})


def chosen(graph: Graph, *names: str) -> selection.Chosen:
    return {(graph.index[name], None): None for name in names}


def test_a_clear_takes_the_setup_and_teardown_of_its_scope_along() -> None:
    graph = graph_of(
        task("before"),
        task("up", "before", is_setup=True),
        task("work", "up"),
        task("more", "work"),
        task("down", "more", "up", is_teardown=True, setups=("up",)),
        task("after", "more"),
    )
    assert selection.to_payload(graph, selection.with_setups(graph, chosen(graph, "work"))) == [
        ["up", None], ["work", None], ["down", None],
    ]  # fmt: skip
    assert selection.to_payload(graph, selection.with_setups(graph, chosen(graph, "after"))) == [["after", None]]
    assert selection.to_payload(graph, selection.with_setups(graph, chosen(graph, "before"))) == [["before", None]]
    assert selection.to_payload(graph, selection.with_setups(graph, chosen(graph, "up"))) == [
        ["up", None],
        ["down", None],
    ]


def test_a_task_chosen_whole_leaves_its_indices_out() -> None:
    graph = graph_of(task("a"), task("b", "a"))
    assert selection.to_payload(graph, [(1, 2), (0, None), (1, None), (1, 0)]) == [["a", None], ["b", None]]
    assert selection.to_payload(graph, [(1, 2), (1, 0)]) == [["b", 0], ["b", 2]]


def leaves(table: Any, group: click.Group, context: click.Context) -> Iterator[tuple[str, str, click.Command]]:
    for name, (_, about) in table.items():
        found = group.get_command(context, name)
        assert found is not None
        if isinstance(about, dict):
            assert isinstance(found, click.Group)
            yield from leaves(about, found, context)
        else:
            yield name, about, found


def test_every_command_of_the_tree_loads_under_its_name_with_help() -> None:
    context = click.Context(cli)
    for name, about, command in leaves(TREE, cli, context):
        assert (command.name, bool(command.help), bool(about)) == (name, True, True)
    for alias in ALIASES:
        assert cli.get_command(context, alias) is not None


@pytest.mark.parametrize("one,many", [("dag", "dags"), ("run", "runs"), ("pool", "pools"), ("schedule", "schedules")])
def test_singular_nouns_work_too(one: str, many: str) -> None:
    context = click.Context(cli)
    first, second = cli.get_command(context, one), cli.get_command(context, many)
    assert isinstance(first, click.Group)
    assert isinstance(second, click.Group)
    assert first.list_commands(context) == second.list_commands(context)
