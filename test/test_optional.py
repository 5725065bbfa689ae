# SPDX-License-Identifier: Apache-2.0
"""Packages that are not installed: the error names the command that installs them."""

import re
import sys
from pathlib import Path

import pytest

from monodvps_ros.errors import MissingDependencyError
from monodvps_ros.optional import EXTRAS, import_optional, missing_dependency

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")


def test_the_error_names_package_purpose_and_command():
    assert str(missing_dependency(ModuleNotFoundError(name="lightning.pytorch"), "monodvps train")) == (
        "monodvps train needs the Python package 'lightning', which is not installed; in the source folder of "
        "monodvps_ros run: pip install '.[train]' or make build"
    )
    without_extra = missing_dependency(ModuleNotFoundError(name="rclpy"), "monodvps demo")
    assert str(without_extra).endswith("monodvps_ros run: make build")
    library = missing_dependency(ImportError("libspdlog.so.1: cannot open shared object file"), "monodvps play")
    assert "monodvps play cannot import" in str(library)
    assert "libspdlog.so.1: cannot open shared object file; source the setup file of ROS 2" in str(library)


def test_import(monkeypatch):
    assert import_optional("json", "a test") is sys.modules["json"]
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependencyError, match=r"a test needs the Python package 'onnx'.*'\.\[export\]'"):
        import_optional("onnx", "a test")


def test_the_extras_are_those_of_pyproject():
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    declared = {
        re.match(r"[\w-]+", requirement)[0].removesuffix("-sdk"): extra
        for extra in ("train", "foundation", "export", "fleet", "view")
        for requirement in project["optional-dependencies"][extra]
    }
    assert declared == EXTRAS
