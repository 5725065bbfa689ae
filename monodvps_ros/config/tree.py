# SPDX-License-Identifier: Apache-2.0
"""What a setting is, and how trees of them are read, checked and written."""

import contextlib
import dataclasses
import difflib
import math
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from monodvps_ros.errors import ConfigError, shortened, shown
from monodvps_ros.files import given_or_shipped, read_yaml

#: Key of a file for the file that it is based on.
BASE_KEY = "base"


@dataclass(frozen=True)
class Config:
    """Base of the configuration classes; making one raises `ConfigError` for a value that is not allowed."""

    def __post_init__(self) -> None:
        """Check each setting against its range and its choices; groups have checked themselves."""
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            for item in value if isinstance(value, tuple) else (value,):
                rule = _broken_rule(item, entry.metadata) if entry.metadata else ""
                if rule:
                    raise ConfigError(f"{type(self).__name__}.{entry.name} is {shown(item)}; {rule}")
        self.check()

    def check(self) -> None:
        """Check what ranges and choices of single settings cannot; for subclasses to override."""

    def refusal(self, name: str, rule: str) -> ConfigError:
        """Return the error for a setting that breaks a rule: its name, its value, the rule."""
        value = _plain(getattr(self, name))
        return ConfigError(f"{type(self).__name__}.{name} is {'empty' if value == [] else shown(value)}; {rule}")


ConfigT = TypeVar("ConfigT", bound=Config)


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

    @property
    def plain_default(self) -> Any:
        """The default as YAML, JSON and ROS parameters hold it: a tuple as a list."""
        return _plain(self.default)

    @property
    def allowed(self) -> str:
        """The choices, or the range in words; empty where every value of the type is allowed."""
        if self.choices:
            return ", ".join(self.choices)
        low, high = (None if limit is None else f"{limit:.10g}" for limit in (self.at_least, self.at_most))
        if low and high:
            return f"{low} to {high}"
        return f"at least {low}" if low else f"at most {high}" if high else ""


def settings(config_class: type[Config], prefix: str = "") -> Iterator[Setting]:
    """List the leaves of a configuration class, depth first, by their dotted names.

    Args:
        config_class: a configuration whose fields are settings or further configurations.
        prefix: put before each name.
    """
    hints = typing.get_type_hints(config_class)
    for entry in dataclasses.fields(config_class):
        name, kind = prefix + entry.name, hints[entry.name]
        if entry.metadata:
            yield Setting(name, kind, entry.default, **entry.metadata)
        else:
            yield from settings(kind, f"{name}.")


def to_dict(config: Config) -> dict[str, Any]:
    """Turn a configuration into plain nested dictionaries, tuples into lists, ready for YAML or JSON."""
    return dataclasses.asdict(config, dict_factory=lambda items: {name: _plain(value) for name, value in items})


def from_dict(
    config_class: type[ConfigT], values: Mapping[str, Any], where: str = "configuration", prefix: str = ""
) -> ConfigT:
    """Build a configuration from nested dictionaries; what is not named keeps its default.

    Args:
        config_class: the class to build.
        values: nested dictionaries with the names of its fields.
        where: where the values come from, for error messages.
        prefix: dotted name of this part of the tree, with a dot at its end.

    Raises:
        ConfigError: a key is unknown, or a value is of the wrong type, out of range or not among the choices.
    """
    hints = typing.get_type_hints(config_class)
    for key in values:
        if key not in hints:
            name, hint = shortened(f"{prefix}{key}"), did_you_mean(str(key), hints)
            raise ConfigError(f"{where}: unknown key '{name}'; known here: {', '.join(hints)}{hint}")
    arguments = {key: _convert(value, hints[key], where, prefix + key) for key, value in values.items()}
    try:
        return config_class(**arguments)
    except ConfigError as error:
        raise ConfigError(f"{where}: {str(error).replace(f'{config_class.__name__}.', prefix)}") from None


def load(config_class: type[ConfigT], path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> ConfigT:
    """Read a configuration: defaults, then a YAML file, then overrides by dotted name.

    A file may name another one under ``base``, relative to itself, whose values hold where it says nothing.

    Args:
        config_class: the class to build.
        path: a YAML file, or None for the defaults; ``config/NAME`` finds those that ship from any folder.
        overrides: dotted name to value.

    Raises:
        ConfigError: the file cannot be read or is not a mapping, or as `from_dict` says.
    """
    where = "configuration" if path is None else str(path)
    values = {} if path is None else _read_file(given_or_shipped(path))
    for name, value in (overrides or {}).items():
        set_value(values, name, value)
    return from_dict(config_class, values, where)


def replace(config: ConfigT, name: str, value: Any) -> ConfigT:
    """Return a copy of a configuration with one setting changed, by its dotted name.

    Raises:
        ConfigError: as `from_dict` says.
    """
    values = to_dict(config)
    set_value(values, name, value)
    return from_dict(type(config), values)


def set_value(values: dict[str, Any], name: str, value: Any) -> None:
    """Set a value in nested dictionaries by its dotted name; groups that are missing are made.

    Raises:
        ConfigError: a part of the name is a value, not a group.
    """
    *groups, last = name.split(".")
    for group in groups:
        values = values.setdefault(group, {})
        if not isinstance(values, dict):
            raise ConfigError(f"'{name}': '{group}' is a value, not a group of keys")
    values[last] = value


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a suggestion for an unknown name: the most similar known one, in brackets; empty where none is similar."""
    similar = difflib.get_close_matches(name, names, n=1)
    return f" (is '{similar[0]}' meant?)" if similar else ""


def _read_file(path: Path, from_files: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a file and the ones that it is based on."""
    values = read_yaml(path, ConfigError) or {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must contain keys and values at the top but contains {type(values).__name__}")
    base = values.pop(BASE_KEY, None)
    if base is None:
        return values
    if not isinstance(base, str) or "\0" in base:
        raise ConfigError(f"{path}: '{BASE_KEY}' must be the name of a file but is {shown(base)}")
    base_path = path.parent / base
    if base_path.resolve() in (*from_files, path.resolve()):
        raise ConfigError(f"{path}: is based on itself, by way of {base_path}; take '{BASE_KEY}' out of one of them")
    return _overlay(_read_file(base_path, (*from_files, path.resolve())), values)


def _overlay(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return nested dictionaries laid over each other; what both have is taken from the upper one."""
    result = dict(below)
    for key, value in above.items():
        inner = result.get(key)
        result[key] = _overlay(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result


def _convert(value: Any, kind: Any, where: str, name: str) -> Any:
    expected = f"be of type {kind.__name__}"
    if typing.get_origin(kind) is tuple:
        expected = "be a list"
        if isinstance(value, (list, tuple)):
            return tuple(_convert(item, typing.get_args(kind)[0], where, name) for item in value)
    elif issubclass(kind, Config):
        expected = "contain a group of keys"
        if isinstance(value, Mapping):
            return from_dict(kind, value, where, f"{name}.")
    elif kind is float and isinstance(value, (float, int, str)) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            return float(value)  # from a text too: YAML 1.1 reads 1e-3 as one
    elif type(value) is kind:  # not isinstance: a bool is an int
        return value
    raise ConfigError(f"{where}: '{name}' must {expected} but is {shown(value)}")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _broken_rule(value: Any, limits: Mapping[str, Any]) -> str:
    choices, low, high = limits["choices"], limits["at_least"], limits["at_most"]
    if choices and value not in choices:
        return f"it must be one of {', '.join(choices)}"
    if isinstance(value, float) and not math.isfinite(value):
        return "it must be a finite number"
    if low is not None and value < low:
        return f"it must be at least {low}"
    if high is not None and value > high:
        return f"it must be at most {high}"
    return ""
