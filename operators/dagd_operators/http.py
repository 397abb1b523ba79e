"""HTTP: a request as a task, and a sensor over one. urllib alone, nothing to install."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlencode

from dagd.authoring.operator import BaseOperator
from dagd.authoring.sensor import BaseSensorOperator
from dagd.authoring.store_access import Connection
from dagd.model.errors import NotFound
from dagd.model.triggers import Trigger


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, with the names that users of requests know."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes
    url: str

    @property
    def text(self) -> str:
        """The body as text, in the charset of its Content-Type, else UTF-8."""
        kind = {name.lower(): value for name, value in self.headers.items()}.get("content-type", "")
        charset = kind.partition("charset=")[2].split(";")[0].strip(" \"'") or "utf-8"
        return self.content.decode(charset, "replace")

    @property
    def ok(self) -> bool:
        """Whether the status says success."""
        return self.status_code < 400

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.content)


class HTTPFailed(Exception):
    """An answer with a status that means failure."""


def send(
    method: str, connection: str | Connection | None, endpoint: str, data: Any, headers: Mapping[str, str] | None,
    timeout_s: float,
) -> Response:  # fmt: skip
    """Send one request, by a connection or its id; any status is an answer. Raises OSError when there is none."""
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    base, sent = _base(connection)
    sent.update(headers or {})
    url = endpoint if "://" in endpoint else f"{base.rstrip('/')}/{endpoint.lstrip('/')}" if base else endpoint
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} is no http or https URL")
    body = _body(data, sent)
    if data and method in {"GET", "HEAD", "DELETE"} and isinstance(data, Mapping):
        url, body = f"{url}{'&' if '?' in url else '?'}{urlencode(data, doseq=True)}", None
    request = Request(url, data=body, headers=sent, method=method)
    try:
        with urlopen(request, timeout=timeout_s) as answer:
            return Response(answer.status, dict(answer.headers), answer.read(), answer.url)
    except HTTPError as error:
        with error:
            return Response(error.code, dict(error.headers), error.read(), url)


def _base(connection: str | Connection | None) -> tuple[str, dict[str, str]]:
    """The base URL and headers of a connection; a missing `http_default` is none."""
    if connection is None:
        return "", {}
    if isinstance(connection, Connection):
        return _base_of(connection)
    if "://" in connection:
        return connection, {}
    try:
        return _base_of(Connection.get(connection))
    except NotFound:
        if connection != "http_default":
            raise
        return "", {}


def _base_of(found: Connection) -> tuple[str, dict[str, str]]:
    headers = {name: str(value) for name, value in found.extra_dejson.items()}
    host = found.host or ""
    base = host if "://" in host else f"{found.schema or found.conn_type or 'http'}://{host}"
    if found.port:
        base += f":{found.port}"
    if found.login is not None:
        import base64

        pair = f"{found.login}:{found.password or ''}".encode()
        headers["Authorization"] = "Basic " + base64.b64encode(pair).decode("ascii")
    return base, headers


def _body(data: Any, headers: dict[str, str]) -> bytes | None:
    if data is None or data == {}:
        return None
    if isinstance(data, (bytes, bytearray)):
        return bytes(data)
    if isinstance(data, str):
        return data.encode("utf-8")
    kind = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
    if "json" in kind or not isinstance(data, Mapping):
        headers.setdefault("Content-Type", "application/json")
        return json.dumps(data).encode("utf-8")
    headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
    return urlencode(data, doseq=True).encode("ascii")


class HttpOperator(BaseOperator):
    """Sends a request; the value is the answer's text, or what `response_filter` makes of it. From 400 on it fails."""

    template_fields: Sequence[str] = ("endpoint", "data", "headers")
    template_ext: Sequence[str] = (".json",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"headers": "json", "data": "py"}
    default_isolation = "warm"
    ui_color = "#f4a460"

    def __init__(
        self,
        *,
        endpoint: str = "",
        method: str = "POST",
        data: Any = None,
        headers: dict[str, str] | None = None,
        http_conn_id: str = "http_default",
        response_check: Callable[..., bool] | None = None,
        response_filter: Callable[..., Any] | None = None,
        log_response: bool = False,
        timeout: float = 60,
        extra_options: dict[str, Any] | None = None,
        deferrable: bool = False,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        del deferrable
        self.endpoint, self.method, self.data, self.headers = endpoint, method.upper(), data, headers
        self.http_conn_id, self.log_response = http_conn_id, log_response
        self.response_check, self.response_filter = response_check, response_filter
        self.timeout = float((extra_options or {}).get("timeout", timeout))

    def depends_on_user_code(self) -> bool:
        """When functions of the user's judge the answer."""
        return self.response_check is not None or self.response_filter is not None

    def execute(self, context: Any) -> Any:
        """Send the request. Raises HTTPFailed."""
        del context
        answer = send(self.method, self.http_conn_id, self.endpoint, self.data, self.headers, self.timeout)
        if self.log_response:
            self.log.info("%s", answer.text)
        if not answer.ok:
            raise HTTPFailed(f"{self.method} {answer.url} answered {answer.status_code}: {answer.text[:500]}")
        if self.response_check is not None and not self.response_check(answer):
            raise HTTPFailed(f"response_check refused the answer of {answer.url}")
        return self.response_filter(answer) if self.response_filter else answer.text


SimpleHttpOperator = HttpOperator


class HttpSensor(BaseSensorOperator):
    """Waits for an answer that is no error and passes `response_check`. A 404 means not yet; other errors fail."""

    template_fields: Sequence[str] = ("endpoint", "request_params", "headers")
    default_isolation = "warm"

    def __init__(
        self,
        *,
        endpoint: str,
        http_conn_id: str = "http_default",
        method: str = "GET",
        request_params: Any = None,
        headers: dict[str, str] | None = None,
        response_check: Callable[..., Any] | None = None,
        response_error_codes_allowlist: Sequence[str] | None = None,
        extra_options: dict[str, Any] | None = None,
        request_timeout: float = 60,
        deferrable: bool = False,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        del deferrable
        self.endpoint, self.http_conn_id, self.method = endpoint, http_conn_id, method.upper()
        self.request_params, self.headers, self.response_check = request_params, headers, response_check
        self.allowed_codes = [str(code) for code in response_error_codes_allowlist or ("404",)]
        self.request_timeout = float((extra_options or {}).get("timeout", request_timeout))

    def depends_on_user_code(self) -> bool:
        """When a function of the user's judges the answer."""
        return self.response_check is not None

    def poke(self, context: Any) -> Any:
        """Ask once. Raises HTTPFailed."""
        del context
        answer = send(
            self.method, self.http_conn_id, self.endpoint, self.request_params, self.headers, self.request_timeout
        )
        if not answer.ok:
            if str(answer.status_code) in self.allowed_codes:
                return False
            raise HTTPFailed(f"{self.method} {answer.url} answered {answer.status_code}: {answer.text[:500]}")
        return self.response_check(answer) if self.response_check else True

    def wait_trigger(self) -> Trigger | None:
        """The same question without a process; not with a function of the user's, or a body."""
        if self.response_check is not None or not (self.request_params is None or self.method == "GET"):
            return None
        return {
            "kind": "http", "url": self.endpoint or "/", "method": self.method, "data": self.request_params,
            "headers": dict(self.headers) if self.headers else None, "conn_id": self.http_conn_id,
            "not_yet": [int(code) for code in self.allowed_codes], "timeout_s": self.request_timeout,
        }  # fmt: skip
