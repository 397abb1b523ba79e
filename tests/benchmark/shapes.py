"""What is measured: DAG files, and which runs of them make one measurement."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

HEAD = """
import os, time
from dagd import DAG, Asset, Cron, task

GRADE = {grade!r}

def dag(dag_id, **more):
    return DAG(dag_id, max_active_tasks=100_000, max_active_runs=1_000, **{{"schedule": None, **more}})

@task(isolation=GRADE)
def step():
    return None
"""


@dataclass(frozen=True)
class Shape:
    """`runs` triggers of `dag_id`, or waiting for runs that come by themselves; `tasks` in all."""

    name: str
    text: str
    dag_id: str
    tasks: int
    runs: int = 1
    comes_by_itself: bool = False


def chain(length: int, name: str = "chain") -> Shape:
    """One task after the other."""
    text = f"""
    with dag({name!r}):
        before = step.override(task_id="t0")()
        for number in range(1, {length}):
            after = step.override(task_id=f"t{{number}}")()
            before >> after
            before = after
    """
    return Shape(name, text, name, length)


def fan(width: int, name: str = "fan") -> Shape:
    """1 -> width -> 1."""
    return Shape(name, _fan_text(name, width), name, width + 2)


def many(runs: int, tasks: int, name: str = "many") -> Shape:
    """Runs side by side, each 1 -> tasks - 2 -> 1."""
    return Shape(name, _fan_text(name, tasks - 2), name, runs * tasks, runs=runs)


def _fan_text(name: str, width: int) -> str:
    return f"""
    with dag({name!r}):
        first, last = step.override(task_id="first")(), step.override(task_id="last")()
        for number in range({width}):
            first >> step.override(task_id=f"t{{number}}")() >> last
    """


def mapped(count: int, name: str = "mapped") -> Shape:
    """One mapped task."""
    text = f"""
    @task(isolation=GRADE)
    def over(number):
        return None

    with dag({name!r}):
        over.expand(number=list(range({count})))
    """
    return Shape(name, text, name, count)


def fibonacci(count: int, depth: int, name: str) -> Shape:
    """The flows of Windmill's published comparison: tasks that compute, one after the other."""
    text = f"""
    def fib_{name}(n):
        return n if n < 2 else fib_{name}(n - 1) + fib_{name}(n - 2)

    @task(isolation=GRADE)
    def compute_{name}():
        fib_{name}({depth})

    with dag({name!r}):
        before = None
        for number in range({count}):
            after = compute_{name}.override(task_id=f"t{{number}}")()
            if before is not None:
                before >> after
            before = after
    """
    return Shape(name, text, name, count)


def crons(count: int, after_s: int, name: str = "crons") -> Shape:
    """As many DAGs of one task, all due at the same second."""
    at = datetime.now(UTC) + timedelta(seconds=after_s)
    text = f"""
    for number in range({count}):
        with dag(f"{name}.{{number}}", schedule=Cron("{at:%S %M %H} * * *", seconds=True)):
            step()
    """
    return Shape(name, text, name, count, runs=count, comes_by_itself=True)


def consumers(count: int, name: str = "consumers") -> Shape:
    """One producer, and as many DAGs that wait for its asset. The producer is triggered."""
    text = f"""
    ASSET = Asset("bench.{name}")

    @task(isolation=GRADE, outlets=[ASSET])
    def produce():
        return None

    with dag("{name}.producer"):
        produce()
    for number in range({count}):
        with dag(f"{name}.{{number}}", schedule=[ASSET]):
            step()
    """
    return Shape(name, text, f"{name}.producer", count + 1, runs=count + 1)


def file_of(shapes: list[Shape], grade: str) -> str:
    """One DAG file with all of them."""
    return HEAD.format(grade=grade) + "".join(textwrap.dedent(shape.text) for shape in shapes)
