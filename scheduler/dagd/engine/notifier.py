"""Delivering the outbox: alerts to log, webhook or mail; at least once, with attempts and errors visible."""

from __future__ import annotations

import json
import logging
import smtplib
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import EmailMessage
from http.client import HTTPException
from typing import Any
from urllib.parse import unquote, urlsplit

from dagd.model.settings import Settings
from dagd.store import outbox
from dagd.store.database import Database

LOG = logging.getLogger("dagd.notifier")
BATCH = 50
TIMEOUT_S = 10
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5, 3600


class Notifier:
    """Delivers open rows of the outbox; callbacks are launches of the scheduler's and not its business."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings, self._database = settings, database

    def poll(self) -> int:
        """Deliver what is due; returns how many rows were delivered."""
        with self._database.read() as connection:
            rows = outbox.due(connection, BATCH)
        delivered = 0
        for row in rows:
            error = self._deliver(row.topic, row.subject, json.loads(row.payload))
            pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(row.tries, 12))
            with self._database.write() as connection:
                outbox.close(connection, row.id, error, pause * 1_000_000)
            delivered += error is None
        return delivered

    def _deliver(self, topic: str, subject: str, payload: dict[str, Any]) -> str | None:
        """None when every channel took it, else the error's sentence."""
        LOG.warning("%s: %s %s", topic, subject, json.dumps(payload))
        url, to = self._settings["notify.webhook_url"], self._settings["notify.email_to"]
        text = f"{topic}: {payload.get('dag_id')} {subject}"
        channels: list[tuple[str, Callable[[], None]]] = []
        if url:
            channels.append(("webhook", lambda: self._post(url, {"topic": topic, "text": text, **payload})))
        if to:
            channels.append(("mail", lambda: self._mail(to, topic, payload, subject)))
        errors = []
        for name, send in channels:  # one that fails keeps no other from being told
            try:
                send()
            except (OSError, ValueError, HTTPException, smtplib.SMTPException) as error:
                errors.append(f"{name}: {type(error).__name__}: {error}")
        return "; ".join(errors) or None

    def _post(self, url: str, body: dict[str, Any]) -> None:
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            answer.read(1024)

    def _mail(self, to: str, topic: str, payload: dict[str, Any], subject: str) -> None:
        place = urlsplit(self._settings["notify.smtp_url"] or "smtp://localhost:25")
        message = EmailMessage()
        message["Subject"] = f"[dagd] {topic}: {payload.get('dag_id')} {subject}"
        message["To"], message["From"] = to, f"dagd@{place.hostname}"
        message.set_content(json.dumps(payload, indent=2))
        with smtplib.SMTP(place.hostname or "localhost", place.port or 25, timeout=TIMEOUT_S) as server:
            if place.username:
                server.login(unquote(place.username), unquote(place.password or ""))
            server.send_message(message)
