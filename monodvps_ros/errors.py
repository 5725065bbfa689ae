# SPDX-License-Identifier: Apache-2.0
"""The package's exceptions.

A message says what was wrong, the value got, what was expected and what to do about it.
All derive from `MonoDVPSError`; those that a caller's argument can cause are also `ValueError`.
"""

import reprlib
from typing import Any

_MOST_CHARACTERS = 200
_brief = reprlib.Repr()
_brief.maxlevel, _brief.maxlist, _brief.maxtuple, _brief.maxdict = 3, 12, 12, 8
_brief.maxstring = _brief.maxother = _brief.maxlong = _MOST_CHARACTERS


class MonoDVPSError(Exception):
    """Base of everything this package raises on purpose."""


class ShapeError(MonoDVPSError, ValueError):
    """An array or tensor has the wrong shape or dtype, or two arguments disagree on a size."""


class LabelError(MonoDVPSError, ValueError):
    """A class, instance or panoptic id is outside its label space."""


class ConfigError(MonoDVPSError, ValueError):
    """A configuration has an unknown key, or it or an environment variable has a value that cannot be used."""


class EncodingError(MonoDVPSError, ValueError):
    """An image message has an encoding or a layout that cannot be decoded."""


class CameraInfoError(MonoDVPSError, ValueError):
    """A camera_info is not calibrated, not finite, or does not belong to the image."""


class DataError(MonoDVPSError, ValueError):
    """A file or recording is missing, damaged or inconsistent; the message names path and value."""


class WeightsError(MonoDVPSError, ValueError):
    """Weights are missing, damaged, or do not fit the network that is to take them."""


class DeviceError(MonoDVPSError, RuntimeError):
    """The asked-for compute device is absent or was lost."""


class NotFiniteError(MonoDVPSError, ArithmeticError):
    """A loss term is NaN or infinite; the message names the term, the sample and the step."""


class MissingDependencyError(MonoDVPSError, ImportError):
    """An optional dependency is not installed; the message gives the command that installs it."""


def counted(number: int, one: str, many: str = "", spec: str = "") -> str:
    """Return a number with its noun, and what depends on it, in singular or plural, as messages say it.

    Args:
        number: how many there are.
        one: what follows 1.
        many: what follows any other number; empty for `one` with an s.
        spec: how the number is written, as for `format`.
    """
    return f"{number:{spec}} {one if number == 1 else many or one + 's'}"


def line_of(error: MonoDVPSError | OSError) -> str:
    """Return an error of this package or of the file system as one line, as commands and nodes tell it."""
    if isinstance(error, OSError):  # a folder that cannot be made or removed, a full disk, a name that is too long
        file = "" if error.filename is None else f"{shortened(str(error.filename))}: "
        return f"{file}{error.strerror or error}"
    return "".join(map(_printable, " ".join(str(error).split())))


def shown(value: Any) -> str:
    """Return a value as messages show it: its `repr` in at most 200 characters, however large the value is."""
    return shortened(_brief.repr(value))


def shortened(text: str) -> str:
    """Return a text from outside as logs and messages show it: on one line, in at most 200 printable characters."""
    return _cut("".join(map(_printable, _cut(text))))


def _cut(text: str) -> str:
    """Take out of the middle what is too much: of a path, the name of the file stays."""
    half = _MOST_CHARACTERS // 2
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:half]}…{text[1 - half :]}"


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else character.encode("unicode_escape").decode("ascii")
