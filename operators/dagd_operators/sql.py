"""SQL over any SQLAlchemy URL or connection. sqlalchemy is imported in the task alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from dagd.authoring.operator import BaseOperator
from dagd.authoring.sensor import BaseSensorOperator
from dagd.authoring.store_access import Connection
from dagd.model.errors import WrongArgument
from dagd.model.triggers import Trigger

_DRIVERS = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}


def connection_url(connection: str | Connection) -> str:
    """The SQLAlchemy URL of a connection or of its id; a text that is a URL stays as it is."""
    if isinstance(connection, str) and "://" in connection:
        return connection
    found = Connection.get(connection) if isinstance(connection, str) else connection
    scheme = _DRIVERS.get(found.conn_type, found.conn_type)
    if scheme == "sqlite":
        return f"sqlite:///{found.schema or found.host or ''}"
    user = quote(found.login or "", safe="")
    if found.password is not None:
        user += ":" + quote(found.password, safe="")
    port = f":{found.port}" if found.port else ""
    return f"{scheme}://{user + '@' if user else ''}{found.host or ''}{port}/{found.schema or ''}"


def split_statements(sql: str) -> list[str]:
    """The statements of a script, split at semicolons outside quotes and comments."""
    statements, current, quote_char, at = [], "", "", 0
    while at < len(sql):
        char = sql[at]
        if quote_char:
            quote_char = "" if char == quote_char else quote_char
        elif char in {"'", '"'}:
            quote_char = char
        elif sql.startswith("--", at) or sql.startswith("/*", at):
            mark = "\n" if char == "-" else "*/"
            end = sql.find(mark, at)
            end = len(sql) if end < 0 else end + (len(mark) if char == "/" else 0)
            current, at = current + sql[at:end], end
            continue
        elif char == ";":
            statements.append(current)
            current, at = "", at + 1
            continue
        current, at = current + char, at + 1
    return [one.strip() for one in [*statements, current] if one.strip()]


def _as_plain(value: Any) -> Any:
    """A cell as something that can be handed on."""
    return bytes(value) if isinstance(value, memoryview) else value


def _execute(connection: Any, statement: str, parameters: Any) -> Any:
    import sqlalchemy

    if parameters is None:
        return connection.exec_driver_sql(statement)
    if isinstance(parameters, Mapping):
        return connection.execute(sqlalchemy.text(statement), dict(parameters))
    return connection.exec_driver_sql(statement, tuple(parameters))


class SQLExecuteQueryOperator(BaseOperator):
    """Runs statements in one transaction; the value is the rows of the last one (lists of lists), None without rows.

    `parameters` is a dict for `:name`, or a sequence in the driver's own style.
    """

    template_fields: Sequence[str] = ("sql", "conn_id", "parameters")
    template_ext: Sequence[str] = (".sql", ".json")
    template_fields_renderers: ClassVar[dict[str, str]] = {"sql": "sql", "parameters": "json"}
    default_isolation = "warm"
    ui_color = "#cdaaed"

    def __init__(
        self,
        *,
        sql: str | list[str],
        conn_id: str,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        autocommit: bool = False,
        handler: Callable[[Any], Any] | None = None,
        split_statements: bool | None = None,
        return_last: bool = True,
        show_return_value_in_logs: bool = False,
        database: str | None = None,
        hook_params: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        del database, hook_params
        self.sql, self.conn_id, self.parameters = sql, conn_id, parameters
        self.autocommit, self.handler, self.return_last = autocommit, handler, return_last
        self.split_statements, self.show_return_value_in_logs = split_statements, show_return_value_in_logs

    def depends_on_user_code(self) -> bool:
        """When a function of the user's reads the result."""
        return self.handler is not None

    def execute(self, context: Any) -> Any:
        """Run the statements."""
        import sqlalchemy

        del context
        given = [self.sql] if isinstance(self.sql, str) else list(self.sql)
        if self.split_statements is not False:
            given = [one for text in given for one in split_statements(text)]
        options = {"isolation_level": "AUTOCOMMIT"} if self.autocommit else {}
        engine = sqlalchemy.create_engine(connection_url(self.conn_id), poolclass=sqlalchemy.pool.NullPool, **options)
        results: list[Any] = []
        try:
            with engine.begin() as connection:
                for statement in given:
                    results.append(self._read(_execute(connection, statement, self.parameters)))
        finally:
            engine.dispose()
        last = results[-1] if results else None
        return last if self.return_last or isinstance(self.sql, str) else results

    def _read(self, result: Any) -> Any:
        if self.handler is not None:
            return self.handler(result)
        if not result.returns_rows:
            return None
        return [[_as_plain(value) for value in row] for row in result]


def first_row(connection: str | Connection, sql: str, parameters: Any) -> Any:
    """The first row of a query, None without one."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(connection_url(connection), poolclass=sqlalchemy.pool.NullPool)
    try:
        with engine.begin() as opened:
            return _execute(opened, sql, parameters).fetchone()
    finally:
        engine.dispose()


def is_true_cell(cell: Any) -> bool:
    """Whether the first cell of a query ends a wait."""
    return str(cell) not in {"0", "", "None", "False"}


class SqlSensor(BaseSensorOperator):
    """Waits until the first cell of a query is true (0, '' and '0' are not)."""

    template_fields: Sequence[str] = ("sql", "conn_id", "parameters")
    template_ext: Sequence[str] = (".sql",)
    default_isolation = "warm"

    def __init__(
        self,
        *,
        conn_id: str,
        sql: str,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        success: Callable[[Any], bool] | None = None,
        failure: Callable[[Any], bool] | None = None,
        selector: Callable[[Any], Any] | None = None,
        fail_on_empty: bool = False,
        deferrable: bool = False,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        del deferrable
        for name, function in (("success", success), ("failure", failure), ("selector", selector)):
            if function is not None and not callable(function):
                raise WrongArgument(f"{name}={function!r} is no function", where=self.where)
        self.conn_id, self.sql, self.parameters = conn_id, sql, parameters
        self.success, self.failure, self.selector = success, failure, selector
        self.fail_on_empty = fail_on_empty

    def depends_on_user_code(self) -> bool:
        """When functions of the user's judge the cell."""
        return any(one is not None for one in (self.success, self.failure, self.selector))

    def poke(self, context: Any) -> bool:
        """Ask once. Raises ValueError when `failure` says so, or for no row with `fail_on_empty`."""
        del context
        row = first_row(self.conn_id, self.sql, self.parameters)
        if row is None:
            if self.fail_on_empty:
                raise ValueError("the query returned no row")
            return False
        cell = self.selector(row) if self.selector else row[0]
        if self.failure is not None and self.failure(cell):
            raise ValueError(f"the failure condition holds for {cell!r}")
        if self.success is not None:
            return bool(self.success(cell))
        return is_true_cell(cell)

    def wait_trigger(self) -> Trigger | None:
        """The same question without a process; not with functions of the user's, or when no row is an error."""
        if self.depends_on_user_code() or self.fail_on_empty:
            return None
        return {"kind": "sql", "conn_id": self.conn_id, "sql": self.sql, "parameters": self.parameters}
