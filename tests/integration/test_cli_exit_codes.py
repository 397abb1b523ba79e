"""Exit codes, and that no input whatever gives a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.cli_kit import World, make_world


@pytest.fixture
def world(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return make_world(sqlite_url, tmp_path, monkeypatch)


CODES: list[tuple[int, str]] = [
    # 2: what cannot be understood
    (2, "nonsense"),
    (2, "dags nonsense"),
    (2, "runs show sales"),
    (2, "logs sales/m-1"),
    (2, "logs sales/m-1/one"),
    (2, "logs sales/m-1/extract --grep ("),
    (2, "trigger sales -c {"),
    (2, "trigger sales -c NaN"),
    (2, "trigger sales -p nothing"),
    (2, "trigger sales --run-id a/b"),
    (2, "trigger sales --logical-date yesterday"),
    (2, "trigger sales --logical-date 0001-01-01"),
    (2, "trigger sales --logical-date 9999-12-31T23:59:59Z"),
    (2, "runs list --limit -1"),
    (2, "runs list --tz Nowhere/City"),
    (2, "runs list -o xml"),
    (2, "pools set etl many"),
    (2, "pools set a/b 3"),
    (2, "tasks clear sales/m-1/load"),
    (2, "runs cancel sales/m-3"),
    (2, "runs mark sales/m-1 --state skipped -y"),
    (2, "connections set x --uri nothing"),
    (2, "connections set x --extra {"),
    (2, "variables set k"),
    (2, "db clean --before never -y"),
    (2, "schedules preview 61_*_*_*_*"),
    (2, "schedules preview @daily --dst twice"),
    # 3: what is not there
    (3, "runs show nope/latest"),
    (3, "runs show sales/nope"),
    (3, "runs show marts/latest-failed"),
    (3, "runs show sales/m-"),
    (3, "runs list nope"),
    (3, "dags show nope"),
    (3, "dags next nope"),
    (3, "dags next nope.py"),
    (3, "dags check nope.py"),
    (3, "dags source sales --version 9"),
    (3, "tasks show sales/m-1/nope"),
    (3, "tasks show sales/m-1/extract/0"),
    (3, "tasks show sales/m-1/one/7"),
    (3, "tasks show sales/m-1/one/x"),
    (3, "tasks show a/b/c/d/e"),
    (3, "tasks clear sales/m-1/nope -y"),
    (3, "tasks clear sales/m-1/one/7 -y"),
    (3, "tasks mark nope/m-1/load --state success -y"),
    (3, "logs sales/m-1/extract --try 9"),
    (3, "logs sales/m-3/load"),
    (3, "trigger nope"),
    (3, "dags pause nope"),
    (3, "pools delete nope -y"),
    (3, "variables get nope"),
    (3, "variables delete nope -y"),
    (3, "connections get nope"),
    (3, "assets events nope"),
    (3, "config get nope"),
    (3, "why nope"),
    (3, "why sales/m-1/nope"),
    (3, "deadlines ack sales/m-1"),
    # 4: what conflicts with what is
    (4, "trigger sales -c []"),
    (4, "trigger sales -c null"),
    (4, "trigger sales -p must=-1"),
    (4, "trigger sales -p must=x"),
    (4, "trigger sales --run-id scheduled__x"),
    (4, "trigger sales --run-id m-1"),
    (4, "trigger sales --key k2"),
    (4, "runs cancel sales/m-1 -y"),
    (4, "runs delete sales/m-3 -y"),
    (4, "tasks clear sales/m-1/extract -y"),
    (4, "tasks kill sales/m-1/load -y"),
    (4, "pools delete default_pool -y"),
    # 1: the thing itself failed
    (1, "dags errors"),
    (1, "health"),
    # 0
    (0, "dags list"),
    (0, "dag list"),
    (0, "datasets list"),
    (0, "sla list"),
    (0, "run show sales/latest"),
    (0, "logs sales/m-1/extract"),
    (0, "tasks clear sales/m-1/load+ --dry-run"),
    (0, "db current"),
    (0, "db check"),
    (0, "config show --origin"),
    (0, "config check"),
    (0, "dags graph sales"),
    (0, "dags next marts"),
    (0, "audit list"),
    (0, "version"),
    (0, "why sales"),
    (0, "why sales/m-2/report"),
]


@pytest.mark.parametrize("code,words", CODES, ids=lambda part: str(part))
def test_the_exit_code_says_what_kind_of_answer_it_is(world: World, code: int, words: str) -> None:
    done = world.run(*(word.replace("_*", " *") for word in words.split()))
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.stderr
    if code in (2, 3, 4):
        assert done.stderr
        assert not done.stdout


@pytest.mark.parametrize(
    "words,hint",
    [
        ("runs show sles/latest", "sales"), ("tasks show sales/m-1/laod", "load"), ("runs show sales/n-1", "m-1"),
        ("dags lst", "list"), ("assets show raw.order", "raw.orders"), ("config get agent.slot", "agent.slots"),
    ],
)  # fmt: skip
def test_a_misspelt_name_gets_a_suggestion(world: World, words: str, hint: str) -> None:
    done = world.run(*words.split())
    assert "Did you mean" in done.stderr
    assert repr(hint) in done.stderr


ODD = [
    "\0", "a\0b", "🦄🦄🦄", "x" * 5000, "../../etc/passwd", "a/b/c/d/e/f", "", " ", "-", "--", "'; DROP TABLE dag;--",
    "\udcff", "sales/", "/sales", "sales//load", "%", "_", "{}", "\x1b[31mred", "sales/m-1/one/-9", "sales/m-1/+",
    "sales/m-1/++", "sales/m-1/one/99999999999999999999", "nan", "\n", "ＡＢＣ", "sales/latest/\0", "٣",
]  # fmt: skip
PLACES = [
    "dags show X", "dags next X", "dags pause X", "dags source X", "dags graph X", "dags delete X -y", "dags check X",
    "dags reparse X", "runs list X", "runs show X", "runs cancel X -y", "runs delete X -y", "runs clear X -y",
    "runs mark X --state success -y", "runs list --since X", "runs list --key X", "tasks list X", "tasks show X",
    "tasks tries X", "tasks clear X -y", "tasks kill X -y", "tasks mark X --state failed -y", "logs X", "trigger X",
    "logs sales/m-1/extract --grep X", "trigger sales -c X", "trigger sales -p X", "trigger sales --key X",
    "trigger sales --run-id X", "trigger sales --logical-date X", "pools set X 1", "pools set p X", "pools delete X -y",
    "pools set p 1 --description X", "variables get X", "variables set X v", "variables set k X",
    "variables delete X -y",
    "connections get X", "connections set X --type http", "connections set c --uri X", "connections set c --extra X",
    "connections set c --password X", "assets show X", "assets events X", "assets deps X", "deadlines list X",
    "deadlines ack X", "audit list X", "audit list --action X", "schedules preview X",
    "schedules preview @daily --tz X",
    "schedules preview @daily --after X", "schedules preview @daily --dst X", "config get X", "db clean --before X -y",
    "runs list --tz X", "why X", "why sales/X", "X", "dags X", "tasks list sales/X", "runs show sales/X",
    "tasks show sales/m-1/X",
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_odd_inputs_are_answered_never_crashed_on(world: World, place: str) -> None:
    with world.write() as connection:
        world.silence(connection)
    for odd in ODD:
        done = world.run(*(odd if word == "X" else word for word in place.split(" ")))
        assert done.exit_code in (0, 2, 3, 4), (odd, done.exit_code, done.output)
        assert "Traceback" not in done.output


def test_a_database_that_is_not_there_is_exit_5(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGD_DATABASE_URL", f"sqlite:///{tmp_path / 'none.db'}")
    for words in ("dags list", "health", "trigger sales", "pools set p 1"):
        done = world.run(*words.split())
        assert done.exit_code == 5
        assert "dagd db migrate" in done.stderr
    assert not (tmp_path / "none.db").exists()


def test_a_file_that_is_no_database_is_exit_5(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.db").write_text("this is no database, and longer than the header of one" * 20)
    monkeypatch.setenv("DAGD_DATABASE_URL", f"sqlite:///{tmp_path / 'text.db'}")
    assert world.run("dags", "list").exit_code == 5


@pytest.mark.parametrize("url", ["nonsense", "mysql://h/db", "postgresql://127.0.0.1:1/none"])
def test_a_url_that_leads_nowhere_is_exit_5(world: World, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGD_DATABASE_URL", url)
    done = world.run("dags", "list")
    assert done.exit_code == 5
    assert "Traceback" not in done.output


def test_wrong_settings_are_told_all_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGD_AGENT__SLOT", "3")
    monkeypatch.setenv("DAGD_AGENT__SLOTS", "many")
    done = world.run("config", "check")
    assert done.exit_code == 1
    assert "'agent.slots'" in done.stdout
    assert "many" in done.stdout
    assert world.run("dags", "list").exit_code == 2
