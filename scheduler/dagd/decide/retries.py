"""Who pays for the end of a try, and when the next one may start (the table in the behaviour page)."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from dagd.decide.state import Instance
from dagd.model.specs import TaskSpec
from dagd.model.states import Charge, Reason
from dagd.model.times import SECOND

FREE = frozenset({Reason.STOPPED, Reason.NOT_STARTED})
LONGEST_US = 100 * 365 * 86_400 * SECOND  # an instant must fit its column


class NextTry(NamedTuple):
    """`charge` is the budget that pays; `at` the instant of the next try, None when the failure is final."""

    charge: Charge
    at: int | None


def retry_delay_us(spec: TaskSpec, failures: int, jitter: random.Random) -> int:
    """`retry_delay * factor ** (n - 1)`, capped, with the jitter asked for; n = failures charged so far, from 1."""
    delay = float(spec.retry_delay_us)
    if spec.retry_factor != 1.0:
        try:
            delay *= spec.retry_factor ** (failures - 1)
        except OverflowError:
            delay = float(LONGEST_US)
    cap = float(LONGEST_US if spec.max_retry_delay_us is None else spec.max_retry_delay_us)
    delay = min(delay, cap)
    if spec.retry_jitter:
        delay *= 1.0 + spec.retry_jitter * (2.0 * jitter.random() - 1.0)
    return int(min(delay, cap))


def next_try(
    spec: TaskSpec, instance: Instance, reason: str, frame: dict[str, Any], now: int, jitter: random.Random
) -> NextTry:
    """What follows a failed try. Counts the charge in `instance`."""
    if reason in FREE:
        return NextTry(Charge.NOBODY, now)
    if reason == Reason.LOST:
        if spec.on_lost == "fail":
            return NextTry(Charge.INFRA, None)
        if instance.infra_used < spec.infra_retries:
            instance.infra_used += 1
            return NextTry(Charge.INFRA, now)
    hint = frame.get("retry") or {}
    instance.retries_used += 1
    if frame.get("no_retry") or hint.get("action") == "fail" or reason == Reason.SENSOR_TIMEOUT:
        return NextTry(Charge.RETRIES, None)
    if instance.retries_used > spec.retries:
        return NextTry(Charge.RETRIES, None)
    delay = hint.get("delay_us")
    if delay is None:
        delay = retry_delay_us(spec, instance.retries_used, jitter)
    return NextTry(Charge.RETRIES, now + int(delay))
