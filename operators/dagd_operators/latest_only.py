"""Work that only the newest run should do."""

from __future__ import annotations

from typing import Any

from dagd_operators.branch import BaseBranchOperator


class LatestOnlyOperator(BaseBranchOperator):
    """Skips what is directly downstream unless this is the run whose interval ended last. Manual runs always go on."""

    ui_color = "#e9ffdb"

    def choose_branch(self, context: Any) -> list[str]:
        """All that is downstream, or nothing."""
        below = sorted(self.downstream_task_ids)
        run = context["dag_run"]
        if run.run_type == "manual":
            return below
        start, end = context["data_interval_start"], context["data_interval_end"]
        if start is None or end is None or start == end:
            return below
        now = context.now()
        # The slot after this one would fall due one interval later.
        is_latest = end <= now < end + (end - start)
        self.log.info("the interval %s to %s is %s", start, end, "the latest" if is_latest else "not the latest")
        return below if is_latest else []
