"""What a test run answers its tasks: values from memory, variables and connections from the environment."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from dagd.decide.graph import Graph
from dagd.engine.environment import connection_from, variable_from
from dagd.engine.local_ask import Ask
from dagd.engine.local_rows import LocalRows, LocalValues
from dagd.model.errors import Refused
from dagd.model.needs import check_need


def variable_of(given: Mapping[str, str | None], key: str) -> str | None:
    """A variable of a test run: what the test gives, else what the environment has."""
    return given[key] if key in given else variable_from(key)


class LocalAnswers:
    """Variables and connections that the test gives come first, then those of the environment.

    A run that a task triggers is told, not made, and counts as successful.
    """

    def __init__(self, graph: Graph, values: LocalValues, rows: LocalRows, ask: Ask) -> None:
        self._graph, self._values, self._rows = graph, values, rows
        self._variables: dict[str, str | None] = dict(ask.variables)
        self._connections = ask.connections

    def request(self, kind: str, args: dict[str, Any]) -> Any:
        """The value of one request. Raises Refused for a kind that needs a deployment."""
        answer = getattr(self, f"_{kind}", None)
        if answer is None:
            raise Refused(f"a test run cannot answer a request for {kind!r}")
        spec = self._graph.spec
        check_need(spec.needs, spec.dag_id, kind, args)
        return answer(args)

    def _xcom(self, args: dict[str, Any]) -> Any:
        spec = self._graph.spec
        is_own = args.get("dag_id") in (None, spec.dag_id) and args.get("run_id") in (None, self._rows.run.run_id)
        i = self._graph.index.get(args["task_id"])
        if not is_own or i is None:
            return []
        return self._values.of_number(self._graph.nos[i], args.get("key") or "return_value")

    def _variable(self, args: dict[str, Any]) -> str | None:
        return variable_of(self._variables, args["key"])

    def _set_variable(self, args: dict[str, Any]) -> None:
        self._variables[args["key"]] = args["value"]

    def _delete_variable(self, args: dict[str, Any]) -> None:
        self._variables[args["key"]] = None

    def _connection(self, args: dict[str, Any]) -> dict[str, Any] | None:
        if args["id"] in self._connections:
            return self._connections[args["id"]]
        return connection_from(args["id"])

    def _trigger(self, args: dict[str, Any]) -> dict[str, Any]:
        run_id = args.get("run_id") or "m-test"
        sys.stderr.write(f"a run of {args['dag_id']} would be triggered; a test run makes none\n")
        return {"run_id": run_id, "created": True, "id": 0}

    def _run_state(self, args: dict[str, Any]) -> dict[str, Any]:
        return {"run_id": args.get("run_id") or "m-test", "state": "success", "due_at": None, "tasks": {}}

    def _previous_run(self, _args: dict[str, Any]) -> None:
        return None

    def _asset_events(self, _args: dict[str, Any]) -> list[Any]:
        return []
