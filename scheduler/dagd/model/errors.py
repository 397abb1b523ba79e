"""Every message that dagd has for a person, with a stable code.

An error says what happened (with its values), where, and what to do. Classes carry the code and the default remedy;
the words that depend on values are composed where the values are known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class SourceRef:
    """A place in a user's file: the path as the user knows it, and the line (1-based, None when unknown)."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


class DagdError(Exception):
    """Something dagd can explain. `code` is stable; `what` has the values; `where` and `remedy` may be None."""

    code: ClassVar[str] = "DAGD-000"
    remedy_default: ClassVar[str | None] = None

    def __init__(self, what: str, *, where: SourceRef | str | None = None, remedy: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy if remedy is not None else self.remedy_default

    def __str__(self) -> str:
        parts = [f"{self.code}: {self.what}"]
        if self.where is not None:
            parts.append(f"at {self.where}")
        text = " ".join(parts)
        return f"{text}. {self.remedy}" if self.remedy else text


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest to `name`, or None when nothing is close."""
    found = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A remedy sentence naming the nearest known name, or None."""
    found = nearest(name, known)
    return f"Did you mean {found!r}?" if found else None


# --- 1xx: what users write -------------------------------------------------------------------------------------------


class AuthoringError(DagdError):
    """A DAG file says something that cannot be."""

    code = "DAGD-100"


class UnknownArgument(AuthoringError):
    """An argument that no DAG, task or operator takes."""

    code = "DAGD-101"


class WrongArgument(AuthoringError):
    """A known argument with a value of the wrong type or range."""

    code = "DAGD-102"


class DuplicateTask(AuthoringError):
    """Two tasks of one DAG share a task_id."""

    code = "DAGD-103"
    remedy_default = "Give one of them another task_id."


class CycleFound(AuthoringError):
    """The dependencies of a DAG lead back to a task."""

    code = "DAGD-104"
    remedy_default = "Remove one of these dependencies."

    def __init__(self, path: tuple[str, ...], *, where: SourceRef | str | None = None) -> None:
        super().__init__(f"the dependencies form a cycle: {' -> '.join(path)}", where=where)
        self.path = path


class InvalidId(AuthoringError):
    """An id that does not match [A-Za-z0-9_.~:+-]{1,250}."""

    code = "DAGD-105"
    remedy_default = "Ids are 1 to 250 characters of letters, digits and _ . ~ : + -"


class InvalidSchedule(AuthoringError):
    """A schedule that cannot be read or can never fire: cron, preset, duration, zone or dst policy."""

    code = "DAGD-106"


class DuplicateDag(AuthoringError):
    """Two files define one dag_id; the file whose path sorts first keeps it."""

    code = "DAGD-107"
    remedy_default = "Rename one of the two DAGs."


class DuplicateProducer(AuthoringError):
    """Two tasks produce the same asset."""

    code = "DAGD-108"
    remedy_default = "Let one task produce it, or declare the asset with shared=True."


class NoDagFound(AuthoringError):
    """A file was parsed and defines no DAG."""

    code = "DAGD-109"


class BrokenFile(AuthoringError):
    """A DAG file raised, or could not be read or compiled."""

    code = "DAGD-110"


class HostileFile(AuthoringError):
    """A DAG file's parse was ended from outside: time, memory, output, or its own exit."""

    code = "DAGD-111"


class PoolTooSmall(AuthoringError):
    """A task asks for more slots than its pool has: it could never start."""

    code = "DAGD-112"
    remedy_default = "Ask for fewer (pool_slots=), or give the pool more: dagd pools set POOL SLOTS"


class TemplateFailed(DagdError):
    """A template could not be rendered."""

    code = "DAGD-120"


class XComRefused(DagdError):
    """A value that cannot be stored as XCom: its type, or its size."""

    code = "DAGD-121"


class InvalidParams(DagdError):
    """Params or a conf that the DAG's schema refuses."""

    code = "DAGD-122"


class SecretInTrigger(DagdError):
    """A trigger is stored as it is, so that nothing secret may be in it."""

    code = "DAGD-123"
    remedy_default = "Put it into a connection and give the trigger its conn_id."


# --- 2xx: asking --------------------------------------------------------------------------------------------------


class UsageError(DagdError):
    """A command that cannot be understood (exit 2)."""

    code = "DAGD-200"


class NotFound(DagdError):
    """No such DAG, run, task, pool, variable... (exit 3)."""

    code = "DAGD-201"


class Refused(DagdError):
    """A request that conflicts with what is (exit 4)."""

    code = "DAGD-202"


class TimedOut(DagdError):
    """`--timeout` was reached (exit 6)."""

    code = "DAGD-203"


class InvalidSettings(DagdError):
    """A setting with an unknown name or a wrong value."""

    code = "DAGD-210"


# --- 3xx: operation --------------------------------------------------------------------------------------------------


class Unreachable(DagdError):
    """The database or the daemon cannot be reached (exit 5)."""

    code = "DAGD-300"


class SchemaMismatch(DagdError):
    """The database's schema is not the one that this release reads."""

    code = "DAGD-301"
    remedy_default = "Run `dagd db migrate` with the newest release that uses this database."


class AlreadyRunning(DagdError):
    """Another scheduler holds this SQLite database."""

    code = "DAGD-302"
    remedy_default = "Stop it first, or use Postgres for several schedulers."


class Fenced(DagdError):
    """This scheduler's incarnation was declared dead by another; its memory is dropped."""

    code = "DAGD-303"


class Doubt(DagdError):
    """A commit met a row that memory did not expect; memory is dropped and rebuilt from the database."""

    code = "DAGD-304"


class ProtocolMismatch(DagdError):
    """Scheduler and agent speak different releases of their protocol."""

    code = "DAGD-305"
