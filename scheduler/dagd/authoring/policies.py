"""Retry policies and deadlines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Protocol

from dagd.authoring.ambient import caller_ref
from dagd.authoring.instants import plain_duration
from dagd.authoring.words import check_word
from dagd.model.errors import WrongArgument
from dagd.model.specs import DeadlineSpec
from dagd.model.times import delta_micros


class RetryAction(StrEnum):
    """What a retry policy says of an exception. DEFAULT leaves it to `retries`."""

    RETRY = "retry"
    FAIL = "fail"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """One answer of a policy. `retry_delay` replaces the task's own delay when set."""

    action: RetryAction
    retry_delay: timedelta | None = None
    reason: str | None = None

    @classmethod
    def retry(cls, delay: timedelta | None = None, reason: str | None = None) -> RetryDecision:
        """Try again, after `delay` if given."""
        return cls(RetryAction.RETRY, delay, reason)

    @classmethod
    def fail(cls, reason: str | None = None) -> RetryDecision:
        """Do not try again."""
        return cls(RetryAction.FAIL, None, reason)

    @classmethod
    def default(cls) -> RetryDecision:
        """As if there were no policy."""
        return cls(RetryAction.DEFAULT)


class RetryPolicy(Protocol):
    """Anything with `evaluate(exception, try_number, max_tries, context)`."""

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any) -> RetryDecision:
        """What becomes of a try that ended in `exception`."""


@dataclass(frozen=True)
class RetryRule:
    """What to do about one kind of exception.

    `exception` is a class, a class's dotted name (also of a module that is not installed here), or a list of these.
    """

    exception: type[BaseException] | str | Sequence[type[BaseException] | str]
    action: RetryAction = RetryAction.RETRY
    retry_delay: timedelta | None = None
    reason: str | None = None
    match_subclasses: bool = True

    def __post_init__(self) -> None:
        check_word("action", self.action, [word.value for word in RetryAction], caller_ref())
        object.__setattr__(self, "action", RetryAction(self.action))

    def covers(self, error: BaseException) -> bool:
        """Whether this rule speaks of `error`."""
        named = self.exception
        wanted = named if isinstance(named, Sequence) and not isinstance(named, str) else [named]
        classes = type(error).__mro__ if self.match_subclasses else (type(error),)
        names = {f"{cls.__module__}.{cls.__qualname__}" for cls in classes} | {cls.__qualname__ for cls in classes}
        return any(one in names if isinstance(one, str) else one in classes for one in wanted)


@dataclass(frozen=True)
class ExceptionRetryPolicy:
    """Decides by the exception: the first rule that covers it, else `default`."""

    rules: Sequence[RetryRule] = ()
    default: RetryAction = RetryAction.DEFAULT

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any) -> RetryDecision:
        """What becomes of a try that ended in `exception`."""
        del try_number, max_tries, context
        for rule in self.rules:
            if rule.covers(exception):
                return RetryDecision(rule.action, rule.retry_delay, rule.reason)
        return RetryDecision(RetryAction(self.default))


@dataclass(frozen=True)
class Deadline:
    """A promise about time: start or finish within `within` after the slot is due, the run was created or started.

    `by="duration"` measures from the subject's own start. A run that ended before the instant cancels its deadline,
    unless `even_if_failed`.
    """

    within: timedelta
    by: str = "finish"
    after: str = "due"
    even_if_failed: bool = False
    callback: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        where = caller_ref()
        check_word("by", self.by, ["start", "finish", "duration"], where)
        check_word("after", self.after, ["due", "created", "started"], where)
        within: object = self.within
        if not isinstance(within, timedelta) or within <= timedelta(0):
            raise WrongArgument(f"within={self.within!r} is no positive timedelta", where=where)

    def to_spec(self) -> DeadlineSpec:
        """The compiled form."""
        after = "started" if self.by == "duration" else self.after
        return DeadlineSpec(
            self.by, after, delta_micros(plain_duration(self.within)), self.even_if_failed, self.callback is not None
        )
