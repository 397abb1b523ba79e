"""Operators that call a function of the user's: plain, branch, short-circuit, sensor."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

from dagd.authoring.ambient import AMBIENT, caller_ref
from dagd.authoring.arguments import unknown_argument
from dagd.authoring.context_keys import CONTEXT_KEYS
from dagd.authoring.operator import BaseOperator
from dagd.authoring.sensor import BaseSensorOperator
from dagd.model.errors import SourceRef, WrongArgument


def call_with_context(function: Callable[..., Any], args: Sequence[Any], given: Mapping[str, Any], context: Any) -> Any:
    """Call a user's function with its own arguments and those keys of the context that it names. Awaits `async def`."""
    parameters = parameters_of(function)
    extra: dict[str, Any] = {}
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
        extra = {key: context[key] for key in context if key not in given and key not in parameters}
    positional = list(parameters)[: len(args)]
    for name in parameters:
        if name in CONTEXT_KEYS and name not in given and name not in positional and name in context:
            extra[name] = context[name]
    returned = function(*args, **given, **extra)
    if inspect.iscoroutine(returned):
        import asyncio

        return asyncio.run(returned)
    return returned


@lru_cache(maxsize=1024)
def parameters_of(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The parameters of a callable; a warm worker asks for the same ones at each try."""
    return inspect.signature(function).parameters


def check_call(function: Callable[..., Any], args: Sequence[Any], given: Mapping[str, Any], where: SourceRef) -> None:
    """Refuse a call that could not be made. Raises UnknownArgument, WrongArgument."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return
    takes_any = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    name_of = getattr(function, "__name__", repr(function))
    for name in given:
        if name not in parameters and not takes_any:
            raise unknown_argument(f"{name_of}()", name, parameters, where)
    try:
        bound = inspect.signature(function).bind_partial(*args, **given)
    except TypeError as error:
        raise WrongArgument(f"{name_of}(): {error}", where=where) from None
    for name, one in parameters.items():
        is_open = one.default is inspect.Parameter.empty and one.kind not in {one.VAR_KEYWORD, one.VAR_POSITIONAL}
        if is_open and name not in bound.arguments and name not in CONTEXT_KEYS:
            raise WrongArgument(f"{name_of}() needs {name!r}", where=where, remedy=f"Give {name}, or a default.")


class PythonOperator(BaseOperator):
    """Calls `python_callable(*op_args, **op_kwargs)`; what it returns is the task's value."""

    template_fields: Sequence[str] = ("templates_dict", "op_args", "op_kwargs")
    template_fields_renderers: ClassVar[dict[str, str]] = {"templates_dict": "json", "op_args": "py", "op_kwargs": "py"}

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Sequence[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        templates_dict: dict[str, Any] | None = None,
        templates_exts: Sequence[str] | None = None,
        show_return_value_in_logs: bool = False,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        if not callable(python_callable):
            raise WrongArgument(f"python_callable={python_callable!r} cannot be called", where=self.where)
        function = getattr(python_callable, "function", python_callable)
        self.python_callable: Callable[..., Any] = function
        self.op_args = list(op_args or ())
        self.op_kwargs = dict(op_kwargs or {})
        self.templates_dict = templates_dict
        self.show_return_value_in_logs = show_return_value_in_logs
        if templates_exts:
            self.template_ext = tuple(templates_exts)

    def depends_on_user_code(self) -> bool:
        """Always: the function is the user's."""
        return True

    def execute(self, context: Any) -> Any:
        """Call the function."""
        return self.decide(self.execute_callable(context), context)

    def execute_callable(self, context: Any) -> Any:
        """What the function returns."""
        if self.templates_dict is not None:
            context["templates_dict"] = self.templates_dict
        return call_with_context(self.python_callable, self.op_args, self.op_kwargs, context)

    def decide(self, returned: Any, context: Any) -> Any:
        """What the task's value becomes of what the function returned."""
        del context
        return returned


class BranchMixIn:
    """The value names the tasks to go on with: one id or several, None or [] for none."""

    decides: str | None = "branch"

    def decide(self, returned: Any, context: Any) -> Any:
        """Hand the choice to the scheduler."""
        return self.do_branch(context, returned)

    def do_branch(self, context: Any, chosen: Any) -> Any:
        """Hand the choice to the scheduler, and return it."""
        context.choose(chosen)
        return chosen


class ShortCircuitMixIn:
    """A false value skips what is downstream."""

    decides: str | None = "short_circuit"

    def decide(self, returned: Any, context: Any) -> Any:
        """Hand the decision to the scheduler."""
        context.short_circuit(not returned)
        return returned


class BranchPythonOperator(BranchMixIn, PythonOperator):
    """The function returns the id or ids to go on with."""

    decides = "branch"


class ShortCircuitOperator(ShortCircuitMixIn, PythonOperator):
    """What is downstream runs only if the function returns something true."""

    decides = "short_circuit"

    def __init__(self, *, ignore_downstream_trigger_rules: bool = True, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.ignore_downstream_trigger_rules = ignore_downstream_trigger_rules
        if not ignore_downstream_trigger_rules:
            self.decides = "short_circuit_direct"


class PythonSensor(BaseSensorOperator):
    """Waits until the function returns something true."""

    template_fields: Sequence[str] = ("templates_dict", "op_args", "op_kwargs")

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Sequence[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        templates_dict: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        if not callable(python_callable):
            raise WrongArgument(f"python_callable={python_callable!r} cannot be called", where=self.where)
        self.python_callable = getattr(python_callable, "function", python_callable)
        self.op_args = list(op_args or ())
        self.op_kwargs = dict(op_kwargs or {})
        self.templates_dict = templates_dict

    def depends_on_user_code(self) -> bool:
        """Always: the function is the user's."""
        return True

    def poke(self, context: Any) -> Any:
        """Call the function."""
        if self.templates_dict is not None:
            context["templates_dict"] = self.templates_dict
        return call_with_context(self.python_callable, self.op_args, self.op_kwargs, context)


def in_task() -> bool:
    """Whether this code runs inside a task, not in a DAG file that is being read."""
    return AMBIENT.context is not None and not AMBIENT.dags


def refuse_in_task(name: str) -> None:
    """Calling a decorated task inside another task makes no task. Raises WrongArgument."""
    if in_task():
        what = f"{name} was called inside a running task, where no task can be made"
        raise WrongArgument(what, where=caller_ref(), remedy=f"Call the plain function: {name}.function(...).")
