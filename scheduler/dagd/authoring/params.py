"""Params: what a run may be given, with JSON schemas."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, MutableMapping
from datetime import date, datetime, time
from typing import Any

from dagd.model.errors import InvalidParams, did_you_mean


class _NotGiven:
    """The absence of a default; None is a default like any other."""

    def __repr__(self) -> str:
        return "NOT_GIVEN"


NOT_GIVEN: Any = _NotGiven()


class Param:
    """One param: a default (without one it must be given at each trigger) and a JSON schema."""

    __slots__ = ("description", "schema", "value")

    def __init__(
        self,
        default: Any = NOT_GIVEN,
        description: str | None = None,
        schema: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        self.value = default
        self.description = description
        self.schema: dict[str, Any] = {**(schema or {}), **more}

    @property
    def has_value(self) -> bool:
        """Whether there is a default."""
        return self.value is not NOT_GIVEN

    def resolve(self, value: Any = NOT_GIVEN) -> Any:
        """The valid value: the one given, else the default. Raises InvalidParams."""
        return check_value("value", self.to_json(), value)

    def to_json(self) -> dict[str, Any]:
        """The compiled form: {schema, description, value?}."""
        spec: dict[str, Any] = {"schema": self.schema, "description": self.description}
        if self.has_value:
            spec["value"] = _json_value(self.value)
        return spec


class ParamsDict(MutableMapping[str, Any]):
    """Params by name; reading one gives its value."""

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        self._params = {name: one if isinstance(one, Param) else Param(one) for name, one in (params or {}).items()}

    def __getitem__(self, name: str) -> Any:
        return self._params[name].value

    def __setitem__(self, name: str, value: Any) -> None:
        self._params[name] = value if isinstance(value, Param) else Param(value)

    def __delitem__(self, name: str) -> None:
        del self._params[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._params)

    def __len__(self) -> int:
        return len(self._params)

    def get_param(self, name: str) -> Param:
        """The Param itself. Raises KeyError."""
        return self._params[name]


def _json_value(value: Any) -> Any:
    """A default as JSON sees it: dates become ISO text, tuples and sets lists."""
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _json_value(one) for key, one in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((_json_value(one) for one in value), key=repr)
    if isinstance(value, (list, tuple)):
        return [_json_value(one) for one in value]
    return value


def merge_params(specs: Mapping[str, Any], conf: Mapping[str, Any] | None) -> dict[str, Any]:
    """The params of a run: defaults, overridden by the conf's keys that name a Param. Raises InvalidParams.

    `specs` is `DagSpec.params`. Keys of `conf` that name no Param stay in the conf alone.
    """
    given = conf or {}
    return {name: check_value(name, spec, given.get(name, NOT_GIVEN)) for name, spec in specs.items()}


def check_value(name: str, spec: Mapping[str, Any], value: Any = NOT_GIVEN) -> Any:
    """The value of one param, validated. Raises InvalidParams."""
    if value is NOT_GIVEN:
        if "value" not in spec:
            raise InvalidParams(f"param {name!r} has no default and was not given", remedy=f"Give it: -p {name}=...")
        value = copy.deepcopy(spec["value"])
    schema = spec.get("schema") or {}
    if schema:
        _validate(name, schema, value)
    return value


def _validate(name: str, schema: Mapping[str, Any], value: Any) -> None:
    import jsonschema  # 40 ms: only for params that have a schema

    try:
        validator = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise InvalidParams(f"param {name!r} has a schema that is none: {error.message}") from None
    checked = validator(schema, format_checker=_formats())
    problem = min(checked.iter_errors(value), key=lambda error: list(map(str, error.path)), default=None)
    if problem is None:
        return
    place = "".join(f"[{part!r}]" for part in problem.path)
    remedy = None
    if problem.validator == "enum" and isinstance(value, str):
        remedy = did_you_mean(value, [one for one in problem.validator_value if isinstance(one, str)])
    raise InvalidParams(f"param {name!r}{place}: {problem.message}", remedy=remedy)


def _formats() -> Any:
    import jsonschema

    checker = jsonschema.FormatChecker()
    readers = {"date-time": _read_instant, "time": time.fromisoformat, "uri": _read_uri}
    for name, read in readers.items():
        checker.checks(name, raises=(ValueError, TypeError))(_reads(read))
    return checker


def _reads(read: Any) -> Any:
    def check(value: object) -> bool:
        return not isinstance(value, str) or read(value) is not None

    return check


def _read_instant(text: str) -> datetime:
    if not {"T", "t", " "} & set(text):
        raise ValueError(f"{text!r} has no time")
    return datetime.fromisoformat(text)


def _read_uri(text: str) -> str:
    scheme, colon, rest = text.partition(":")
    if not colon or not rest or not scheme[:1].isalpha() or any(char.isspace() for char in text):
        raise ValueError(f"{text!r} is no URI")
    return text
