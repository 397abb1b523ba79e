"""Templates cannot leave their sandbox, and what a value holds never becomes code of a shell, a path or a terminal."""

from __future__ import annotations

import io
import json
import os
import subprocess
from pathlib import Path

import pytest

from dagd.agent.logs import safe_path
from dagd.engine.items import read_spilled
from dagd.engine.launcher import log_path
from dagd.observe.talk import Talk
from dagd.runtime.quoting import mark, quote_marked
from tests.unit.runtime_kit import drive, load, value_of

FILE = """
from dagd import DAG, BaseOperator
class Show(BaseOperator):
    template_fields = ("text",)
    def __init__(self, *, text, **arguments):
        super().__init__(**arguments)
        self.text = text
    def execute(self, context):
        return self.text
with DAG("d", %s):
    Show(task_id="show", text=%r)
"""
ESCAPES = [
    "{{ macros.uuid.os.popen('touch pwned').read() }}",
    "{{ macros.uuid.sys.modules['os'].system('touch pwned') }}",
    "{{ macros.dateutil.parser._parser.os }}",
    "{{ macros.dateutil.tz.tz.os.system('touch pwned') }}",
    "{{ macros.uuid['os'].system('touch pwned') }}",
    "{{ (macros.uuid|attr('os')).system('touch pwned') }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''|attr('__class__') }}",
    "{{ ti.__init__.__globals__ }}",
    "{{ dag_run.__class__.__base__.__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.system('touch pwned') }}",
    "{{ self.__init__.__globals__ }}",
    "{{ lipsum.__globals__['os'].popen('touch pwned') }}",
    "{{ '{0.__class__.__mro__}'.format('') }}",
    "{{ '{x.__class__}'.format_map({'x': ''}) }}",
    "{{ ['{0.__class__}']|map('format', '')|list }}",
    "{{ namespace.__init__.__globals__ }}",
    "{% include '../../../../etc/passwd' %}",
    "{% include '/etc/passwd' %}",
    "{{ macros.random.__self__ }}",
    "{{ macros.datetime.__class__.__mro__ }}",
    "{{ task.log.manager.root.__class__.__init__.__globals__ }}",
]


@pytest.mark.parametrize("kind", ["", "render_template_as_native_obj=True"])
@pytest.mark.parametrize("text", ESCAPES)
def test_no_template_leaves_its_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    frame = drive(load(tmp_path, FILE % (kind, text)), "show")
    assert not (tmp_path / "pwned").exists()
    assert frame["outcome"] == "fail" or "class" not in json.dumps(value_of(frame) or ""), frame
    assert "root:" not in json.dumps(frame)


@pytest.mark.parametrize(
    "text, shown",
    [
        ("{{ macros.dateutil.parser.parse('2026-01-02').day }}", "2"),
        ("{{ macros.time.strftime('%Y', macros.time.gmtime(0)) }}", "1970"),
        ("{{ macros.uuid.UUID(int=5).int }}", "5"),
        ("{{ mine.path.join('a', 'b') }}", "a/b"),
    ],
)
def test_what_macros_offer_works_and_a_module_of_the_dag_file_too(tmp_path: Path, text: str, shown: str) -> None:
    loaded = load(tmp_path, "import os\n" + FILE % ("user_defined_macros={'mine': os}", text))
    assert value_of(drive(loaded, "show")) == json.dumps(shown)


@pytest.mark.parametrize(
    "value", ["$(touch pwned)", "`touch pwned`", "'; touch pwned; '", '"; touch pwned; "', "a\ntouch pwned"]
)
@pytest.mark.parametrize(
    "command", ["echo {{ params.x }}", 'echo "{{ params.x }}"', "echo '{{ params.x }}'", "cat <<E\n{{ params.x }}\nE"]
)
def test_a_value_is_data_in_every_place_of_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    rendered = quote_marked(command.replace("{{ params.x }}", mark(value)))
    done = subprocess.run(["bash", "-c", rendered], capture_output=True, text=True)
    assert value in done.stdout
    assert not (tmp_path / "pwned").exists()


def test_paths_of_logs_are_made_of_integers_and_never_lead_out() -> None:
    assert log_path(1, 2, 3, -1, 4) == "1/2/3.-1.4.log"
    for bad in ("../x", "/etc/x", "a/../../x", ""):
        with pytest.raises(ValueError, match="log path"):
            safe_path(bad)


def test_a_value_in_a_file_is_read_only_from_a_plain_file_named_by_a_hash(tmp_path: Path) -> None:
    name = "a" * 64
    (tmp_path / name).write_text("[1]")
    assert read_spilled(tmp_path, name) == "[1]"
    (tmp_path / "secret").write_text("key")
    link, pipe = "b" * 64, "c" * 64
    (tmp_path / link).symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / pipe)
    for bad in ("secret", f"../{tmp_path.name}/secret", str(tmp_path / "secret"), link, pipe, "d" * 64):
        with pytest.raises((ValueError, OSError)):
            read_spilled(tmp_path, bad)


def test_the_terminal_is_shown_no_control_characters() -> None:
    told = io.StringIO()
    Talk(told).say("new", "evil\x1b]0;title\x07\x1b[2J\u202edag\nsecond")
    line = told.getvalue()
    assert line.endswith("evil\\x1b]0;title\\x07\\x1b[2J\\u202edag\\nsecond\n")
