"""The frame of a leg that waits: until when or for what, how long at most, and the state of the next leg."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dagd.authoring.instants import exact_micros
from dagd.authoring.outcomes import DeferTask
from dagd.model.errors import SecretInTrigger, XComRefused
from dagd.model.times import delta_micros
from dagd.model.triggers import Trigger
from dagd.runtime.context import Context
from dagd.runtime.masking import Masker, is_sensitive
from dagd.runtime.xcom import encode

_LARGEST_STATE = 64 * 1024


def defer_frame(
    deferred: DeferTask, launch: Mapping[str, Any], context: Context | None, masker: Masker
) -> dict[str, Any]:
    """The result frame of a leg that waits. Raises XComRefused for a state that is too large, SecretInTrigger."""
    state = dict(deferred.state)
    started = (context.state.get("started_at") if context else None) or launch.get("started_first_at")
    if started is None and context is not None:
        started = exact_micros(context.now())
    state.setdefault("started_at", started)
    text = encode(state)
    if len(text.encode("utf-8")) > _LARGEST_STATE:
        raise XComRefused(f"the state of a deferred task has {len(text):,} bytes; the limit is {_LARGEST_STATE:,}")
    trigger = _storable_trigger(deferred, masker)
    if trigger is not None and "in_us" in trigger and context is not None:
        trigger = {"kind": "time", "at": exact_micros(context.now()) + int(trigger["in_us"])}
    return {
        "outcome": "defer",
        "until": None if deferred.until is None else exact_micros(deferred.until),
        "poke_every_us": None if deferred.every is None or trigger else delta_micros(deferred.every),
        "trigger": trigger,
        "timeout_us": None if deferred.timeout is None else delta_micros(deferred.timeout),
        "state": {"text": text},
    }


def _storable_trigger(deferred: DeferTask, masker: Masker) -> Trigger | None:
    """The trigger when nothing secret is in it. With a pause to take instead, the task itself looks again."""
    trigger = deferred.trigger
    if trigger is None:
        return None
    said = [name for name in trigger.get("headers") or () if is_sensitive(str(name))]
    text = json.dumps(trigger, ensure_ascii=False)
    if not said and masker.mask(text) == text and len(text) <= _LARGEST_STATE:
        return trigger
    if deferred.every is not None:
        return None
    if said:
        raise SecretInTrigger(f"the header {said[0]!r} of a trigger would be stored in the database")
    if len(text) > _LARGEST_STATE:
        raise XComRefused(f"a trigger has {len(text):,} characters; the limit is {_LARGEST_STATE:,}")
    raise SecretInTrigger("a secret that this task has read is in its trigger, which is stored in the database")
