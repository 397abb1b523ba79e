"""The protocol of executors. The truth is the result: everything else is a hint."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

Frame = dict[str, Any]


class Executor(Protocol):
    """Where tries run. Frames are those of `model.frames`."""

    def fileno(self) -> int | None:
        """A descriptor that is readable when `poll` has something, None when there is none now."""

    def capacity(self) -> int:
        """How many tries may be outstanding."""

    def poll(self) -> list[Frame]:
        """What came in since the last call: started, result, fired, adopted, request, credits; never blocks."""

    def know_version(self, version: Frame) -> None:
        """Tell of a version before its first launch."""

    def knows(self, version_id: int) -> bool:
        """Whether the version was told on this connection."""

    def has_content(self, content: str) -> bool:
        """Whether what such a version loads was told on this connection."""

    def submit(self, tries: list[Frame], shared: list[Frame] | None = None) -> None:
        """Start tries; idempotent by token. A try's `shared` is the place in `shared` of the rest of its payload."""

    def has_launched(self, token: str) -> bool:
        """Whether this connection was told to start it: an answer that it is unknown was given before that."""

    def cancel(self, tokens: Iterable[str], grace_us: int, reason: str) -> None:
        """Ask tries to stop: SIGTERM, and SIGKILL after the grace."""

    def wait(self, triggers: list[Frame]) -> None:
        """Look for what deferred tries wait for, and say `fired` once it has happened; idempotent by token."""

    def end_waits(self, tokens: Iterable[str]) -> None:
        """Look no more for these."""

    @property
    def waits(self) -> set[str]:
        """The tokens that this connection looks for."""

    def adopt(self, tokens: Iterable[str]) -> None:
        """Ask what became of tries; answered by an `adopted` frame."""

    def acknowledge(self, tokens: Iterable[str]) -> None:
        """These results are committed."""

    def reply(self, frame: Frame) -> None:
        """Answer a request of a running try."""

    def flush(self) -> None:
        """Send what was queued."""
