"""The journal: what a next agent reads, whatever the last one was doing when it died."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dagd.agent import journal
from dagd.agent.journal import Contents, Journal, read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / journal.NAME


def test_a_token_is_open_from_its_launch_to_its_result(path: Path) -> None:
    mine = Journal(path, "one", Contents())
    mine.launched("a")
    mine.launched("b")
    mine.started("a", 12, 345)
    mine.flush()
    assert read(path).open_tries == {"a": (12, 345), "b": (0, 0)}
    mine.resulted("a", {"token": "a", "outcome": "succeed"})
    mine.flush()
    past = read(path)
    assert past.open_tries == {"b": (0, 0)}
    assert json.loads(past.results["a"]) == {"token": "a", "outcome": "succeed"}
    mine.acked(["a"])
    mine.flush()
    past = read(path)
    assert (past.results, list(past.ended), past.incarnations) == ({}, ["a"], ["one"])
    assert mine.knows("a")
    assert not mine.knows("c")


def test_nothing_is_written_before_the_turn_ends(path: Path) -> None:
    mine = Journal(path, "one", Contents())
    mine.launched("a")
    assert read(path).open_tries == {}
    assert mine.flush()
    assert read(path).open_tries == {"a": (0, 0)}


def test_a_torn_last_line_is_left_out(path: Path) -> None:
    mine = Journal(path, "one", Contents())
    mine.launched("a")
    mine.resulted("b", {"token": "b", "text": "x\ny"})
    mine.flush()
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    past = read(path)
    assert (past.open_tries, past.results) == ({"a": (0, 0)}, {})


def test_the_next_journal_keeps_what_is_not_acknowledged(path: Path) -> None:
    first = Journal(path, "one", Contents())
    for token in ("a", "b", "c"):
        first.launched(token)
    first.resulted("a", {"token": "a"})
    first.resulted("b", {"token": "b"})
    first.acked(["b"])
    first.flush()
    second = Journal(path, "two", read(path))
    assert (second.knows("a"), second.knows("b"), second.knows("c")) == (True, True, True)
    past = read(path)
    assert (list(past.results), list(past.ended), list(past.open_tries)) == (["a"], ["b"], ["c"])


def test_s3_a_token_that_ended_without_a_launch_is_never_launched(path: Path) -> None:
    """Its scheduler was paused before it could launch; the next one was told that nobody knows it, and ended it."""
    first = Journal(path, "one", Contents())
    first.acked(["late", "late"])
    assert first.knows("late")
    first.resulted("late", {"token": "late"})
    first.acked(["late"])
    assert first.results == {}
    first.flush()
    assert Journal(path, "two", read(path)).knows("late")


def test_a_long_journal_is_compacted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "COMPACT_BYTES", 10_000)
    monkeypatch.setattr(journal, "MOST_ENDED", 10)
    mine = Journal(path, "one", Contents())
    for number in range(2000):
        mine.launched(number)
        mine.resulted(number, {"token": number})
        mine.acked([number])
        mine.flush()
    mine.launched("open")
    mine.flush()
    assert path.stat().st_size < 30_000
    past = read(path)
    assert (1999 in past.ended, "open" in past.open_tries, past.results) == (True, True, {})


def test_a_full_disk_holds_everything_back_until_there_is_room(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Journal(path, "one", Contents())
    mine.launched("a")

    def full(fd: int, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        assert not mine.flush()
    assert mine.flush()
    assert read(path).open_tries == {"a": (0, 0)}


def test_a_journal_is_live_while_its_writer_has_it_open(path: Path) -> None:
    mine = Journal(path, "one", Contents())
    assert journal.is_live(path)
    mine.hand_over()
    assert not path.exists()
    aside = path.with_name("draining.one.journal")
    assert journal.is_live(aside)
    mine.remove_if_settled()
    assert not aside.exists()
