# SPDX-License-Identifier: Apache-2.0
"""Commands in processes of their own that need no second to import torch: forked from a server that has it."""

import contextlib
import io
import multiprocessing
import resource
import sys
import time
import traceback
from pathlib import Path

import yaml

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    [
        "monodvps_ros.cli.application", "monodvps_ros.evaluation.prediction", "monodvps_ros.training.run",
        "monodvps_ros.training.pseudo_labels", "monodvps_ros.training.export", "monodvps_ros.scenes.writers",
        "monodvps_ros.perception.loading", "monodvps_ros.data.bag",
    ]
)  # fmt: skip

TRAINING = {
    "max_steps": 3, "batch_size": 1, "checkpoint_every": 1, "workers": 0, "device": "cpu", "encoder_weights": "",
    "pose_encoder_weights": "",
    "network": {"input_height": 64, "input_width": 96, "aspp_channels": 16, "semantic_channels": 16,
                "instance_channels": 16, "head_channels": 8, "flow_channels": 8},
}  # fmt: skip


class Command:
    """`monodvps WORDS`, started.

    Args:
        words: of the command line.
        log: file for what it says.
        most_bytes: no file may grow beyond; to the program that is like a full disk.
    """

    def __init__(self, words, log, most_bytes=None):
        self.log, self.words = Path(log), words
        self._process = _SERVER.Process(target=_run, args=([str(word) for word in words], str(log), most_bytes))
        self._process.start()

    def running(self):
        return self._process.is_alive()

    def kill_after(self, seconds):
        self._process.join(seconds)
        self._process.kill()
        return self.end()

    def end(self):
        """Return the exit code."""
        self._process.join(120.0)
        assert not self._process.is_alive(), (self.words, self.said())
        return self._process.exitcode

    def said(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def commands(folder, drive, weights):
    """Command lines by name, each without the output that follows."""
    configuration = folder / "train.yaml"
    configuration.write_text(yaml.safe_dump(TRAINING))
    scenes = ["scenes", "--size", "64x128", "--frames", "4", "--seed", "3"]
    predict = ["predict", "--input", drive, "--weights", weights]
    return {
        "scenes": [*scenes, "--format", "cityscapes-dvps", "--out"],
        "scenes to a bag": [*scenes, "--out"],
        "predict": [*predict, "--out"],
        "predict to bags": [*predict, "--format", "bag", "--out"],
        "pseudo-label": ["pseudo-label", "--data", drive, "--teacher", weights, "--scales", "1", "--no-flips", "--out"],
        "export": ["export", "--checkpoint", weights, "--out"],
        "train": ["train", "--data", drive, "--config", configuration, "--out"],
    }


def output(name, folder):
    """Where a command writes, in a folder of the test."""
    return folder / ("w.safetensors" if name == "export" else "out")


def again(name, words, out):
    """The command line that goes on after an interruption."""
    resumes = name == "train" and (out / "checkpoints" / "last.ckpt").exists()
    return [*words, out, *(["--resume"] if resumes else [])]


def unfinished(folder):
    """Hidden files and folders that are left."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*"))


def seconds_of(words, log):
    begin = time.monotonic()
    command = Command(words, log)
    assert command.end() == 0, command.said()
    return time.monotonic() - begin


def _run(words, log, most_bytes):
    """Runs in the child."""
    from monodvps_ros.cli.main import main

    said, code = io.StringIO(), 1
    try:
        if most_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = main(words) or 0
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc(file=said)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    Path(log).write_text(said.getvalue())  # also where the limit left no room for it
    sys.exit(code)
