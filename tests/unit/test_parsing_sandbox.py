"""A hostile file hurts only itself, and says where."""
# ruff: noqa: E501 - a case of a table, or a line of a DAG file, is one line

from __future__ import annotations

import os

import pytest

from dagd.parsing.closure import content_hash
from dagd.parsing.orphans import children_of_this_process
from dagd.parsing.parse import parse_file
from dagd.parsing.results import Limits, parsed_from_json
from dagd.parsing.sandbox import Sandbox, parse_many

GOOD = "from dagd import DAG, task\nwith DAG('{0}', schedule='@daily'):\n    @task\n    def a(): ...\n    a()\n"
FAST = Limits(wall_s=1.0, cpu_s=0.8, memory_mb=256, output_mb=1)

# name: (text, code, line, words)
HOSTILE = {
    "loop": ("x = 1\nwhile True:\n    pass\n", "DAGD-111", (2, 3), "takes"),
    "sleep": ("import time\ntime.sleep(1000)\n", "DAGD-111", (2,), "longer than 1 s"),
    "deaf": ("while True:\n    try:\n        while True: pass\n    except BaseException: pass\n", "DAGD-111", (None, 1, 2, 3, 4), "takes"),
    "exit": ("import sys\nsys.exit(0)\n", "DAGD-111", (2,), "sys.exit(0)"),
    "hard_exit": ("import os\nos._exit(0)\n", "DAGD-111", (None,), "exit code 0"),
    "segv": ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n", "DAGD-111", (None,), "SIGSEGV"),
    "memory": ("x = 1\ny = bytearray(1 << 30)\n", "DAGD-111", (2,), "memory"),
    "flood": ("while True:\n    print('x' * 9999)\n", "DAGD-111", (None,), "1 MiB of output"),
    "closed": ("import os\nos.closerange(0, 2000)\n", "DAGD-111", (None,), "descriptors"),
    "reopened": ("import os\nos.closerange(0, 2000)\nf = [open('/dev/null', 'w') for _ in range(9)]\n", "DAGD-111", (None,), "descriptors"),
    "parent": ("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n", "DAGD-111", (None,), "parsing process itself"),
    "syntax": ("x = 1\ndef f(:\n", "DAGD-110", (2,), "SyntaxError: invalid syntax"),
    "raises": ("x = 1\ny = nope\n", "DAGD-110", (2,), "NameError: name 'nope'"),
    "liar": ("class E(Exception):\n    def __str__(self): raise RuntimeError\nraise E\n", "DAGD-110", (3,), "E"),
    "nul": ("x = 1\n\0\n", "DAGD-110", (2,), "NUL"),
    "helper_raises": ("import bad_module\n", "DAGD-110", (1,), "ZeroDivisionError"),
    "argument": ("from dagd import DAG\nDAG('d', schedul=None)\n", "DAGD-101", (2,), "'schedul'"),
    "cron": ("from dagd import DAG\nwith DAG('d', schedule='0 0 31 2 *'):\n    pass\n", "DAGD-106", (2,), "never fire"),
    "param": ("from dagd import DAG, Param\nwith DAG('d', schedule='@daily', params={'n': Param('x', type='integer')}):\n    pass\n", "DAGD-122", (2,), "'integer'"),
    "twice": ("from dagd import DAG\na = DAG('same')\nb = DAG('same')\n", "DAGD-107", (3,), "two DAGs"),
}  # fmt: skip


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """One sweep over all of them, good ones between; (folder, results by name)."""
    folder = tmp_path_factory.mktemp("dags")
    for number, (name, case) in enumerate(HOSTILE.items()):
        (folder / f"{name}.py").write_text(case[0])
        (folder / f"good_{number}.py").write_text(GOOD.format(f"good_{number}"))
    (folder / "bad_module.py").write_text("1 / 0\n")
    (folder / "utf.py").write_bytes(b"x = 1\ny = '\xff'\n")
    (folder / "dangling.py").symlink_to(folder / "nowhere.py")
    paths = sorted(str(path) for path in folder.iterdir())
    results = list(parse_many(paths, str(folder), FAST))
    assert sorted(parsed.path for parsed in results) == paths
    return folder, {parsed.file.removesuffix(".py"): parsed for parsed in results}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_has_one_error_with_its_line(name, hostile):
    _, code, lines, words = HOSTILE[name]
    error = hostile[1][name].error
    assert error is not None
    assert (error.code, error.line in lines) == (code, True), error
    assert words in error.message
    assert not hostile[1][name].dags


def test_the_files_beside_them_are_parsed(hostile):
    for number in range(len(HOSTILE)):
        parsed = hostile[1][f"good_{number}"]
        assert (parsed.error, [spec.dag_id for spec in parsed.dags]) == (None, [f"good_{number}"])


def test_bytes_that_are_no_text_and_links_to_nowhere_are_errors(hostile):
    assert (hostile[1]["utf"].error.line, "0xff" in hostile[1]["utf"].error.message) == (2, True)
    assert "leads nowhere" in hostile[1]["dangling"].error.message


def test_an_error_carries_the_users_traceback_alone(hostile):
    text = hostile[1]["helper_raises"].error.traceback
    assert 'bad_module.py", line 1' in text
    assert "parse.py" not in text


def parse_one(folder, text, **given):
    (folder / "d.py").write_text(text)
    (parsed,) = parse_many([str(folder / "d.py")], str(folder), given.pop("limits", FAST), **given)
    return parsed


def test_a_thread_that_stays_makes_the_file_fork_unsafe(tmp_path):
    text = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n" + GOOD.format("d")
    parsed = parse_one(tmp_path, text)
    assert parsed.error is None
    assert "thread" in parsed.dags[0].fork_unsafe


def test_processes_that_a_file_starts_are_ended(tmp_path):
    text = f"import os, time\npid = os.fork()\nif pid == 0:\n    os.setsid()\n    time.sleep(600)\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(pid))\n"
    parsed = parse_one(tmp_path, text + GOOD.format("d"))
    assert parsed.error is None
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_module_of_helpers_is_no_error_and_output_is_kept(tmp_path):
    parsed = parse_one(tmp_path, "print('hello')\nV = 1\n")
    assert (parsed.error, parsed.dags, parsed.output) == (None, (), "hello\n")


def test_variables_can_be_read_while_a_file_is_parsed_and_connections_cannot(tmp_path):
    text = "from dagd import DAG, Variable\nwith DAG(Variable.get('name'), description=Variable.get('none', 'x')):\n    pass\n"
    parsed = parse_one(tmp_path, text, variables={"name": "from_variable"}.get)
    assert (parsed.dags[0].dag_id, parsed.dags[0].description) == ("from_variable", "x")
    parsed = parse_one(tmp_path, "from dagd import Connection\nConnection.get('c')\n")
    assert (parsed.error.line, "inside a task" in str(parsed.error.remedy)) == (2, True)


def test_a_dag_file_sees_no_settings_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGD_DATABASE_URL", "postgresql://u:secret@h/d")
    parsed = parse_one(tmp_path, "import os\nprint(sorted(n for n in os.environ if n.startswith('DAGD')))\n")
    assert parsed.output == "[]\n"


def test_one_file_leaves_nothing_for_the_next(tmp_path):
    first = "import os, sys, builtins\nos.environ['LEFT'] = '1'\nos.chdir('/')\nsys.path.insert(0, '/left')\nimport counter\ncounter.n += 1\nsys.stdout = None\n"
    second = (
        "import os, sys, counter\nprint(os.environ.get('LEFT'), os.getcwd() == '/', '/left' in sys.path, counter.n)\n"
    )
    for name, text in (("a", first), ("b", second), ("counter", "n = 0\n")):
        (tmp_path / f"{name}.py").write_text(text)
    results = {
        p.file: p for p in parse_many([str(tmp_path / "a.py"), str(tmp_path / "b.py")], str(tmp_path), FAST, jobs=1)
    }
    assert results["b.py"].output == f"None {os.getcwd() == '/'} False 0\n"


def test_neighbours_are_found_and_the_standard_library_is_never_shadowed(tmp_path):
    (tmp_path / "json.py").write_text("raise RuntimeError('shadow')\n")
    (tmp_path / "near.py").write_text("V = 'near'\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "d.py").write_text(
        "import sys, json, near, beside\nprint(near.V, beside.V, json.dumps(1), sys.path[-1])\n"
    )
    (tmp_path / "sub" / "beside.py").write_text("V = 'beside'\n")
    (parsed,) = parse_many([str(tmp_path / "sub" / "d.py")], str(tmp_path), FAST)
    assert parsed.error is None
    assert parsed.output == f"near beside 1 {tmp_path}\n"
    assert {os.path.relpath(path, tmp_path) for path in parsed.sources} == {
        "sub/d.py",
        "near.py",
        "sub/beside.py",
        "json.py",
    }


def test_a_dag_belongs_to_the_file_that_was_being_imported_when_it_was_made(tmp_path):
    (tmp_path / "a.py").write_text("from dagd import DAG\nfrom b import shared, make\nlocal = make('from_a')\n")
    (tmp_path / "b.py").write_text("from dagd import DAG\nshared = DAG('from_b')\ndef make(name): return DAG(name)\n")
    found = {
        p.file: [spec.dag_id for spec in p.dags]
        for p in parse_many([str(tmp_path / n) for n in ("a.py", "b.py")], str(tmp_path), FAST)
    }
    assert found == {"a.py": ["from_a"], "b.py": ["from_b"]}


def test_template_files_that_tasks_name_are_part_of_the_version(tmp_path):
    (tmp_path / "run.sh").write_text("echo {{ ds }}")
    text = "from dagd import DAG\nfrom dagd_operators.bash import BashOperator\nwith DAG('d'):\n    BashOperator(task_id='a', bash_command='run.sh')\n"
    before = parse_one(tmp_path, text)
    assert before.sources[str(tmp_path / "run.sh")] == "echo {{ ds }}"
    (tmp_path / "run.sh").write_text("echo changed")
    assert parse_one(tmp_path, text).content_hash != before.content_hash


def test_lint_names_what_surprises_later(tmp_path):
    text = (
        "from datetime import datetime\nfrom dagd import DAG\nfrom dagd_operators.bash import BashOperator\nNOW = datetime.now()\n"
        "def fine(): return datetime.now()\nwith DAG('d', start_date=datetime(2024, 1, 1)):\n"
        "    BashOperator(task_id='a', bash_command='ls {{ params.x | raw }}')\n"
    )
    findings = parse_one(tmp_path, text, lint=True).findings
    assert [(one.code, one.line) for one in findings] == [("DAGD-L002", 4), ("DAGD-L005", 6), ("DAGD-L007", 7)]


def test_results_cross_a_pipe_unchanged(tmp_path):
    (tmp_path / "d.py").write_text(GOOD.format("d"))
    parsed = parse_file(str(tmp_path / "d.py"), str(tmp_path))
    assert parsed_from_json(parsed.to_json()) == parsed


def test_closing_a_sandbox_leaves_no_process(tmp_path):
    (tmp_path / "d.py").write_text("import time\ntime.sleep(600)\n")
    (tmp_path / "g.py").write_text(GOOD.format("g"))
    before = set(children_of_this_process())
    with Sandbox(str(tmp_path), Limits(wall_s=60)) as sandbox:
        results = sandbox.parse([str(tmp_path / "g.py"), str(tmp_path / "d.py")])
        assert next(results).file == "g.py"
        assert set(children_of_this_process()) - before
    assert set(children_of_this_process()) == before


def test_the_same_sandbox_parses_again_after_a_change(tmp_path):
    path = tmp_path / "d.py"
    with Sandbox(str(tmp_path), FAST) as sandbox:
        path.write_text("nope\n")
        assert [parsed.error.line for parsed in sandbox.parse([str(path)])] == [1]
        path.write_text(GOOD.format("fixed"))
        assert [parsed.dags[0].dag_id for parsed in sandbox.parse([str(path)])] == ["fixed"]


def test_a_file_is_not_blamed_for_what_the_one_before_it_broke(tmp_path):
    (tmp_path / "a.py").write_text("import builtins, os\nbuiltins.__import__ = lambda *args: os._exit(1)\n")
    (tmp_path / "b.py").write_text(GOOD.format("b"))
    found = {
        p.file: p.error
        for p in parse_many([str(tmp_path / "a.py"), str(tmp_path / "b.py")], str(tmp_path), FAST, jobs=1)
    }
    assert found == {"a.py": None, "b.py": None}


def test_a_file_that_stops_the_parsing_process_is_found_and_hurts_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr("dagd.parsing.sandbox.STALL_S", 1.5)
    (tmp_path / "a.py").write_text("import os, signal, time\nos.kill(os.getppid(), signal.SIGSTOP)\ntime.sleep(60)\n")
    (tmp_path / "b.py").write_text(GOOD.format("b"))
    found = {one.file: one for one in parse_many([str(tmp_path / "a.py"), str(tmp_path / "b.py")], str(tmp_path))}
    assert "parsing process itself" in found["a.py"].error.message
    assert [spec.dag_id for spec in found["b.py"].dags] == ["b"]


def test_newcomers_are_parsed_while_more_files_hang_than_there_are_lanes(tmp_path):
    names = [f"hang_{number}" for number in range(6)]
    for name in names:
        (tmp_path / f"{name}.py").write_text("import time\ntime.sleep(1000)\n")
    late = tmp_path / "late.py"

    def come() -> None:
        if not late.exists():
            late.write_text(GOOD.format("late"))
            sandbox.add([str(late)])

    with Sandbox(str(tmp_path), Limits(wall_s=4.0), on_idle=come) as sandbox:
        ended = [one.file for one in sandbox.parse(str(tmp_path / f"{name}.py") for name in names)]
    assert ended[0] == "late.py"
    assert sorted(ended[1:]) == [f"{name}.py" for name in names]


def test_pipes_and_devices_are_no_dag_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, target in {"pipe": str(tmp_path / "pipe"), "zero": "/dev/zero"}.items():
        (tmp_path / f"{name}.py").symlink_to(target)
        with pytest.raises(OSError, match="no regular file"):
            content_hash(str(tmp_path / f"{name}.py"), str(tmp_path))
        (parsed,) = parse_many([str(tmp_path / f"{name}.py")], str(tmp_path), FAST)
        assert "it is no regular file" in parsed.error.message
