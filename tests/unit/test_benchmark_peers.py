"""What the benchmark reads off a peer's tasks, and the shapes that it gives to all."""

from __future__ import annotations

from pathlib import Path

from tests.benchmark.peers import kit


def test_a_chain_and_a_fan_have_their_edges() -> None:
    assert kit.Shape("c", "chain", 1, 3).edges() == [("t0", []), ("t1", ["t0"]), ("t2", ["t1"])]
    assert kit.Shape("f", "fan", 1, 4).edges() == [
        ("t0", []), ("t1", ["t0"]), ("t2", ["t0"]), ("t3", ["t1", "t2"]),
    ]  # fmt: skip


def test_a_measurement_is_read_off_the_lines_of_its_tasks(tmp_path: Path) -> None:
    log = tmp_path / "tasks.log"
    shape = kit.Shape("c", "chain", 1, 3)
    found = kit.once(log, shape, lambda shape: [kit.note(str(log)) for _ in range(shape.tasks)])
    assert found["tasks_per_s"] > 0
    assert 0 <= found["hop_ms_p50"] <= found["hop_ms_p99"]
    assert len(kit.spans(log)) == 3
