# SPDX-License-Identifier: Apache-2.0
"""Every command that writes, killed at any moment, doubled, out of disk, and its output removed while it runs.

MONODVPS_ROUNDS says how often each is killed; 10 for a campaign, 1 where it is not set.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_runs import Command, again, commands, output, seconds_of, unfinished
from small_network import write_tiny_weights

ROUNDS = int(os.environ.get("MONODVPS_ROUNDS", "1"))
NAMES = ("scenes", "scenes to a bag", "predict", "predict to bags", "pseudo-label", "export", "train")
#: Of these, what is written is the same bytes each time.
EXACT = ("scenes", "predict", "pseudo-label")
#: Neither long nor large enough to be hit in the middle.
SHORT = ("export",)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300 * ROUNDS)]


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """Command lines by name, on a drive of a few frames."""
    folder = tmp_path_factory.mktemp("given")
    scenes = ["scenes", "--size", "64x96", "--frames", "5", "--seed", "1", "--out", folder / "scenes"]
    seconds_of(scenes, folder / "scenes.log")
    (drive,) = (folder / "scenes").iterdir()
    return commands(folder, drive, write_tiny_weights(folder / "weights.safetensors"))


def contents(path):
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", NAMES)
def test_killed_at_any_moment_it_ends_whole_when_it_is_run_again(name, lines, tmp_path):
    words = lines[name]
    whole = output(name, tmp_path / "whole")
    whole.parent.mkdir()
    lasts = seconds_of([*words, whole], tmp_path / "whole.log")
    moments = np.random.default_rng(NAMES.index(name)).uniform(0.1, 0.95, ROUNDS) * lasts
    for number, moment in enumerate(moments):
        folder = tmp_path / str(number)
        folder.mkdir()
        out = output(name, folder)
        Command([*words, out], tmp_path / f"{number}.killed.log").kill_after(moment)
        after = Command(again(name, words, out), tmp_path / f"{number}.log")
        code = after.end()
        was_done = name in ("scenes", "scenes to a bag") and "not overwritten" in " ".join(after.said().split())
        assert code == (2 if was_done else 0), (moment, after.said())
        assert "Traceback" not in after.said()
        assert unfinished(folder) == [], (moment, after.said())
        if name in EXACT:
            assert contents(out) == contents(whole), moment


@pytest.mark.parametrize("name", NAMES)
def test_two_into_one_output_are_one_and_a_line(name, lines, tmp_path):
    out = output(name, tmp_path / "both")
    out.parent.mkdir()
    pair = [Command([*lines[name], out], tmp_path / f"{number}.log") for number in range(2)]
    codes = [command.end() for command in pair]
    said = [command.said() for command in pair]
    assert 0 in codes and set(codes) <= {0, 2}, said
    for code, text in zip(codes, said, strict=True):
        assert "Traceback" not in text
        assert code == 0 or "is being written by another process" in text or "already" in text, text
    assert unfinished(out.parent) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_is_a_line(name, lines, tmp_path):
    command = Command([*lines[name], output(name, tmp_path)], tmp_path / "log", most_bytes=100)
    assert command.end() == 2, command.said()
    assert "Traceback" not in command.said()
    assert "File too large" in command.said().strip().splitlines()[-1]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in SHORT])
def test_an_output_that_is_removed_while_it_is_written_is_a_line(name, lines, tmp_path):
    out = output(name, tmp_path)
    command = Command([*lines[name], out], tmp_path / "log")
    while command.running():
        shutil.rmtree(out, ignore_errors=True)
    assert command.end() in (0, 2), command.said()  # 0 where all was written before
    assert "Traceback" not in command.said(), command.said()


@pytest.mark.parametrize("name", NAMES)
def test_an_output_where_nothing_can_be_written_is_a_line(name, lines, tmp_path):
    """The kernel's folder takes no files, not even root's."""
    command = Command([*lines[name], output(name, Path("/proc"))], tmp_path / "log")
    assert command.end() == 2, command.said()
    assert command.said().strip().splitlines()[-1].startswith("monodvps: /proc/")
    assert "Traceback" not in command.said()
