"""Chores: what retention deletes, and what it keeps."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select, text

from dagd.engine.maintenance import DAY_US, Chores
from dagd.model.settings import load_settings
from dagd.store import dialects, transitions
from dagd.store.schema import audit, dag_run
from tests import factories as make


def test_retention_deletes_old_ended_runs_with_their_logs_and_says_so(database_url: str, tmp_path: Path) -> None:
    environment = {
        "DAGD_HOME": str(tmp_path / "home"), "DAGD_DATABASE_URL": database_url, "DAGD_RETENTION__DAYS": "30",
    }  # fmt: skip
    settings = load_settings(environment, tmp_path)
    database = make.opened(database_url)
    with database.write() as connection:
        dag, version = make.store_dag(connection, make.spec())
        transitions.insert_runs(connection, [make.run(dag, version, number) for number in (1, 2, 3)])
        now = dialects.clock(connection)
        old, young = now - 31 * DAY_US, now - 29 * DAY_US
        connection.execute(text("UPDATE dag_run SET state = 10, ended_at = :at WHERE id = 1"), {"at": old})
        connection.execute(text("UPDATE dag_run SET state = 10, ended_at = :at WHERE id = 2"), {"at": young})
    logs = settings.log_folder / str(dag)
    for number in (1, 2, 3):
        (logs / str(number)).mkdir(parents=True)
    assert Chores(settings, database).forget_old_runs() == 1
    with database.read() as connection:
        assert sorted(connection.execute(select(dag_run.c.id)).scalars()) == [2, 3]
        assert connection.execute(select(audit.c.action)).scalars().all() == ["retention"]
    assert sorted(path.name for path in logs.iterdir()) == ["2", "3"]
    database.close()
