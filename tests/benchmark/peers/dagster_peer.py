"""Dagster: jobs in this process, on an instance with SQLite in a folder. No daemon, no process for each step."""

from __future__ import annotations

import os
from typing import Any

import kit
from dagster import (
    DagsterInstance,
    DependencyDefinition,
    GraphDefinition,
    In,
    MultiDependencyDefinition,
    Nothing,
    OpDefinition,
    Out,
    Output,
)

ORDER = kit.read_order()
LOG = ORDER.folder / "tasks.log"
os.environ["DAGSTER_HOME"] = str(ORDER.folder)
(ORDER.folder / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")


def job_of(shape: kit.Shape) -> Any:
    """Each task is an op that waits for nothing but order."""

    def compute(_context, _inputs):  # type: ignore[no-untyped-def]  # Dagster judges hints
        kit.note(str(LOG))
        yield Output(None)

    ops, dependencies = [], {}
    for name, upstreams in shape.edges():
        inputs = {"after": In(Nothing)} if upstreams else {}
        ops.append(OpDefinition(compute_fn=compute, name=name, ins=inputs, outs={"result": Out(Nothing)}))
        dependencies[name] = (
            {"after": MultiDependencyDefinition([DependencyDefinition(one) for one in upstreams])} if upstreams else {}
        )
    return GraphDefinition(name=f"shape_{shape.name}", node_defs=ops, dependencies=dependencies).to_job()


JOBS = {shape.name: job_of(shape) for shape in ORDER.shapes}


def main() -> None:
    """Run after run."""
    with DagsterInstance.get() as instance:

        def run(shape: kit.Shape) -> None:
            for _ in range(shape.runs):
                assert JOBS[shape.name].execute_in_process(instance=instance).success

        kit.measure(ORDER, LOG, run, "dagster", "in this process, SQLite")


main()
