"""Floor 0: states and moves as data, specs, plans, frames, errors, settings. Stdlib only."""
