"""BaseOperator, and how its constructor is called: defaults filled in, unknown and missing arguments named."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from dagd.authoring.ambient import AMBIENT, caller_ref
from dagd.authoring.arguments import IGNORED_TASK_ARGUMENTS, TASK_ARGUMENTS, unknown_argument
from dagd.authoring.mapped import OperatorPartial
from dagd.authoring.node import TaskNode
from dagd.authoring.outcomes import DeferTask
from dagd.model.errors import SourceRef, WrongArgument

if TYPE_CHECKING:
    from dagd.authoring.dag import DAG
    from dagd.authoring.groups import TaskGroup

PLACES = frozenset({"task_id", "dag", "task_group"})
RESUME = "__resume__"  # where the state of a leg keeps the method of the next one
_VARIABLE = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


@lru_cache(maxsize=512)
def own_arguments(cls: type) -> tuple[frozenset[str], tuple[str, ...]]:
    """The names that a class's constructors take over its whole line of classes, and those that must be given."""
    known: set[str] = set()
    required: tuple[str, ...] = ()
    is_first = True
    for one in cls.__mro__:
        if "__init__" not in vars(one) or one is object:
            continue
        parameters = [
            p for p in list(inspect.signature(vars(one)["__init__"]).parameters.values())[1:] if p.kind not in _VARIABLE
        ]
        known.update(p.name for p in parameters)
        if is_first:
            required = tuple(p.name for p in parameters if p.default is inspect.Parameter.empty)
            is_first = False
    return frozenset(known), required


def known_arguments(cls: type) -> frozenset[str]:
    """Every name that an operator's class takes."""
    return own_arguments(cls)[0] | PLACES | TASK_ARGUMENTS.keys()


def fill_defaults(cls: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """`given`, and under it the default_args of operator, groups and DAG, as far as the class takes them."""
    group = given.get("task_group") or (AMBIENT.groups[-1] if AMBIENT.groups else None)
    dag = given.get("dag") or (group.dag if group else None) or (AMBIENT.dags[-1] if AMBIENT.dags else None)
    layers: list[Mapping[str, Any]] = [given.get("default_args") or {}]
    while group is not None and group.dag is dag:
        layers.append(group.default_args)
        group = group.task_group
    if dag is not None:
        layers.append(dag.default_args)
    filled = dict(given)
    known = known_arguments(cls)
    for layer in layers:
        if not isinstance(layer, Mapping):
            raise WrongArgument(f"default_args={layer!r} is no dict", where=caller_ref())
        for name, value in layer.items():
            if name in known and name not in filled and name not in PLACES:
                filled[name] = value
                if dag is not None:
                    dag.used_defaults.add(name)
    return filled


class OperatorMeta(type):
    """Calls an operator's constructor with default_args filled in, and finds the tasks that its arguments refer to."""

    decides: str | None
    template_fields: Sequence[str]

    def __call__(cls, *args: Any, **given: Any) -> Any:
        where = caller_ref()
        filled = fill_defaults(cls, given)
        cls.check_arguments(filled, where, positional=len(args))
        task = cls.build(filled, where, *args)
        task.finish()
        return task

    def build(cls, given: dict[str, Any], where: SourceRef, *args: Any) -> Any:
        """An operator from complete arguments, without looking at what surrounds it."""
        task: Any = cls.__new__(cls)  # type: ignore[call-overload]
        task.where = where
        task.__init__(*args, **given)
        return task

    def fill(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """`given` with default_args under it."""
        return fill_defaults(cls, given)

    def known(cls) -> frozenset[str]:
        """Every argument name that the class takes."""
        return known_arguments(cls)

    def check_arguments(cls, given: Mapping[str, Any], where: SourceRef, *, positional: int = 0) -> None:
        """Refuse unknown names and missing ones. Raises UnknownArgument, WrongArgument."""
        known = known_arguments(cls)
        for name in given:
            if name not in known and name not in IGNORED_TASK_ARGUMENTS:
                raise unknown_argument(cls.__name__, name, known, where)
        if "task_id" not in given and not positional:
            raise WrongArgument(f"{cls.__name__} needs a task_id", where=where, remedy="Give task_id=.")
        missing = [name for name in own_arguments(cls)[1][positional:] if name not in given]
        if missing:
            raise WrongArgument(
                f"{cls.__name__} needs {', '.join(missing)}", where=where, remedy=f"Give {missing[0]}=."
            )


class BaseOperator(TaskNode, metaclass=OperatorMeta):
    """A task that runs code. Subclasses define `execute(context)`; `template_fields` are rendered before it runs."""

    template_fields: Sequence[str] = ()
    template_ext: Sequence[str] = ()
    template_fields_renderers: ClassVar[dict[str, str]] = {}
    shell_fields: ClassVar[Sequence[str]] = ()
    default_isolation: ClassVar[str] = "fork"
    ui_color: str = "#fff"
    ui_fgcolor: str = "#000"

    def __init__(
        self, task_id: str, dag: DAG | None = None, task_group: TaskGroup | None = None, **arguments: Any
    ) -> None:
        where: SourceRef = getattr(self, "where", None) or caller_ref()
        for name in IGNORED_TASK_ARGUMENTS & arguments.keys():
            del arguments[name]
            AMBIENT.warn(where, f"{type(self).__name__}: {name!r} has no effect in dagd")
        self._place(task_id, dag, task_group, where)
        self._take(arguments, where)
        for name in arguments:
            raise unknown_argument(type(self).__name__, name, known_arguments(type(self)), where)

    def finish(self) -> None:
        """Called once the constructors are through: depend on what the arguments refer to."""
        for name in self.template_fields:
            self.depend_on(getattr(self, name, None))

    @property
    def task_type(self) -> str:
        """The class's name."""
        return type(self).__name__

    @property
    def log(self) -> logging.Logger:
        """A logger named after the class; what it logs is in the task's log."""
        return logging.getLogger(f"{type(self).__module__}.{type(self).__name__}")

    @classmethod
    def partial(cls, **given: Any) -> OperatorPartial:
        """Arguments that all instances of a mapped task share; `.expand(...)` on it gives those that differ."""
        return OperatorPartial(cls, given, caller_ref())

    def pre_execute(self, context: Any) -> None:
        """Called before `execute`."""

    def execute(self, context: Any) -> Any:
        """Do the work; what is returned is the task's value."""
        raise TypeError(f"{type(self).__name__} defines no execute(context)")

    def defer(
        self, *, trigger: Any, method_name: str = "execute", kwargs: dict[str, Any] | None = None,
        timeout: timedelta | float | None = None,
    ) -> NoReturn:  # fmt: skip
        """Wait for a trigger without a process; then `method_name(context, event=..., **kwargs)` is called.

        `execute` is called without `event`; `context["trigger_event"]` has it. Raises DeferTask.
        """
        if not callable(getattr(self, method_name, None)):
            raise AttributeError(f"{type(self).__name__} has no method {method_name!r} to go on with")
        state = {} if method_name == "execute" else {RESUME: {"method": method_name, "kwargs": dict(kwargs or {})}}
        raise DeferTask(trigger=trigger, timeout=timeout, state=state)

    def resume(self, context: Any) -> Any:
        """The body of a leg: `execute`, or what the leg before named in `defer`."""
        following = context.state.pop(RESUME, None)
        if following is None:
            return self.execute(context)
        return getattr(self, following["method"])(context, event=context.trigger_event, **following["kwargs"])

    def post_execute(self, context: Any, result: Any = None) -> None:
        """Called after `execute`, with its result."""

    def on_kill(self) -> None:
        """Called when the try is being stopped, so that outside work can be stopped too."""

    def depends_on_user_code(self) -> bool:
        """Whether an operator of ours was given functions of the user's to call."""
        return False
