"""What goes wrong, and when: dice of their own, so that a fault can be left out while the rest of the story stays.

Swarm testing: each seed makes a random subset of the faults frequent and leaves others out altogether. Faults that are
always a little likely hide those bugs that need many of one kind, or none of another.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass, field

# At the commit of a transaction that writes: (how often, at most) each.
COMMIT_FAULTS = ("killed before", "killed after", "gone before", "gone after", "refused before", "refused after")
# How likely each fault is at each of its occasions when its seed has chosen it.
RATES = {
    **dict.fromkeys(COMMIT_FAULTS, 0.025),
    "paused": 0.03,  # at the beginning of a transaction: until others have had their turns, or longer than the lease
    "outage": 0.04,  # at each move: the database answers nobody
    "scheduler killed": 0.05,
    "scheduler killed unseen": 0.03,  # no lock proves it: its lease has to lapse
    "scheduler stopped": 0.03,
    "scheduler added": 0.08,
    "agent died": 0.05,
    "connections cut": 0.06,
    "launches lost": 0.08,  # what was on the way is lost with its connection
    "results told again": 0.15,
    "message delayed": 0.15,
    "messages reordered": 0.15,
    "message doubled": 0.1,
}
CHOSEN, FREQUENT, BOOST = 0.5, 0.25, 4.0
AGENT_FAULTS = frozenset({"agent died", "try lost"})


class Killed(BaseException):
    """The process is killed here. No `except Exception` of the product may catch it."""


@dataclass
class Faults:
    """Decides at each occasion. `muted` are numbers of faults that are left out (what shrinking found to be innocent);
    `only` is the one fault of exhaustive mode: (kind, at which of its occasions)."""

    dice: random.Random
    muted: Collection[int] = ()
    only: tuple[str, int] | None = None
    rates: dict[str, float] = field(default_factory=dict)
    told: list[tuple[int, str]] = field(default_factory=list)
    occasions: dict[str, int] = field(default_factory=dict)
    is_over: bool = False

    @classmethod
    def swarm(cls, seed: int, muted: Collection[int] = ()) -> Faults:
        """The faults of a seed."""
        dice = random.Random(f"faults {seed}")
        rates = {}
        for kind, rate in RATES.items():
            chosen, frequent = dice.random() < CHOSEN, dice.random() < FREQUENT
            rates[kind] = (rate * BOOST if frequent else rate) if chosen else 0.0
        return cls(dice, muted, rates=rates)

    def strikes(self, kind: str) -> bool:
        """Whether this fault happens on this occasion."""
        number = self.occasions[kind] = self.occasions.get(kind, 0) + 1
        if self.only is not None:
            happens = self.only == (kind, number)
        else:
            happens = self.dice.random() < self.rates.get(kind, 0.0) and not self.is_over
        if happens:
            self.told.append((len(self.told), kind))
        return happens and self.told[-1][0] not in self.muted

    def strike_of(self, kinds: tuple[str, ...]) -> str | None:
        """The first of these faults that happens now."""
        return next((kind for kind in kinds if self.strikes(kind)), None)
