"""The arguments of tasks and DAGs: names, defaults and checks, as one table each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any

from dagd.authoring.instants import plain_duration
from dagd.authoring.params import Param
from dagd.authoring.policies import Deadline
from dagd.authoring.words import TriggerRule, WeightRule, check_word
from dagd.model.errors import SourceRef, UnknownArgument, WrongArgument, did_you_mean
from dagd.model.needs import KINDS

Check = Callable[[str, Any, SourceRef | None], Any]

# Airflow's older names, and ours for them.
RENAMED = {
    "schedule_interval": "schedule",
    "timetable": "schedule",
    "concurrency": "max_active_tasks",
    "task_concurrency": "max_active_tis_per_dag",
    "default_view": None,
    "orientation": None,
    "sla_miss_callback": "deadline=Deadline(..., callback=)",
    "run_as_user": None,
}


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument. A value that is None where the default is None passes unchecked."""

    name: str
    check: Check
    default: Any = None

    def accept(self, value: Any, where: SourceRef | None) -> Any:
        """The value in its stored form. Raises WrongArgument."""
        if value is None and self.default is None:
            return None
        return self.check(self.name, value, where)


def _wrong(name: str, value: Any, wanted: str, where: SourceRef | None) -> WrongArgument:
    return WrongArgument(f"{name}={value!r} is no {wanted}", where=where, remedy=f"Give {name} as {wanted}.")


def _of(wanted: str, *types: type) -> Check:
    def check(name: str, value: Any, where: SourceRef | None) -> Any:
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise _wrong(name, value, wanted, where)
        return value

    return check


def _int(least: int | None = None) -> Check:
    def check(name: str, value: Any, where: SourceRef | None) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise _wrong(name, value, "whole number", where)
        if least is not None and value < least:
            raise _wrong(name, value, f"whole number from {least}", where)
        return value

    return check


def _duration(least: timedelta = timedelta(0), *, numbers: bool = True) -> Check:
    wanted = "timedelta" if least <= timedelta(0) else "positive timedelta"

    def check(name: str, value: Any, where: SourceRef | None) -> timedelta:
        if numbers and isinstance(value, (int, float)) and not isinstance(value, bool):
            value = timedelta(seconds=value)
        if not isinstance(value, timedelta) or value < least:
            raise _wrong(name, value, wanted, where)
        return plain_duration(value)

    return check


def _word(words: Iterable[str]) -> Check:
    known = [str(word) for word in words]
    return lambda name, value, where: check_word(name, value, known, where)


def _callback(name: str, value: Any, where: SourceRef | None) -> list[Callable[..., Any]]:
    found = list(value) if isinstance(value, (list, tuple)) else [value]
    if not found or not all(callable(one) for one in found):
        raise _wrong(name, value, "function, or list of functions", where)
    return found


def _many(wanted: str, *types: type) -> Check:
    def check(name: str, value: Any, where: SourceRef | None) -> list[Any]:
        found = list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]
        if not all(isinstance(one, types) for one in found):
            raise _wrong(name, value, wanted, where)
        return found

    return check


def _needs(name: str, value: Any, where: SourceRef | None) -> dict[str, list[str]]:
    wanted = "dict of " + ", ".join(f"{kind!r}: [names]" for kind in KINDS)
    if not isinstance(value, dict) or not set(value) <= set(KINDS):
        raise _wrong(name, value, wanted, where)
    return {kind: sorted(_many(wanted, str)(name, names, where)) for kind, names in value.items()}


def _factor(name: str, value: Any, where: SourceRef | None) -> float:
    if isinstance(value, bool):
        return 2.0 if value else 1.0
    if not isinstance(value, (int, float)) or value < 0:
        raise _wrong(name, value, "factor (a number), True or False", where)
    return float(value) or 1.0


def _jitter(name: str, value: Any, where: SourceRef | None) -> float:
    if isinstance(value, bool):
        return 1.0 if value else 0.0
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise _wrong(name, value, "share of the delay from 0 to 1", where)
    return float(value)


def _policy(name: str, value: Any, where: SourceRef | None) -> Any:
    if not callable(getattr(value, "evaluate", None)):
        raise _wrong(name, value, "retry policy", where)
    return value


def _params(name: str, value: Any, where: SourceRef | None) -> dict[str, Param]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise _wrong(name, value, "dict of names", where)
    return {key: one if isinstance(one, Param) else Param(one) for key, one in value.items()}


def _pass(name: str, value: Any, where: SourceRef | None) -> Any:
    del name, where
    return value


_flag, _text = _of("True or False", bool), _of("text", str)
_mapping = _of("dict", dict)
_zone = _of("zone name", str, tzinfo)
_deadlines = _many("Deadline, or list of them", Deadline)
_second = timedelta(microseconds=1)

TASK_CALLBACKS = ("execute", "failure", "retry", "skipped", "success")
DAG_CALLBACKS = ("failure", "success")


def _table(*arguments: Argument) -> dict[str, Argument]:
    return {argument.name: argument for argument in arguments}


_SHARED = (
    Argument("owner", _text, "dagd"),
    Argument("sla", _duration(_second, numbers=False)),
    Argument("deadline", _deadlines),
    Argument("doc_md", _text),
    Argument("params", _params),
    Argument("default_args", _mapping),
)

TASK_ARGUMENTS = _table(
    *_SHARED,
    Argument("retries", _int(0), 0),
    Argument("retry_delay", _duration(), timedelta(seconds=300)),
    Argument("retry_exponential_backoff", _factor, 1.0),
    Argument("max_retry_delay", _duration()),
    Argument("retry_jitter", _jitter, 0.0),
    Argument("retry_policy", _policy),
    Argument("infra_retries", _int(0), 3),
    Argument("on_lost", _word(("retry", "fail")), "retry"),
    Argument("execution_timeout", _duration(_second, numbers=False)),
    Argument("cancel_grace", _duration(), timedelta(seconds=10)),
    Argument("trigger_rule", _word(TriggerRule), "all_success"),
    Argument("pool", _text, "default_pool"),
    Argument("pool_slots", _int(1), 1),
    Argument("priority_weight", _int(), 1),
    Argument("weight_rule", _word(WeightRule), "downstream"),
    Argument("queue", _text, "default"),
    Argument("executor", _text),
    Argument("isolation", _word(("fork", "warm", "spawn"))),
    Argument("allow_failure", _flag, False),
    Argument("depends_on_past", _flag, False),
    Argument("wait_for_downstream", _flag, False),
    Argument("max_active_tis_per_dag", _int(1)),
    Argument("max_active_tis_per_dagrun", _int(1)),
    Argument("inlets", _many("list of assets", object), ()),
    Argument("outlets", _many("list of assets", object), ()),
    Argument("multiple_outputs", _flag, False),
    Argument("do_xcom_push", _flag, True),
    Argument("map_index_template", _text),
    Argument("doc", _text),
    Argument("doc_json", _text),
    Argument("doc_yaml", _text),
    Argument("doc_rst", _text),
    Argument("code_version", _text),
    *(Argument(f"on_{event}_callback", _callback) for event in TASK_CALLBACKS),
)

DAG_ARGUMENTS = _table(
    *_SHARED,
    Argument("description", _text),
    Argument("schedule", _pass),
    Argument("start_date", _of("datetime", datetime)),
    Argument("end_date", _of("datetime", datetime)),
    Argument("timezone", _zone),
    Argument("dst", _word(("once", "skip", "both")), "once"),
    Argument("catchup", _flag, False),
    Argument("pin", _word(("version", "latest")), "version"),
    Argument("max_active_runs", _int(1), 16),
    Argument("max_active_tasks", _int(1), 16),
    Argument("max_consecutive_failed_runs", _int(0), 0),
    Argument("dagrun_timeout", _duration(_second, numbers=False)),
    Argument("fail_fast", _flag, False),
    Argument("success_when", _word(("all", "leaves")), "all"),
    Argument("trigger_mode", _word(("coalesce", "each")), "coalesce"),
    Argument("on_unpause", _word(("run_once", "skip", "each")), "run_once"),
    Argument("is_paused_upon_creation", _flag, False),
    Argument("needs", _needs),
    Argument("tags", _many("list of texts", str), ()),
    Argument("template_searchpath", _many("path, or list of paths", str), ()),
    Argument("render_template_as_native_obj", _flag, False),
    Argument("user_defined_macros", _mapping),
    Argument("user_defined_filters", _mapping),
    Argument("jinja_environment_kwargs", _mapping),
    Argument("owner_links", _mapping),
    Argument("access_control", _mapping),
    Argument("dag_display_name", _text),
    Argument("auto_register", _flag, True),
    *(Argument(f"on_{event}_callback", _callback) for event in DAG_CALLBACKS),
)

# Airflow's names that mean nothing here. They are accepted, so that its default_args work, and noted.
IGNORED_TASK_ARGUMENTS = frozenset(
    {
        "email", "email_on_failure", "email_on_retry", "provide_context", "start_date", "end_date", "executor_config",
        "resources", "task_display_name", "logger_name", "ignore_first_depends_on_past", "run_as_user",
        "wait_for_past_depends_before_skipping", "allow_nested_operators", "render_template_as_native_obj",
    }
)  # fmt: skip


def unknown_argument(owner: str, name: str, known: Iterable[str], where: SourceRef | None) -> UnknownArgument:
    """The error for an argument that `owner` does not take, with the nearest one that it takes."""
    if RENAMED.get(name):
        remedy = f"Here it is {RENAMED[name]!r}."
    elif name in RENAMED:
        remedy = "dagd has no such argument: leave it out."
    else:
        remedy = did_you_mean(name, known) or "See docs/authoring.md for the arguments that exist."
    return UnknownArgument(f"{owner} takes no argument {name!r}", where=where, remedy=remedy)


def take_arguments(target: object, table: Mapping[str, Argument], given: dict[str, Any], where: SourceRef) -> None:
    """Set each of the table's arguments on `target`, from `given` (emptied of them) or its default."""
    for name, argument in table.items():
        if name in given:
            value = argument.accept(given.pop(name), where)
        else:
            value = list(argument.default) if argument.default == () else argument.default
        setattr(target, name, value)
