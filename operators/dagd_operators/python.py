"""Functions as tasks: plain, branch, short-circuit, and in other interpreters; the sensor over a function."""

from __future__ import annotations

from dagd.authoring.python import BranchPythonOperator, PythonOperator, PythonSensor, ShortCircuitOperator
from dagd.authoring.venv import ExternalPythonOperator, PythonVirtualenvOperator

__all__ = [
    "BranchPythonOperator",
    "ExternalPythonOperator",
    "PythonOperator",
    "PythonSensor",
    "PythonVirtualenvOperator",
    "ShortCircuitOperator",
]
