"""Triggers of a test run: looked at in this process, on the clock that jumps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from dagd.engine.local_answers import LocalAnswers
from dagd.model.plans import Plan
from dagd.model.triggers import Trigger, describe, pauses
from dagd.runtime.looking import (
    Event,
    connection_name,
    load_checks,
    masked_error,
    masked_event,
    opened_connection,
)
from dagd.runtime.masking import Masker

IDLE_LOOKS = 100  # looks in a row with nothing else happening, after which nobody looks any more


class LocalWait:
    """One wait: when the next look is due, None when there will be none."""

    def __init__(self, trigger: Trigger, now: int) -> None:
        self.trigger = trigger
        self.begin(now)

    def begin(self, now: int) -> None:
        """Looks anew, with all its patience."""
        self._pauses: Iterator[int] = pauses(self.trigger)
        self.looks = 0
        self.next_at: int | None = now + next(self._pauses)

    def pass_on(self, now: int) -> None:
        """It was looked at in vain."""
        self.looks += 1
        self.next_at = now + next(self._pauses) if self.looks < IDLE_LOOKS else None


class LocalWaits:
    """All waits of a test run, by token."""

    def __init__(self, answers: LocalAnswers) -> None:
        self._answers = answers
        self._waits: dict[str, LocalWait] = {}

    def remember(self, plan: Plan, now: int) -> None:
        """Take what a plan says of waits."""
        for row in plan.deferrals:
            trigger = json.loads(row.trigger) if row.trigger is not None else None
            if trigger is not None and trigger["kind"] != "time":
                self._waits[row.token] = LocalWait(trigger, now)
        for token in [row.token for row in plan.firings] + [row.token for row in plan.ends]:
            self._waits.pop(token, None)

    def something_happened(self, now: int) -> None:
        """A task has ended: what nobody looked for any more may be there now."""
        for wait in self._waits.values():
            if wait.next_at is None:
                wait.begin(now)

    def next_at(self) -> int | None:
        """When the next look is due."""
        return min((wait.next_at for wait in self._waits.values() if wait.next_at is not None), default=None)

    def look(self, now: int) -> list[dict[str, Any]]:
        """Look at what is due; the `fired` of each that has something to say."""
        fired = []
        for token, wait in self._waits.items():
            if wait.next_at is not None and wait.next_at <= now:
                told = self._look_at(wait.trigger)
                wait.pass_on(now)
                if told is not None:
                    fired.append({"token": token, **told})
        return fired

    def _look_at(self, trigger: Trigger) -> Event | None:
        masker = Masker()
        name = connection_name(trigger)
        fields = None if name is None else self._answers.request("connection", {"id": name})
        try:
            connection = opened_connection(name or "", fields, masker)
            event = load_checks()[trigger["kind"]](trigger, connection)
        except Exception as error:  # whatever a look raises ends the try that waits, with these words
            return {"error": masked_error(error, masker)}
        return None if event is None else {"event": masked_event(event, masker)}

    def subjects(self) -> str:
        """What is waited for in vain."""
        return ", ".join(describe(wait.trigger) for wait in self._waits.values())
