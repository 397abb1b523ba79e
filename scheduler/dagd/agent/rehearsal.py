"""What every try runs, run a few times in the root zygote before anything is forked from it.

The interpreter rewrites a function's code in place while it learns what the function works on. Each forked try would do
that again, in copies of its own memory pages, which is a fifth of the CPU time of a try that does nothing.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from dagd.agent import child
from dagd.agent.linux import MARK, Mark
from dagd.authoring.dag import DAG
from dagd.authoring.python import PythonOperator
from dagd.model.frames import encode_frame
from dagd.runtime.entry import LoadedDag

# The interpreter has learned what it will after about sixteen calls.
TIMES = 20
_RUN = {
    "id": 0, "run_id": "rehearsal", "kind": "manual", "logical_date": 0, "interval_start": 0, "interval_end": 0,
    "due_at": 0, "started_at": 0, "conf": {}, "partition": None, "timezone": "UTC", "params": {}, "events": [],
}  # fmt: skip
_PAYLOAD = {
    "dag_id": "rehearsal", "task_id": "nothing", "map_index": -1, "try_no": 1, "max_tries": 1, "run": _RUN,
    "idempotency_key": "0/0/0", "xcom_folder": os.devnull, "inline_limit": 0, "xcom_limit": 0,
}  # fmt: skip


def rehearse(mark: Mark) -> None:
    """Launch, body and result of a task of ours that does nothing, over a socket whose ends are both here."""
    loaded = LoadedDag(_dag(), None, os.devnull, os.devnull, {})
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for _ in range(TIMES):
            ours.sendall(encode_frame({"t": "launch", "token": "rehearsal", "payload": _PAYLOAD}))
            launch = child.read_frame(theirs)
            if not child.is_abandoned(theirs):
                mark.write(os.environ.get(MARK, ""))
                child.run_and_answer(loaded, launch, theirs)
            child.read_frame(ours)


def _dag() -> DAG:
    dag = DAG("rehearsal", schedule=None)
    PythonOperator(task_id="nothing", python_callable=_nothing, dag=dag)
    dag.resolve()
    return dag


def _nothing(**_context: Any) -> None:
    return None
