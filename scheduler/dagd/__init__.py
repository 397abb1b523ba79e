"""dagd: what DAG files import. Names are loaded when they are first used, so that `import dagd` costs nothing."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "ambient": (),
    "asset_decorator": ("asset",),
    "assets": ("Asset", "AssetAll", "AssetAny", "AssetOrTimeSchedule", "By", "Every"),
    "dag": ("DAG",),
    "decorators": ("dag", "setup", "task", "teardown"),
    "edges": ("EdgeModifier", "Label", "chain", "chain_linear", "cross_downstream"),
    "groups": ("TaskGroup", "task_group"),
    "operator": ("BaseOperator",),
    "outcomes": ("FailTask", "PokeReturnValue", "SensorTimeout", "SkipTask"),
    "params": ("Param", "ParamsDict"),
    "policies": (
        "Deadline", "ExceptionRetryPolicy", "RetryAction", "RetryDecision", "RetryPolicy", "RetryRule",
    ),
    "sensor": ("BaseSensorOperator",),
    "store_access": ("Connection", "Variable", "get_current_context"),
    "triggers": ("BaseTrigger", "DateTimeTrigger", "FileTrigger", "HttpTrigger", "SqlTrigger", "TimeDeltaTrigger"),
    "words": ("TriggerRule", "WeightRule"),
    "xcomarg": ("XComArg",),
}  # fmt: skip
_EXPORTS = {name: (f"dagd.authoring.{home}", name) for home, names in _HOMES.items() for name in names}
_EXPORTS["Dataset"] = ("dagd.authoring.assets", "Asset")
for _name in ("Cron", "CronDataInterval", "MultipleCron", "Events", "Custom"):
    _EXPORTS[_name] = ("dagd.timetables.schedules", _name)

# What `DAG.test()` calls: the engine stands above the floor of authoring, and loads its own imports only then.
_HOOKS = {"run_locally": ("dagd.engine.local_start", "run_made_dag")}

__all__ = sorted(["__version__", *_EXPORTS])


def __getattr__(name: str) -> Any:
    found_in = _EXPORTS.get(name) or _HOOKS.get(name)
    if found_in is None:
        raise AttributeError(f"module 'dagd' has no attribute {name!r}")
    home, inner = found_in
    found = getattr(import_module(home), inner)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])


if TYPE_CHECKING:
    from dagd.authoring.asset_decorator import asset as asset
    from dagd.authoring.assets import Asset as Asset
    from dagd.authoring.assets import AssetAll as AssetAll
    from dagd.authoring.assets import AssetAny as AssetAny
    from dagd.authoring.assets import AssetOrTimeSchedule as AssetOrTimeSchedule
    from dagd.authoring.assets import By as By
    from dagd.authoring.assets import Every as Every
    from dagd.authoring.dag import DAG as DAG
    from dagd.authoring.decorators import dag as dag
    from dagd.authoring.decorators import setup as setup
    from dagd.authoring.decorators import task as task
    from dagd.authoring.decorators import teardown as teardown
    from dagd.authoring.edges import EdgeModifier as EdgeModifier
    from dagd.authoring.edges import Label as Label
    from dagd.authoring.edges import chain as chain
    from dagd.authoring.edges import chain_linear as chain_linear
    from dagd.authoring.edges import cross_downstream as cross_downstream
    from dagd.authoring.groups import TaskGroup as TaskGroup
    from dagd.authoring.groups import task_group as task_group
    from dagd.authoring.operator import BaseOperator as BaseOperator
    from dagd.authoring.outcomes import FailTask as FailTask
    from dagd.authoring.outcomes import PokeReturnValue as PokeReturnValue
    from dagd.authoring.outcomes import SkipTask as SkipTask
    from dagd.authoring.params import Param as Param
    from dagd.authoring.params import ParamsDict as ParamsDict
    from dagd.authoring.policies import Deadline as Deadline
    from dagd.authoring.policies import ExceptionRetryPolicy as ExceptionRetryPolicy
    from dagd.authoring.policies import RetryAction as RetryAction
    from dagd.authoring.policies import RetryDecision as RetryDecision
    from dagd.authoring.policies import RetryRule as RetryRule
    from dagd.authoring.sensor import BaseSensorOperator as BaseSensorOperator
    from dagd.authoring.store_access import Connection as Connection
    from dagd.authoring.store_access import Variable as Variable
    from dagd.authoring.store_access import get_current_context as get_current_context
    from dagd.authoring.triggers import BaseTrigger as BaseTrigger
    from dagd.authoring.triggers import DateTimeTrigger as DateTimeTrigger
    from dagd.authoring.triggers import FileTrigger as FileTrigger
    from dagd.authoring.triggers import HttpTrigger as HttpTrigger
    from dagd.authoring.triggers import SqlTrigger as SqlTrigger
    from dagd.authoring.triggers import TimeDeltaTrigger as TimeDeltaTrigger
    from dagd.authoring.words import TriggerRule as TriggerRule
    from dagd.authoring.words import WeightRule as WeightRule
    from dagd.authoring.xcomarg import XComArg as XComArg
    from dagd.timetables.schedules import Cron as Cron
    from dagd.timetables.schedules import CronDataInterval as CronDataInterval
    from dagd.timetables.schedules import Custom as Custom
    from dagd.timetables.schedules import Events as Events
    from dagd.timetables.schedules import MultipleCron as MultipleCron

    Dataset = Asset
