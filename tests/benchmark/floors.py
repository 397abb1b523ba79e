"""The machine's own limits, in the same sitting, and what dagd makes of them."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmark import ceiling

Figures = dict[str, dict[str, float]]  # by shape


def limits(url: str | None, repeat: int) -> dict[str, float]:
    """The floors of one database; `url` as libpq takes it."""

    def rate(hand_out: ceiling.HandOut, waves: list[list[int]], *, forks: bool = False) -> float:
        return statistics.median(
            ceiling.measure(folder, waves, hand_out, url, forks=forks)["tasks_per_s"] for _ in range(repeat)
        )

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chained = [ceiling.measure(folder, ceiling.chain(300), ceiling.ONE, url) for _ in range(repeat)]
        return {
            "fan_one_a_message": rate(ceiling.ONE, ceiling.fan(1000)),
            "fan_one_a_message_ahead": rate(ceiling.AHEAD, ceiling.fan(1000)),
            "fan_several_a_message": rate(ceiling.SEVERAL, ceiling.fan(5000)),
            "many_several_a_message": rate(ceiling.SEVERAL, ceiling.many(100, 18)),
            "chain_hop_ms_p50": statistics.median(one["hop_ms_p50"] for one in chained),
            "chain_hop_ms_p99": statistics.median(one["hop_ms_p99"] for one in chained),
            "fork_tasks_per_s": rate(ceiling.ONE, ceiling.fan(300), forks=True),
            "bare_forks_per_s": statistics.median(ceiling.bare_forks_per_s() for _ in range(repeat)),
            "round_trips_per_s": ceiling.round_trips_per_s(),
            "commits_per_s": statistics.median(ceiling.commits_per_s(folder, url) for _ in range(repeat)),
        }


def compute_s(count: int, depth: int, repeat: int) -> float:
    """Seconds of the Fibonacci flow's computations in one process, without anything around them."""

    def fib(n: int) -> int:
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    took = []
    for _ in range(repeat):
        begun = time.perf_counter()
        for _ in range(count):
            fib(depth)
        took.append(time.perf_counter() - begun)
    return statistics.median(took)


# (name, grade, shape, figure, floor): the figure divided by the floor.
RATIOS = (
    ("fan / ceiling, one a message", "warm", "fan", "tasks_per_s", "fan_one_a_message"),
    ("fan / ceiling, sixteen ahead", "warm", "fan", "tasks_per_s", "fan_one_a_message_ahead"),
    ("fan / ceiling, several a message", "warm", "fan", "tasks_per_s", "fan_several_a_message"),
    ("wide / ceiling, several a message", "warm", "wide", "tasks_per_s", "fan_several_a_message"),
    ("many / ceiling, several a message", "warm", "many", "tasks_per_s", "many_several_a_message"),
    ("hop p50 of the chain / ceiling", "warm", "chain", "hop_ms_p50", "chain_hop_ms_p50"),
    ("hop p99 of the chain / ceiling", "warm", "chain", "hop_ms_p99", "chain_hop_ms_p99"),
    ("hop p50 of the long chain / ceiling", "warm", "long", "hop_ms_p50", "chain_hop_ms_p50"),
    ("hop p99 of the long chain / ceiling", "warm", "long", "hop_ms_p99", "chain_hop_ms_p99"),
    ("ten long / computed alone", "warm", "heavy", "seconds", "heavy_s"),
    *(
        (f"{shape} forked / {title}", "fork", shape, "tasks_per_s", floor)
        for shape in ("fan", "wide", "many")
        for title, floor in (("bare fork+wait", "bare_forks_per_s"), ("ceiling that forks", "fork_tasks_per_s"))
    ),
)


def ratios(figures: dict[str, Figures], floor: dict[str, float]) -> dict[str, float]:
    """What the bars are about, as far as it was measured."""
    found: dict[str, Any] = {}
    for name, grade, shape, figure, against in RATIOS:
        measured = figures.get(grade, {}).get(shape, {}).get(figure)
        if measured is not None and against in floor:
            found[name] = measured / floor[against]
    return found
