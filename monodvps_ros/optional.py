# SPDX-License-Identifier: Apache-2.0
"""Optional dependencies: imported when they are needed; where one is missing, the error says how to install it."""

import importlib
import importlib.util
from typing import Any

from monodvps_ros.errors import MissingDependencyError

#: The extra of pyproject.toml that installs a package, by the name that it is imported under.
EXTRAS = {
    "lightning": "train",
    "tensorboard": "train",
    "transformers": "foundation",
    "nncf": "export",
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
    "openvino": "export",
    "ray": "fleet",
    "rerun": "view",
}


def missing_dependency(error: ImportError, purpose: str) -> MissingDependencyError:
    """Make the error for a package that is not installed, or whose libraries cannot be loaded.

    Args:
        error: of its import.
        purpose: what needs it, to begin a sentence with.
    """
    if not isinstance(error, ModuleNotFoundError):
        return MissingDependencyError(
            f"{purpose} cannot import a Python package that it needs: {error}; source the setup file of ROS 2, or "
            "run make build in the source folder of monodvps_ros"
        )
    name = (error.name or "?").partition(".")[0]
    by_pip = f"pip install '.[{EXTRAS[name]}]' or " if name in EXTRAS else ""
    return MissingDependencyError(
        f"{purpose} needs the Python package '{name}', which is not installed; in the source folder of monodvps_ros "
        f"run: {by_pip}make build"
    )


def is_installed(package: str) -> bool:
    """Whether a package is there, without importing it."""
    return importlib.util.find_spec(package) is not None


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
        raise missing_dependency(error, purpose) from error
