"""`dagd dags graph`: tasks and dependencies as text, dot or mermaid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from dagd.cli import instances, refs
from dagd.cli.glyphs import STATES
from dagd.cli.opening import opened
from dagd.cli.output import Output, with_output
from dagd.decide.graph import Graph
from dagd.engine.loader import Graphs

States = dict[str, str]
FORMS = ("ascii", "dot", "mermaid")
WORST = ("failed", "upstream_failed", "cancelled", "running", "queued", "deferred", "up_for_retry", "scheduled", "none")


@click.command()
@click.argument("place", metavar="DAG[/RUN]")
@click.option("--format", "--as", "form", type=click.Choice(FORMS), default="ascii", help="Form of the drawing.")
@with_output()
def show_graph(out: Output, place: str, form: str) -> None:
    """The tasks and their dependencies; of a run with the state of each task."""
    ref = refs.parse(place)
    with opened() as database, database.read() as connection:
        dag = refs.find_dag(connection, ref.dag)
        graphs = Graphs()
        states: States = {}
        version = dag.current_version
        if ref.run is not None:
            run = refs.find_run(connection, dag, ref.run)
            version = run.version_id
            for row in instances.task_rows(instances.load(connection, graphs, dag, run)):
                states[row["task_id"]] = worse(states.get(row["task_id"]), row["state"])
        graph = graphs.get(connection, version)
    if out.is_machine:
        out.record(as_json(graph, states), name="dag_id")
        return
    draw = {"ascii": as_text, "dot": as_dot, "mermaid": as_mermaid}[form]
    for line in draw(graph, states, out):
        out.line(line)


def worse(one: str | None, other: str) -> str:
    """The state that says more of a mapped task."""
    known = [state for state in (one, other) if state is not None]
    return min(known, key=lambda state: WORST.index(state) if state in WORST else len(WORST))


def edges(graph: Graph) -> Iterator[tuple[str, str]]:
    """Every dependency, upstream first."""
    for i in graph.in_order():
        for down in sorted(graph.downs[i]):
            yield graph.tasks[i].task_id, graph.tasks[down].task_id


def as_json(graph: Graph, states: States) -> dict[str, Any]:
    """Nodes in topological order, and edges."""
    tasks = [graph.tasks[i] for i in graph.in_order()]
    return {
        "dag_id": graph.spec.dag_id, "version": graph.number,
        "nodes": [
            {"task_id": task.task_id, "operator": task.operator, "group": task.group, "state": states.get(task.task_id)}
            for task in tasks
        ],
        "edges": [{"from": upper, "to": lower} for upper, lower in edges(graph)],
    }  # fmt: skip


def as_text(graph: Graph, states: States, out: Output) -> Iterator[str]:
    """A tree below each root; a task with several upstreams is drawn under the first and named under the others."""
    marks = ("├─ ", "└─ ", "│  ") if out.utf8 else ("|- ", "`- ", "|  ")
    drawn: set[int] = set()

    def branch(i: int, head: str, tail: str) -> Iterator[str]:
        task = graph.tasks[i]
        state = states.get(task.task_id)
        again = i in drawn
        mapped = " []" if graph.expands[i] is not None else ""
        told = f"  {out.state(state)}" if state and not again else ""
        yield f"{head}{task.task_id}{mapped}{told}{' (above)' if again and graph.downs[i] else ''}"
        if again:
            return
        drawn.add(i)
        downs = sorted(graph.downs[i])
        for at, down in enumerate(downs):
            last = at == len(downs) - 1
            yield from branch(down, tail + marks[1 if last else 0], tail + ("   " if last else marks[2]))

    for i in graph.in_order():
        if not graph.ups[i]:
            yield from branch(i, "", "")


def as_dot(graph: Graph, states: States, out: Output) -> Iterator[str]:
    """Graphviz."""
    yield f"digraph {json.dumps(graph.spec.dag_id)} {{"
    yield "  rankdir=LR; node [shape=box];"
    for i in graph.in_order():
        name = graph.tasks[i].task_id
        state = states.get(name)
        colour = {"dim": "gray", "yellow": "orange"}.get(STATES[state][2], STATES[state][2]) if state else None
        yield f"  {json.dumps(name)}" + (f" [color={colour}, tooltip={json.dumps(state)}]" if colour else "") + ";"
    for upper, lower in edges(graph):
        yield f"  {json.dumps(upper)} -> {json.dumps(lower)};"
    yield "}"


def as_mermaid(graph: Graph, states: States, out: Output) -> Iterator[str]:
    """Mermaid; ids are numbers, since theirs may not hold dots."""
    yield "flowchart LR"
    numbers = {graph.tasks[i].task_id: f"t{at}" for at, i in enumerate(graph.in_order())}
    for name, number in numbers.items():
        state = f"<br/>{states[name]}" if name in states else ""
        yield f'  {number}["{name}{state}"]'
    for upper, lower in edges(graph):
        yield f"  {numbers[upper]} --> {numbers[lower]}"
