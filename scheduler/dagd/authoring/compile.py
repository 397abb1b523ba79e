"""From a DAG as written to its DagSpec. Deterministic: the same file content gives the same JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from dagd.authoring.arguments import DAG_CALLBACKS
from dagd.authoring.assets import Asset, AssetCondition, AssetOrTime, as_condition
from dagd.authoring.compile_tasks import compile_task, deadline_specs
from dagd.authoring.dag import DAG
from dagd.authoring.node import TaskNode
from dagd.authoring.partials import refuse_unended
from dagd.authoring.weights import effective_weights
from dagd.authoring.zones import dag_zone, instant_micros
from dagd.model.errors import CycleFound, InvalidSchedule, UnknownArgument, WrongArgument, did_you_mean
from dagd.model.specs import AssetSpec, DagSpec, GroupSpec
from dagd.model.times import delta_micros
from dagd.timetables.schedules import describe, schedule_spec


def compile_dag(dag: DAG, *, file: str, default_timezone: str = "UTC") -> DagSpec:
    """The DagSpec of a complete DAG. `file` is stored as it is. Raises an AuthoringError for what cannot be."""
    dag.resolve()
    refuse_unended(dag)
    check_cycles(dag)
    check_defaults(dag)
    zone = dag_zone(dag, default_timezone)
    condition, schedule, text = compile_schedule(dag)
    check_params(dag, schedule)
    weights = effective_weights(dag.tasks)
    limit = dag.dagrun_timeout
    return DagSpec(
        dag_id=dag.dag_id,
        file=file,
        tasks=tuple(compile_task(task, weights[task.task_id]) for task in dag.tasks),
        line=dag.where.line,
        schedule=schedule,
        schedule_text=text,
        condition=condition.tree() if condition else None,
        timezone=zone,
        start_at=instant_micros("start_date", dag.start_date, zone, dag),
        end_at=instant_micros("end_date", dag.end_date, zone, dag),
        dagrun_timeout_us=delta_micros(limit) if limit else None,
        params={name: dag.params.get_param(name).to_json() for name in sorted(dag.params)},
        tags=tuple(sorted(set(dag.tags))),
        deadlines=deadline_specs(dag),
        callbacks=tuple(event for event in DAG_CALLBACKS if getattr(dag, f"on_{event}_callback")),
        groups=tuple(_group_specs(dag)),
        assets=tuple(_asset_specs(dag, condition)),
        owner=_owner(dag),
        **{name: getattr(dag, name) for name in _SAME_NAME},
    )


_SAME_NAME = (
    "dst", "catchup", "pin", "max_active_runs", "max_active_tasks", "max_consecutive_failed_runs", "fail_fast",
    "success_when", "trigger_mode", "on_unpause", "is_paused_upon_creation", "description", "doc_md",
    "needs",
)  # fmt: skip


def _owner(dag: DAG) -> str:
    owners = dict.fromkeys(task.owner for task in dag.tasks if task.owner != "dagd")
    return dag.owner if dag.owner != "dagd" or not owners else ", ".join(owners)


def compile_schedule(dag: DAG) -> tuple[AssetCondition | None, dict[str, Any], str | None]:
    """(asset condition, schedule spec, text for people) of `schedule=`. Raises InvalidSchedule."""
    given = dag.schedule
    try:
        if isinstance(given, AssetOrTime):
            time = schedule_spec(given.time)
            text = f"{given.condition.describe()} | {describe(time)}"
            return given.condition, {"kind": "asset_or_time", "time": time}, text
        if isinstance(given, (AssetCondition, list, tuple)):
            condition = as_condition(given)
            return condition, {"kind": "assets"}, condition.describe()
        spec = schedule_spec(given)
        return None, spec, given if isinstance(given, str) else describe(spec)
    except (InvalidSchedule, WrongArgument) as error:
        raise InvalidSchedule(error.what, where=error.where or dag.where, remedy=error.remedy) from error


def check_cycles(dag: DAG) -> None:
    """Raises CycleFound with the tasks of one cycle."""
    open_ups = {name: len(task.upstream_task_ids) for name, task in dag.tasks_by_id.items()}
    ready = [name for name, count in open_ups.items() if not count]
    while ready:
        for down in dag.tasks_by_id[ready.pop()].downstream_task_ids:
            open_ups[down] -= 1
            if not open_ups[down]:
                ready.append(down)
    stuck = {name for name, count in open_ups.items() if count}
    if not stuck:
        return
    path = [min(stuck)]
    while path.count(path[-1]) < 2:
        path.append(min(dag.tasks_by_id[path[-1]].upstream_task_ids & stuck))
    cycle = path[path.index(path[-1]) :][::-1]
    raise CycleFound(tuple(cycle), where=dag.tasks_by_id[cycle[0]].where)


def check_defaults(dag: DAG) -> None:
    """Raises UnknownArgument for a key of default_args that no task could take."""
    for name in dag.unused_defaults():
        known = {known for task in dag.tasks for known in _known(task)}
        if name not in known:
            what = f"default_args has {name!r}, which no task of the DAG {dag.dag_id!r} takes"
            raise UnknownArgument(what, where=dag.where, remedy=did_you_mean(name, known) or "Leave it out.")


def _known(task: TaskNode) -> Iterable[str]:
    cls: Any = getattr(task, "operator_class", type(task))
    return cls.known()  # type: ignore[no-any-return]


def check_params(dag: DAG, schedule: dict[str, Any]) -> None:
    """Raises WrongArgument when a DAG with a schedule has a param without default: no slot could give it."""
    if schedule["kind"] == "none":
        return
    for name in dag.params:
        if not dag.params.get_param(name).has_value:
            what = f"the param {name!r} has no default, but the DAG has a schedule"
            raise WrongArgument(what, where=dag.where, remedy="Give it a default, or use schedule=None.")


def _group_specs(dag: DAG) -> Iterator[GroupSpec]:
    for group in dag.groups_by_id.values():
        parent = group.task_group.group_id if group.task_group else None
        expand = group.expand_input.to_spec() if group.expand_input else None
        yield GroupSpec(group.group_id, parent, expand, group.tooltip)


def _asset_specs(dag: DAG, condition: AssetCondition | None) -> Iterator[AssetSpec]:
    """Each asset that the DAG names, once, sorted. The declaration that says most wins over bare mentions."""
    found: dict[str, AssetSpec] = {}
    named = [
        *(condition.assets() if condition else ()),
        *(one for task in dag.tasks for one in [*task.outlets, *task.inlets]),
    ]
    for asset in named:
        if isinstance(asset, Asset):
            spec = asset.to_spec()
            known = found.get(asset.key)
            if known is None or _said(spec) > _said(known):
                found[asset.key] = spec
    yield from (found[key] for key in sorted(found))


def _said(spec: AssetSpec) -> int:
    bare = AssetSpec(spec.key)
    return sum(getattr(spec, name) != getattr(bare, name) for name in AssetSpec.__slots__)
