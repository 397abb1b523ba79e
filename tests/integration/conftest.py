"""What tests of test runs share."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagd.model.settings import Settings, load_settings


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a home and a DAG folder of the test alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAGD_HOME", str(tmp_path / "home"))
    (tmp_path / "dags").mkdir()
    monkeypatch.setenv("DAGD_DAGS_FOLDER", str(tmp_path / "dags"))
    return load_settings()
