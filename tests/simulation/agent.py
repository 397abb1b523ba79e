"""The agent of a story: as the rig's, with a journal of what bodies did and with messages that come late or twice."""

from __future__ import annotations

import socket
from typing import Any

from dagd.model.frames import Frame
from tests.engine_rig import Agent, Link
from tests.history.facts import Record
from tests.simulation.actors import Time
from tests.simulation.faults import AGENT_FAULTS, Faults

REPORTS = frozenset({"started", "result", "adopted"})


class LateLink(Link):
    """A connection whose reports may come late, twice, or before earlier ones. A greeting always comes first."""

    def __init__(self, peer: socket.socket, agent: WitnessedAgent) -> None:
        super().__init__(peer)
        self._agent = agent
        self._waiting: list[tuple[int, str, dict[str, Any]]] = []

    def say(self, kind: str, **fields: Any) -> None:
        faults, now = self._agent.faults, self._agent.time.at
        if kind not in REPORTS:
            super().say(kind, **fields)
            return
        at = now + faults.dice.choice([1000, 300_000, 2_500_000]) if faults.strikes("message delayed") else now
        if self._waiting and not faults.strikes("messages reordered"):
            at = max(at, self._waiting[-1][0])
        self._waiting.append((at, kind, fields))
        if faults.strikes("message doubled"):
            self._waiting.append((at + 700_000, kind, fields))
        self._waiting.sort(key=lambda entry: entry[0])

    def deliver(self) -> None:
        """What has been on its way for long enough arrives."""
        while self._waiting and self._waiting[0][0] <= self._agent.time.at:
            _, kind, fields = self._waiting.pop(0)
            super().say(kind, **fields)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is on its way."""
        return not self._waiting


class WitnessedAgent(Agent):
    """Writes down what bodies do, as the checker takes it."""

    def __init__(self, slots: int, time: Time, faults: Faults, skew: int) -> None:
        super().__init__(slots)
        self.time, self.faults, self.skew = time, faults, skew
        self.journal: list[Record] = []
        self.log: list[Record] = []

    def connect(self) -> socket.socket:
        made = super().connect()
        link = LateLink(self.links.pop().peer, self)
        self.links.append(link)
        return made

    def deliver(self) -> None:
        """Messages that are due arrive."""
        for link in self.links:
            if isinstance(link, LateLink):
                link.deliver()

    @property
    def is_quiet(self) -> bool:
        """Whether no message is on its way."""
        return all(link.is_empty for link in self.links if isinstance(link, LateLink))

    def now(self) -> int:
        """The clock of its host."""
        return self.time.at + self.skew

    def note(self, kind: str) -> None:
        """A fault, for the log that the checker reads."""
        target = "agent" if kind in AGENT_FAULTS else "scheduler"
        self.log.append({"kind": kind, "at": self.time.at, "target": target})

    def _launch(self, link: Link, frame: Frame) -> None:
        before = set(self.launches)
        if self.faults.strikes("launches lost"):
            self.hang_up()  # unread, with all that was on the way
            return
        super()._launch(link, frame)
        for token in sorted(set(self.launches) - before):
            self._witness("begin", token)

    def _witness(self, word: str, token: str, **more: Any) -> None:
        told = self.launches[token]["payload"]
        if told["callback"] is None:
            self.journal.append({
                "word": word, "at": self.now(), "dag": told["dag_id"], "run": told["run"]["run_id"],
                "task": told["task_id"], "index": told["map_index"], "try": told["try_no"], "token": token, **more,
            })  # fmt: skip

    def start(self, token: str, at: int) -> None:
        super().start(token, at + self.skew)

    def end(self, token: str, at: int, outcome: str = "succeed", **more: Any) -> None:
        if outcome == "succeed":
            values = [one["text"] for one in more.get("xcom", ()) if one["key"] == "return_value"]
            self._witness("end", token, **({"value": [0] * more["xcom"][0]["length"]} if values else {}))
        elif more.get("reason") == "lost":
            self.note("try lost")
        super().end(token, at + self.skew, outcome, **more)
