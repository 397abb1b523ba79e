"""What the agent calls in a task's process: `load_version`, then `run_try` for each try."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from dagd.authoring.ambient import AMBIENT, Asker
from dagd.authoring.instants import exact_micros
from dagd.authoring.operator import BaseOperator
from dagd.authoring.outcomes import CommandFailed, DeferTask, FailTask, SensorTimeout, SkipTask
from dagd.model.errors import NotFound, SecretInTrigger, XComRefused
from dagd.model.specs import storable
from dagd.runtime.arguments import Resolver, instantiate
from dagd.runtime.callbacks import call_all, run_callback
from dagd.runtime.channel import Channel
from dagd.runtime.context import Context
from dagd.runtime.deferral import defer_frame
from dagd.runtime.failures import failure_frame, skip_frame
from dagd.runtime.loading import LoadedDag, load_version
from dagd.runtime.masking import MaskedAsker, Masker
from dagd.runtime.stopping import STOPPER
from dagd.runtime.templates import Renderer
from dagd.runtime.values import RETURN_KEY
from dagd.runtime.xcom import encode

__all__ = ["Channel", "LoadedDag", "load_version", "run_try"]

_LARGEST_FIELD = 4096


def run_try(
    loaded: LoadedDag, launch: dict[str, Any], channel: Asker, on_error: Callable[[BaseException], None] | None = None
) -> dict[str, Any]:
    """Run one leg of a try (or a callback) and return its result frame. Never raises for what user code does.

    `on_error` sees an exception before it becomes a frame (a debugger).
    """
    return dict(_storable(_run(loaded, launch, channel, on_error)))


def _storable(value: Any) -> Any:
    """What user code said, without the characters that would make the whole turn's commit fail."""
    if isinstance(value, str):
        return value if value.isascii() and "\0" not in value else storable(value)
    if isinstance(value, dict):
        return {name: _storable(one) if one else one for name, one in value.items()}
    return [_storable(one) for one in value] if isinstance(value, list) else value


def _run(
    loaded: LoadedDag, launch: dict[str, Any], channel: Asker, on_error: Callable[[BaseException], None] | None
) -> dict[str, Any]:
    masker = Masker()
    masker.add_all(loaded.secrets)
    asker = MaskedAsker(channel, masker)
    AMBIENT.channel = asker
    context: Context | None = None
    try:
        loaded = loaded.of(launch["dag_id"])
        if launch.get("callback"):
            return run_callback(loaded, launch, asker)
        if not loaded.dag.has_task(launch["task_id"]):
            raise NotFound(f"the version has no task {launch['task_id']!r}")
        context = Context(loaded, loaded.dag.get_task(launch["task_id"]), launch, asker)
        AMBIENT.context = context
        return _run_leg(context, masker)
    except DeferTask as deferred:
        try:
            return defer_frame(deferred, launch, context, masker)
        except (XComRefused, SecretInTrigger) as error:
            return _report(error, context, masker)
    except SkipTask as skip:
        _tell(f"skipped: {masker.mask(str(skip))}\n")
        return skip_frame(skip, masker)
    except BaseException as error:
        if on_error is not None:
            on_error(error)
        return _report(error, context, masker)
    finally:
        AMBIENT.context = AMBIENT.channel = None
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # the task may have closed or replaced it
                stream.flush()


def _report(error: BaseException, context: Context | None, masker: Masker) -> dict[str, Any]:
    """Tell the task's log and make the frame: a traceback for what was raised, one line for what the task said."""
    frame = failure_frame(error, context, masker)
    told = frame["error"]
    if context is not None:
        frame["label"] = _label(context)
    is_said = isinstance(error, (CommandFailed, FailTask, SensorTimeout))
    _tell(f"{told['type']}: {told['message']}\n" if is_said else told["traceback"])
    return frame


def _tell(text: str) -> None:
    """Write to the task's log, whatever the task did to its streams."""
    try:
        sys.stderr.write(text)
    except (OSError, ValueError, AttributeError):
        with suppress(OSError):
            os.write(2, text.encode("utf-8", "backslashreplace"))


def _run_leg(context: Context, masker: Masker) -> dict[str, Any]:
    resolver = Resolver(context)
    operator, mapped_fields, mapped_names = instantiate(context.task, resolver)
    context.mapped = mapped_fields | mapped_names
    context.task = context.ti.task = operator
    context.renderer = Renderer(context.loaded, context, resolver.resolve)
    rendered = render_fields(operator, context.renderer, mapped_fields, mapped_names)
    call_all(operator.on_execute_callback, context)
    with STOPPER.over(operator):
        operator.pre_execute(context)
        returned = operator.resume(context)
        operator.post_execute(context, returned)
    frame = _success_frame(operator, context, returned)
    frame["rendered"] = {name: masker.mask(text)[:_LARGEST_FIELD] for name, text in rendered.items()}
    label = _label(context)
    frame["label"] = label and masker.mask(label)
    return frame


def render_fields(
    operator: BaseOperator, renderer: Renderer, mapped_fields: frozenset[str], mapped_names: frozenset[str]
) -> dict[str, str]:
    """Render the operator's template fields in place; what they became, as text. Mapped arguments stay as they are."""
    shown: dict[str, str] = {}
    for name in operator.template_fields:
        value = getattr(operator, name, None)
        if value is None or (not value and isinstance(value, (str, list, tuple, dict))):
            continue  # nothing to render, nothing to show
        if name not in mapped_fields:
            is_shell = name in operator.shell_fields
            extensions = operator.template_ext
            if mapped_names and name == "op_kwargs" and isinstance(value, Mapping):
                value = {
                    key: one if key in mapped_names else renderer.field(one, extensions) for key, one in value.items()
                }
            else:
                value = renderer.field(value, extensions, for_shell=is_shell)
            setattr(operator, name, value)
        shown[name] = value if isinstance(value, str) else _safe_repr(value)
    return shown


def _safe_repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:
        return f"<{type(value).__name__}: {type(error).__name__} in its repr>"


def _success_frame(operator: BaseOperator, context: Context, returned: Any) -> dict[str, Any]:
    outbox = context.outbox
    if operator.do_xcom_push and returned is not None:
        outbox.push(RETURN_KEY, returned)
    elif returned is not None and not isinstance(returned, (str, int, float, bool, list, dict)):
        encode(returned)
    _push_outputs(operator, context, returned)
    own = outbox.entries.get(RETURN_KEY)
    return {
        "outcome": "succeed",
        "xcom": list(outbox.entries.values()),
        "map_length": own["length"] if own else None,
        "branch": context.branch,
        "short_circuit": context.is_short_circuited,
        "assets": [_asset_event(event) for event in context.outlet_events.by_key.values()],
    }


def _push_outputs(operator: BaseOperator, context: Context, returned: Any) -> None:
    """Each key of a dict as a value of its own. Raises XComRefused when the task promised a dict and returned none."""
    if not operator.multiple_outputs:
        return
    if not isinstance(returned, Mapping):
        if operator.infers_outputs:
            return
        what = f"multiple_outputs=True, but the task returned {type(returned).__name__}"
        raise XComRefused(what, remedy="Return a dict.")
    for key, value in returned.items():
        if not isinstance(key, str):
            if operator.infers_outputs:
                continue
            raise XComRefused(f"multiple_outputs=True: the key {key!r} is no text")
        context.outbox.push(key, value)


def _asset_event(event: Any) -> dict[str, Any]:
    return {
        "asset": event.asset,
        "metadata": event.extra,
        "data_version": event.data_version,
        "data_time": None if event.data_time is None else exact_micros(event.data_time),
        "partition": event.partition,
    }


def _label(context: Context) -> str | None:
    """The name of a mapped instance: what the task set, or its template rendered, which knows the mapped arguments."""
    template = context["map_index_template"]
    if context.ti.map_index < 0 or context.renderer is None:
        return None
    if context.ti.rendered_map_index:
        return str(context.ti.rendered_map_index)[:250]
    if not template:
        return None
    given = {**vars(context.task), **getattr(context.task, "op_kwargs", {})}
    for name in context.mapped:
        if name not in context and name in given:
            context[name] = given[name]
    try:
        return str(context.renderer.text(template))[:250]
    except Exception as error:  # the work is done: a bad name for it must not undo that
        _tell(f"map_index_template: {error}\n")
        return None
