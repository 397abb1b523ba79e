"""Which version a launch gets: the announced one, anew when what its file read from variables is old."""

from __future__ import annotations

import time

import pytest

from dagd.agent.versions import FRESH_S, Versions

FRAME = {"t": "version", "id": 1, "dag_id": "d", "content": "c", "file": "d.py", "folder": "/dags", "sources": {}}
SIBLING = {"t": "version", "id": 2, "dag_id": "e", "content": "c"}


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How many seconds have passed."""
    passed = [0.0]
    began = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: began + passed[0])
    return passed


def test_a_version_that_read_no_variable_stays(later: list[float]) -> None:
    versions = Versions()
    versions.learn("link", FRAME)
    first = versions.find(1)
    later[0] = 10 * FRESH_S
    assert versions.find(1) is first


def test_a_version_that_read_variables_is_replaced_when_they_are_old(later: list[float]) -> None:
    versions = Versions()
    versions.learn("link", FRAME)
    first = versions.find(1)
    assert first is not None
    first.content.read_at = time.monotonic()
    first.content.secrets.append("s3cret")
    later[0] = FRESH_S - 1
    assert versions.find(1) is first
    later[0] = FRESH_S + 1
    second = versions.find(1)
    assert second is not None
    assert (second is first, second.key == first.key, second.encoded) == (False, False, first.encoded)
    old, new = first.content, second.content
    assert (old.is_replaced, old.secrets, new.is_replaced, new.secrets) == (True, ["s3cret"], False, [])
    versions.learn("another", FRAME)
    assert versions.find(1) is second, "the same frame from another scheduler"
    versions.forget("link")
    assert versions.find(1) is second
    versions.forget("another")
    assert versions.find(1) is None


def test_the_versions_of_one_content_are_imported_anew_once(later: list[float]) -> None:
    versions = Versions()
    for frame in (FRAME, SIBLING):
        versions.learn("link", frame)
    first, sibling = versions.find(1), versions.find(2)
    assert first is not None
    assert sibling is not None
    assert first.content is sibling.content
    first.content.read_at = time.monotonic()
    later[0] = FRESH_S + 1
    renewed, renewed_sibling = versions.find(1), versions.find(2)
    assert renewed is not None
    assert renewed_sibling is not None
    assert renewed.content is renewed_sibling.content
    assert renewed.content is not first.content


def test_a_content_that_was_never_told_is_no_version() -> None:
    with pytest.raises(KeyError):
        Versions().learn("link", SIBLING)
