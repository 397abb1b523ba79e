"""Where the example DAGs keep their tables and files. There is no DAG in here; the other files import it.

dagd puts the DAG folder last on `sys.path`, so a DAG file can import its neighbours, in the parser and in its tasks.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DATA = Path(__file__).parent / "data"  # records that are shipped; data/README.md says where they come from


def demo_folder() -> Path:
    """Where everything is written: `$DEMO_FOLDER`, else var/demo beside the DAG folder. Safe to delete.

    A variable whose name begins with DAGD_ would be one of dagd's own settings, which no task gets to see.
    """
    folder = Path(os.environ.get("DEMO_FOLDER") or Path(__file__).parent.parent / "var" / "demo")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def transaction(name: str) -> Iterator[sqlite3.Connection]:
    """One transaction on the SQLite file `name`: all of the body happens, or, when it raises, nothing.

    A task may be tried again, and two DAGs may come at the same moment. So every task below replaces what it wrote
    before instead of adding to it, and takes its turn: whoever comes second waits up to half a minute.
    """
    connection = sqlite3.connect(demo_folder() / name, timeout=30, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")
    finally:
        connection.close()  # an open transaction is rolled back


def write_text(name: str, text: str) -> Path:
    """Write a file of the demo folder in one step: a reader sees the old text or the new one, never half of it."""
    path = demo_folder() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    return draft.replace(path)
