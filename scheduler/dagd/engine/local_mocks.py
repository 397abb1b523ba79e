"""What stands in for tasks in a test run: values, exceptions, functions."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dagd.authoring.bash import BashOperator
from dagd.authoring.dag import DAG
from dagd.authoring.mapped import MappedOperator
from dagd.authoring.python import PythonOperator, PythonSensor, call_with_context
from dagd.model.specs import TaskSpec
from dagd.runtime.values import RETURN_KEY
from dagd.runtime.xcom import encode, length_of

Body = Callable[..., Any]


class XComs(dict[str, Any]):
    """Several values of one mocked task, by key: `mocks={"count": XComs(return_value=3, rejected=1)}`."""


def body_of(mock: Any) -> Body | None:
    """The function that runs in a task's place; None for a mock that is a value. An exception is raised there."""
    if isinstance(mock, BaseException) or (isinstance(mock, type) and issubclass(mock, BaseException)):

        def raises() -> None:
            raise mock

        return raises
    return mock if callable(mock) else None


def given_frame(task: TaskSpec, mock: Any) -> dict[str, Any]:
    """What a task would have said whose value is given: a branch's is its choice. Raises XComRefused."""
    values = mock if isinstance(mock, XComs) else {} if mock is None else {RETURN_KEY: mock}
    returned = values.get(RETURN_KEY)
    chosen = [returned] if isinstance(returned, str) else returned if isinstance(returned, list) else []
    return {
        "outcome": "succeed", "xcom": [_entry(key, value) for key, value in values.items()], "assets": [],
        "branch": chosen if task.decides == "branch" else None, "short_circuit": not returned,
    }  # fmt: skip


def _entry(key: str, value: Any) -> dict[str, Any]:
    text = encode(value)
    return {"key": key, "text": text, "file": None, "length": length_of(value), "size": len(text)}


@contextmanager
def standing_in(dag: DAG, task_id: str, body: Body) -> Iterator[None]:
    """Within the block the task has `body` in place of its own: a Python task's function, another operator's work."""
    real = dag.tasks_by_id[task_id]
    twin: Any = copy.copy(real)
    if isinstance(real, MappedOperator):
        twin.operator_class = _mocked_class(real.operator_class, body)
    else:
        twin.__class__ = _mocked_class(type(real), body)
    dag.tasks_by_id[task_id] = twin
    try:
        yield
    finally:
        dag.tasks_by_id[task_id] = real


def _mocked_class(cls: type, body: Body) -> type:
    def called(operator: Any, context: Any) -> Any:
        function = _in_place_of(operator.python_callable, body)
        return call_with_context(function, operator.op_args, operator.op_kwargs, context)

    def executed(operator: Any, context: Any) -> Any:
        returned = body() if _takes_nothing(body) else body(context)
        if operator.decides == "branch":
            context.choose(returned)
        elif operator.decides is not None:
            context.short_circuit(not returned)
        return returned

    method: tuple[str, Body] = ("execute", executed)
    if issubclass(cls, PythonSensor):
        method = ("poke", called)
    elif issubclass(cls, PythonOperator) and not issubclass(cls, BashOperator):
        method = ("execute_callable", called)
    kind: Any = type(cls)
    mocked: type = kind(cls.__name__, (cls,), dict([method]))
    return mocked


def _in_place_of(function: Body, body: Body) -> Body:
    """`body` with the signature of the task's function: it is given what that would have been given."""

    def called(*args: Any, **given: Any) -> Any:
        return body() if _takes_nothing(body) else body(*args, **given)

    called.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return called


def _takes_nothing(body: Body) -> bool:
    try:
        return not inspect.signature(body).parameters
    except (TypeError, ValueError):
        return False


def check_xcoms(values: Mapping[Any, Any]) -> dict[str, Any]:
    """`{task: value}` and `{(task, key): value}` as mocks."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        task_id, key = name if isinstance(name, tuple) else (name, RETURN_KEY)
        found.setdefault(task_id, XComs())[key] = value
    return found
