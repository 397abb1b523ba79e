"""Whole schedulers on a virtual clock, with seeded faults; each seed is a story that can be told again."""
