"""`@dag`, `@task` and its kin, `@setup`, `@teardown`."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dagd.authoring.ambient import AMBIENT, caller_ref
from dagd.authoring.arguments import DAG_ARGUMENTS, unknown_argument
from dagd.authoring.bash import BashOperator
from dagd.authoring.dag import DAG
from dagd.authoring.groups import GroupFactory, free_id
from dagd.authoring.mapped import MappedOperator, check_kwargs, check_product
from dagd.authoring.operator import OperatorMeta
from dagd.authoring.partials import Begun
from dagd.authoring.python import (
    BranchMixIn,
    PythonOperator,
    PythonSensor,
    ShortCircuitOperator,
    check_call,
    refuse_in_task,
)
from dagd.authoring.venv import ExternalPythonOperator, PythonVirtualenvOperator
from dagd.authoring.xcomarg import ParamArg, PlainXComArg
from dagd.model.errors import SourceRef, WrongArgument

_DICT = re.compile(r"(typing\.)?(t\.)?(Dict|dict|Mapping|MutableMapping|collections\.abc\.Mapping)\b")


class PythonTask(PythonOperator):
    """`@task`."""


class BranchTask(BranchMixIn, PythonTask):
    """`@task.branch`."""

    decides = "branch"


class ShortCircuitTask(ShortCircuitOperator):
    """`@task.short_circuit`."""


class SensorTask(PythonSensor):
    """`@task.sensor`."""


class BashTask(PythonOperator, BashOperator):
    """`@task.bash`: the function returns the command."""

    template_fields: Sequence[str] = ("op_args", "op_kwargs", "env", "cwd")
    template_ext: Sequence[str] = ()

    def __init__(self, **arguments: Any) -> None:
        super().__init__(bash_command="true", **arguments)

    def execute(self, context: Any) -> Any:
        """Call the function, render what it returns, run it."""
        command = self.execute_callable(context)
        if isinstance(command, str):
            command = context.render_shell(command)
        return self.run_shell(command, context)


class ExternalPythonTask(ExternalPythonOperator):
    """`@task.external_python`."""


class VirtualenvTask(PythonVirtualenvOperator):
    """`@task.virtualenv`."""


class TaskFactory:
    """A decorated function. Calling it makes a task, and returns what the task will return."""

    def __init__(
        self, cls: OperatorMeta, function: Callable[..., Any], arguments: Mapping[str, Any],
        shared: Mapping[str, Any] | None = None, role: Mapping[str, Any] | None = None, begun: Begun | None = None,
    ) -> None:  # fmt: skip
        self.cls, self.function = cls, function
        self.arguments, self.shared, self.role = dict(arguments), dict(shared or {}), dict(role or {})
        self._begun = begun
        functools.update_wrapper(self, function)

    def override(self, **arguments: Any) -> TaskFactory:
        """The same function with other task arguments."""
        return TaskFactory(
            self.cls, self.function, {**self.arguments, **arguments}, self.shared, self.role, self._begun
        )

    def partial(self, **shared: Any) -> TaskFactory:
        """Arguments of the function that all instances share."""
        where = caller_ref()
        check_names(self.function, shared, where)
        begun = self._begun or Begun(self.function.__name__, where)
        return TaskFactory(self.cls, self.function, self.arguments, {**self.shared, **shared}, self.role, begun)

    def with_role(self, **role: Any) -> TaskFactory:
        """The same function as a setup or teardown."""
        return TaskFactory(self.cls, self.function, self.arguments, self.shared, role, self._begun)

    def __call__(self, *args: Any, **given: Any) -> PlainXComArg:
        where = caller_ref()
        refuse_in_task(self.function.__name__)
        given = {**self.shared, **given}
        check_call(self.function, args, given, where)
        op_args = {"op_args": args, "op_kwargs": given}
        return self._finish(self.cls(python_callable=self.function, **op_args, **self._task_arguments()))

    def expand(self, **values: Any) -> PlainXComArg:
        """One instance per combination, the last argument fastest."""
        where = caller_ref()
        check_names(self.function, values, where)
        for name in values:
            if name in self.shared:
                raise WrongArgument(
                    f"{self.function.__name__}: {name!r} is given to both .partial() and .expand()", where=where
                )
        mapped = check_product(self.function.__name__, values, where)
        check_call(self.function, (), {**self.shared, **values}, where)
        return self._map(mapped, where)

    def expand_kwargs(self, value: Any, *, strict: bool = True) -> PlainXComArg:
        """One instance per dict of arguments."""
        where = caller_ref()
        return self._map(check_kwargs(self.function.__name__, value, where, is_strict=strict), where)

    def _map(self, mapped: Any, where: SourceRef) -> PlainXComArg:
        shared = {"python_callable": self.function, "op_kwargs": self.shared, **self._task_arguments()}
        return self._finish(MappedOperator(self.cls, shared, mapped, where, "op_kwargs"))

    def _task_arguments(self) -> dict[str, Any]:
        arguments = dict(self.arguments)
        label = arguments.setdefault("task_id", self.function.__name__)
        group = arguments.get("task_group") or (AMBIENT.groups[-1] if AMBIENT.groups else None)
        dag = arguments.get("dag") or (group.dag if group else None) or (AMBIENT.dags[-1] if AMBIENT.dags else None)
        if dag is not None and isinstance(label, str):
            inside = group if group is not None and group.dag is dag else None
            full = inside.child_id(label) if inside else label
            arguments["task_id"] = label + free_id(dag, full)[len(full) :]
        if "multiple_outputs" not in arguments and returns_dict(self.function):
            arguments["multiple_outputs"] = True
        arguments.setdefault("doc_md", inspect.getdoc(self.function))
        return arguments

    def _finish(self, task: Any) -> PlainXComArg:
        if self._begun is not None:
            self._begun.end()
        if "multiple_outputs" not in self.arguments:
            task.infers_outputs = True
        if self.role.get("setup"):
            task.as_setup()
        if self.role.get("teardown"):
            task.as_teardown(on_failure_fail_dagrun=self.role.get("on_failure_fail_dagrun"))
        return PlainXComArg(task)


def returns_dict(function: Callable[..., Any]) -> bool:
    """Whether a function says that it returns a dict: then each key becomes a value of its own, as in Airflow."""
    annotation = getattr(function, "__annotations__", {}).get("return")
    if isinstance(annotation, str):
        return _DICT.match(annotation.strip("'\" ")) is not None
    origin = getattr(annotation, "__origin__", annotation)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def check_names(function: Callable[..., Any], given: Mapping[str, Any], where: SourceRef) -> None:
    """Refuse names that a function does not take. Raises UnknownArgument."""
    parameters = inspect.signature(function).parameters
    if not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
        for name in given:
            if name not in parameters:
                raise unknown_argument(f"{function.__name__}()", name, parameters, where)


class TaskDecorator:
    """`@task`, `@task(...)`, `@task.branch`, ..."""

    def __init__(self, cls: Any = PythonTask) -> None:
        self._cls = cls

    def __call__(self, function: Callable[..., Any] | None = None, **arguments: Any) -> Any:
        where = caller_ref()
        known = self._cls.known() - {"python_callable", "op_args", "op_kwargs"}
        for name in arguments:
            if name not in known:
                raise unknown_argument("@task", name, known, where)
        if function is None:
            return lambda inner: self._make(inner, arguments, where)
        return self._make(function, arguments, where)

    def _make(self, function: Any, arguments: Mapping[str, Any], where: SourceRef) -> TaskFactory:
        if isinstance(function, TaskFactory):
            raise WrongArgument(f"@task on {function.function.__name__!r}, which is a task already", where=where)
        if not callable(function):
            raise WrongArgument(f"@task({function!r}): the arguments of @task have names", where=where)
        return TaskFactory(self._cls, function, arguments)

    def __getattr__(self, name: str) -> Any:
        known = [kind for kind in vars(type(self)) if not kind.startswith("_")]
        raise unknown_argument("@task", f".{name}", [f".{kind}" for kind in known], caller_ref())

    @property
    def python(self) -> TaskDecorator:
        """The same as `@task`."""
        return TaskDecorator(PythonTask)

    @property
    def branch(self) -> TaskDecorator:
        """The function returns the id or ids to go on with."""
        return TaskDecorator(BranchTask)

    @property
    def short_circuit(self) -> TaskDecorator:
        """What is downstream runs only if the function returns something true."""
        return TaskDecorator(ShortCircuitTask)

    @property
    def sensor(self) -> TaskDecorator:
        """The function is called again until it returns something true."""
        return TaskDecorator(SensorTask)

    @property
    def bash(self) -> TaskDecorator:
        """The function returns a shell command."""
        return TaskDecorator(BashTask)

    @property
    def external_python(self) -> TaskDecorator:
        """The function runs in another interpreter."""
        return TaskDecorator(ExternalPythonTask)

    @property
    def virtualenv(self) -> TaskDecorator:
        """The function runs in an environment made for it."""
        return TaskDecorator(VirtualenvTask)


task = TaskDecorator()


def setup(function: Any) -> Any:
    """Decorator: the function, or task, is a setup."""
    return _with_role(function, {"setup": True})


def teardown(function: Any = None, *, on_failure_fail_dagrun: bool = False) -> Any:
    """Decorator: the function, or task, is a teardown."""
    role = {"teardown": True, "on_failure_fail_dagrun": on_failure_fail_dagrun}
    if function is None:
        return lambda inner: _with_role(inner, role)
    return _with_role(function, role)


def _with_role(function: Any, role: dict[str, Any]) -> TaskFactory:
    if isinstance(function, GroupFactory):
        raise WrongArgument("a task group can be no setup and no teardown", where=caller_ref())
    factory = function if isinstance(function, TaskFactory) else task(function)
    return factory.with_role(**role)


def dag(dag_id: str | Callable[..., Any] = "", **arguments: Any) -> Any:
    """Decorator: calling the function makes the DAG that its body writes."""
    if callable(dag_id):
        return dag()(dag_id)
    where = caller_ref()
    for name in arguments:
        if name not in DAG_ARGUMENTS:
            raise unknown_argument("@dag", name, DAG_ARGUMENTS, where)

    def decorate(function: Callable[..., Any]) -> Callable[..., DAG]:
        @functools.wraps(function)
        def factory(*args: Any, **given: Any) -> DAG:
            made = DAG(dag_id or function.__name__, where=caller_ref(), **arguments)
            made.doc_md = made.doc_md or inspect.getdoc(function)  # type: ignore[attr-defined]
            bound = inspect.signature(function).bind(*args, **given)
            bound.apply_defaults()
            for name, value in bound.arguments.items():
                made.params.setdefault(name, value)
            made.is_registered = made.auto_register
            with made:
                function(**{name: ParamArg(name) for name in bound.arguments})
            return made

        return factory

    return decorate
