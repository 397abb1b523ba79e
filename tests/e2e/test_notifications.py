"""Alerts of missed deadlines, from the DAG file to a web server, a mail server, the log and the callbacks."""

from __future__ import annotations

import base64
import json
import socketserver
import threading
from collections.abc import Iterator
from email import message_from_string
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tests.e2e.home import Home, wait_for

DAGS = """
from datetime import timedelta
import time
from dagd import DAG, Deadline, task

def tell(context):
    print("late", context["dag_run"].run_id, context["ti"].task_id, context["ti"].map_index)

SOON = timedelta(milliseconds=300)

with DAG("late", schedule=None, deadline=[Deadline(within=SOON, after="created", callback=tell)]):
    @task(deadline=Deadline(within=SOON, after="started", by="duration", callback=tell))
    def slow():
        time.sleep(3)
    @task(sla=timedelta(hours=1))
    def in_time(): ...
    slow()
    in_time()
"""


class Web(BaseHTTPRequestHandler):
    """Keeps what is posted; the first time it fails."""

    def do_POST(self) -> None:
        server: Any = self.server
        server.asked += 1
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if server.asked == 1:
            self.send_error(503)
            return
        server.posted.append(body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Silence."""


class Mail(socketserver.StreamRequestHandler):
    """As much of SMTP as a client that logs in needs."""

    def handle(self) -> None:
        server: Any = self.server
        self.say("220 sink")
        while line := self.rfile.readline().decode().rstrip():
            verb = line.split()[0].upper()
            if verb == "EHLO":
                self.say("250-sink\r\n250 AUTH PLAIN")
            elif verb == "AUTH":
                server.logins.append(base64.b64decode(line.split()[2]).decode().split("\0")[1:])
                self.say("235 welcome")
            elif verb == "DATA":
                self.say("354 go on")
                text = ""
                while (part := self.rfile.readline().decode()).rstrip("\r\n") != ".":
                    text += part
                server.mails.append(message_from_string(text))
                self.say("250 kept")
            elif verb == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 fine")

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@pytest.fixture
def web() -> Iterator[Any]:
    server: Any = HTTPServer(("127.0.0.1", 0), Web)
    server.asked, server.posted = 0, []
    yield from served(server)


@pytest.fixture
def mail() -> Iterator[Any]:
    server: Any = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail)
    server.daemon_threads = True
    server.logins, server.mails = [], []
    yield from served(server)


def served(server: Any) -> Iterator[Any]:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_missed_deadlines_reach_every_channel_and_can_be_acknowledged(home: Home, web: Any, mail: Any) -> None:
    home.environment["DAGD_NOTIFY__WEBHOOK_URL"] = f"http://127.0.0.1:{web.server_port}/hook"
    home.environment["DAGD_NOTIFY__EMAIL_TO"] = "ops@example.com"
    home.environment["DAGD_NOTIFY__SMTP_URL"] = f"smtp://me:p%40ss@127.0.0.1:{mail.server_address[1]}"
    home.write("late.py", DAGS)
    process = home.up()
    wait_for(lambda: home.knows("late"))
    assert home.run("trigger", "late", "--wait").returncode == 0
    missed = home.json("deadlines", "list", "late", "--state", "missed")
    assert sorted((one["task_id"] or "", one["state"]) for one in missed) == [("", "missed"), ("slow", "missed")]
    assert [one["state"] for one in home.json("deadlines", "list", "late") if one["task_id"] == "in_time"] == ["met"]

    def told() -> bool:
        return len({one["task_id"] for one in web.posted}) == 2 and len(mail.mails) >= 2

    wait_for(told)
    assert web.asked > len(web.posted), "what the web server refused came again"
    wait_for(lambda: len(mail.mails) > len(web.posted))  # its refusal did not keep the mail back
    for one in web.posted:
        assert (one["topic"], one["dag_id"]) == ("deadline", "late")
        assert one["text"].startswith("deadline: late ")
    subjects = {one["Subject"] for one in mail.mails}
    assert len(subjects) == 2
    assert all(one["To"] == "ops@example.com" for one in mail.mails)
    assert mail.logins[0] == ["me", "p@ss"]
    assert "deadline" in home.output(process) + home.run("logs", "late/latest/slow").stdout

    def callbacks() -> list[str]:
        texts = [path.read_text() for path in home.path.rglob("callback.*.log")]
        return sorted(line.split()[2] for text in texts for line in text.splitlines() if line.startswith("late "))

    assert wait_for(lambda: callbacks() if len(callbacks()) == 2 else []) == ["None", "slow"]
    assert len(home.json("deadlines", "list", "late", "--unseen", "--state", "missed")) == 2
    [seen] = home.json("deadlines", "ack", "late/latest/slow")
    assert seen["acknowledged"] is True
    [left] = home.json("deadlines", "list", "late", "--unseen", "--state", "missed")
    assert left["task_id"] is None
    again = home.run("deadlines", "ack", "late/latest/in_time")
    assert again.returncode == 3, again.stderr
    assert "no missed deadline" in again.stderr
