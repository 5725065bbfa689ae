# SPDX-License-Identifier: Apache-2.0
"""A run from its first step to its weights: resumed, interrupted, started from weights, on two processes."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import WITHOUT_LABELS
from training_clip import SIZE, Clip, make_config, write_clip

from monodvps_ros.cli.main import main
from monodvps_ros.config import replace, to_dict
from monodvps_ros.errors import ConfigError, DataError, WeightsError
from monodvps_ros.files import owned
from monodvps_ros.network import load_network, read_card
from monodvps_ros.training.checkpoints import (
    FINGERPRINTS_KEY,
    PROCESSES_KEY,
    AtomicCheckpoints,
    check_resumable,
    read_checkpoint,
)
from monodvps_ros.training.export import export_checkpoint
from monodvps_ros.training.module import TrainingModule, stored_network
from monodvps_ros.training.run import CONFIG_FILE, LAST_CHECKPOINT, train


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole run of four steps, with validation after each second one."""
    out = tmp_path_factory.mktemp("run") / "out"
    config = make_config(validate_every=2, picture_every=4)
    return train(config, [Clip()], out, names=["clip"], validation=Clip()), out, config


def test_a_run_leaves_weights_that_load(finished):
    result, out, _ = finished
    assert result.steps == 4
    network = load_network(result.weights)
    assert "clip" in network.description
    assert network.input_size == SIZE
    assert (out / CONFIG_FILE).is_file()
    assert set(result.figures) >= {"loss/total", "validation/PQ", "validation/VPQ", "validation/absRel"}
    log = EventAccumulator(str(out / "log")).Reload()
    assert [event.step for event in log.Scalars("loss/photometric")] == [0, 1, 2, 3]
    pictures = {"image", "disparity", "classes", "true_classes", "reprojected", "flow_warped", "flow"}
    assert {tag.partition("/")[0] for tag in log.Tags()["images"]} == pictures


def test_mixed_precision_trains_and_clips(tmp_path):
    result = train(make_config(precision="bf16-mixed", max_steps=1), [Clip()], tmp_path / "out", names=["clip"])
    assert result.steps == 1


def test_a_folder_whose_name_is_not_utf_8_is_refused(tmp_path):
    with pytest.raises(DataError, match="is not a name in UTF-8, and TensorBoard cannot write there; choose another"):
        train(make_config(), [Clip()], tmp_path / os.fsdecode(b"caf\xe9"), names=["clip"])


@pytest.mark.slow
def test_a_resumed_run_equals_the_unbroken_one(finished, tmp_path):
    unbroken, _, config = finished

    class KilledError(Exception):
        pass

    class KillAfter(Clip):
        """Validation data that ends the run at its second reading, after the checkpoint of step 2."""

        readings = 0

        def __iter__(self):
            KillAfter.readings += 1
            if KillAfter.readings == 2:
                raise KilledError
            return super().__iter__()

    out = tmp_path / "out"
    with pytest.raises(KilledError):
        train(config, [Clip()], out, names=["clip"], validation=KillAfter())
    assert read_checkpoint(out / LAST_CHECKPOINT)["global_step"] == 2
    resumed = train(config, [Clip()], out, names=["clip"], validation=Clip(), resume=True)
    assert resumed.steps == 4
    one, two = load_file(unbroken.weights), load_file(resumed.weights)
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.slow
def test_a_run_of_another_number_of_processes_is_not_resumed(finished, tmp_path):
    _, out, config = finished
    checkpoint = read_checkpoint(out / LAST_CHECKPOINT)
    assert checkpoint["monodvps_processes"] == 1
    (tmp_path / LAST_CHECKPOINT).parent.mkdir(parents=True, exist_ok=True)
    torch.save({**checkpoint, "monodvps_processes": 2}, tmp_path / LAST_CHECKPOINT)
    with pytest.raises(WeightsError, match=r"made by 2 processes .* and this run has 1, .*resume with as many"):
        train(config, [Clip()], tmp_path, names=["clip"], resume=True)


@pytest.mark.slow
def test_an_exported_checkpoint_is_the_network_of_the_run(finished, tmp_path, capsys):
    result, out, _ = finished
    file = tmp_path / "w.safetensors"
    with pytest.raises(SystemExit) as end:
        main(["export", "--checkpoint", str(out / LAST_CHECKPOINT), "--out", str(file), "--half"])
    assert end.value.code == 0
    assert "from step 4: loss" in capsys.readouterr().out
    one, two = load_file(result.weights), load_file(file)
    assert all(torch.allclose(one[name], two[name].to(one[name].dtype), atol=1e-3, rtol=1e-3) for name in one)
    card = read_card(file)["card"]
    assert (card["training_data"], card["steps"]) == (["clip"], 4)
    assert "validation/PQ" in card["metrics"]


def test_shipped_weights_are_exported_by_name(tmp_path):
    card = export_checkpoint(Path("drives"), tmp_path / "w.safetensors")
    assert card == read_card("drives")["card"] == read_card(tmp_path / "w.safetensors")["card"]


def test_what_is_no_checkpoint_is_not_exported(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(WeightsError, match="not a checkpoint of this package"):
        export_checkpoint(tmp_path / "other.ckpt", tmp_path / "w.safetensors")


@pytest.mark.slow
def test_the_mean_of_the_weights_is_exported_where_asked_for(tmp_path):
    config = make_config(optimizer={"average": 0.99999, "learning_rate": 0.01}, max_steps=2, checkpoint_every=2)
    train(config, [Clip()], tmp_path / "out", names=["clip"])
    checkpoint = tmp_path / "out" / LAST_CHECKPOINT
    export_checkpoint(checkpoint, tmp_path / "w.safetensors")
    stored, newest = load_file(tmp_path / "w.safetensors"), read_checkpoint(checkpoint)["current_model_state"]
    # The mean began after the first step; the second moved each weight by its rate, and had 9 of 11 shares of the mean.
    moved = [(stored[name] - newest[f"network.{name}"]).abs().max().item() for name in ("semantic_head.final.weight",)]
    assert moved[0] == pytest.approx(2 / 11 * 0.01 * 0.5**0.9, rel=0.2)


@pytest.mark.slow
def test_an_interrupt_ends_the_run_with_a_checkpoint(tmp_path):
    class Interrupting(Clip):
        """Validation data that stands for a user who presses Ctrl-C."""

        def __iter__(self):
            signal.raise_signal(signal.SIGINT)
            return super().__iter__()

    before = signal.getsignal(signal.SIGINT)
    config = make_config(validate_every=1, checkpoint_every=3)
    result = train(config, [Clip()], tmp_path / "out", names=["clip"], validation=Interrupting())
    assert result.steps == 1
    assert read_checkpoint(tmp_path / "out" / LAST_CHECKPOINT)["global_step"] == 1
    assert result.weights.is_file()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_folder_with_a_run_is_not_written_over(finished):
    _, out, config = finished
    with pytest.raises(DataError, match="contains a training run; continue it with --resume"):
        train(config, [Clip()], out)


def test_another_configuration_cannot_go_on(finished):
    _, out, config = finished
    other = make_config(validate_every=2, picture_every=4, batch_size=1)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    with pytest.raises(WeightsError, match="configuration: batch_size is 2 there and 1 here; resume"):
        train(other, [Clip()], out, names=["clip"], resume=True)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before  # nothing was written
    assert yaml.safe_load((out / CONFIG_FILE).read_text())["batch_size"] == config.batch_size == 2


def test_two_runs_in_one_folder(finished):
    _, out, config = finished
    with owned(out), pytest.raises(DataError, match=r"out: is being written by another process \(process \d+ on"):
        train(config, [Clip()], out, names=["clip"], resume=True)


def test_settings_newer_than_the_checkpoint_have_their_defaults(finished):
    _, out, config = finished
    held = read_checkpoint(out / LAST_CHECKPOINT)
    del held["monodvps_config"]["loss"]["moving_test"], held[PROCESSES_KEY], held[FINGERPRINTS_KEY]
    check_resumable(held, config, 1, ["clip"], ["0"])
    held["monodvps_config"]["loss"]["no_longer"] = 1
    with pytest.raises(WeightsError, match=r"no_longer.*another version of this package"):
        check_resumable(held, config, 1, ["clip"], ["0"])


def test_the_network_can_be_that_of_the_initial_weights(finished, tmp_path):
    result, out, config = finished
    for start in (result.weights, out / LAST_CHECKPOINT):
        assert stored_network(start) == config.network
    with pytest.raises(ConfigError, match="there are no initial weights; give them with --weights"):
        train(replace(config, "network_of_weights", True), [Clip()], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_starting_from_weights(finished, tmp_path):
    result, _, config = finished
    module = TrainingModule(config, str(result.weights))
    stored = load_file(result.weights)
    own = {name.removeprefix("network."): value for name, value in module.state_dict().items()}
    learnt = {name: value for name, value in own.items() if "normalize" not in name}
    assert learnt.keys() == stored.keys()
    assert any(name.startswith("pose_network.") for name in stored)  # trained, so exported
    assert all(torch.equal(stored[name], value) for name, value in learnt.items())
    assert not module.initialized


@pytest.mark.slow
def test_starting_from_a_checkpoint_brings_the_pose_network(finished, tmp_path):
    _, out, config = finished
    held = read_checkpoint(out / LAST_CHECKPOINT)["state_dict"]
    begun = TrainingModule(replace(config, "seed", 7), str(out / LAST_CHECKPOINT)).state_dict()
    assert set(begun) == set(held)
    assert any(name.startswith("pose_network.") for name in held)
    assert all(torch.equal(begun[name], held[name]) for name in held)
    with pytest.raises(WeightsError, match=r"tensors are of another architecture, such as pose_network"):
        TrainingModule(replace(config, "pose_encoder", "resnet18"), str(out / LAST_CHECKPOINT))


@pytest.mark.slow
def test_starting_from_what_fits(finished, tmp_path):
    result, out, config = finished
    finer = replace(replace(config, "network.head_stride", 2), "partial_start", True)
    held = read_checkpoint(out / LAST_CHECKPOINT)["state_dict"]
    for start in (out / LAST_CHECKPOINT, result.weights):
        module = TrainingModule(finer, str(start))
        weights = {
            k if k.startswith("pose_network.") else f"network.{k}": v for k, v in load_file(result.weights).items()
        }
        stored = held if start.suffix == ".ckpt" else weights
        own = module.state_dict()
        new = {name.removeprefix("network.") for name in module.initialized}
        assert "semantic_head.final.weight" in new
        assert not [
            name for name in new if name.startswith(("encoder.", "depth_head.", "flow_decoder.", "pose_network."))
        ]
        kept = [name for name in stored if name.removeprefix("network.") not in new]
        assert kept
        assert all(torch.equal(own[name], stored[name]) for name in kept)
    with pytest.raises(WeightsError, match=r"head_stride is 4 there and 2 here.*partial_start=true"):
        TrainingModule(replace(finer, "partial_start", False), str(result.weights))
    console = Console(file=io.StringIO())
    train(finer, [Clip()], tmp_path / "out", weights=str(result.weights), console=console)
    told = console.file.getvalue()
    assert "initialised: center_head (6 tensors), instance_decoder (24 tensors)" in told


@pytest.mark.slow
def test_the_licence_of_the_initial_weights_is_that_of_what_is_trained_from_them(finished, tmp_path):
    result, _, _ = finished
    assert "license" not in read_card(result.weights)["card"]
    start = tmp_path / "start.safetensors"
    export_checkpoint(result.weights, start, more={"license": "for research"})
    config = make_config(max_steps=1)
    first = train(config, [Clip()], tmp_path / "first", weights=str(start))
    second = train(config, [Clip()], tmp_path / "second", weights=str(tmp_path / "first" / LAST_CHECKPOINT))
    for run, name in ((first, "start.safetensors"), (second, "last.ckpt")):
        card = read_card(run.weights)["card"]
        assert (card["license"], card["start"]) == ("for research", name)
    resumed = train(make_config(max_steps=2), [Clip()], tmp_path / "first", resume=True)
    assert read_card(resumed.weights)["card"]["license"] == "for research"
    assert "licence: for research" in load_network(resumed.weights).description


def test_checkpoints_are_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "a.ckpt"
    AtomicCheckpoints().save_checkpoint({"step": 1}, path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(DataError, match=r"No space left on device.*the previous one is kept"):
        AtomicCheckpoints().save_checkpoint({"step": 2}, path)
    assert read_checkpoint(path) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    torch.save({"state": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(WeightsError, match="not a complete checkpoint"):
        AtomicCheckpoints().load_checkpoint(tmp_path / "evil.ckpt")
    with pytest.raises(WeightsError, match="no such checkpoint"):
        read_checkpoint(tmp_path / "absent.ckpt")


@pytest.mark.slow
def test_two_processes_lose_what_one_does_with_twice_the_batch(tmp_path):
    """Without what differs between processes by nature: statistics of a batch, dropout, tie-breaking noise.

    Both steps see the same two samples, so that the loss falls by what the first step learnt alone. That step is small:
    Adam's first one takes only the signs of the gradients, and where one is all but zero its sign hangs on the order of
    a sum; with small steps such weights hardly count.
    """
    folder = tmp_path / "clip"
    write_clip(folder, 4)
    config = make_config(
        max_steps=2,
        frozen_statistics=True,
        frozen=("semantic", "instance"),
        picture_every=0,
        augmentation={"flip": 0.0, "color": 0.0},
        optimizer={"learning_rate": 1e-5, "pose_learning_rate": 1e-5},
        loss={**WITHOUT_LABELS, "mask_moving_objects": False, "auto_mask": False},
    )
    losses = {}
    for processes in (1, 2):
        file, out = tmp_path / f"{processes}.yaml", tmp_path / f"out{processes}"
        file.write_text(yaml.safe_dump(to_dict(replace(config, "batch_size", 2 // processes))))
        command = [
            sys.executable,
            "-m",
            "monodvps_ros.cli.main",
            "train",
            "--config",
            str(file),
            "--data",
            str(folder),
            "--out",
            str(out),
            "--devices",
            str(processes),
        ]
        subprocess.run(command, check=True, timeout=600)
        log = EventAccumulator(str(out / "log")).Reload()
        losses[processes] = [event.value for event in log.Scalars("loss/total")]
    print("losses by number of processes:", losses)
    assert losses[2] == pytest.approx(losses[1], rel=1e-4)
    falls = [before - after for before, after in losses.values()]
    assert falls[0] > 1e-4 * losses[1][0]
    assert falls[1] == pytest.approx(falls[0], rel=0.05)


def test_command_line_errors(capsys, tmp_path):
    words = ["train", "--data", str(tmp_path / "absent"), "--out", str(tmp_path / "out"), "loss.dpeth=1"]
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert "similar: loss.depth" in capsys.readouterr().err
