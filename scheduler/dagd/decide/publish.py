"""Asset events of a success: one for each outlet, in the transaction of the success."""

from __future__ import annotations

import json
from typing import Any

from dagd.decide.state import RunView, TaskState
from dagd.decide.turn import Turn
from dagd.model.plans import AssetEventRow

MATERIALISED = 1


def publish_outlets(
    turn: Turn, run: RunView, task: TaskState, pos: int, token: str, try_no: int, told: list[dict[str, Any]]
) -> None:
    """One event for each outlet of the task; `told` is what the body said of them (metadata, versions, partitions)."""
    if not task.spec.outlets:
        return
    by_asset = {item["asset"]: item for item in told if item.get("asset")}
    shard = turn.dag(run).shard
    for asset in task.spec.outlets:
        item = by_asset.get(asset, {})
        event_id = turn.state.new_id(shard, turn.now)
        metadata = item.get("metadata")
        turn.plan.asset_events.append(
            AssetEventRow(
                event_id, asset, item.get("partition") or run.partition or "", MATERIALISED, run.dag, run.id, task.no,
                task.map_index(pos), try_no, item.get("data_version") or str(event_id), item.get("data_time"),
                None if metadata is None else json.dumps(metadata), token, turn.now,
            )
        )  # fmt: skip


def publish_engine_successes(turn: Turn) -> None:
    """The outlets of tasks that the engine completed itself."""
    for run, task, pos, token, try_no in turn.engine_successes:
        publish_outlets(turn, run, task, pos, token, try_no, [])
    turn.engine_successes.clear()
