"""A DAG that says what it needs gets that alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dagd import DAG
from dagd.authoring.compile import compile_dag
from dagd.model.errors import Refused, WrongArgument
from dagd.model.needs import check_need
from dagd.model.specs import spec_from_json, spec_to_json
from tests.unit.runtime_kit import load

NEEDS = {"variables": ["region", "etl_*"], "connections": ["warehouse"]}
CASES: list[tuple[Any, str, dict[str, Any], bool]] = [
    (None, "connection", {"id": "payroll"}, True),
    (NEEDS, "connection", {"id": "warehouse"}, True),
    (NEEDS, "connection", {"id": "payroll"}, False),
    (NEEDS, "connection", {"id": "warehouse2"}, False),
    (NEEDS, "variable", {"key": "region"}, True),
    (NEEDS, "variable", {"key": "etl_day"}, True),
    (NEEDS, "variable", {"key": "password"}, False),
    (NEEDS, "set_variable", {"key": "password", "value": "x"}, False),
    (NEEDS, "delete_variable", {"key": "etl_day"}, True),
    (NEEDS, "trigger", {"dag_id": "other"}, False),
    (NEEDS, "trigger", {"dag_id": "d"}, True),
    (NEEDS, "xcom", {"dag_id": None, "task_id": "a"}, True),
    (NEEDS, "xcom", {"dag_id": "other", "task_id": "a"}, False),
    (NEEDS, "previous_run", {}, True),
    ({"dags": ["*"]}, "run_state", {"dag_id": "other"}, True),
    ({"dags": ["*"]}, "variable", {"key": "region"}, False),
    ({}, "connection", {"id": "warehouse"}, False),
]


@pytest.mark.parametrize("needs, request_kind, args, is_allowed", CASES)
def test_what_a_dag_may_ask_for(needs: Any, request_kind: str, args: dict[str, Any], is_allowed: bool) -> None:
    if is_allowed:
        check_need(needs, "d", request_kind, args)
        return
    with pytest.raises(Refused) as refused:
        check_need(needs, "d", request_kind, args)
    assert "needs=" in str(refused.value.remedy)


def test_needs_travel_with_the_compiled_dag() -> None:
    dag = DAG("d", schedule=None, needs={"variables": ("b", "a"), "dags": "other"})
    spec = compile_dag(dag, file="d.py")
    assert spec_from_json(spec_to_json(spec)).needs == {"variables": ["a", "b"], "dags": ["other"]}


@pytest.mark.parametrize("needs", [["warehouse"], {"connection": ["warehouse"]}, {"connections": [5]}, "warehouse"])
def test_wrong_needs_are_an_error_with_a_remedy(needs: Any) -> None:
    with pytest.raises(WrongArgument) as wrong:
        DAG("d", schedule=None, needs=needs)
    assert "'connections'" in str(wrong.value.remedy)


TEXT = """
from dagd import DAG, Variable, task

with DAG("d", schedule=None, needs={"variables": ["mine"]}) as dag:
    @task
    def reads(key):
        return Variable.get(key)

    reads.override(task_id="own")("mine")
    reads.override(task_id="other")("other")
"""


def test_a_test_run_holds_a_dag_to_its_needs(tmp_path: Path) -> None:
    dag = load(tmp_path, TEXT).dag
    run = dag.test(variables={"mine": "1", "other": "2"})
    assert run.value("own") == "1"
    assert run.state == "failed"
