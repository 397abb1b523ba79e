"""What a task will return, as an argument for others: a reference that makes a dependency."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dagd.authoring.ambient import caller_ref
from dagd.authoring.edges import Dependable, Endpoint
from dagd.authoring.params import NOT_GIVEN
from dagd.model.errors import WrongArgument
from dagd.model.specs import MapSource

if TYPE_CHECKING:
    from dagd.authoring.groups import MappedTaskGroup
    from dagd.authoring.node import TaskNode

RETURN_KEY = "return_value"
Reference = tuple["TaskNode", str]


class XComArg(Dependable, ABC):
    """The value of a task that has not run yet."""

    @abstractmethod
    def references(self) -> Iterator[Reference]:
        """The tasks and keys that this value is made of."""

    @abstractmethod
    def source(self) -> MapSource:
        """The compiled form, as something to map over."""

    def endpoints(self) -> Sequence[Endpoint]:
        """The tasks that make this value."""
        return list(dict.fromkeys(task for task, _ in self.references()))

    def map(self, function: Any) -> MapXComArg:
        """Each item through `function`, in the process of the task that takes it."""
        if not callable(function) or hasattr(function, "function"):
            raise WrongArgument(f"map({function!r}): it takes a plain function, no task", where=caller_ref())
        return MapXComArg(self, function)

    def zip(self, *others: XComArg, fillvalue: Any = NOT_GIVEN) -> ZipXComArg:
        """Tuples of the items of several values: as long as the shortest, or the longest if there is a fillvalue."""
        return ZipXComArg((self, *others), fillvalue)

    def concat(self, *others: XComArg) -> ConcatXComArg:
        """The items of several values, one after the other."""
        return ConcatXComArg((self, *others))

    def __iter__(self) -> Iterator[Any]:
        what = "what a task returns cannot be iterated over while the DAG is written"
        raise WrongArgument(what, where=caller_ref(), remedy="Use .expand(...) to make one task per item.")

    def __bool__(self) -> bool:
        return True


class PlainXComArg(XComArg):
    """The value of one task under one key."""

    def __init__(self, operator: TaskNode, key: str = RETURN_KEY) -> None:
        self.operator, self.key = operator, key

    def __getitem__(self, key: Any) -> PlainXComArg:
        if not isinstance(key, str):
            what = f"{self.operator.task_id}[{key!r}]: a key is text"
            raise WrongArgument(what, where=caller_ref(), remedy="Take items in the task, or with .map().")
        return PlainXComArg(self.operator, key)

    def __str__(self) -> str:
        key = "" if self.key == RETURN_KEY else f", key={self.key!r}"
        return f"{{{{ task_instance.xcom_pull(task_ids={self.operator.task_id!r}, dag_id={self._dag_id!r}{key}) }}}}"

    def __repr__(self) -> str:
        return f"XComArg({self.operator.task_id!r}, {self.key!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlainXComArg) and (self.operator, self.key) == (other.operator, other.key)

    def __hash__(self) -> int:
        return hash((id(self.operator), self.key))

    @property
    def _dag_id(self) -> str:
        return self.operator.dag.dag_id if self.operator.dag else ""

    def references(self) -> Iterator[Reference]:
        """This task and key."""
        yield self.operator, self.key

    def source(self) -> MapSource:
        """Its items."""
        return MapSource("xcom", task_id=self.operator.task_id, key=self.key)

    def as_setup(self) -> PlainXComArg:
        """Make the task a setup."""
        self.operator.as_setup()
        return self

    def as_teardown(self, *, setups: Any = None, on_failure_fail_dagrun: bool | None = None) -> PlainXComArg:
        """Make the task a teardown of `setups`."""
        self.operator.as_teardown(setups=setups, on_failure_fail_dagrun=on_failure_fail_dagrun)
        return self

    def __enter__(self) -> PlainXComArg:
        self.operator.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.operator.__exit__(*error)


class MapXComArg(XComArg):
    """Each item of `arg` through `function`."""

    def __init__(self, arg: XComArg, function: Callable[[Any], Any]) -> None:
        self.arg, self.function = arg, function

    def references(self) -> Iterator[Reference]:
        """Those of what is mapped."""
        yield from self.arg.references()

    def source(self) -> MapSource:
        """As long as what is mapped."""
        return self.arg.source()


class _JointXComArg(XComArg):
    """Several values taken together."""

    def __init__(self, args: Sequence[Any]) -> None:
        for arg in args:
            if not isinstance(arg, (XComArg, list, tuple, dict)):
                raise WrongArgument(f"{arg!r} is no task's value, list or dict", where=caller_ref())
        self.args = tuple(args)

    def references(self) -> Iterator[Reference]:
        """Those of each part."""
        for arg in self.args:
            if isinstance(arg, XComArg):
                yield from arg.references()

    def parts(self) -> tuple[MapSource, ...]:
        """The compiled parts."""
        return tuple(source_of(arg) for arg in self.args)


class ZipXComArg(_JointXComArg):
    """Tuples of items that stand at one index."""

    def __init__(self, args: Sequence[Any], fillvalue: Any = NOT_GIVEN) -> None:
        super().__init__(args)
        self.fillvalue = fillvalue

    def source(self) -> MapSource:
        """As long as the shortest part, or the longest with a fillvalue."""
        return MapSource("zip", parts=self.parts(), longest=self.fillvalue is not NOT_GIVEN)


class ConcatXComArg(_JointXComArg):
    """The parts one after the other."""

    def source(self) -> MapSource:
        """As long as all parts together."""
        return MapSource("concat", parts=self.parts())


class MappedArgument:
    """Inside a mapped group: the item of this index."""

    def __init__(self, group: MappedTaskGroup, name: str) -> None:
        self.group, self.name = group, name

    def __repr__(self) -> str:
        return f"MappedArgument({self.group.group_id!r}, {self.name!r})"

    def __iter__(self) -> Iterator[Any]:
        what = f"the mapped argument {self.name!r} is one item, known only when the task runs"
        raise WrongArgument(what, where=caller_ref(), remedy="Use it inside a task.")


class ParamArg:
    """A param of the run, as an argument: what a parameter of a `@dag` function is."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return f"{{{{ params[{self.name!r}] }}}}"

    def __repr__(self) -> str:
        return f"ParamArg({self.name!r})"


def source_of(value: Any) -> MapSource:
    """Something to map over as its compiled form."""
    return value.source() if isinstance(value, XComArg) else MapSource("literal", count=len(value))


def find_references(value: Any) -> Iterator[Reference]:
    """The tasks and keys that an argument refers to, in nested lists, tuples, sets and dicts too."""
    if isinstance(value, XComArg):
        yield from value.references()
    elif isinstance(value, (list, tuple, set, frozenset)):
        for one in value:
            yield from find_references(one)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from find_references(key)
            yield from find_references(one)
