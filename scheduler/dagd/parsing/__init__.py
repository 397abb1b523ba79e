"""Floor 4: from changed DAG files to specs, in a forked sandbox."""
