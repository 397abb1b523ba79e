"""Floor 2: what the scheduler concludes. Deterministic; no clock, no randomness, no I/O: all of these come in."""
