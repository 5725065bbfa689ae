# SPDX-License-Identifier: Apache-2.0
"""Runs that go on: with the newest weights where their average is exported, and on the same data only."""

import shutil
import signal

import cv2
import pytest
import torch
from lightning.pytorch import Callback
from tiny import DEPTH_ALONE
from training_clip import Clip, make_config, write_clip

from monodvps_ros.data import open_source
from monodvps_ros.errors import DataError
from monodvps_ros.network import load_network, read_card
from monodvps_ros.training.checkpoints import read_checkpoint
from monodvps_ros.training.frames import FrameStore
from monodvps_ros.training.run import LAST_CHECKPOINT, train
from monodvps_ros.training.validation import figures, validate


@pytest.mark.slow
def test_a_stopped_run_with_an_average_goes_on_from_its_newest_weights(tmp_path):
    class Stop(Callback):
        """Presses Ctrl-C in the third step, between two checkpoints."""

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.global_step == 2:
                signal.raise_signal(signal.SIGINT)

    config = make_config(optimizer={"average": 0.9, "learning_rate": 0.01}, max_steps=5, checkpoint_every=4)
    outs = tmp_path / "whole", tmp_path / "stopped"
    train(config, [Clip()], outs[0], names=["clip"])
    assert train(config, [Clip()], outs[1], names=["clip"], callbacks=[Stop()]).steps == 3
    stopped = read_checkpoint(outs[1] / LAST_CHECKPOINT)
    name = "network.semantic_head.final.weight"
    assert not torch.equal(stopped["state_dict"][name], stopped["current_model_state"][name])
    assert train(config, [Clip()], outs[1], names=["clip"], resume=True).steps == 5
    one, two = (read_checkpoint(out / LAST_CHECKPOINT) for out in outs)
    for part in ("state_dict", "current_model_state"):
        assert one[part].keys() == two[part].keys()
        assert all(torch.equal(one[part][name], two[part][name]) for name in one[part])


@pytest.mark.slow
def test_the_average_is_validated_since_it_is_exported(tmp_path):
    config = make_config(optimizer={"average": 0.9, "learning_rate": 0.05}, validate_every=4, checkpoint_every=3)
    result = train(config, [Clip()], tmp_path / "out", names=["clip"], validation=Clip())
    network = load_network(result.weights, for_inference=False)
    of_average = figures(validate(network, Clip(), 200))
    told = {name.removeprefix("validation/"): value for name, value in result.figures.items() if "validation" in name}
    assert of_average == pytest.approx({name: told[name] for name in of_average}, abs=1e-6)
    assert read_card(result.weights)["card"]["metrics"]["validation/absRel"] == pytest.approx(told["absRel"])
    held = read_checkpoint(tmp_path / "out" / LAST_CHECKPOINT)["current_model_state"]
    network.load_state_dict({k.removeprefix("network."): v for k, v in held.items() if k.startswith("network.")})
    assert abs(figures(validate(network, Clip(), 200))["absRel"] - told["absRel"]) > 1e-3


@pytest.mark.slow
def test_data_that_changed_is_not_gone_on_with_and_is_read_again_by_a_new_run(tmp_path):
    clip, moved = tmp_path / "clip", tmp_path / "moved" / "clip"
    write_clip(clip, 4)
    shutil.copytree(clip, moved)
    train(make_config(**DEPTH_ALONE, max_steps=1), [open_source(clip)], tmp_path / "out", names=[str(clip)])
    given = make_config(**DEPTH_ALONE, max_steps=2)
    assert train(given, [open_source(moved)], tmp_path / "out", names=[str(moved)], resume=True).steps == 2
    file = moved / "000003.png"
    cv2.imwrite(str(file), 255 - cv2.imread(str(file)))
    with pytest.raises(DataError, match=r"clip: is not, or no longer, the data that the checkpoint was trained on"):
        train(
            make_config(**DEPTH_ALONE, max_steps=3),
            [open_source(moved)],
            tmp_path / "out",
            names=[str(moved)],
            resume=True,
        )
    inside = moved / "run"
    for steps in (1, 2):  # what lies in the output is not of the data
        given = make_config(**DEPTH_ALONE, max_steps=steps)
        result = train(given, [open_source(moved)], inside, names=[str(moved)], resume=steps == 2)
    assert result.steps == 2
    shutil.rmtree(inside)
    with pytest.raises(DataError, match=r"made with 1 data source, this run has 2; resume with the same data"):
        train(given, [open_source(clip)] * 2, tmp_path / "out", names=[str(clip)] * 2, resume=True)
    frames = tmp_path / "out" / "frames"
    before = FrameStore(frames).sample(3).frame.image.astype(float)
    train(
        make_config(**DEPTH_ALONE, max_steps=1),
        [open_source(moved)],
        tmp_path / "new",
        names=[str(moved)],
        frames=frames,
    )
    after = FrameStore(frames).sample(3).frame.image.astype(float)
    assert after == pytest.approx(255 - before, abs=1.0)
