"""What lies in the DAG folder, what its files import, and when their content counts as changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dagd.parsing.closure import closure, content_hash, imported_modules, read_text
from dagd.parsing.sweep import DANGLING, scan


def names(folder):
    return sorted(os.path.relpath(path, folder) for path in scan(str(folder)))


def put(folder, *paths, text=""):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def test_python_files_are_found_in_all_visible_folders(tmp_path):
    put(
        tmp_path,
        "a.py",
        "sub/b.py",
        "sub/deep/c.py",
        "note.txt",
        ".hidden.py",
        ".git/x.py",
        "__pycache__/y.py",
        "sub/__init__.py",
    )
    assert names(tmp_path) == ["a.py", "sub/__init__.py", "sub/b.py", "sub/deep/c.py"]


def test_links_to_files_are_followed_and_links_to_folders_are_not(tmp_path):
    put(tmp_path, "out/real.py", "out/folder/x.py")
    folder = tmp_path / "dags"
    folder.mkdir()
    (folder / "link.py").symlink_to(tmp_path / "out" / "real.py")
    (folder / "linked").symlink_to(tmp_path / "out" / "folder")
    (folder / "linked.py").symlink_to(tmp_path / "out" / "folder")
    (folder / "dangling.py").symlink_to(tmp_path / "nowhere.py")
    found = scan(str(folder))
    assert sorted(os.path.basename(path) for path in found) == ["dangling.py", "link.py"]
    assert found[str(folder / "dangling.py")] == DANGLING


def test_a_stamp_changes_with_its_file(tmp_path):
    put(tmp_path, "a.py")
    before = scan(str(tmp_path))
    put(tmp_path, "a.py", text="x = 1\n")
    assert scan(str(tmp_path)) != before


IGNORES = [
    ("b.py", ["a.py", "sub/c.py"]),
    ("sub/", ["a.py", "b.py"]),
    ("sub", ["a.py", "b.py"]),
    ("*.py\n!a.py", ["a.py"]),
    ("# note\n\nsub/*.py", ["a.py", "b.py"]),
    ("[ab].py", ["sub/c.py"]),
]


@pytest.mark.parametrize("rules,left", IGNORES)
@pytest.mark.parametrize("file", [".dagdignore", ".airflowignore"])
def test_ignored_files_are_left_out(rules, left, file, tmp_path):
    put(tmp_path, "a.py", "b.py", "sub/c.py")
    (tmp_path / file).write_text(rules)
    assert names(tmp_path) == left


def test_an_ignore_file_speaks_of_its_own_folder(tmp_path):
    put(tmp_path, "a.py", "sub/a.py", "sub/b.py")
    (tmp_path / "sub" / ".dagdignore").write_text("a.py")
    assert names(tmp_path) == ["a.py", "sub/b.py"]


def test_a_missing_folder_is_empty(tmp_path):
    assert scan(str(tmp_path / "none")) == {}


IMPORTS = [
    ("import a", ["a"]),
    ("import a, b.c as d", ["a", "b.c"]),
    ("from a.b import (c,\n   d as e)", ["a.b", "a.b.c", "a.b.d"]),
    ("from a import \\\n   b", ["a", "a.b"]),
    ("from . import x\nfrom ..p import y", [".", ".x", "..p", "..p.y"]),
    ("def f():\n    if x: import late", ["late"]),
    ("x = 1; import a  # note", ["a"]),
    ("importlib.import_module('a.b')\n__import__(\"c\")", ["a.b", "c"]),
    ("from a import *", ["a"]),
    ("important = 5\nfrom_x = 1", []),
]


@pytest.mark.parametrize("text,found", IMPORTS)
def test_imports_are_read_without_a_syntax_tree(text, found):
    assert sorted(imported_modules(text)) == sorted(found)


def test_the_closure_holds_every_local_module_and_nothing_else(tmp_path):
    put(tmp_path, "d.py", text="import h1\ndef f():\n    from pkg.inner import thing\nimport json, os.path")
    put(tmp_path, "h1.py", text="import h2, d")
    put(tmp_path, "h2.py", "other.py", "pkg/__init__.py", "json.py")
    put(tmp_path, "pkg/inner.py", text="from . import sibling\nfrom .gone import x")
    put(tmp_path, "pkg/sibling.py")
    found = {os.path.relpath(path, tmp_path) for path in closure(str(tmp_path / "d.py"), str(tmp_path))}
    assert found == {"d.py", "h1.py", "h2.py", "pkg/__init__.py", "pkg/inner.py", "pkg/sibling.py", "json.py"}


def test_a_file_in_a_folder_sees_its_neighbours(tmp_path):
    put(tmp_path, "team/d.py", text="import near, far")
    put(tmp_path, "team/near.py", "far.py")
    found = {os.path.relpath(path, tmp_path) for path in closure(str(tmp_path / "team" / "d.py"), str(tmp_path))}
    assert found == {"team/d.py", "team/near.py", "far.py"}


def test_the_hash_follows_every_file_of_the_closure(tmp_path):
    put(tmp_path, "d.py", text="import h")
    put(tmp_path, "h.py", "other.py")
    before = content_hash(str(tmp_path / "d.py"), str(tmp_path))
    put(tmp_path, "other.py", text="x = 1")
    assert content_hash(str(tmp_path / "d.py"), str(tmp_path)) == before
    put(tmp_path, "h.py", text="x = 1")
    assert content_hash(str(tmp_path / "d.py"), str(tmp_path)) != before


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"# coding: nope\n", b"a\0b", b"# coding: latin-1\n\xe9"])
def test_any_bytes_can_be_hashed(raw, tmp_path):
    (tmp_path / "d.py").write_bytes(raw)
    assert content_hash(str(tmp_path / "d.py"), str(tmp_path))
    assert isinstance(read_text(str(tmp_path / "d.py")), str)


def test_a_relative_import_does_not_lead_out_of_the_folder(tmp_path):
    put(tmp_path, "outside.py", "dags/__init__.py")
    put(tmp_path, "dags/d.py", text="from .. import outside")
    found = {
        os.path.relpath(path, tmp_path) for path in closure(str(tmp_path / "dags" / "d.py"), str(tmp_path / "dags"))
    }
    assert found == {"dags/d.py"}


def test_a_link_to_itself_is_listed_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "loop.py").symlink_to("loop.py")
    (tmp_path / "good.py").write_text("", "utf-8")
    assert {os.path.basename(path) for path in scan(str(tmp_path))} == {"loop.py", "good.py"}
    assert scan(str(tmp_path))[str(tmp_path / "loop.py")] == DANGLING
