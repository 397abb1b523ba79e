"""What `dagd dags check` says beyond errors: what works, and surprises later. A code a rule (docs/testing.md)."""
