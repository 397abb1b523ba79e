"""Functions that run in another interpreter: their source, their arguments and their result travel as JSON."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from dagd.authoring.outcomes import CommandFailed, SkipTask
from dagd.authoring.python import PythonOperator
from dagd.authoring.shell import run_command
from dagd.model.errors import WrongArgument

_RUNNER = """
import json, sys
with open(sys.argv[1]) as file:
    _call = json.load(file)
_result = {name}(*_call["args"], **_call["kwargs"])
with open(sys.argv[2], "w") as file:
    json.dump(_result, file)
"""


def function_source(function: Any) -> str:
    """The text of a function without its decorators."""
    text = textwrap.dedent(inspect.getsource(function))
    lines = text.splitlines(keepends=True)
    start = next(i for i, line in enumerate(lines) if line.startswith(("def ", "async def ")))
    return "".join(lines[start:])


class ExternalPythonOperator(PythonOperator):
    """Runs the function with the interpreter `python`. It sees its own body and arguments only, which must be JSON."""

    template_fields: Sequence[str] = (*PythonOperator.template_fields, "python")

    def __init__(
        self,
        *,
        python: str,
        expect_airflow: bool = False,
        skip_on_exit_code: int | Iterable[int] | None = None,
        env_vars: dict[str, str] | None = None,
        inherit_env: bool = True,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        del expect_airflow
        self.python, self.env_vars, self.inherit_env = python, env_vars, inherit_env
        codes = [skip_on_exit_code] if isinstance(skip_on_exit_code, int) else skip_on_exit_code
        self.skip_on_exit_code = list(codes or ())

    def execute_callable(self, context: Any) -> Any:
        """Run the function in the other interpreter."""
        del context
        return self.run_with(self.python)

    def run_with(self, python: str) -> Any:
        """The function's value, made by `python`. Raises CommandFailed, SkipTask."""
        import tempfile

        try:
            call = json.dumps({"args": self.op_args, "kwargs": self.op_kwargs})
        except TypeError as error:
            raise TypeError(f"arguments for another interpreter must be plain JSON: {error}") from None
        with tempfile.TemporaryDirectory(prefix="dagd-") as folder:
            script, given, result = (os.path.join(folder, name) for name in ("script.py", "call.json", "result.json"))
            body = function_source(self.python_callable) + _RUNNER.replace("{name}", self.python_callable.__name__)
            for path, text in ((script, body), (given, call)):
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
            env = {**(os.environ if self.inherit_env else {}), **(self.env_vars or {})}
            code, _ = run_command([python, script, given, result], env=env, cwd=folder)
            if code in self.skip_on_exit_code:
                raise SkipTask(f"{python} exited with {code}")
            if code:
                text = f"{python} exited with {code}; its traceback is in the log"
                raise CommandFailed(text, exit_code=code if code > 0 else None, signal=-code if code < 0 else None)
            with open(result, encoding="utf-8") as file:
                return json.load(file)


class PythonVirtualenvOperator(ExternalPythonOperator):
    """Runs the function in a virtual environment with `requirements`, kept under `venv_cache_path` if that is given."""

    template_fields: Sequence[str] = (*PythonOperator.template_fields, "requirements")

    def __init__(
        self,
        *,
        requirements: str | Sequence[str] | None = None,
        python_version: str | None = None,
        system_site_packages: bool = True,
        pip_install_options: Sequence[str] | None = None,
        venv_cache_path: str | None = None,
        index_urls: Sequence[str] | str | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(python="python3", **arguments)
        self.requirements = [requirements] if isinstance(requirements, str) else list(requirements or ())
        self.python_version, self.system_site_packages = python_version, system_site_packages
        self.pip_install_options = list(pip_install_options or ())
        self.venv_cache_path = venv_cache_path
        self.index_urls = [index_urls] if isinstance(index_urls, str) else list(index_urls or ())
        if python_version is not None and not str(python_version).replace(".", "").isdigit():
            raise WrongArgument(f"python_version={python_version!r} is no version", where=self.where)

    def execute_callable(self, context: Any) -> Any:
        """Make the environment unless it is there, then run the function in it."""
        del context
        import tempfile

        if self.venv_cache_path:
            key = json.dumps(
                [self.requirements, self.python_version, self.system_site_packages, self.pip_install_options]
            )
            folder = os.path.join(self.venv_cache_path, "venv-" + hashlib.sha256(key.encode()).hexdigest()[:16])
            if not os.path.exists(os.path.join(folder, ".complete")):
                self._make(folder)
            return self.run_with(os.path.join(folder, "bin", "python"))
        with tempfile.TemporaryDirectory(prefix="dagd-venv-") as folder:
            self._make(folder)
            return self.run_with(os.path.join(folder, "bin", "python"))

    def _make(self, folder: str) -> None:
        import sys

        base = f"python{self.python_version}" if self.python_version else sys.executable
        flags = ["--system-site-packages"] if self.system_site_packages else []
        self._call([base, "-m", "venv", *flags, folder])
        if self.requirements:
            urls = [option for url in self.index_urls for option in ("--index-url", url)]
            pip = [os.path.join(folder, "bin", "python"), "-m", "pip", "install", "--quiet", *urls]
            self._call([*pip, *self.pip_install_options, *self.requirements])
        with open(os.path.join(folder, ".complete"), "w", encoding="utf-8"):
            self.log.info("made %s", folder)

    def _call(self, argv: list[str]) -> None:
        code, _ = run_command(argv, env=os.environ, cwd=None)
        if code:
            raise CommandFailed(f"{' '.join(argv[:4])} ... exited with {code}", exit_code=max(code, 1))
