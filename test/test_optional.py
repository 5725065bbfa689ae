# SPDX-License-Identifier: Apache-2.0
"""Packages that are not installed: the error names the command that installs them."""

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from monodvps_ros import optional
from monodvps_ros.errors import MissingDependencyError
from monodvps_ros.optional import EXTRAS, import_optional, is_own, missing_dependency

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")


SOURCE = Path(__file__).resolve().parent.parent


def error_of(name, purpose="monodvps train"):
    return str(missing_dependency(ModuleNotFoundError(name=name), purpose))


@pytest.fixture
def site_packages(monkeypatch, tmp_path):
    """The package is not where its sources are but in this folder."""
    monkeypatch.setattr(optional, "_SOURCE", tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


METADATA = """\
Metadata-Version: 2.4
Name: monodvps_ros
Version: 0.2.0
Requires-Dist: timm<2,>=1.0.9
Provides-Extra: train
Requires-Dist: lightning<3,>=2.4; extra == "train"
Requires-Dist: tensorboard<3,>=2.16; extra == "train"
Provides-Extra: view
Requires-Dist: rerun-sdk<0.42,>=0.41; extra == 'view'
Provides-Extra: all
Requires-Dist: monodvps_ros[export,fleet,foundation,train,view]; extra == "all"
"""


def write_metadata(folder, name):
    folder.mkdir()
    (folder / name).write_text(METADATA)


def test_in_a_checkout_the_error_names_package_purpose_folder_and_command():
    assert error_of("lightning.pytorch") == (
        f"monodvps train needs the Python package 'lightning', which is not installed; in {SOURCE} run: "
        "pip install '.[train]' or make build"
    )
    assert error_of("rclpy").endswith(f"in {SOURCE} run: make build")
    library = missing_dependency(ImportError("libspdlog.so.1: cannot open shared object file"), "monodvps play")
    assert "monodvps play cannot import" in str(library)
    assert "libspdlog.so.1: cannot open shared object file; source the setup file of ROS 2" in str(library)


def test_installed_by_pip_it_names_what_the_extra_needs(site_packages):
    write_metadata(site_packages / "monodvps_ros-0.2.0.dist-info", "METADATA")
    assert error_of("rerun").endswith("'rerun', which is not installed; run: pip install 'rerun-sdk<0.42,>=0.41'")
    assert error_of("lightning").endswith("run: pip install 'lightning<3,>=2.4' 'tensorboard<3,>=2.16'")
    assert error_of("timm").endswith("'timm', which is not installed; run: pip check, and install what it lists")
    for name in ("rclpy", "tf2_ros", "launch.actions", "message_filters", "nav_msgs.msg"):
        assert "it comes with ROS 2: source its setup file" in error_of(name)
    assert "monodvps train needs monodvps_ros.msg, which is not built; it comes" in error_of("monodvps_ros.msg")
    library = str(missing_dependency(ImportError("libGL.so.1"), "monodvps view"))
    assert library.endswith("ROS 2; if that does not help, run: pip check, and install what it lists")


def test_installed_by_colcon_it_names_the_source_folder(site_packages):
    write_metadata(site_packages / "monodvps_ros-0.2.0-py3.11.egg-info", "PKG-INFO")
    assert importlib.metadata.version("monodvps_ros") == "0.2.0"  # which is no sign of pip
    assert error_of("onnx").endswith("in the source folder of monodvps_ros run: pip install '.[export]' or make build")
    assert error_of("torch").endswith("in the source folder of monodvps_ros run: make build")
    assert "it comes with ROS 2" in error_of("sensor_msgs.msg")


def test_a_file_of_the_package_itself_that_is_missing_is_no_dependency():
    found = {name: is_own(ModuleNotFoundError(name=name)) for name in ("monodvps_ros.nn", "monodvps_ros.msg", "nn")}
    assert found == {"monodvps_ros.nn": True, "monodvps_ros.msg": False, "nn": False}


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


@pytest.mark.slow
def test_libraries_send_no_reports_of_their_use(tmp_path):
    """Where it may send them, onnxruntime makes files with an id of the machine."""
    pytest.importorskip("onnxruntime")
    places = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), str(tmp_path))
    environment = {name: value for name, value in os.environ.items() if name not in optional._WITHOUT_REPORTS}
    code = "from monodvps_ros.optional import import_optional; import_optional('onnxruntime', 'this')"
    subprocess.run([sys.executable, "-c", code], env=environment | places, check=True, timeout=60)
    assert not list(tmp_path.iterdir())


def test_what_a_user_says_of_reports_stays(monkeypatch):
    for name in optional._WITHOUT_REPORTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    import_optional("json", "this")
    assert {name: os.environ[name] for name in optional._WITHOUT_REPORTS} == {
        "HF_HUB_DISABLE_TELEMETRY": "1", "ORT_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "1"
    }  # fmt: skip
