"""Floor 5: loops, one duty a file; `service.py` is the composition root. No SQL, no rules."""
