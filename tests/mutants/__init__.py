"""Planted defects: each must be found by the tests that are named beside it, or those tests prove nothing."""
