# SPDX-License-Identifier: Apache-2.0
"""What ends a training run, or is left out of it: each with a message that says what to do, and nothing lost."""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Callback
from safetensors.torch import load_file
from tiny import DEPTH_ALONE

from monodvps_ros.cli.main import main
from monodvps_ros.config import TrainingConfig, from_dict, replace
from monodvps_ros.data import open_source
from monodvps_ros.errors import ConfigError, DataError, DeviceError, NotFiniteError
from monodvps_ros.network import read_card
from monodvps_ros.training.checkpoints import read_checkpoint
from monodvps_ros.training.faults import explained
from monodvps_ros.training.frames import FrameStore, store_frames
from monodvps_ros.training.map_file import MapFile
from monodvps_ros.training.module import TrainingModule
from monodvps_ros.training.run import LAST_CHECKPOINT, WEIGHTS_FILE, train

SIZE = (64, 96)
GIVEN = {**DEPTH_ALONE, "batch_size": 2, "max_steps": 4, "checkpoint_every": 2}


def _config(**values):
    return from_dict(TrainingConfig, {**GIVEN, **values})


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Write a folder of six images of a texture that passes by."""
    folder = tmp_path_factory.mktemp("drives") / "morning"
    folder.mkdir()
    generator = np.random.default_rng(0)
    scene = np.kron(generator.integers(0, 255, (8, 15, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    for place in range(6):
        cv2.imwrite(str(folder / f"{place:06d}.png"), scene[:, 2 * place : 2 * place + SIZE[1]])
    camera = {"width": SIZE[1], "height": SIZE[0], "rate_hz": 10.0, "K": [60.0, 0, 47.5, 0, 60.0, 31.5, 0, 0, 1]}
    (folder / "camera.json").write_text(json.dumps(camera))
    return folder


def _command(clip, config, out, *words):
    file = out.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(config))
    return [sys.executable, "-m", "monodvps_ros.cli.main", "train", "--config", str(file), "--data", str(clip),
            "--out", str(out), *words]  # fmt: skip


def _wait_for(condition, process, seconds=300.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


class Wait(Callback):
    """Does something at the end of a step."""

    def __init__(self, do):
        self.do = do

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.do(trainer, pl_module)


# --- going on ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(clip, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "out"
    train(_config(), [open_source(clip)], out, names=[str(clip)])
    return out


@pytest.mark.slow
def test_fewer_steps_than_were_made_are_refused(finished, clip, tmp_path):
    shutil.copytree(finished, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"is at step 4, beyond max_steps, which is 3; continue with --max-steps"):
        train(_config(max_steps=3), [open_source(clip)], tmp_path / "out", names=[str(clip)], resume=True)
    assert read_checkpoint(tmp_path / "out" / LAST_CHECKPOINT)["global_step"] == 4


@pytest.mark.slow
def test_more_steps_go_on_at_the_rate_of_the_longer_run(finished, clip, tmp_path):
    shutil.copytree(finished, tmp_path / "out")
    rates = []
    note = Wait(lambda trainer, _: rates.append(trainer.optimizers[0].param_groups[0]["lr"]))

    class First(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    given = _config(max_steps=8)
    result = train(
        given, [open_source(clip)], tmp_path / "out", names=[str(clip)], resume=True, callbacks=[First(), note]
    )
    assert result.steps == 8
    assert rates[0] == pytest.approx(2.5e-4 * 0.5**0.9)  # not 0, at which the run of four steps had ended
    assert rates[-1] == 0.0
    again = train(given, [open_source(clip)], tmp_path / "out", names=[str(clip)], resume=True)  # nothing left to do
    assert again.steps == 8


def test_nothing_to_go_on_from_is_said(clip, tmp_path):
    with pytest.raises(DataError, match=r"there is no checkpoint yet; run the same command without --resume"):
        train(_config(), [open_source(clip)], tmp_path / "out", resume=True)


@pytest.mark.slow
def test_the_card_names_recordings_without_their_folders(finished, clip):
    assert read_checkpoint(finished / LAST_CHECKPOINT)["monodvps_data"] == ["morning"]
    assert read_card(finished / WEIGHTS_FILE)["card"]["training_data"] == ["morning"]
    assert str(clip.parent).encode() not in (finished / WEIGHTS_FILE).read_bytes()


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_ends_with_a_checkpoint_and_resume_goes_on(clip, tmp_path):
    """The signal goes to the whole group, as from a terminal, so to the processes that read samples too."""
    out = tmp_path / "out"
    config = {**GIVEN, "workers": 2, "max_steps": 100_000, "checkpoint_every": 100_000}
    process = subprocess.Popen(_command(clip, config, out), stderr=subprocess.PIPE, text=True, start_new_session=True)
    log = out / "log"
    _wait_for(lambda: log.is_dir() and any(log.glob("events*")), process)
    time.sleep(1.0)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=800)
    assert process.returncode == 130, said
    assert "stopping after this step" in said
    assert "; use --resume" in said
    assert "Traceback" not in said
    step = read_checkpoint(out / LAST_CHECKPOINT)["global_step"]
    assert step > 0
    subprocess.run(
        _command(clip, {**config, "max_steps": step + 2}, out, "--resume"), check=True, timeout=800, capture_output=True
    )
    assert read_checkpoint(out / LAST_CHECKPOINT)["global_step"] == step + 2


@pytest.mark.slow
def test_sigterm_ends_with_a_checkpoint_too(clip, tmp_path, capsys):
    class Terminated:
        """Validation data that stands for a machine that is shut down."""

        def __iter__(self):
            signal.raise_signal(signal.SIGTERM)
            return iter(())

    before = signal.getsignal(signal.SIGTERM)
    given = _config(validate_every=1, checkpoint_every=100)
    result = train(given, [open_source(clip)], tmp_path / "out", validation=Terminated())
    assert (result.steps, result.stopped_by) == (1, signal.SIGTERM)
    assert read_checkpoint(tmp_path / "out" / LAST_CHECKPOINT)["global_step"] == 1
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow
def test_a_run_killed_again_and_again_equals_the_unbroken_one(clip, tmp_path):
    config = {**GIVEN, "max_steps": 12, "workers": 1}
    unbroken, out = tmp_path / "unbroken", tmp_path / "out"
    subprocess.run(_command(clip, config, unbroken), check=True, timeout=800, capture_output=True)
    checkpoint = out / LAST_CHECKPOINT
    folder = checkpoint.parent

    def changed(since):
        return lambda: checkpoint.exists() and checkpoint.stat().st_mtime_ns != since

    # While frames are read; then as soon as a checkpoint is there; then while one is being written, or soon after.
    moments = [
        (out / "frames" / "image.npy").exists,
        changed(0),
        lambda: any(folder.glob(".*partial")) or read_checkpoint(checkpoint)["global_step"] > 4,
    ]
    steps = []
    for moment in moments:
        words = ["--resume"] if checkpoint.exists() else []
        process = subprocess.Popen(
            _command(clip, config, out, *words), stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        _wait_for(moment, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        steps.append(read_checkpoint(checkpoint)["global_step"] if checkpoint.exists() else 0)
    assert steps[0] < 12
    assert steps == sorted(steps)
    subprocess.run(_command(clip, config, out, "--resume"), check=True, timeout=800, capture_output=True)
    one, two = load_file(unbroken / WEIGHTS_FILE), load_file(out / WEIGHTS_FILE)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


# --- the disk ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_files():
    """No file may grow beyond a size that the test sets; to a program that is like a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_while_frames_are_stored(clip, tmp_path, small_files):
    small_files(50_000)
    with pytest.raises(DataError, match=r"frames cannot be stored: .*File too large.*free disk space"):
        store_frames([open_source(clip)], SIZE, tmp_path / "frames", "")
    with pytest.raises(DataError, match="no complete set of frames"):
        FrameStore(tmp_path / "frames")
    small_files(resource.RLIM_INFINITY)
    assert len(store_frames([open_source(clip)], SIZE, tmp_path / "frames", "")) == 6


@pytest.mark.slow
def test_a_full_disk_at_a_checkpoint_keeps_the_one_before(clip, tmp_path, small_files):
    out = tmp_path / "out"

    def fill(trainer, _):
        if trainer.global_step == 3:
            small_files(100_000)

    with pytest.raises(DataError, match=r"cannot be written: .*the previous one is kept; free disk space and --res"):
        train(_config(), [open_source(clip)], out, names=["a"], callbacks=[Wait(fill)])
    small_files(resource.RLIM_INFINITY)
    assert read_checkpoint(out / LAST_CHECKPOINT)["global_step"] == 2
    assert [path.name for path in (out / LAST_CHECKPOINT).parent.iterdir()] == ["last.ckpt"]
    assert train(_config(), [open_source(clip)], out, names=["a"], resume=True).steps == 4


def test_a_full_disk_anywhere_else(tmp_path):
    with pytest.raises(DataError, match=r"disk is full: .*No space left.*continue with --resume"), explained(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device", "log/events")
    with pytest.raises(PermissionError), explained(tmp_path):
        raise PermissionError(errno.EACCES, "no")


def test_maps_come_back_as_written_and_the_rest_is_0(tmp_path):
    file = MapFile(tmp_path / "a.npy", np.uint16, (2, 4))
    file[1] = np.arange(8).reshape(2, 4)
    file.close(3)
    stored = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert stored.dtype == np.uint16
    assert stored.tolist() == [[[0] * 4] * 2, [[0, 1, 2, 3], [4, 5, 6, 7]], [[0] * 4] * 2]


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_run_with_one_line(clip, tmp_path, monkeypatch, capsys):
    honest = TrainingModule.losses

    def losses(self, batch):
        if self.global_step == 3:
            with torch.no_grad():
                next(self.network.depth_head.parameters()).fill_(float("nan"))
        return honest(self, batch)

    monkeypatch.setattr(TrainingModule, "losses", losses)
    with pytest.raises(SystemExit) as end:
        main(_command(clip, GIVEN, tmp_path / "out")[3:])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "loss term 'photometric' is nan at step 3" in said
    assert "lower the learning rate" in said
    assert read_checkpoint(tmp_path / "out" / LAST_CHECKPOINT)["global_step"] == 2


@pytest.mark.slow
def test_weights_that_are_not_finite_never_become_a_checkpoint(clip, tmp_path):
    def spoil(trainer, module):
        if trainer.global_step == 4:
            with torch.no_grad():
                next(module.pose_network.parameters()).fill_(float("nan"))

    out = tmp_path / "out"
    with pytest.raises(NotFiniteError, match=r"at step 4, such as pose_network.*the previous checkpoint is kept"):
        train(_config(), [open_source(clip)], out, callbacks=[Wait(spoil)])
    assert read_checkpoint(out / LAST_CHECKPOINT)["global_step"] == 2


# --- frames -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_unreadable_image_is_left_out_and_said(clip, tmp_path, capsys):
    damaged = tmp_path / "damaged"
    shutil.copytree(clip, damaged)
    (damaged / "000001.png").write_bytes(b"no image")
    given = {**GIVEN, "max_steps": 1}
    with pytest.raises(SystemExit) as end:
        main(_command(damaged, given, tmp_path / "out")[3:])
    assert end.value.code == 3
    said = capsys.readouterr().err
    assert "5 frames, 2 usable; 1 skipped; 1 frame cannot be read; the first: " in said
    assert "000001.png" in said
    store = FrameStore(tmp_path / "out" / "frames")
    assert [entry.index for entry in store.entries] == [0, 2, 3, 4, 5]
    assert [entry.follows_previous for entry in store.entries] == [False, False, True, True, True]


def test_frames_that_never_come_are_counted(clip, tmp_path):
    class Short:
        """A recording whose end is missing."""

        rate_hz, label_space = 10.0, open_source(clip).label_space

        def __len__(self):
            return 9

        def __iter__(self):
            return iter(open_source(clip))

    store = store_frames([Short()], SIZE, tmp_path, "")
    assert (len(store), store.skipped) == (6, 3)
    assert store.damage == ["data source 1 ends 3 frames before its length"]


def test_stored_frames_that_were_removed_are_said(clip, tmp_path):
    store = store_frames([open_source(clip)], SIZE, tmp_path, "")
    (tmp_path / "image.npy").unlink()
    with pytest.raises(DataError, match=r"stored frames cannot be read: .*delete it and --resume"):
        store.sample(0)


# --- memory and processes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried"), r"out of GPU memory: .*smaller batch_size"),
        (MemoryError(), r"out of memory: MemoryError; .*smaller batch_size.*reduce workers"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"),
            r"out of memory: .*smaller batch_size",
        ),
        (RuntimeError("not enough memory: you tried to allocate 9 bytes."), r"out of memory: .*--weights .*last.ckpt"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), r"out of memory: .*reduce workers"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), r"loading process died.*shm-size"),
        (RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"), r"a data-loading process died"),
    ],
)
def test_memory_that_runs_out_says_what_to_lower(tmp_path, error, says):
    with pytest.raises(DeviceError, match=says), explained(tmp_path / LAST_CHECKPOINT):
        raise error


def test_our_own_faults_keep_their_traceback(tmp_path):
    with pytest.raises(RuntimeError, match="of another kind"), explained(tmp_path):
        raise RuntimeError("of another kind")


def test_an_error_from_a_worker_is_one_line(tmp_path):
    text = "Caught DataError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File ...\n"
    with pytest.raises(DataError, match=r"^frame 7 is damaged$"), explained(tmp_path):
        raise DataError(f"{text}monodvps_ros.errors.DataError: frame 7 is damaged\n")


@pytest.mark.slow
def test_out_of_memory_in_a_step_keeps_the_checkpoint(clip, tmp_path, monkeypatch):
    honest = TrainingModule.losses

    def losses(self, batch):
        if self.global_step == 3:
            torch.empty(1 << 55)
        return honest(self, batch)

    monkeypatch.setattr(TrainingModule, "losses", losses)
    with pytest.raises(DeviceError, match=r"out of memory: .*--weights .*last\.ckpt"):
        train(_config(), [open_source(clip)], tmp_path / "out")
    assert read_checkpoint(tmp_path / "out" / LAST_CHECKPOINT)["global_step"] == 2
    monkeypatch.undo()
    smaller = replace(_config(), "batch_size", 1)
    begun = train(smaller, [open_source(clip)], tmp_path / "smaller", weights=str(tmp_path / "out" / LAST_CHECKPOINT))
    assert begun.steps == 4
