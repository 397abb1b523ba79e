"""Floor 2: what users write in DAG files, and its compilation to a DagSpec."""
