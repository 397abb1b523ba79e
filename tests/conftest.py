"""What all tiers share: the tier's marker, the two databases, and a process free of the caller's settings."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.databases import migrate
from tests.postgres import NoPostgres, Server, SessionPostgres, find_source

TIERS = ("unit", "property", "simulation", "store", "integration", "e2e", "chaos", "benchmark", "house")
REAL_PROCESSES = ("integration", "e2e", "chaos", "benchmark")
POSTGRES = pytest.StashKey[SessionPostgres]()

# A slow machine is no failure of a property. DAGD_TEST_EXAMPLES=5000 searches longer.
hypothesis.settings.register_profile("dagd", deadline=None, print_blob=True)
hypothesis.settings.load_profile("dagd")
if "DAGD_TEST_EXAMPLES" in os.environ:
    hypothesis.settings.register_profile("long", deadline=None, max_examples=int(os.environ["DAGD_TEST_EXAMPLES"]))
    hypothesis.settings.load_profile("long")


def pytest_configure(config: pytest.Config) -> None:
    """Forget the caller's DAGD_* settings, and know where the session's Postgres will come from."""
    for name in [name for name in os.environ if name.startswith("DAGD_") and not name.startswith("DAGD_TEST_")]:
        del os.environ[name]
    given = getattr(config, "workerinput", {}).get("postgres_url")
    config.stash[POSTGRES] = SessionPostgres(given)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the session's Postgres if it was started."""
    if POSTGRES in config.stash:
        config.stash[POSTGRES].close()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Under xdist one process starts Postgres, and its workers are told where it is."""
    try:
        node.workerinput["postgres_url"] = node.config.stash[POSTGRES].url()  # type: ignore[attr-defined]
    except NoPostgres:
        pass  # each worker finds the same and fails its Postgres tests


def pytest_report_header() -> list[str]:
    """Which databases this run tests with."""
    source = find_source()
    return [
        f"databases: SQLite {sqlite3.sqlite_version}, the library of this Python",
        f"databases: {source.title if source else 'NO POSTGRES FOUND: its tests will fail'}",
    ]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test's tier is its folder."""
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        if folder not in TIERS:
            raise pytest.UsageError(f"{item.nodeid}: tests live in one of tests/{{{','.join(TIERS)}}}/")
        item.add_marker(folder)
        if folder in REAL_PROCESSES:
            item.add_marker(pytest.mark.xdist_group("real processes"))


# --- SQLite ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    """A SQLite database that does not exist yet."""
    return f"sqlite:///{tmp_path / 'dagd.db'}"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file; copied, never opened."""
    path = tmp_path_factory.mktemp("template") / "dagd.db"
    migrate(f"sqlite:///{path}")
    path.touch()
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A migrated SQLite database of this test alone."""
    shutil.copyfile(sqlite_template, tmp_path / "dagd.db")
    return f"sqlite:///{tmp_path / 'dagd.db'}"


# --- Postgres --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Server:
    """The session's Postgres; a session without one fails here, it never skips."""
    try:
        return Server(request.config.stash[POSTGRES].url())
    except NoPostgres as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def postgres_template(postgres_server: Server) -> Iterator[str]:
    """The name of a migrated database; copied, never opened."""
    with postgres_server.database() as url:
        migrate(url)
        yield url.partition("?")[0].rpartition("/")[2]


@pytest.fixture
def empty_postgres_url(postgres_server: Server) -> Iterator[str]:
    """An empty Postgres database of this test alone."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: Server, postgres_template: str) -> Iterator[str]:
    """A migrated Postgres database of this test alone."""
    with postgres_server.database(postgres_template) as url:
        yield url


# --- both ------------------------------------------------------------------------------------------------------------

BOTH = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(params=BOTH)
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database of this test alone; the test runs once on SQLite and once on Postgres."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(params=BOTH)
def empty_database_url(request: pytest.FixtureRequest) -> str:
    """As `database_url`, but not migrated."""
    return str(request.getfixturevalue(f"empty_{request.param}_url"))
