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


SIZES = {  # by grade; forks get a tenth or so, fresh interpreters a hundredth: they take longer
    "warm": {"fan": 1_000, "chain": 200, "wide": 5_000, "long": 1_000, "many": 100, "mapped": 10_000,
             "backfill": 10_000, "consumers": 500, "crons": 1_000},
    "fork": {"fan": 300, "chain": 50, "wide": 1_000, "long": 200, "many": 20, "mapped": 1_000,
             "backfill": 500, "consumers": 100, "crons": 200},
    "spawn": {"fan": 30, "chain": 10, "wide": 100, "long": 20, "many": 2, "mapped": 50,
              "backfill": 50, "consumers": 20, "crons": 20},
}  # fmt: skip


def catalog(grade: str) -> dict[str, Shape]:
    """Every shape but the crons, which need to know when they begin."""
    size = SIZES[grade]
    shapes = [
        fan(size["fan"]), chain(size["chain"]), fan(size["wide"], "wide"), chain(size["long"], "long"),
        fan(18, "many", size["many"]), mapped(size["mapped"]), fibonacci(40, 10, "light"), fibonacci(10, 33, "heavy"),
        backfill(size["backfill"]), consumers(size["consumers"]),
    ]  # fmt: skip
    return {shape.name: shape for shape in shapes}


def file_of(shape: Shape | None, grade: str) -> str:
    """Its DAG file; one without DAGs when there is none."""
    return HEAD.format(grade=grade) + ("" if shape is None else textwrap.dedent(shape.text))
