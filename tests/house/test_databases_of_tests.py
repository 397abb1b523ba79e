"""The databases that the tests stand on: found in order, of each test alone, gone afterwards."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.postgres import Cluster, NoPostgres, Server, conninfo, find_source

CHECKOUT = Path(__file__).parents[2]


def fake_server(folder: Path, version: str) -> Path:
    folder.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        (folder / name).write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")
        (folder / name).chmod(0o755)
    return folder


def test_a_named_server_is_taken_first_and_its_password_not_shown():
    source = find_source({"DAGD_TEST_POSTGRES": "postgresql://me:hunter2@db.example/x", "PATH": os.environ["PATH"]})
    assert source is not None
    assert source.url == "postgresql://me:hunter2@db.example/x"
    assert "db.example" in source.title
    assert "hunter2" not in source.title


def test_binaries_on_the_path_come_before_a_wheel(tmp_path):
    source = find_source({"PATH": str(fake_server(tmp_path / "bin", "17.4"))})
    assert source is not None
    assert source.bin_folder == tmp_path / "bin"
    assert "17.4" in source.title


def test_a_server_that_is_too_old_is_passed_over(tmp_path):
    source = find_source({"PATH": str(fake_server(tmp_path / "bin", "9.6.24"))})
    assert source is not None
    assert source.bin_folder != tmp_path / "bin"


@pytest.mark.postgres
def test_the_wheel_of_the_test_extra_serves_a_machine_without_postgres():
    source = find_source({"DAGD_TEST_POSTGRES": "wheel"})
    assert source is not None
    assert source.wheel is not None
    cluster = Cluster(source)
    try:
        cluster.start()
        with Server(cluster.url).database() as url, psycopg.connect(conninfo(url)) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        cluster.remove()
    assert not cluster.folder.exists()


def test_an_unreachable_server_says_what_to_do():
    with pytest.raises(NoPostgres, match="DAGD_TEST_POSTGRES=postgresql://"):
        Server("postgresql://nobody@127.0.0.1:1/x")


@pytest.mark.postgres
def test_a_test_database_is_a_copy_of_its_template_and_dropped_at_the_end(postgres_server):
    with postgres_server.database() as template:
        with psycopg.connect(conninfo(template)) as connection:
            connection.execute("CREATE TABLE mark (n int)")
        name = psycopg.conninfo.conninfo_to_dict(conninfo(template))["dbname"]
        with postgres_server.database(str(name)) as url, psycopg.connect(conninfo(url)) as connection:
            assert connection.execute("SELECT count(*) FROM mark").fetchone() == (0,)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(conninfo(url))


@pytest.mark.postgres
def test_a_database_that_is_not_ours_is_never_dropped(postgres_server):
    with pytest.raises(AssertionError, match="not ours"):
        postgres_server.drop(str(postgres_server.url))


@pytest.mark.postgres
def test_a_database_is_of_one_test_alone(empty_database_url, tmp_path):
    assert empty_database_url.startswith(f"sqlite:///{tmp_path}") or "/dagd_test_" in empty_database_url


# Stands where a shell stands above a test run: starts one that starts a cluster, kills it, and waits until nothing that
# came of it is left. As a subreaper it inherits, and reaps, what the killed run leaves behind.
_ABOVE = """
import ctypes, os, signal, subprocess, sys
ctypes.CDLL(None).prctl(36, 1)
run = subprocess.Popen([sys.executable, "-c", sys.argv[2], sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
folder = run.stdout.readline().decode().strip()
assert os.path.exists(folder + "/data/postmaster.pid"), "no server runs"
run.send_signal(signal.SIGKILL)
try:
    while True:
        os.wait()
except ChildProcessError:
    print(folder)
"""
_RUN = """
import sys; sys.path.insert(0, sys.argv[1])
from tests.postgres import *
source = find_source()
cluster = Cluster(find_source({"DAGD_TEST_POSTGRES": "wheel"}) if source.url else source)
cluster.start()
print(cluster.folder, flush=True); sys.stdin.read()
"""


@pytest.mark.postgres
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_a_cluster_dies_with_a_killed_test_run():
    done = subprocess.run(
        [sys.executable, "-c", _ABOVE, str(CHECKOUT), _RUN], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert folder.name.startswith("dagd-pg-")
    assert not (folder / "data" / "postmaster.pid").exists()
    shutil.rmtree(folder)


@pytest.mark.postgres
def test_nobody_else_enters_the_folder_of_a_cluster(postgres_server):
    folder = postgres_server.url.query.get("host")
    if folder is None:
        pytest.skip("this server was given by DAGD_TEST_POSTGRES: its doors are not ours")
    assert stat.S_IMODE(Path(str(folder)).stat().st_mode) == 0o700
