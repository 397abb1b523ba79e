"""Luigi: its local scheduler, two worker processes; a task is done when its file is there. Not durable."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import Any

import kit
import luigi

ORDER = kit.read_order()
DONE, LOG = ORDER.folder / "done", ORDER.folder / "tasks.log"
EDGES = {shape.name: dict(shape.edges()) for shape in ORDER.shapes}


class Step(luigi.Task):  # type: ignore[misc]
    """One task of one run."""

    shape = luigi.Parameter()
    run_id = luigi.Parameter()
    name = luigi.Parameter()

    def requires(self) -> list[Any]:
        return [Step(shape=self.shape, run_id=self.run_id, name=name) for name in EDGES[self.shape][self.name]]

    def output(self) -> Any:
        return luigi.LocalTarget(str(DONE / f"{self.run_id}.{self.name}"))

    def run(self) -> None:
        kit.note(str(LOG))
        Path(self.output().path).touch()


def run(shape: kit.Shape) -> None:
    """All runs in one call."""
    shutil.rmtree(DONE, ignore_errors=True)
    DONE.mkdir()
    last = shape.edges()[-1][0]
    wanted = [Step(shape=shape.name, run_id=uuid.uuid4().hex, name=last) for _ in range(shape.runs)]
    assert luigi.build(wanted, workers=2, local_scheduler=True, log_level="ERROR")


kit.measure(ORDER, LOG, run, "luigi", "local scheduler, 2 workers")
