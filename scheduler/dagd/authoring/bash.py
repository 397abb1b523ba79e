"""BashOperator: a shell command as a task."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from dagd.authoring.operator import BaseOperator
from dagd.authoring.outcomes import CommandFailed, SkipTask
from dagd.authoring.shell import run_command
from dagd.model.errors import WrongArgument

KEPT = ("DAGD_TRY",)  # the mark by which a lost try's processes are found


class BashOperator(BaseOperator):
    """Runs `bash -c bash_command`. The last line of stdout is its value; exit code 99 skips, any other but 0 fails.

    A value that a template renders into `bash_command` is quoted for the shell, `| raw` says otherwise. `env` replaces
    the environment unless `append_env`; without `cwd` the command runs in a temporary folder.
    """

    template_fields: Sequence[str] = ("bash_command", "env", "cwd")
    template_ext: Sequence[str] = (".sh", ".bash")
    template_fields_renderers: ClassVar[dict[str, str]] = {"bash_command": "bash", "env": "json"}
    shell_fields: ClassVar[Sequence[str]] = ("bash_command",)
    ui_color = "#f0ede4"

    def __init__(
        self,
        *,
        bash_command: str,
        env: dict[str, str] | None = None,
        append_env: bool = False,
        output_encoding: str = "utf-8",
        skip_on_exit_code: int | Sequence[int] | None = 99,
        cwd: str | None = None,
        output_processor: Callable[[str], Any] | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.bash_command = bash_command
        self.env, self.append_env, self.cwd = env, append_env, cwd
        self.output_encoding, self.output_processor = output_encoding, output_processor
        codes = skip_on_exit_code if isinstance(skip_on_exit_code, (list, tuple, set)) else [skip_on_exit_code]
        self.skip_on_exit_code = [code for code in codes if code is not None]
        if not all(isinstance(code, int) and 0 < code < 256 for code in self.skip_on_exit_code):
            what = f"skip_on_exit_code={skip_on_exit_code!r}: exit codes are 1 to 255"
            raise WrongArgument(what, where=self.where)

    def execute(self, context: Any) -> Any:
        """Run the command."""
        return self.run_shell(self.bash_command, context)

    def run_shell(self, command: Any, context: Any) -> Any:
        """Run `command` and return its last line. Raises SkipTask, CommandFailed."""
        if not isinstance(command, str) or not command.strip():
            raise TypeError(f"the command is {command!r}: it must be text that is not empty")
        env = self._environment(context)
        if self.cwd is not None:
            if not os.path.isdir(self.cwd):
                raise FileNotFoundError(f"cwd {self.cwd!r} is no folder")
            code, last = self._run(command, env, self.cwd)
        else:
            import tempfile

            with tempfile.TemporaryDirectory(prefix="dagd-", ignore_cleanup_errors=True) as folder:
                code, last = self._run(command, env, folder)
        self._judge(code)
        return self.output_processor(last) if self.output_processor else last

    def _run(self, command: str, env: dict[str, str], cwd: str) -> tuple[int, str]:
        return run_command(["bash", "-c", command], env=env, cwd=cwd, encoding=self.output_encoding)

    def _judge(self, code: int) -> None:
        if code in self.skip_on_exit_code:
            raise SkipTask(f"the command exited with {code}")
        if code < 0:
            raise CommandFailed(f"the command was ended by signal {-code}", signal=-code)
        if code:
            raise CommandFailed(f"the command exited with {code}", exit_code=code)

    def _environment(self, context: Any) -> dict[str, str]:
        own = {str(name): str(value) for name, value in (self.env or {}).items()}
        if self.env is None or self.append_env:
            base = dict(os.environ)
        else:
            base = {name: os.environ[name] for name in KEPT if name in os.environ}
        told = {
            "AIRFLOW_CTX_DAG_ID": context.get("dag_run") and context["dag_run"].dag_id,
            "AIRFLOW_CTX_TASK_ID": self.task_id,
            "AIRFLOW_CTX_DAG_RUN_ID": context.get("run_id"),
            "AIRFLOW_CTX_LOGICAL_DATE": context.get("ts"),
            "AIRFLOW_CTX_TRY_NUMBER": context.get("try_number"),
        }
        return {**base, **{name: str(value) for name, value in told.items() if value is not None}, **own}
