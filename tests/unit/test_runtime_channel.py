"""Pinned sources, and the private socket of a try."""

from __future__ import annotations

import socket
import threading

import pytest

from dagd.model.errors import NotFound, Refused
from dagd.model.frames import FrameBuffer, encode_frame
from dagd.runtime.channel import Channel, ChannelClosed
from dagd.runtime.entry import load_version
from tests.unit.runtime_kit import drive, value_of


def test_a_version_runs_its_pinned_sources_whatever_lies_in_the_folder_now(tmp_path):
    (tmp_path / "json.py").write_text("raise RuntimeError('shadows the standard library')")
    (tmp_path / "beside.py").write_text("V = 'new'")
    pinned = {
        str(
            tmp_path / "dags.py"
        ): "from dagd import DAG, task\nimport beside, json, gone.inner\nwith DAG('d'):\n    @task\n"
        "    def a():\n        import late\n        return [beside.V, late.V, gone.inner.V, json.dumps(1)]\n    a()\n",
        str(tmp_path / "beside.py"): "V = 'old'",
        str(tmp_path / "late.py"): "V = 'late'",
        str(tmp_path / "gone" / "__init__.py"): "",
        str(tmp_path / "gone" / "inner.py"): "V = 'inner'",
    }
    version = {"id": 1, "dag_id": "d", "file": "dags.py", "folder": str(tmp_path), "sources": pinned}
    assert value_of(drive(load_version(version), "a")) == '["old","late","inner","1"]'
    pinned[str(tmp_path / "beside.py")] = "V = 'older'"
    assert value_of(drive(load_version(version), "a")) == '["older","late","inner","1"]'


@pytest.fixture
def sockets():
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_a_request_waits_for_its_own_answer(sockets):
    ours, theirs = sockets
    channel = Channel(ours)

    def serve():
        frame = FrameBuffer().feed(theirs.recv(65536))[0]
        assert frame == {"t": "request", "id": 1, "kind": "variable", "args": {"key": "k"}}
        theirs.sendall(encode_frame({"t": "reply", "id": 0, "ok": True, "value": "stale"}))
        theirs.sendall(encode_frame({"t": "reply", "id": 1, "ok": True, "value": "v"}))

    server = threading.Thread(target=serve)
    server.start()
    assert channel.request("variable", {"key": "k"}) == "v"
    server.join()


@pytest.mark.parametrize(
    "error,kind,text",
    [
        (
            {"code": "DAGD-201", "what": "no DAG 'x'", "remedy": "Did you mean 'y'?"},
            NotFound,
            "no DAG 'x'. Did you mean 'y'?",
        ),
        ({"code": "DAGD-202", "what": "no"}, Refused, "no"),
        ("plain", Refused, "plain"),
    ],
)
def test_a_refused_request_raises_its_words(sockets, error, kind, text):
    ours, theirs = sockets
    theirs.sendall(encode_frame({"t": "reply", "id": 1, "ok": False, "error": error}))
    with pytest.raises(kind, match=text.replace("?", r"\?")):
        Channel(ours).request("trigger", {})


def test_a_lost_agent_is_an_error_and_not_an_answer(sockets):
    ours, theirs = sockets
    theirs.close()
    with pytest.raises((ChannelClosed, BrokenPipeError)):
        Channel(ours).request("variable", {"key": "k"})
