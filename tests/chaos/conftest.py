"""Fixtures of the chaos tier: those of the black-box tier."""

from tests.e2e.conftest import any_home, home

__all__ = ["any_home", "home"]
