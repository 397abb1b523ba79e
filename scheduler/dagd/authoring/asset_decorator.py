"""`@asset`: functions that make assets. Those of one file (or one `group=`) become one DAG with a task per asset."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from dagd.authoring.ambient import AMBIENT, caller_ref
from dagd.authoring.arguments import DAG_ARGUMENTS, TASK_ARGUMENTS, unknown_argument
from dagd.authoring.assets import Asset, AssetAny, AssetFunction
from dagd.authoring.context_keys import CONTEXT_KEYS
from dagd.authoring.dag import DAG
from dagd.authoring.decorators import PythonTask
from dagd.authoring.xcomarg import PlainXComArg
from dagd.model.errors import CycleFound, DuplicateProducer, WrongArgument

ASSET_ARGUMENTS = ("uri", "group", "extra", "owner", "tags", "kind", "shared", "freshness", "partitions")


class AnyDep:
    """A schedule: whenever an asset that these functions read, and that is made elsewhere, has news."""


def asset(function: Callable[..., Any] | None = None, *, name: str | None = None, **options: Any) -> Any:
    """Decorator: the function makes the asset of its name; its parameters name the assets that it reads."""
    where = caller_ref()
    known = {*ASSET_ARGUMENTS, *TASK_ARGUMENTS, *DAG_ARGUMENTS, "name", "dag_id", "code_version", "breaking", "checks"}
    for option in options:
        if option not in known:
            raise unknown_argument("@asset", option, known, where)

    def decorate(inner: Callable[..., Any]) -> AssetFunction:
        declared = {key: options[key] for key in ASSET_ARGUMENTS if key in options}
        made = AssetFunction(inner, Asset(name or inner.__name__, **declared), options, where)
        AMBIENT.assets.append(made)
        return made

    return decorate if function is None else decorate(function)


def finish_assets(stem: str) -> list[DAG]:
    """The DAGs of the asset functions made so far, one per group; `stem` names the one of those without a group."""
    groups: dict[str, list[AssetFunction]] = {}
    for made in AMBIENT.assets:
        groups.setdefault(made.asset.group or stem, []).append(made)
    AMBIENT.assets = []
    return [_build(name, members) for name, members in groups.items()]


def _build(name: str, members: Sequence[AssetFunction]) -> DAG:
    options: dict[str, Any] = {}
    for made in members:
        for key, value in made.options.items():
            if key in DAG_ARGUMENTS and key not in TASK_ARGUMENTS and key not in ASSET_ARGUMENTS:
                if options.setdefault(key, value) != value and key != "schedule":
                    what = f"the assets of {name!r} have different {key!r}"
                    raise WrongArgument(what, where=made.where, remedy="Give them different group=.")
    by_name = {made.__name__: made for made in members}
    by_name.update({made.asset.key: made for made in members})
    options["schedule"] = _schedule(name, members, by_name)
    dag = DAG(name, where=members[0].where, **options)
    dag.is_registered = True
    with dag:
        _add_tasks(members, by_name)
    return dag


def _inlets(made: AssetFunction) -> list[str]:
    return [name for name in inspect.signature(made.function).parameters if name not in CONTEXT_KEYS and name != "self"]


def _schedule(name: str, members: Sequence[AssetFunction], by_name: dict[str, AssetFunction]) -> Any:
    found = [made.options["schedule"] for made in members if made.options.get("schedule") is not None]
    plain = [one for one in found if not isinstance(one, AnyDep)]
    if any(one != plain[0] for one in plain):
        what = f"the assets of {name!r} have different schedules"
        raise WrongArgument(what, where=members[0].where, remedy="Give them different group=.")
    if plain or not found:
        return plain[0] if plain else None
    outside = dict.fromkeys(one for made in members for one in _inlets(made) if one not in by_name)
    if not outside:
        what = f"schedule=AnyDep() of {name!r}: no asset is read that is made elsewhere"
        raise WrongArgument(what, where=members[0].where)
    return AssetAny(*[Asset(one) for one in outside])


def _add_tasks(members: Sequence[AssetFunction], by_name: dict[str, AssetFunction]) -> None:
    """Producers first, so that values can be handed on."""
    outputs: dict[str, PlainXComArg] = {}
    path: list[str] = []

    def add(made: AssetFunction) -> PlainXComArg:
        key = made.asset.key
        if key in outputs:
            return outputs[key]
        if key in path:
            raise CycleFound((*path[path.index(key) :], key), where=made.where)
        path.append(key)
        given: dict[str, Any] = {}
        inlets: list[Asset] = []
        for name in _inlets(made):
            source = by_name.get(name)
            given[name] = add(source) if source else Asset(name)
            inlets.append(source.asset if source else given[name])
        path.pop()
        outputs[key] = PlainXComArg(_task(made, given, inlets))
        return outputs[key]

    keys = [made.asset.key for made in members]
    for made in members:
        if keys.count(made.asset.key) > 1:
            raise DuplicateProducer(f"two functions make the asset {made.asset.key!r}", where=made.where)
        add(made)


def _task(made: AssetFunction, given: dict[str, Any], inlets: list[Asset]) -> Any:
    arguments = {key: value for key, value in made.options.items() if key in TASK_ARGUMENTS}
    arguments["inlets"] = [*inlets, *arguments.get("inlets", ())]
    arguments["outlets"] = [made.asset, *arguments.get("outlets", ())]
    arguments.setdefault("doc_md", inspect.getdoc(made.function))
    return PythonTask(task_id=made.__name__, python_callable=made.function, op_kwargs=given, **arguments)
