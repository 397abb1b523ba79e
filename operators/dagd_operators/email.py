"""Mail as a task."""

from __future__ import annotations

import os
from collections.abc import Sequence
from email.message import EmailMessage
from typing import Any

from dagd.authoring.operator import BaseOperator
from dagd.authoring.store_access import Connection


def _list(value: str | Sequence[str] | None) -> list[str]:
    if value is None:
        return []
    parts = value.replace(";", ",").split(",") if isinstance(value, str) else list(value)
    return [part.strip() for part in parts if part.strip()]


class EmailOperator(BaseOperator):
    """Sends a mail over the connection `conn_id`; its extra may have `from_email`, `starttls`, `ssl`."""

    template_fields: Sequence[str] = ("to", "subject", "html_content", "files", "cc", "bcc")
    template_ext: Sequence[str] = (".html",)
    default_isolation = "warm"
    ui_color = "#e6faf9"

    def __init__(
        self,
        *,
        to: str | Sequence[str],
        subject: str,
        html_content: str,
        files: Sequence[str] | None = None,
        cc: str | Sequence[str] | None = None,
        bcc: str | Sequence[str] | None = None,
        mime_subtype: str = "mixed",
        mime_charset: str = "utf-8",
        conn_id: str = "smtp_default",
        from_email: str | None = None,
        custom_headers: dict[str, str] | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        del mime_subtype
        self.to, self.subject, self.html_content = to, subject, html_content
        self.files, self.cc, self.bcc = list(files or ()), cc, bcc
        self.mime_charset, self.conn_id, self.from_email = mime_charset, conn_id, from_email
        self.custom_headers = dict(custom_headers or {})

    def execute(self, context: Any) -> None:
        """Send the mail."""
        del context
        import smtplib

        server = Connection.get(self.conn_id)
        extra = server.extra_dejson
        message = self.compose(self.from_email or extra.get("from_email") or server.login or "dagd@localhost")
        kind = smtplib.SMTP_SSL if extra.get("ssl") else smtplib.SMTP
        with kind(server.host or "localhost", server.port or (465 if extra.get("ssl") else 25), timeout=30) as smtp:
            if extra.get("starttls"):
                smtp.starttls()
            if server.login and server.password:
                smtp.login(server.login, server.password)
            smtp.send_message(message, to_addrs=[*_list(self.to), *_list(self.cc), *_list(self.bcc)])

    def compose(self, sender: str) -> EmailMessage:
        """The mail itself. Raises ValueError for header values with line breaks."""
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = sender, ", ".join(_list(self.to)), self.subject
        if self.cc:
            message["Cc"] = ", ".join(_list(self.cc))
        for name, value in self.custom_headers.items():
            message[name] = value
        message.set_content(self.html_content, subtype="html", charset=self.mime_charset)
        for path in self.files:
            with open(path, "rb") as file:
                name = os.path.basename(path)
                message.add_attachment(file.read(), maintype="application", subtype="octet-stream", filename=name)
        return message
