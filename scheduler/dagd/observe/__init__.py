"""Floor 1: event names, logs, metrics, hooks."""
