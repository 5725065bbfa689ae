# SPDX-License-Identifier: Apache-2.0
"""What a setting is, and how trees of them are read, checked and written."""

import dataclasses
import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from monodvps_ros.errors import ConfigError

T = TypeVar("T")
#: Key of a file for the file that it is based on.
BASE_KEY = "base"


def setting(
    default: Any,
    description: str,
    *,
    unit: str = "",
    at_least: float | None = None,
    at_most: float | None = None,
    choices: Sequence[str] = (),
    read_only: bool = False,
) -> Any:
    """Declare one setting of a configuration dataclass.

    Args:
        default: the value where nothing else is said; lists are given as tuples.
        description: one sentence for people; stands in YAML comments, ``--help`` and parameter descriptors.
        unit: of the value, where it has one.
        at_least: smallest value allowed.
        at_most: largest value allowed.
        choices: the words allowed, for a text.
        read_only: true where it cannot be changed while the node runs.
    """
    metadata = {
        "description": description,
        "unit": unit,
        "at_least": at_least,
        "at_most": at_most,
        "choices": tuple(choices),
        "read_only": read_only,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Setting:
    """One leaf of the tree, as `settings` lists it."""

    name: str
    type: Any
    default: Any
    description: str
    unit: str
    at_least: float | None
    at_most: float | None
    choices: tuple[str, ...]
    read_only: bool


def settings(config_class: type, prefix: str = "") -> Iterator[Setting]:
    """List the leaves of a configuration class, depth first, by their dotted names.

    Args:
        config_class: a dataclass whose fields are settings or further such dataclasses.
        prefix: put before each name.
    """
    hints = typing.get_type_hints(config_class)
    for entry in dataclasses.fields(config_class):
        kind = hints[entry.name]
        if dataclasses.is_dataclass(kind):
            yield from settings(typing.cast(type, kind), f"{prefix}{entry.name}.")
            continue
        default = entry.default_factory() if callable(entry.default_factory) else entry.default
        yield Setting(name=prefix + entry.name, type=kind, default=default, **entry.metadata)


def to_dict(config: Any) -> dict[str, Any]:
    """Turn a configuration into plain nested dictionaries, tuples into lists, ready for YAML or JSON."""
    return {
        entry.name: to_dict(value) if dataclasses.is_dataclass(value) else _plain(value)
        for entry in dataclasses.fields(config)
        for value in [getattr(config, entry.name)]
    }


def from_dict(config_class: type[T], values: Mapping[str, Any], where: str = "configuration", prefix: str = "") -> T:
    """Build a configuration from nested dictionaries; what is not named keeps its default.

    Args:
        config_class: the dataclass to build.
        values: nested dictionaries with the names of its fields.
        where: where the values come from, for error messages.
        prefix: dotted name of this part of the tree.

    Raises:
        ConfigError: a key is unknown, or a value is of the wrong type, out of range or not among the choices.
    """
    hints = typing.get_type_hints(config_class)
    names = [entry.name for entry in dataclasses.fields(typing.cast(Any, config_class))]
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in names:
            raise ConfigError(f"{where}: unknown key '{prefix}{key}'; known here: {', '.join(names)}")
        kind = hints[key]
        if dataclasses.is_dataclass(kind):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{where}: '{prefix}{key}' must hold a group of keys but is {value!r}")
            arguments[key] = from_dict(typing.cast(type, kind), value, where, f"{prefix}{key}.")
        else:
            arguments[key] = _convert(value, kind, f"{where}: '{prefix}{key}'")
    try:
        return config_class(**arguments)
    except ConfigError as error:
        raise ConfigError(f"{where}: {str(error).replace(f'{config_class.__name__}.', prefix)}") from None


def load(config_class: type[T], path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> T:
    """Read a configuration: defaults, then a YAML file, then overrides by dotted name.

    A file may name another one under ``base``, relative to itself, whose values hold where it says nothing.

    Args:
        config_class: the dataclass to build.
        path: a YAML file, or None for the defaults.
        overrides: dotted name to value; texts are read as YAML scalars (``"0.5"``, ``"true"``).

    Raises:
        ConfigError: the file cannot be read or is not a mapping, or as `from_dict` says.
    """
    where = "configuration" if path is None else str(path)
    values = {} if path is None else _read(path)
    for name, value in (overrides or {}).items():
        _set(values, name, yaml.safe_load(value) if isinstance(value, str) and value else value)
    return from_dict(config_class, values, where)


def _read(path: Path, from_files: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a file and the ones that it is based on."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must hold keys and values at the top but holds {type(values).__name__}")
    base = values.pop(BASE_KEY, None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise ConfigError(f"{path}: '{BASE_KEY}' must be the name of a file but is {base!r}")
    base_path = path.parent / base
    if base_path.resolve() in (*from_files, path.resolve()):
        raise ConfigError(f"{path}: is based on itself, by way of {base_path}; take '{BASE_KEY}' out of one of them")
    return _merged(_read(base_path, (*from_files, path.resolve())), values)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return nested dictionaries laid over each other; what both have is taken from the upper one."""
    merged = dict(below)
    for key, value in above.items():
        inner = merged.get(key)
        merged[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def replace(config: T, name: str, value: Any) -> T:
    """Return a copy of a configuration with one setting changed, by its dotted name.

    Raises:
        ConfigError: as `from_dict` says.
    """
    values = to_dict(config)
    _set(values, name, value)
    return from_dict(type(config), values)


def _set(values: dict[str, Any], dotted: str, value: Any) -> None:
    *groups, last = dotted.split(".")
    for group in groups:
        inner = values.setdefault(group, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"'{dotted}': '{group}' is a value, not a group of keys")
        values = inner
    values[last] = value


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _convert(value: Any, kind: Any, what: str) -> Any:
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _convert(value, next(a for a in typing.get_args(kind) if a is not type(None)), what)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{what} must be a list but is {value!r}")
        inner = typing.get_args(kind)[0]
        return tuple(_convert(item, inner, what) for item in value)
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if kind is float and isinstance(value, str):  # YAML 1.1 reads 1e-3 as a text
        try:
            return float(value)
        except ValueError:
            pass
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise ConfigError(f"{what} must be of type {kind.__name__} but is {value!r}")


def check_ranges(config: Any) -> None:
    """Check each setting of a configuration against its range and its choices; groups check themselves.

    Raises:
        ConfigError: a value is out of range, NaN, or not among the choices.
    """
    for entry in dataclasses.fields(config):
        if dataclasses.is_dataclass(getattr(config, entry.name)):
            continue
        meta, value = entry.metadata, getattr(config, entry.name)
        for item in value if isinstance(value, tuple) else (value,):
            _check_value(f"{type(config).__name__}.{entry.name}", item, meta)


def _check_value(name: str, value: Any, meta: Mapping[str, Any]) -> None:
    if meta["choices"] and value not in meta["choices"]:
        raise ConfigError(f"{name} is {value!r}; it must be one of {', '.join(meta['choices'])}")
    if isinstance(value, float) and math.isnan(value):
        raise ConfigError(f"{name} is NaN; give a number")
    low, high = meta["at_least"], meta["at_most"]
    if low is not None and value < low:
        raise ConfigError(f"{name} is {value}; it must be at least {low}")
    if high is not None and value > high:
        raise ConfigError(f"{name} is {value}; it must be at most {high}")
