"""DAG files that chaos runs, and the witness that their bodies write to: one line, one `write`, nothing of dagd."""

from __future__ import annotations

import random
import textwrap

WITNESS = """
    import json, os, time

    def say(word, ti, **more):
        record = {"word": word, "at": time.time_ns() // 1000, "dag": ti.dag_id, "run": ti.run_id, "task": ti.task_id,
                  "index": ti.map_index, "try": ti.try_number, "pid": os.getpid(), **more}
        journal = os.open(%(journal)r, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(journal, (json.dumps(record) + "\\n").encode())
        os.close(journal)
"""

HEAD = """
    from datetime import datetime, timedelta, timezone
    import random, time
    from dagd import DAG, Asset, task
    from chaos_witness import say

    START = datetime.fromtimestamp(%(start)s, timezone.utc)
    ARGS = {"retries": 3, "retry_delay": timedelta(seconds=0.2)}

    def body(ti, longest, fails=0.0):
        say("begin", ti)
        time.sleep(random.random() * longest)
        if random.random() < fails:
            raise RuntimeError("as it happens")
        say("end", ti)
"""

KINDS = {
    "mapped": """
    with DAG(%(name)r, schedule=timedelta(seconds=%(every)s), catchup=True, max_active_runs=8, start_date=START,
             default_args=ARGS):
        @task
        def first(ti=None):
            body(ti, 0.5)
            return [1, 2, 3]

        @task
        def each(n, ti=None):
            body(ti, 0.3)
            return n

        @task
        def last(values, ti=None):
            assert sorted(values) == [1, 2, 3]
            body(ti, 0.01)

        last(each.expand(n=first()))
    """,
    "asked": """
    with DAG(%(name)r, schedule=None, default_args=ARGS):
        @task(retries=20)
        def shaky(ti=None):
            body(ti, 1.5, fails=0.2)

        @task
        def after(ti=None):
            body(ti, 0.2)

        shaky() >> [after.override(task_id="left")(), after.override(task_id="right")()]
    """,
    "producer": """
    with DAG(%(name)r, schedule=timedelta(seconds=%(every)s), catchup=True, max_active_runs=4, start_date=START,
             default_args=ARGS):
        @task(outlets=[Asset("chaos://" + %(name)r)])
        def make(ti=None):
            body(ti, 0.3)

        make()

    with DAG(%(name)r + "_reader", schedule=[Asset("chaos://" + %(name)r)], default_args=ARGS):
        @task
        def read(ti=None):
            body(ti, 0.3)

        read()
    """,
    "pooled": """
    with DAG(%(name)r, schedule=timedelta(seconds=%(every)s), catchup=True, max_active_runs=4, start_date=START,
             default_args=ARGS):
        @task(pool="narrow")
        def squeeze(n, ti=None):
            body(ti, 0.2)

        squeeze.expand(n=[1, 2, 3, 4])
    """,
    "chatty": """
    with DAG(%(name)r, schedule=timedelta(seconds=%(every)s), catchup=True, max_active_runs=4, start_date=START,
             default_args=ARGS):
        @task
        def talk(ti=None):
            say("begin", ti)
            for _ in range(50):
                print("x" * 999)
            say("end", ti)
            return "y" * 200_000

        @task
        def hear(text, ti=None):
            assert len(text) == 200_000
            body(ti, 0.01)

        hear(talk())
    """,
}


def witness_module(journal: str) -> str:
    """The module that DAG files import; it lies in the DAG folder."""
    return textwrap.dedent(WITNESS % {"journal": journal})


def dag_file(kind: str, name: str, *, start: int, every: float) -> str:
    """One DAG file of that kind."""
    facts = {"name": name, "start": start, "every": every}
    return textwrap.dedent(HEAD % facts) + textwrap.dedent(KINDS[kind] % facts)


def dag_files(number: int, start: int, every: float, dice: random.Random) -> dict[str, str]:
    """So many DAG files, of every kind in turns, by name."""
    kinds = list(KINDS)
    found = {}
    for at in range(number):
        kind = kinds[at % len(kinds)]
        name = f"{kind}_{at:03}"
        found[f"{name}.py"] = dag_file(kind, name, start=start, every=round(every * dice.uniform(0.8, 1.2), 1))
    return found
