# SPDX-License-Identifier: Apache-2.0
"""Both ways of `colcon build`, each into a fresh folder and used as people do: source install/setup.bash, then run."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ros, pytest.mark.slow]

ROOT = Path(__file__).parent.parent
PACKAGE = "monodvps_ros"


def variables_without_other_builds() -> dict[str, str]:
    """This process's variables with every folder of an installed monodvps_ros taken off the paths."""
    variables = dict(os.environ)
    for name in ("AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PATH"):
        folders = [Path(folder) for folder in variables.get(name, "").split(os.pathsep) if folder]
        kept = [folder for folder in folders if PACKAGE not in folder.parts and not (folder / PACKAGE).exists()]
        variables[name] = os.pathsep.join(map(str, kept))
    return variables


class Build:
    """One build of the package."""

    def __init__(self, folder: Path, *, linked: bool) -> None:
        self.folder, self.linked = folder, linked
        self.variables = variables_without_other_builds()
        options = ["--symlink-install"] if linked else []
        bases = ["--build-base", folder / "build", "--install-base", folder / "install", "--base-paths", ROOT]
        cmake = ["--cmake-args", f"-DPython3_EXECUTABLE={sys.executable}", "-DBUILD_TESTING=OFF"]
        command = ["colcon", "--log-base", folder / "log", "build", *bases, *options, *cmake]
        result = subprocess.run(command, cwd=folder, env=self.variables, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        self.prefix = folder / "install" / PACKAGE
        (self.python_folder,) = self.prefix.glob("lib/python3*/*-packages")

    def run(self, command: str) -> subprocess.CompletedProcess:
        """Run a shell command after sourcing the build."""
        script = f"source {self.folder / 'install' / 'setup.bash'} && {command}"
        return subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self.variables, capture_output=True, text=True, check=False
        )


@pytest.fixture(scope="module", params=[False, True], ids=["copied", "linked"])
def build(request, tmp_path_factory):
    return Build(tmp_path_factory.mktemp("build"), linked=request.param)


def test_messages_and_package_are_one(build):
    code = """
import json, monodvps_ros, monodvps_ros.msg, monodvps_ros.perception
from rclpy.serialization import deserialize_message, serialize_message
from monodvps_ros.msg import PanopticSegment, PanopticSegments, TrainingProgress
segments = PanopticSegments(segments=[PanopticSegment(panoptic_id=13001, class_name="car", median_depth_m=2.5)])
again = deserialize_message(serialize_message(segments), PanopticSegments)
assert again == segments, again
modules = monodvps_ros, monodvps_ros.msg, monodvps_ros.perception
print(json.dumps([[str(p) for p in m.__path__] for m in modules]))
"""
    result = build.run(f"{sys.executable} -c {shlex.quote(code)}")
    assert result.returncode == 0, result.stderr
    installed = build.python_folder / PACKAGE
    assert json.loads(result.stdout) == [[str(installed)], [str(installed / "msg")], [str(installed / "perception")]]


def test_every_source_file_is_installed(build):
    sources = [path for path in (ROOT / PACKAGE).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    for source in sources:
        installed = build.python_folder / source.relative_to(ROOT)
        assert installed.read_bytes() == source.read_bytes()
        assert installed.is_symlink() == build.linked
    shared = [path for folder in ("launch", "config") for path in (ROOT / folder).iterdir() if path.is_file()]
    assert shared
    for source in shared:
        assert (build.prefix / "share" / PACKAGE / source.relative_to(ROOT)).read_bytes() == source.read_bytes()


def test_programs_are_where_ros_and_the_shell_look(build):
    nodes = build.prefix / "lib" / PACKAGE
    programs = {"monodvps", "perception_node", "recorder", "training_node"}
    assert {path.name for path in nodes.iterdir() if os.access(path, os.X_OK)} == programs
    result = build.run("command -v monodvps && monodvps --help")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(str(build.prefix / "bin" / "monodvps"))
    for program in (*nodes.iterdir(), build.prefix / "bin" / "monodvps"):
        assert program.read_text().startswith(f"#!{sys.executable}\n")


def test_every_program_finds_its_module(build):
    for program in (build.prefix / "lib" / PACKAGE).iterdir():
        line = next(line for line in program.read_text().splitlines() if line.startswith("from "))
        result = build.run(f"{sys.executable} -c '{line}'")
        assert result.returncode == 0, f"{program.name}: {result.stderr}"


def test_installed_files_name_no_folder_of_the_sources_or_of_numpy(build):
    for path in build.prefix.glob("share/monodvps_ros/cmake/*.cmake"):
        text = path.read_text()
        assert str(ROOT) not in text
        assert "numpy" not in text


def test_wheel_and_sdist_hold_what_belongs_inside(tmp_path):
    """`pip wheel .` of the sdist of `python -m build`; from a copy, because setuptools writes into what it builds."""
    source = tmp_path / "source"
    source.mkdir()
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, source / path.name)
    for name in (PACKAGE, "config", "launch", "msg"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    make_sdist = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    run([sys.executable, "-c", make_sdist, tmp_path], source)
    (sdist,) = tmp_path.glob("*.tar.gz")
    run([sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, sdist], tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    sources = {path.relative_to(source).as_posix() for path in (source / PACKAGE).rglob("*") if path.is_file()}
    data = f"{wheel.stem.split('-py3')[0]}.data/data/share/{PACKAGE}"
    shared = [path for name in ("config", "launch", "msg") for path in (ROOT / name).rglob("*") if path.is_file()]
    shares = {f"{data}/{path.relative_to(ROOT).as_posix()}" for path in shared if path.suffix != ".pyc"}
    assert held == sources | shares
    assert {f"{PACKAGE}/weights/street.safetensors", f"{PACKAGE}/weights/street.md"} <= held
    assert {f"{data}/config/train.yaml", f"{data}/launch/camera.launch.py", f"{data}/msg/DepthScale.msg"} <= held


def run(command, folder):
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_second_set_up_takes_a_moment_and_touches_nothing():
    at = Path(sys.prefix).parent
    if not (at / ".venv" / "setup.json").exists():
        pytest.skip(f"{sys.prefix} was not made by tools/environment.py")
    command = [sys.executable, str(ROOT / "tools" / "environment.py"), "setup", "--at", str(at)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    stamps = [at / ".venv" / "setup.json", at / "build" / "setup.json", at / "log" / "setup.log"]
    before = [path.stat().st_mtime_ns for path in stamps]
    start = time.monotonic()
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert time.monotonic() - start < 5
    assert [path.stat().st_mtime_ns for path in stamps] == before
