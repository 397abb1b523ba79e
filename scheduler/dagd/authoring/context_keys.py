"""The names under which a task finds its surroundings: in `context`, as arguments of functions, in templates."""

from __future__ import annotations

CONTEXT_KEYS = frozenset(
    {
        "conf", "conn", "context", "dag", "dag_run", "data_interval_end", "data_interval_start", "ds", "ds_nodash",
        "exception", "expanded_ti_count", "inlet_events", "inlets", "logical_date", "macros", "map_index",
        "map_index_template", "outlet_events", "outlets", "params", "prev_data_interval_end_success",
        "prev_data_interval_start_success", "prev_end_date_success", "prev_start_date_success", "reason", "run_id",
        "start_date", "state", "task", "task_instance", "task_instance_key_str", "task_reschedule_count",
        "templates_dict", "test_mode", "ti", "trigger_event", "triggering_asset_events", "try_number", "ts",
        "ts_nodash", "ts_nodash_with_tz", "var",
    }
)  # fmt: skip
