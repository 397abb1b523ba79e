"""Settings: one frozen object, built in `main` and handed down.

Each key is known with its type and default; a value comes from a flag, the environment, a file or the default, in that
order, and remembers which (`origins`). Unknown keys and wrong values are collected, so that all are told at once.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from dagd.model.errors import InvalidSettings, nearest

SHORT_NAMES = {
    "DAGD_DATABASE_URL": "database.url",
    "DAGD_DAGS_FOLDER": "core.dags_folder",
    "DAGD_HOME": "core.home",
}
# Variables of ours that are not settings: marks that processes carry.
RESERVED = {"DAGD_TRY", "DAGD_CONNECTION_KEY"}
# What no DAG file and no task finds in its environment: settings, and variables and connections in clear.
PRIVATE = ("DAGD_", "AIRFLOW_VAR_", "AIRFLOW_CONN_")


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: its type, default and what it means."""

    name: str
    kind: type
    default: Any
    help: str
    secret: bool = False


KEYS: dict[str, Key] = {
    key.name: key
    for key in (
        Key("core.home", str, "", "Folder of dagd's own files: database, logs, sockets, XCom"),
        Key("core.dags_folder", str, "dags", "Folder of the DAG files"),
        Key("core.default_timezone", str, "UTC", "Zone of DAGs that name none"),
        Key("core.max_map_length", int, 100_000, "Most instances of one mapped task"),
        Key("database.url", str, "", "sqlite:///path or postgresql://...; empty: <home>/dagd.db", secret=True),
        Key("database.busy_timeout_s", float, 10.0, "How long a command waits for a locked database"),
        Key("agent.slots", int, 32, "Worker slots of this host"),
        Key("agent.idle_exit_s", float, 60.0, "An agent without scheduler and tries leaves after this"),
        Key("agent.log_limit_mb", int, 100, "Most log bytes of one try"),
        Key("agent.run_as", str, "", "User of tasks and DAG files, when dagd runs as root; empty: dagd's own"),
        Key("agent.task_memory_mb", int, 0, "Address-space limit of one try; 0: none"),
        Key("agent.task_files", int, 0, "Most open files of one process of a try; 0: as the agent's"),
        Key("agent.task_processes", int, 0, "A try starts no more while its user has so many (not for root); 0: none"),
        Key("agent.task_cpu_s", int, 0, "CPU time of one process of a try, warm ones excepted; 0: none"),
        Key("parsing.sweep_s", float, 1.0, "Pause between two sweeps over the DAG folder"),
        Key("parsing.timeout_s", float, 8.0, "Wall time that one DAG file may take to import"),
        Key("parsing.cpu_s", int, 5, "CPU time that one DAG file may take to import"),
        Key("parsing.memory_mb", int, 1024, "Memory that one DAG file may take to import"),
        Key("scheduler.lease_s", float, 10.0, "A scheduler silent for so long is declared dead (Postgres)"),
        Key("scheduler.turn_events", int, 2000, "Most events of one turn"),
        Key("xcom.inline_kb", int, 64, "Larger values spill to a file"),
        Key("xcom.limit_mb", int, 16, "Larger values fail their task"),
        Key("retention.days", int, 0, "Ended runs older than this are deleted; 0: kept"),
        Key(
            "secrets.connection_key",
            str,
            "",
            "Base64 key(s) that seal connections, newest first; empty: <home>/keys",
            secret=True,
        ),
        Key("log.format", str, "text", "text or json: lines of dagd's own logs"),
        Key(
            "secrets.command", list, [], "Asked for variables and connections that neither environment nor database has"
        ),
        Key("secrets.entry_point", str, "", "The same as an installed package: its name in the group dagd.secrets"),
        Key("secrets.timeout_s", float, 5.0, "How long one question to the secrets hook may take"),
        Key("secrets.cache_s", float, 60.0, "How long its answers are kept in memory"),
        Key("notify.webhook_url", str, "", "Alerts are posted here as JSON", secret=True),
        Key("notify.email_to", str, "", "Alerts are mailed here"),
        Key("notify.smtp_url", str, "", "smtp://user:password@host:port", secret=True),
    )
}


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings by name, with where each came from. Paths are absolute."""

    values: Mapping[str, Any]
    origins: Mapping[str, str] = field(default_factory=dict)
    project: Path | None = None

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    @property
    def home(self) -> Path:
        """The folder of dagd's own files."""
        return Path(self.values["core.home"])

    @property
    def dags_folder(self) -> Path:
        """The folder of the DAG files."""
        return Path(self.values["core.dags_folder"])

    @property
    def database_url(self) -> str:
        """sqlite:///absolute/path or postgresql+psycopg://..."""
        return str(self.values["database.url"])

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is the embedded one."""
        return self.database_url.startswith("sqlite")

    @property
    def log_folder(self) -> Path:
        """Where the tries' logs are."""
        return self.home / "logs"

    @property
    def run_folder(self) -> Path:
        """Sockets, pid files and locks."""
        return self.home / "run"

    @property
    def xcom_folder(self) -> Path:
        """Values too large for a row, by content hash."""
        return self.home / "xcom"


def _flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            flat.update(_flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _read_file(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problems.append(f"{path}: {error}")
        return {}
    if path.name == "pyproject.toml":
        table = table.get("tool", {}).get("dagd", {})
    return _flatten(table)


def _from_environment(env: Mapping[str, str], problems: list[str]) -> dict[str, tuple[Any, str]]:
    found: dict[str, tuple[Any, str]] = {}
    for variable, value in env.items():
        if not variable.startswith("DAGD_") or variable in RESERVED or variable.startswith("DAGD_TEST_"):
            continue
        if variable.startswith(("DAGD_VAR_", "DAGD_CONN_")):
            continue
        base, form = variable, ""
        for suffix in ("_FILE", "_CMD"):
            if variable.endswith(suffix):
                base, form = variable.removesuffix(suffix), suffix
        name = SHORT_NAMES.get(base)
        if name is None and "__" in base:
            name = base.removeprefix("DAGD_").replace("__", ".").lower()
        if name is None:
            if close := get_close_matches(base, SHORT_NAMES, n=1, cutoff=0.85):
                problems.append(f"unknown setting {variable!r}; did you mean {close[0]!r}?")
            continue
        if form:
            value = _indirect(form, value, variable, problems)
        found[name] = (value, variable)
    return found


def _indirect(form: str, value: str, variable: str, problems: list[str]) -> str:
    try:
        if form == "_FILE":
            return Path(value).read_text("utf-8").strip()
        return subprocess.run(["/bin/sh", "-c", value], check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        problems.append(f"{variable}: {error}")
        return ""


def _convert(name: str, value: Any, origin: str, problems: list[str]) -> Any:
    key = KEYS.get(name)
    if key is None:
        close = nearest(name, KEYS)
        problems.append(f"unknown setting {name!r} ({origin})" + (f"; did you mean {close!r}?" if close else ""))
        return None
    try:
        if key.kind is str:
            return str(value)
        if key.kind is list:
            return shlex.split(value) if isinstance(value, str) else [str(one) for one in value]
        if isinstance(value, bool):
            raise ValueError
        number = key.kind(value)
    except (TypeError, ValueError):
        problems.append(f"{name} = {value!r} ({origin}) is not a valid {key.kind.__name__}")
        return key.default
    if number < 0:
        problems.append(f"{name} = {value!r} ({origin}) must not be negative")
    return number


def _default_home(env: Mapping[str, str]) -> Path:
    base = env.get("XDG_DATA_HOME") or str(Path(env.get("HOME", "~")).expanduser() / ".local" / "share")
    return Path(base) / "dagd"


def _project_file(cwd: Path) -> Path | None:
    if (cwd / "dagd.toml").is_file():
        return cwd / "dagd.toml"
    pyproject = cwd / "pyproject.toml"
    if pyproject.is_file() and "[tool.dagd" in pyproject.read_text("utf-8", "replace"):
        return pyproject
    return None


def load_settings(
    env: Mapping[str, str] | None = None, cwd: Path | None = None, flags: Mapping[str, Any] | None = None
) -> Settings:
    """The settings in force. Raises InvalidSettings that names every problem, one a line."""
    environment = dict(os.environ if env is None else env)
    folder = (cwd or Path.cwd()).absolute()
    problems: list[str] = []
    layers: dict[str, tuple[Any, str]] = {}
    project = _project_file(folder)
    from_env = _from_environment(environment, problems)
    project_values = _read_file(project, problems) if project else {}
    home_text = from_env.get("core.home", (project_values.get("core.home", ""), ""))[0]
    home = _absolute(home_text, folder) if home_text else (folder / ".dagd" if project else _default_home(environment))
    home_file = home / "dagd.toml"
    if home_file != project:
        layers.update({name: (value, str(home_file)) for name, value in _read_file(home_file, problems).items()})
    layers.update({name: (value, str(project)) for name, value in project_values.items()})
    layers.update(from_env)
    layers.update({name: (value, "flag") for name, value in (flags or {}).items() if value is not None})
    values = {name: key.default for name, key in KEYS.items()}
    origins = dict.fromkeys(KEYS, "default")
    for name, (value, origin) in layers.items():
        converted = _convert(name, value, origin, problems)
        if name in KEYS:
            values[name], origins[name] = converted, origin
    values["core.home"] = str(home if not (flags or {}).get("core.home") else _absolute(values["core.home"], folder))
    _place(values, folder)
    if problems:
        raise InvalidSettings("\n".join(problems), remedy="`dagd config show` lists every setting.")
    return Settings(values, origins, folder if project else None)


def _absolute(text: str, folder: Path) -> Path:
    path = Path(text).expanduser()
    return path if path.is_absolute() else folder / path


def _place(values: dict[str, Any], folder: Path) -> None:
    home = Path(values["core.home"])
    values["core.dags_folder"] = str(_absolute(values["core.dags_folder"], folder))
    url = str(values["database.url"])
    if not url:
        url = f"sqlite:///{home / 'dagd.db'}"
    elif url.startswith("sqlite:///"):
        url = f"sqlite:///{_absolute(url.removeprefix('sqlite:///'), folder)}"
    else:
        scheme, _, rest = url.partition("://")
        if scheme in {"postgres", "postgresql", "postgresql+psycopg2", "postgresql+psycopg"}:
            url = f"postgresql+psycopg://{rest}"
    values["database.url"] = url
