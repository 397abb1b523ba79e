"""Floor 4: where tries run. The scheduler speaks to every executor by one protocol."""
