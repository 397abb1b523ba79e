"""`make bench-peers`: the same small shapes through other schedulers and through dagd, in one sitting.

Each peer has an environment of its own below `--cache`, made at its first run and kept. A peer that cannot be installed
or does not start is told as such; the others go on. What a peer's figures mean stands in its adapter's first line.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, TextIO

from tests.benchmark import shapes
from tests.benchmark.bench import measure_shape, say
from tests.benchmark.daemon import Daemon
from tests.benchmark.servers import fresh

HERE = Path(__file__).parent
PEERS = {
    "luigi": ("luigi>=3.8,<4",),
    "celery": ("celery[redis]>=5.7,<6",),
    "dagster": ("dagster>=1.13,<2",),
    "prefect": ("prefect>=3.9,<4",),
    "airflow": ("apache-airflow==3.*", "psycopg2-binary", "asyncpg"),
}
INSTALL_S, RUN_S = 1200, 1200


def environment_of(peer: str, cache: Path) -> Path:
    """The peer's Python, installed when it is not. Raises CalledProcessError, TimeoutExpired."""
    folder = cache / peer
    python = folder / "bin" / "python"
    stamp = folder / "installed"
    if stamp.exists() and stamp.read_text() == " ".join(PEERS[peer]):
        return python
    say(f"installing {peer} in {folder}")
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True, stdout=sys.stderr)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PEERS[peer]]
    subprocess.run(command, check=True, stdout=sys.stderr, timeout=INSTALL_S)
    stamp.write_text(" ".join(PEERS[peer]))
    return python


def measure_peer(peer: str, options: argparse.Namespace) -> dict[str, Any]:
    """What its adapter answers, or why it has none. What the peer says goes to a file that stays."""
    said = Path(options.cache) / f"{peer}.log"
    try:
        python = environment_of(peer, Path(options.cache))
        with tempfile.TemporaryDirectory() as folder, fresh(options.database) as url, said.open("w") as log:
            asked = {"shapes": wanted(options), "repeat": options.repeat, "database": url}
            command = [str(python), str(HERE / f"{peer}_peer.py"), folder, json.dumps(asked)]
            answer = answer_of(command, folder, log)
        return dict(json.loads(answer.strip().splitlines()[-1]))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        return {"none": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}; see {said}"}


def answer_of(command: list[str], folder: str, log: TextIO) -> str:
    """What an adapter prints. It leads a process group, so that none of its servers is left when it takes too long."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=folder, start_new_session=True
    ) as adapter:
        try:
            answer, _ = adapter.communicate(timeout=RUN_S)
        except BaseException:
            os.killpg(adapter.pid, signal.SIGKILL)
            raise
    if adapter.returncode:
        raise subprocess.CalledProcessError(adapter.returncode, command[:2])
    return answer


def wanted(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The shapes, as adapters take them."""
    return [
        {"name": "chain", "kind": "chain", "runs": 1, "tasks": options.chain},
        {"name": "fan", "kind": "fan", "runs": 1, "tasks": options.fan + 2},
        {"name": "many", "kind": "fan", "runs": options.many, "tasks": 20},
    ]


def measure_dagd(grade: str, server: str | None, options: argparse.Namespace) -> dict[str, Any]:
    """The same shapes through the daemon's parts."""
    say(f"dagd, {grade}, {'sqlite' if server is None else 'postgres'}")
    chosen = [shapes.chain(options.chain), shapes.fan(options.fan), shapes.fan(18, "many", options.many)]
    files = {shape.name: shapes.file_of(shape, grade) for shape in chosen}
    with tempfile.TemporaryDirectory() as folder, fresh(server) as url:
        daemon = Daemon(Path(folder), url, 32, files)
        try:
            found = {shape.name: measure_shape(daemon, shape, options.repeat) for shape in chosen}
        finally:
            daemon.stop()
    keep = ("cpu_us", "hop_ms_p50", "hop_ms_p99", "pss_mb")
    return {
        "shapes": {
            name: {
                "tasks_per_s": one["tasks_per_s_from_request"],
                "start_ms": one["start_ms_p50"],
                **{key: one[key] for key in keep},
            }
            for name, one in found.items()
        }
    }


def table(found: dict[str, dict[str, Any]]) -> str:
    """One line for each scheduler and shape."""
    lines = [f"{'':24}{'shape':8}{'tasks/s':>10}{'hop p50 ms':>12}{'CPU ms/task':>13}{'PSS MB':>8}"]
    for name, one in found.items():
        if "none" in one:
            lines.append(f"{name:24}{one['none']}")
        for shape, figures in one.get("shapes", {}).items():
            hop = f"{figures['hop_ms_p50']:.1f}" if shape == "chain" else ""
            lines.append(
                f"{name:24}{shape:8}{figures['tasks_per_s']:>10.1f}{hop:>12}{figures['cpu_us'] / 1000:>13.2f}"
                f"{figures['pss_mb']:>8.0f}"
            )
    return "\n".join(lines)


def main() -> None:
    """A table, then everything as JSON."""
    parser = argparse.ArgumentParser(prog="make bench-peers ARGS=...", description=__doc__)
    home = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    parser.add_argument(
        "--cache", default=f"{home}/dagd-peers", help="where their environments are (default: %(default)s)"
    )
    parser.add_argument("--peers", default=",".join(PEERS), help="default: %(default)s")
    parser.add_argument(
        "--database", help="a Postgres server where databases may be made: for Airflow, and for dagd too"
    )
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--chain", type=int, default=50, help="tasks of the chain")
    parser.add_argument("--fan", type=int, default=200, help="width of the fan")
    parser.add_argument("--many", type=int, default=10, help="runs of 20 tasks")
    options = parser.parse_args()
    Path(options.cache).mkdir(parents=True, exist_ok=True)
    found = {}
    for grade in ("warm", "fork"):
        for server in (None, options.database) if options.database else (None,):
            name = f"dagd {grade}, {'sqlite' if server is None else 'postgres'}"
            found[name] = measure_dagd(grade, server, options)
    for peer in options.peers.split(","):
        say(peer)
        found[peer] = measure_peer(peer, options)
    print(table(found))
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
