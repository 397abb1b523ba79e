"""Judges what happened: invariants over a journal, a fault log, acknowledged operations and the final rows."""
