"""Operators, one module per subject, with Airflow's class and argument names."""
