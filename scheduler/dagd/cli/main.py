"""The command line's tree: names and one line of help each. A command's module is loaded when the command is called.

`dagd --help` and `dagd version` import click alone. The tables below are the whole tree: noun, verb, where the command
is (`module:name` in this package), what it does.
"""

from __future__ import annotations

import io
import sys
from importlib import import_module
from typing import Any

import click

from dagd import __version__

Table = dict[str, "tuple[str, str] | tuple[str, dict[str, Any]]"]

DAGS: Table = {
    "list": ("dags:list_dags", "DAGs with schedule, next slot and last run"),
    "show": ("dags:show_dag", "One DAG: its tasks, params and settings"),
    "graph": ("dags_graph:show_graph", "The tasks and their dependencies as text, dot or mermaid"),
    "next": ("dags_time:next_slots", "The slots that fall due next, of a DAG or a file"),
    "test": ("dags_test:test_dag", "Run a DAG in this process: no daemon, no database"),
    "check": ("dags_check:check_files", "Import and lint DAG files: no daemon, no database"),
    "errors": ("dags:list_errors", "Files that cannot be imported; exit 1 when there are any"),
    "pause": ("dags_change:pause", "Start no more runs of a DAG"),
    "unpause": ("dags_change:unpause", "Start runs of a DAG again"),
    "source": ("dags_versions:show_source", "The Python source of a version"),
    "versions": ("dags_versions:list_versions", "The versions of a DAG"),
    "diff": ("dags_versions:show_diff", "What changed between two versions"),
    "delete": ("dags_change:delete", "Forget a DAG whose file is gone, with its runs"),
    "reparse": ("dags_change:reparse", "Have a DAG's file read again"),
}
RUNS: Table = {
    "list": ("runs_list:list_runs", "Runs, the newest first"),
    "show": ("runs:show_run", "One run and the state of each of its tasks"),
    "watch": ("runs:watch_run", "Follow a run until it has ended"),
    "cancel": ("runs_change:cancel", "Stop a run and everything of it that runs"),
    "clear": ("runs_change:clear", "Run all tasks of a run again, or its failed ones"),
    "mark": ("runs_change:mark", "Set a run's end by hand"),
    "delete": ("runs_change:delete", "Forget an ended run with its tries and logs"),
}
TASKS: Table = {
    "list": ("tasks:list_tasks", "The tasks of a DAG, or their instances in a run"),
    "show": ("tasks:show_task", "One task instance with its XCom and rendered fields"),
    "tries": ("tasks:list_tries", "Every try of a task instance"),
    "render": ("tasks:render", "The rendered template fields of a task instance"),
    "test": ("dags_test:test_task", "Run one task in this process: no daemon, no database"),
    "clear": ("tasks_change:clear", "Run task instances again"),
    "mark": ("tasks_change:mark", "Set the state of task instances by hand"),
    "kill": ("tasks_change:kill", "Stop the running tries of a task"),
}
BACKFILL: Table = {
    "create": ("backfill_create:create", "Run the slots of a DAG between two logical dates"),
    "list": ("backfill_watch:list_backfills", "Backfills, the newest first"),
    "show": ("backfill_watch:show_backfill", "One backfill and how far it is"),
    "watch": ("backfill_watch:watch_backfill", "Follow a backfill until it is over"),
    "pause": ("backfill_change:pause", "Start no more runs of a backfill"),
    "resume": ("backfill_change:resume", "Go on with a paused backfill"),
    "cancel": ("backfill_change:cancel", "End a backfill and cancel its runs"),
}
ASSETS: Table = {
    "list": ("assets:list_assets", "Assets with their producers and last event"),
    "show": ("assets:show_asset", "One asset: producers, consumers, last events"),
    "events": ("assets:list_events", "What happened to an asset"),
    "deps": ("assets:show_deps", "What an asset is made of, and what is made of it"),
}
DEADLINES: Table = {
    "list": ("deadlines:list_deadlines", "Promises about time, and which were missed"),
    "ack": ("deadlines:ack", "Note that a missed deadline has been seen"),
}
POOLS: Table = {
    "list": ("pools:list_pools", "Pools with their slots, used and waited for"),
    "set": ("pools:set_pool", "Make a pool or change its slots, at once"),
    "delete": ("pools:delete_pool", "Remove a pool"),
}
VARIABLES: Table = {
    "list": ("variables:list_variables", "Variables and their values"),
    "get": ("variables:get_variable", "One variable"),
    "set": ("variables:set_variable", "Set a variable to a text"),
    "delete": ("variables:delete_variable", "Remove a variable"),
    "import": ("variables:import_variables", "Set variables from a JSON file"),
    "export": ("variables:export_variables", "All variables as JSON"),
}
CONNECTIONS: Table = {
    "list": ("connections:list_connections", "Connections, without their secrets"),
    "get": ("connections:get_connection", "One connection; --reveal shows its secrets"),
    "set": ("connections:set_connection", "Make or replace a connection, encrypted at rest"),
    "delete": ("connections:delete_connection", "Remove a connection"),
    "import": ("connections:import_connections", "Set connections from a JSON file"),
    "export": ("connections:export_connections", "All connections as JSON; --reveal shows their secrets"),
    "rotate-key": ("rotation:rotate_key", "Seal every connection with a new key"),
}
DB: Table = {
    "migrate": ("db:migrate", "Bring the database to this release's schema"),
    "current": ("db:current", "The schema that the database has"),
    "check": ("db:check", "Whether the database is whole and at the right schema"),
    "clean": ("db:clean", "Delete ended runs that are older than so many days"),
    "backup": ("db:backup", "Copy the embedded database while it is in use"),
    "stats": ("db:stats", "Rows and bytes of each table"),
}
CONFIG: Table = {
    "show": ("config:show", "Every setting; --origin says where it comes from"),
    "check": ("config:check", "All problems of the settings at once"),
    "get": ("config:get", "One setting"),
}

TREE: Table = {
    "up": ("up:up", "Everything on this machine: scheduler, processor, agent"),
    "scheduler": ("scheduler:scheduler", "A scheduler alone"),
    "processor": ("processor:processor", "The part that reads DAG files, alone"),
    "agent": ("agent:agent", "The part that runs tasks, alone"),
    "init": ("init:init", "A first DAG and a dagd.toml to start from"),
    "status": ("status:status", "What runs, what waits, what is wrong"),
    "health": ("status:health", "Whether each part is alive; exit 1 when one is not"),
    "doctor": ("doctor:doctor", "Look for the usual mistakes"),
    "version": ("main:version", "Which dagd this is"),
    "completion": ("completion:completion", "A script that completes commands in your shell"),
    "trigger": ("trigger:trigger", "Start a run of a DAG"),
    "logs": ("logs:logs", "What a task wrote"),
    "why": ("why:why", "Why something runs, waits, or does not exist"),
    "dags": ("DAGs", DAGS),
    "runs": ("Runs of DAGs", RUNS),
    "tasks": ("Tasks and their instances in runs", TASKS),
    "backfill": ("Backfills: past slots of a DAG, run beside its schedule", BACKFILL),
    "assets": ("Assets: what tasks read and write", ASSETS),
    "deadlines": ("Deadlines and SLAs", DEADLINES),
    "pools": ("Pools: how much may run at once", POOLS),
    "schedules": ("Schedules", {"preview": ("schedules:preview", "The slots of a cron, a preset or a duration")}),
    "variables": ("Variables that tasks read", VARIABLES),
    "connections": ("Connections that tasks use", CONNECTIONS),
    "db": ("The database", DB),
    "config": ("Settings", CONFIG),
    "audit": ("Who did what", {"list": ("audit:list_audit", "What people and programs changed")}),
    "metrics": ("metrics:metrics", "Counts as Prometheus text"),
}
ALIASES = {
    "standalone": "up", "lint": "dags check", "datasets": "assets", "dataset": "assets", "sla": "deadlines",
    "slas": "deadlines", "backfills": "backfill", "connection": "connections", "settings": "config",
}  # fmt: skip


class Lazy(click.Group):
    """A group that knows its commands by name and loads one when it is called."""

    def __init__(self, table: Table, aliases: dict[str, str] | None = None, **more: Any) -> None:
        super().__init__(**more)
        self._table, self._aliases = table, aliases or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the tree, in its order."""
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name or alias, loaded now."""
        name = self._aliases.get(cmd_name, cmd_name)
        first, _, rest = name.partition(" ")
        if first not in self._table and f"{first}s" in self._table and isinstance(self._table[f"{first}s"][1], dict):
            first = f"{first}s"
        if first not in self._table:
            return None
        place, about = self._table[first]
        if isinstance(about, dict):
            group = Lazy(about, name=first, help=f"{place}.")
            return group.get_command(ctx, rest) if rest else group
        module, _, attribute = place.partition(":")
        found = getattr(import_module(f"dagd.cli.{module}"), attribute)
        assert isinstance(found, click.Command)
        found.name = first
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The named command; an unknown name is told with the nearest known one."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(name, [*self._table, *self._aliases], n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"No such command {name!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, from the table alone."""
        rows = [(name, about if isinstance(about, str) else place) for name, (place, about) in self._table.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class Root(Lazy):
    """The root: what goes wrong in a command becomes a sentence and an exit code here, never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
            raise
        except (KeyboardInterrupt, click.Abort):
            click.echo("", err=True)
            ctx.exit(130)
        except Exception as error:
            ctx.exit(import_module("dagd.cli.failures").tell(error))


@click.command(cls=Root, table=TREE, aliases=ALIASES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="dagd", message="dagd %(version)s")
@click.option("--color", type=click.Choice(["auto", "always", "never"]), help="Colours; auto: on a terminal only.")
@click.pass_context
def cli(ctx: click.Context, color: str | None) -> None:
    """dagd: drop Python DAG files into a folder, and they run.

    \b
    Start with `dagd init` and `dagd up`.
    """
    ctx.meta["dagd.color"] = color


@click.command()
def version() -> None:
    """Which dagd this is."""
    click.echo(f"dagd {__version__}")


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    cli(prog_name="dagd")


if __name__ == "__main__":
    main()
