"""Fixtures of the chaos tier: those of the black-box tier, a Postgres to restart, a disk to fill."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import any_home, home
from tests.postgres import Cluster, find_source

__all__ = ["any_home", "cluster", "home", "small_disk"]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A Postgres of this test alone: it may be restarted."""
    source = find_source({"PATH": os.environ.get("PATH", "")})
    assert source is not None
    found = Cluster(source)
    try:
        found.start()
        yield found
    finally:
        found.remove()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 64 MB. Mounting asks for rights that not every machine gives."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a disk can be filled only where one can be mounted (root): {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)
