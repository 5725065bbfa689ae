# SPDX-License-Identifier: Apache-2.0
"""Optional dependencies: imported when they are needed; where one is missing, the error says how to install it."""

import importlib
from typing import Any

from monodvps_ros.errors import MissingDependencyError

#: The extra of pyproject.toml that installs a package, by the name that it is imported under.
EXTRAS = {
    "lightning": "train",
    "tensorboard": "train",
    "transformers": "foundation",
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
}


def missing_dependency(package: str | None, purpose: str) -> MissingDependencyError:
    """Make the error for a package that is not installed.

    Args:
        package: name that it is imported under; what stands after a dot does not matter.
        purpose: what needs it, to begin a sentence with.
    """
    name = (package or "?").partition(".")[0]
    by_pip = f"pip install '.[{EXTRAS[name]}]' or " if name in EXTRAS else ""
    return MissingDependencyError(
        f"{purpose} needs the Python package '{name}', which is not installed; in the source folder of monodvps_ros "
        f"run: {by_pip}make build"
    )


def import_optional(package: str, purpose: str) -> Any:
    """Import a package that may be missing.

    Args:
        package: its name.
        purpose: what needs it, to begin a sentence with.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise missing_dependency(error.name or package, purpose) from error
