"""The pytest plugin as its users meet it: pytest in a folder of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^`([\w/.]+)`\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def pytest_in(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("DAGD_", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *words],
        cwd=folder, env={**env, "DAGD_HOME": str(folder / "home")}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path = path.with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_the_examples_of_the_documentation_work(tmp_path: Path) -> None:
    blocks = BLOCK.findall((ROOT / "docs" / "testing.md").read_text())
    assert len(blocks) >= 6
    for name, text in blocks:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    done = pytest_in(tmp_path)
    assert done.returncode == 0, done.stdout
    assert "11 passed" in done.stdout


def test_a_folder_with_errors_says_which_and_where(tmp_path: Path) -> None:
    write(
        tmp_path,
        dags__good="from dagd import DAG\nfrom dagd_operators.empty import EmptyOperator\n"
        "with DAG('good'):\n    EmptyOperator(task_id='a')\n",
        dags__bad="from dagd import DAG\nx = (1,\n",
        test_it="def test_errors(dagbag):\n    assert not dagbag.import_errors\n"
        "def test_missing(dagbag):\n    dagbag.get_dag('goood')\n",
    )
    done = pytest_in(tmp_path, "-o", "dagd_dags_folder=dags")
    assert done.returncode == 1
    assert "bad.py: line 2: DAGD-110: SyntaxError: '(' was never closed" in done.stdout
    assert "Did you mean 'good'?" in done.stdout


def test_a_failed_task_shows_its_log_below_the_assertion(tmp_path: Path) -> None:
    write(
        tmp_path,
        test_it="from dagd import DAG, task\n"
        "with DAG('d') as dag:\n    @task\n    def bad():\n        print('the last word')\n        1 / 0\n    bad()\n"
        "def test_it(run_task):\n    assert run_task(dag, 'bad').state == 'success'\n",
    )
    done = pytest_in(tmp_path)
    assert done.returncode == 1
    assert "ZeroDivisionError: division by zero" in done.stdout
    assert "the last word" in done.stdout


@pytest.mark.parametrize("extra", ["", "dagbag", "frozen_clock"])
def test_who_uses_no_fixture_pays_nothing(tmp_path: Path, extra: str) -> None:
    write(
        tmp_path,
        test_it=f"import sys\ndef test_it({extra}):\n"
        "    ours = sorted(name for name in sys.modules if name.startswith('dagd'))\n"
        "    print('MODULES', len(ours), 'dagd.engine' in ours)\n",
    )
    (tmp_path / "dags").mkdir()
    done = pytest_in(tmp_path, "-s", "-o", "dagd_dags_folder=dags")
    assert done.returncode == 0, done.stdout
    assert ("MODULES 3 False" in done.stdout) == (extra == "")


def test_their_own_fixture_of_the_name_wins(tmp_path: Path) -> None:
    text = "import pytest\n@pytest.fixture\ndef dagbag(): return 5\ndef test_it(dagbag): assert dagbag == 5\n"
    write(tmp_path, test_it=text)
    assert pytest_in(tmp_path).returncode == 0
