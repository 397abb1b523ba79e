"""From a task as written to its TaskSpec."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from dagd.authoring.arguments import TASK_CALLBACKS
from dagd.authoring.assets import Asset
from dagd.authoring.groups import MappedTaskGroup
from dagd.authoring.mapped import MappedOperator
from dagd.authoring.node import TaskNode
from dagd.authoring.operator import BaseOperator
from dagd.authoring.sensor import BaseSensorOperator
from dagd.authoring.xcomarg import ConcatXComArg, MapXComArg, XComArg, ZipXComArg, find_references
from dagd.model.errors import WrongArgument
from dagd.model.specs import DeadlineSpec, ExpandSpec, MapSource, TaskSpec
from dagd.model.times import delta_micros


def compile_task(task: TaskNode, priority: int) -> TaskSpec:
    """The TaskSpec of one task. Raises WrongArgument for what cannot be."""
    check_task(task)
    isolation = isolation_of(task)
    expand = task.expand_input.to_spec() if isinstance(task, MappedOperator) else None
    groups = list(task.groups_outward())
    mapped = [group for group in groups if group.is_mapped]
    upstreams = tuple(sorted(task.upstream_task_ids))
    sensor = _sensor_arguments(task)
    return TaskSpec(
        task_id=task.task_id,
        operator=task.operator_name,
        line=task.where.line,
        upstreams=upstreams,
        retry_delay_us=delta_micros(task.retry_delay),
        retry_factor=task.retry_exponential_backoff,
        max_retry_delay_us=_micros(task.max_retry_delay),
        execution_timeout_us=_micros(task.execution_timeout),
        cancel_grace_us=delta_micros(task.cancel_grace),
        priority=priority,
        isolation=isolation,
        worker_key=_worker_key(task, isolation),
        decides=task.decides,
        setups=_setups(task),
        expand=expand,
        mapped_group=mapped[0].group_id if mapped else None,
        group=groups[0].group_id if groups else None,
        xcom_inputs=tuple(xcom_inputs(task, expand, mapped[0] if mapped else None)),
        inlets=_asset_keys(task, "inlets"),
        outlets=_asset_keys(task, "outlets"),
        deadlines=deadline_specs(task),
        callbacks=tuple(event for event in TASK_CALLBACKS if getattr(task, f"on_{event}_callback")),
        sensor_timeout_us=sensor[0],
        soft_fail=sensor[1],
        label=task.map_index_template,
        **{name: getattr(task, name) for name in _SAME_NAME},
    )


_SAME_NAME = (
    "trigger_rule", "retries", "retry_jitter", "infra_retries", "on_lost", "pool", "pool_slots", "queue", "executor",
    "depends_on_past", "wait_for_downstream", "max_active_tis_per_dag", "max_active_tis_per_dagrun", "allow_failure",
    "is_setup", "is_teardown", "on_failure_fail_dagrun", "owner", "doc_md",
)  # fmt: skip


def _micros(duration: timedelta | None) -> int | None:
    return None if duration is None else delta_micros(duration)


def operator_class(task: TaskNode) -> Any:
    """The class whose `execute` runs."""
    return task.operator_class if isinstance(task, MappedOperator) else type(task)


def check_task(task: TaskNode) -> None:
    """Raises WrongArgument for an operator that does nothing, or two roles at once."""
    cls = operator_class(task)
    if cls.execute is BaseOperator.execute and not _is_empty(cls):
        what = f"the operator {cls.__name__} defines no execute(context)"
        raise WrongArgument(what, where=task.where, remedy="Define it, or use EmptyOperator.")
    if (
        issubclass(cls, BaseSensorOperator)
        and cls.poke is BaseSensorOperator.poke
        and cls.execute is BaseSensorOperator.execute
    ):
        raise WrongArgument(f"the sensor {cls.__name__} defines no poke(context)", where=task.where)
    if task.is_setup and task.is_teardown:
        raise WrongArgument(f"{task.task_id!r} is both setup and teardown", where=task.where)
    if task.wait_for_downstream and not task.depends_on_past:
        task.depends_on_past = True


def _is_empty(cls: Any) -> bool:
    return bool(getattr(cls, "is_empty", False))


def isolation_of(task: TaskNode) -> str:
    """engine: nothing to run; warm: code of ours only; fork: code of the user's. An `isolation=` argument wins."""
    cls = operator_class(task)
    callbacks = task.on_execute_callback
    if _is_empty(cls) and not isinstance(task, MappedOperator) and not callbacks and cls.__module__.startswith("dagd"):
        return "engine"
    if task.isolation is not None:
        return task.isolation
    is_ours = cls.__module__.startswith("dagd_operators.") and cls.default_isolation == "warm"
    return "warm" if is_ours and not _calls_user_code(task) else "fork"


def _calls_user_code(task: TaskNode) -> bool:
    dag = task.dag
    if dag is not None and (dag.user_defined_macros or dag.user_defined_filters):
        return True
    if task.retry_policy is not None or task.on_execute_callback:
        return True
    if isinstance(task, MappedOperator):
        given = [*task.shared.values(), *task.expand_input.values.values()]
        return any(callable(value) for value in given) or _maps_functions(task.expand_input.values)
    return isinstance(task, BaseOperator) and task.depends_on_user_code()


def _maps_functions(value: Any) -> bool:
    if isinstance(value, MapXComArg):
        return True
    if isinstance(value, dict):
        return any(_maps_functions(one) for one in value.values())
    if isinstance(value, (list, tuple)):
        return any(_maps_functions(one) for one in value)
    return isinstance(value, (ZipXComArg, ConcatXComArg)) and any(_maps_functions(one) for one in value.args)


def _worker_key(task: TaskNode, isolation: str) -> str | None:
    """Which warm workers serve a task: those of its DAG, our code and the user's apart (docs/adr/0008)."""
    if isolation != "warm" or task.dag is None:
        return None
    cls = operator_class(task)
    is_ours = cls.__module__.startswith("dagd_operators.") and not _calls_user_code(task)
    return f"{task.dag.dag_id}/operators" if is_ours else task.dag.dag_id


def _setups(task: TaskNode) -> tuple[str, ...]:
    if not task.is_teardown:
        return ()
    return tuple(other.task_id for other in task.upstream_list if other.is_setup)


def _sensor_arguments(task: TaskNode) -> tuple[int | None, bool]:
    """(timeout, soft_fail) of a sensor; mapped ones may give them to partial()."""
    if isinstance(task, BaseSensorOperator):
        return delta_micros(task.timeout), task.soft_fail
    if isinstance(task, MappedOperator) and issubclass(operator_class(task), BaseSensorOperator):
        timeout = task.shared.get("timeout", timedelta(days=7))
        if isinstance(timeout, (int, float)):
            timeout = timedelta(seconds=timeout)
        return delta_micros(timeout), bool(task.shared.get("soft_fail"))
    return None, False


def xcom_inputs(task: TaskNode, expand: ExpandSpec | None, group: Any) -> Iterator[tuple[str, str]]:
    """The values that a launch must carry, each once, sorted. Plain mapped sources come as items instead."""
    found: set[tuple[str, str]] = set()
    for value in _arguments(task):
        found.update((other.task_id, key) for other, key in find_references(value))
    for source in _joint_sources(expand):
        found.update((name, key) for name, key in _xcoms_of(source))
    if isinstance(group, MappedTaskGroup) and group.expand_input is not None:
        for source in _joint_sources(group.expand_input.to_spec()):
            found.update((name, key) for name, key in _xcoms_of(source))
    if expand is not None and isinstance(task, MappedOperator):
        for value in task.expand_input.values.values():
            if not isinstance(value, XComArg):
                found.update((other.task_id, key) for other, key in find_references(value))
    yield from sorted(found)


def _joint_sources(expand: ExpandSpec | None) -> Iterator[MapSource]:
    """Sources whose items are put together from several values: zip and concat."""
    for source in expand.sources if expand else ():
        if source.parts:
            yield source


def _xcoms_of(source: MapSource) -> Iterator[tuple[str, str]]:
    if source.kind == "xcom":
        yield source.task_id, source.key
    for part in source.parts:
        yield from _xcoms_of(part)


def _arguments(task: TaskNode) -> Iterator[Any]:
    if isinstance(task, MappedOperator):
        for name in task.template_fields:
            yield task.shared.get(name)
    elif isinstance(task, BaseOperator):
        for name in task.template_fields:
            yield getattr(task, name, None)


def _asset_keys(task: TaskNode, name: str) -> tuple[str, ...]:
    keys: dict[str, None] = {}
    for asset in getattr(task, name):
        if not isinstance(asset, Asset):
            what = f"{name}={asset!r} of {task.task_id!r} is no asset"
            raise WrongArgument(what, where=task.where, remedy="Give Asset(...) or a list of them.")
        keys[asset.key] = None
    return tuple(keys)


def deadline_specs(owner: Any) -> tuple[DeadlineSpec, ...]:
    """`sla=` and `deadline=` of a task or DAG."""
    specs = [deadline.to_spec() for deadline in owner.deadline or ()]
    if owner.sla is not None:
        specs.insert(0, DeadlineSpec("finish", "due", delta_micros(owner.sla)))
    return tuple(specs)
