# SPDX-License-Identifier: Apache-2.0
"""Optional dependencies: imported when they are needed; where one is missing, the error says how to install it."""

import importlib
import importlib.metadata
import importlib.util
import os
from pathlib import Path
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

#: By these variables, where a user has not set them, libraries send no reports of their use to their makers.
_WITHOUT_REPORTS = {"HF_HUB_DISABLE_TELEMETRY": "1", "ORT_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0"}

#: What comes with ROS 2 and not from PyPI, besides packages of messages.
_ROS_LIBRARIES = {
    *("ament_index_python", "cv_bridge", "launch", "launch_ros", "message_filters", "rclpy", "sensor_msgs_py"),
    *("tf2_py", "tf2_ros"),
}
#: Folder that holds the package: of the sources, in a checkout and where colcon has linked to it, else site-packages.
_SOURCE = Path(__file__).resolve().parent.parent


def missing_dependency(error: ImportError, purpose: str) -> MissingDependencyError:
    """Make the error for a package that is not installed, or whose libraries cannot be loaded.

    Args:
        error: of its import.
        purpose: what needs it, to begin a sentence with.
    """
    if not isinstance(error, ModuleNotFoundError):
        return MissingDependencyError(
            f"{purpose} cannot import a Python package that it needs: {error}; source the setup file of ROS 2; if that "
            f"does not help, {how_to_install('')}"
        )
    name = error.name or "?"
    package = name.partition(".")[0]
    if package == "monodvps_ros":
        return MissingDependencyError(f"{purpose} needs {name}, which is not built; {how_to_install(package)}")
    return MissingDependencyError(
        f"{purpose} needs the Python package '{package}', which is not installed; {how_to_install(package)}"
    )


def is_own(error: ImportError) -> bool:
    """Say whether an import of this package itself fails, which is a defect; its messages need a build with ROS 2."""
    parts = (error.name or "").split(".")
    return parts[0] == "monodvps_ros" and parts[1:2] != ["msg"]


def how_to_install(package: str) -> str:
    """Return what to do to install a Python package that is missing, as fits the way in which this one is installed.

    Args:
        package: its name for import; empty: all that this package needs.
    """
    extra = EXTRAS.get(package)
    if (_SOURCE / "Makefile").is_file():
        by_pip = f"pip install '.[{extra}]' or " if extra else ""
        return f"in {_SOURCE} run: {by_pip}make build"
    if package == "monodvps_ros" or is_of_ros(package):
        return "it comes with ROS 2: source its setup file, and build monodvps_ros there, with colcon or make build"
    metadata = next(_SOURCE.glob("monodvps_ros-*.dist-info"), None)  # of a wheel; colcon leaves an .egg-info
    if metadata is not None:
        wanted = " ".join(f"'{requirement}'" for requirement in _requirements(metadata, extra)) if extra else ""
        return f"run: pip install {wanted}" if wanted else "run: pip check, and install what it lists"
    by_pip = f"pip install '.[{extra}]' or " if extra else ""
    return f"in the source folder of monodvps_ros run: {by_pip}make build"


def is_of_ros(package: str) -> bool:
    """Whether a package, by its name for import, comes with ROS 2."""
    return package in _ROS_LIBRARIES or package.endswith(("_msgs", "_interfaces"))


def _requirements(metadata: Path, extra: str) -> list[str]:
    """Return the requirements of one extra, as a wheel's metadata list them."""
    parts = [line.partition(";") for line in importlib.metadata.Distribution.at(metadata).requires or []]
    return [wanted.strip() for wanted, _, marker in parts if marker.replace("'", '"').strip() == f'extra == "{extra}"']


def is_installed(package: str) -> bool:
    """Whether a package is there, without importing it."""
    return importlib.util.find_spec(package) is not None


def import_optional(package: str, purpose: str) -> Any:
    """Import a package that may be missing, and without its reports of use.

    Args:
        package: its name.
        purpose: what needs it, to begin a sentence with.

    Raises:
        MissingDependencyError: it is not installed.
    """
    for name, value in _WITHOUT_REPORTS.items():
        os.environ.setdefault(name, value)
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise missing_dependency(error, purpose) from error
