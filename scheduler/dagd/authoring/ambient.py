"""What surrounds the code that runs now: the DAG and group being written, the file being parsed, the try being run.

One object per process, not a context variable: threads that a task starts must find its context too.
"""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

from dagd.model.errors import SourceRef

if TYPE_CHECKING:
    from dagd.authoring.dag import DAG
    from dagd.authoring.groups import TaskGroup
    from dagd.authoring.setups import Scope

_OURS = (os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep, os.sep + "dagd_operators" + os.sep)


class Asker(Protocol):
    """Answers what code inside a try or a parse may ask: variables, connections, other runs."""

    def request(self, kind: str, args: dict[str, Any]) -> Any:
        """The value of one request. Blocks until it is answered."""


class Ambient:
    """Stacks of what `with` blocks opened, DAGs made so far, and the running try's context and channel."""

    def __init__(self) -> None:
        self.dags: list[DAG] = []
        self.groups: list[TaskGroup] = []
        self.scopes: list[Scope] = []
        self.made: list[DAG] = []
        self.assets: list[Any] = []
        self.warnings: list[tuple[SourceRef, str]] = []
        self.folder: str | None = None
        self.context: Any = None
        self.channel: Asker | None = None

    def start_file(self, folder: str | None) -> None:
        """Forget what earlier files left; errors name files relative to `folder` from now on."""
        self.dags, self.groups, self.scopes = [], [], []
        self.made, self.assets, self.warnings = [], [], []
        self.folder = folder.rstrip(os.sep) + os.sep if folder else None

    def warn(self, where: SourceRef, text: str) -> None:
        """Note something that is no error; shown by `dagd dags check`."""
        if (where, text) not in self.warnings:
            self.warnings.append((where, text))

    def show_path(self, path: str) -> str:
        """A path as the user knows it: relative to the DAG folder when it lies in it."""
        if self.folder and path.startswith(self.folder):
            return path[len(self.folder) :].replace(os.sep, "/")
        return path


AMBIENT = Ambient()


def is_ours(path: str) -> bool:
    """Whether a source file belongs to dagd and not to its user."""
    return path.startswith((_OURS[0], "<frozen")) or _OURS[1] in path


def _is_generated(frame: FrameType) -> bool:
    """Whether this is the constructor that a dataclass of ours was given."""
    return frame.f_code.co_filename == "<string>" and str(frame.f_globals.get("__name__")).startswith("dagd.")


def caller_ref() -> SourceRef:
    """The innermost place of user code that led here."""
    frame = sys._getframe(1)
    while frame.f_back is not None and (is_ours(frame.f_code.co_filename) or _is_generated(frame)):
        frame = frame.f_back
    return SourceRef(AMBIENT.show_path(frame.f_code.co_filename), frame.f_lineno)


def importing_file() -> str:
    """The path of the module whose top level is being executed, innermost first."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        if frame.f_code.co_name == "<module>" and not is_ours(frame.f_code.co_filename):
            break
        frame = frame.f_back
    return frame.f_code.co_filename
