"""What is measured: DAG files, and which runs of them make one measurement."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

HEAD = """
from datetime import UTC, datetime
from dagd import DAG, Asset, Cron, task

GRADE = {grade!r}

def dag(dag_id, **more):
    return DAG(dag_id, max_active_tasks=100_000, max_active_runs=1_000, **{{"schedule": None, **more}})

@task(isolation=GRADE)
def step():
    return None
"""
BACKFILL_YEAR = 2020


@dataclass(frozen=True)
class Shape:
    """`runs` runs with `tasks` tasks in all, of `dags` DAGs whose names match `pattern`.

    `asked`: how the runs come to be: "trigger" one by one; "once": one trigger brings all; "backfill"; "slots": by
    themselves. `links`: between which tasks a hop is measured: of a "chain" or a "fan".
    """

    name: str
    text: str
    tasks: int
    runs: int = 1
    dags: int = 1
    asked: str = "trigger"
    links: str = ""

    @property
    def dag_id(self) -> str:
        """The DAG that is triggered."""
        return f"{self.name}.producer" if self.asked == "once" else self.name

    @property
    def pattern(self) -> str:
        """Names of its DAGs, for LIKE."""
        return f"{self.name}.%" if self.dags > 1 else self.name


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
    return Shape(name, text, length, links="chain")


def fan(width: int, name: str = "fan", runs: int = 1) -> Shape:
    """1 -> width -> 1, in runs side by side."""
    text = f"""
    with dag({name!r}):
        first, last = step.override(task_id="first")(), step.override(task_id="last")()
        for number in range({width}):
            first >> step.override(task_id=f"t{{number}}")() >> last
    """
    return Shape(name, text, runs * (width + 2), runs, links="fan")


def mapped(count: int) -> Shape:
    """One mapped task."""
    text = f"""
    @task(isolation=GRADE)
    def over(number):
        return None

    with dag("mapped"):
        over.expand(number=list(range({count})))
    """
    return Shape("mapped", text, count)


def fibonacci(count: int, depth: int, name: str) -> Shape:
    """The flows of Windmill's published comparison: tasks that compute, one after the other."""
    text = f"""
    def fib(n):
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    @task(isolation=GRADE)
    def compute():
        fib({depth})

    with dag({name!r}):
        before = None
        for number in range({count}):
            after = compute.override(task_id=f"t{{number}}")()
            if before is not None:
                before >> after
            before = after
    """
    return Shape(name, text, count, links="chain")


def backfill(count: int) -> Shape:
    """As many runs of one task, for slots of long ago."""
    text = f"""
    with dag("backfill", schedule=Cron("* * * * *"), start_date=datetime({BACKFILL_YEAR}, 1, 1, tzinfo=UTC),
             end_date=datetime({BACKFILL_YEAR + 1}, 1, 1, tzinfo=UTC)):
        step()
    """
    return Shape("backfill", text, count, runs=count, asked="backfill")


def consumers(count: int) -> Shape:
    """One producer, and as many DAGs that wait for its asset. The producer is triggered."""
    text = f"""
    ASSET = Asset("bench.consumers")

    @task(isolation=GRADE, outlets=[ASSET])
    def produce():
        return None

    with dag("consumers.producer"):
        produce()
    for number in range({count}):
        with dag(f"consumers.{{number}}", schedule=[ASSET]):
            step()
    """
    return Shape("consumers", text, count + 1, runs=count + 1, dags=count + 1, asked="once")


def crons(count: int, after_s: int) -> Shape:
    """As many DAGs of one task, all due at the same second, so long from now."""
    at = datetime.now(UTC) + timedelta(seconds=after_s)
    text = f"""
    for number in range({count}):
        with dag(f"crons.{{number}}", schedule=Cron("{at:%S %M %H} * * *", seconds=True)):
            step()
    """
    return Shape("crons", text, count, runs=count, dags=count, asked="slots")


def catalog(grade: str) -> dict[str, Shape]:
    """Every shape but the crons, which need to know when they begin. Forks get a tenth or so: they take longer."""
    many = grade == "warm"
    shapes = [
        fan(1_000 if many else 300), chain(200 if many else 50),
        fan(5_000 if many else 1_000, "wide"), chain(1_000 if many else 200, "long"),
        fan(18, "many", 100 if many else 20), mapped(10_000 if many else 1_000),
        fibonacci(40, 10, "light"), fibonacci(10, 33, "heavy"),
        backfill(10_000 if many else 500), consumers(500 if many else 100),
    ]  # fmt: skip
    return {shape.name: shape for shape in shapes}


def file_of(shape: Shape | None, grade: str) -> str:
    """Its DAG file; one without DAGs when there is none."""
    return HEAD.format(grade=grade) + ("" if shape is None else textwrap.dedent(shape.text))
