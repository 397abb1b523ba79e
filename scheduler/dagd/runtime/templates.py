"""Jinja templates: sandboxed, undefined names are errors, names looked up in the context only when they are used.

jinja2 (30 ms) is imported only when a field holds a template at all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dagd.model.errors import DagdError, TemplateFailed
from dagd.runtime.macros import FILTERS, OFFERED
from dagd.runtime.quoting import Raw, mark, quote_marked

if TYPE_CHECKING:
    import jinja2

    from dagd.runtime.loading import LoadedDag

_VARIABLES = "__variables__"
_SIGNS = ("{{", "{%", "{#")


def has_template(text: str) -> bool:
    """Whether a text is a template at all."""
    return any(sign in text for sign in _SIGNS)


def search_path(loaded: LoadedDag) -> list[str]:
    """Where template files are looked for: `template_searchpath`, then the folder of the DAG's file."""
    return [*(loaded.dag.template_searchpath or ()), os.path.dirname(loaded.file)]


def find_template_file(
    text: str, extensions: Sequence[str], folders: Sequence[str], known: Mapping[str, str]
) -> str | None:
    """The path of the template file that a field's text names, or None when it is no name of such a file."""
    if not extensions or not text.endswith(tuple(extensions)) or "\n" in text or has_template(text):
        return None
    for folder in folders:
        path = os.path.normpath(os.path.join(folder, text))
        if path in known or os.path.isfile(path):
            return path
    return None


class Renderer:
    """Renders the fields of one task in one context. A rendered value is never rendered again."""

    def __init__(self, loaded: LoadedDag, variables: Mapping[str, Any], resolve: Callable[[Any], Any]) -> None:
        self._loaded, self._variables, self._resolve = loaded, variables, resolve

    def field(self, value: Any, extensions: Sequence[str], *, for_shell: bool = False) -> Any:
        """A field's value, rendered in nested lists, tuples, sets and dicts; references become their values."""
        if isinstance(value, str):
            return self.text(self._read_file(value, extensions), for_shell=for_shell)
        if isinstance(value, tuple):
            items = [self.field(one, extensions, for_shell=for_shell) for one in value]
            return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
        if isinstance(value, (list, set, frozenset)):
            return type(value)(self.field(one, extensions, for_shell=for_shell) for one in value)
        if type(value) is dict:
            return {self._resolve(key): self.field(one, extensions, for_shell=for_shell) for key, one in value.items()}
        resolved = self._resolve(value)
        inner = getattr(resolved, "template_fields", None)
        if resolved is value and isinstance(inner, (list, tuple)) and not isinstance(value, type):
            return self._nested(value, inner)
        return resolved

    def _nested(self, value: Any, names: Sequence[str]) -> Any:
        """An object with template fields of its own, as a copy with those rendered."""
        import copy

        made = copy.copy(value)
        for name in names:
            setattr(made, name, self.field(getattr(value, name), ()))
        return made

    def _read_file(self, text: str, extensions: Sequence[str]) -> str:
        path = find_template_file(text, extensions, search_path(self._loaded), self._loaded.sources)
        if path is None:
            return text
        if path in self._loaded.sources:
            return self._loaded.sources[path]
        with open(path, encoding="utf-8") as file:
            return file.read()

    def text(self, text: str, *, for_shell: bool = False) -> Any:
        """One text rendered; for the shell, with values quoted for their places. Raises TemplateFailed."""
        if not has_template(text):
            return text
        import jinja2

        try:
            rendered = (
                self._environment(for_shell=for_shell).from_string(text).render(self._variables)
            )  # one mapping, not a copy
        except DagdError:
            raise
        except jinja2.UndefinedError as error:
            raise TemplateFailed(f"{error.message} in the template {_short(text)}", remedy=None) from error
        except jinja2.TemplateError as error:
            raise TemplateFailed(f"{type(error).__name__}: {error.message} in the template {_short(text)}") from error
        return quote_marked(rendered) if for_shell else rendered

    def _environment(self, *, for_shell: bool) -> jinja2.Environment:
        is_native = self._loaded.dag.render_template_as_native_obj and not for_shell
        kind = "shell" if for_shell else "native" if is_native else "text"
        known = self._loaded.environments
        if kind not in known:
            known[kind] = make_environment(self._loaded, kind)
        return known[kind]  # type: ignore[no-any-return]


@lru_cache(maxsize=1)
def _classes() -> dict[str, Any]:
    """Our kinds of Jinja environment: text, shell, native. Each looks names up in our context instead of copying it."""
    import jinja2
    from jinja2.nativetypes import NativeEnvironment
    from jinja2.sandbox import SandboxedEnvironment
    from jinja2.utils import missing

    class _LazyContext(jinja2.runtime.Context):
        def resolve_or_missing(self, key: str) -> Any:
            if key in self.vars:
                return self.vars[key]
            variables = self.parent.get(_VARIABLES)
            if variables is not None and key in variables:
                return variables[key]
            return self.parent.get(key, missing)

    class _Sandbox(SandboxedEnvironment):
        """Jinja's own sandbox hides what begins with an underscore, but `macros.uuid.os` leads out of it."""

        def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
            return super().is_safe_attribute(obj, attr, value) and not _leads_out(obj, value)

    def lazy(base: Any, name: str) -> Any:
        def render(self: Any, variables: Mapping[str, Any]) -> Any:
            return base.template_class.render(self, {_VARIABLES: variables})

        template = type("LazyTemplate", (base.template_class,), {"render": render})
        return type(name, (base,), {"context_class": _LazyContext, "template_class": template})

    class _NativeSandbox(_Sandbox, NativeEnvironment):
        template_class = NativeEnvironment.template_class

    text = lazy(_Sandbox, "TextEnvironment")
    return {"text": text, "shell": text, "native": lazy(_NativeSandbox, "NativeEnvironment")}


def _leads_out(found_on: Any, value: Any) -> bool:
    """Whether a module that `macros` offers would hand out another one, by which any command can be run. What a DAG
    file puts into its own macros is its own business."""
    if not isinstance(value, ModuleType) or not isinstance(found_on, ModuleType):
        return False
    root = found_on.__name__.partition(".")[0]
    return root in OFFERED and not value.__name__.startswith(f"{root}.")


def make_environment(loaded: LoadedDag, kind: str) -> jinja2.Environment:
    """The Jinja environment of a DAG; `kind` is text, native or shell."""
    import jinja2

    options: dict[str, Any] = {"undefined": jinja2.StrictUndefined, "keep_trailing_newline": True}
    options |= getattr(loaded.dag, "jinja_environment_kwargs", None) or {}
    options["extensions"] = ["jinja2.ext.do", *options.get("extensions", ())]
    if kind == "shell":
        options["finalize"] = mark
    environment: jinja2.Environment = _classes()[kind](loader=jinja2.FunctionLoader(_loader(loaded)), **options)
    environment.filters.update(FILTERS, raw=Raw)
    environment.filters.update(loaded.dag.user_defined_filters or {})
    environment.globals.update(loaded.dag.user_defined_macros or {})
    return environment


def _loader(loaded: LoadedDag) -> Callable[[str], Any]:
    """Template files that others include: the pinned text, else the file, within the search path."""

    def load(name: str) -> Any:
        for folder in search_path(loaded):
            path = os.path.normpath(os.path.join(folder, name))
            if not path.startswith(folder.rstrip(os.sep) + os.sep):
                continue
            if path in loaded.sources:
                return loaded.sources[path], path, lambda: True
            if os.path.isfile(path):
                with open(path, encoding="utf-8") as file:
                    return file.read(), path, lambda: True
        return None

    return load


def _short(text: str) -> str:
    shown = " ".join(text.split())
    return repr(shown if len(shown) <= 120 else shown[:117] + "...")
