"""What `.partial()` began and `.expand()` has to end: alone it makes no task, which nobody would notice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagd.authoring.ambient import AMBIENT
from dagd.model.errors import SourceRef, WrongArgument

if TYPE_CHECKING:
    from dagd.authoring.dag import DAG


class Begun:
    """One `.partial()` of the DAG that is being written."""

    def __init__(self, name: str, where: SourceRef) -> None:
        self.name, self.where = name, where
        self._dag = AMBIENT.dags[-1] if AMBIENT.dags else None
        if self._dag is not None:
            self._dag.begun_partials.append(self)

    def end(self) -> None:
        """It has been expanded, called, or gone on with; more than once is no error."""
        if self._dag is not None and self in self._dag.begun_partials:
            self._dag.begun_partials.remove(self)


def refuse_unended(dag: DAG) -> None:
    """Raises WrongArgument for a `.partial()` that made nothing."""
    for one in dag.begun_partials:
        what = f"{one.name}.partial(...) without .expand() makes no task"
        raise WrongArgument(what, where=one.where, remedy="Add .expand(...) or .expand_kwargs(...), or remove it.")
