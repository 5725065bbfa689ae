# SPDX-License-Identifier: Apache-2.0
"""The trainer: stored frames, the order of the data, what is trained, and that a resumed run is the unbroken one."""

import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from monodvps_ros.cli.main import main
from monodvps_ros.config import TrainingConfig, from_dict, load, replace, to_dict
from monodvps_ros.errors import ConfigError, DataError, NotFiniteError, WeightsError
from monodvps_ros.labels import CITYSCAPES, SEMKITTI
from monodvps_ros.losses import Objective
from monodvps_ros.network import load_network, measure_complexity, read_card
from monodvps_ros.training.checkpoints import AtomicCheckpoints, read_checkpoint
from monodvps_ros.training.dataset import Draw, TrainingDataset, collate
from monodvps_ros.training.export import export_checkpoint
from monodvps_ros.training.frames import FrameStore, store_frames
from monodvps_ros.training.module import TrainingModule
from monodvps_ros.training.parts import trained_parts
from monodvps_ros.training.predict import predict
from monodvps_ros.training.reference import REFERENCE_FILE, reference
from monodvps_ros.training.run import CONFIG_FILE, LAST_CHECKPOINT, train
from monodvps_ros.training.sampler import StepSampler
from monodvps_ros.types import CameraFrame, FrameTruth, Sample

SIZE = (64, 96)
K = np.array([[60.0, 0, 47.5], [0, 60.0, 31.5], [0, 0, 1]])
NETWORK = {"encoder": "mobilenetv3_small_050", "input_height": 64, "input_width": 96, "aspp_channels": 16,
           "semantic_channels": 16, "instance_channels": 16, "flow_channels": 16}  # fmt: skip


class Clip:
    """A camera that drives towards a textured wall with a box in front of it."""

    label_space = CITYSCAPES
    rate_hz = 10.0

    def __init__(self, frames=5, seed=0, broken=(), gap_after=None):
        self.frames, self.broken, self.gap_after = frames, broken, gap_after
        generator = np.random.default_rng(seed)
        self.texture = np.kron(generator.integers(0, 255, (20, 30, 3)), np.ones((8, 8, 1))).astype(np.uint8)

    def __len__(self):
        return self.frames

    def __iter__(self):
        return Clip.Reading(self)

    class Reading:
        def __init__(self, clip):
            self.clip, self.place = clip, -1

        def __next__(self):
            self.place += 1
            if self.place >= self.clip.frames:
                raise StopIteration
            if self.place in self.clip.broken:
                raise DataError(f"frame {self.place} is damaged")
            return self.clip.sample(self.place)

        def __iter__(self):
            return self

    def sample(self, place):
        image = self.texture[: SIZE[0], 2 * place : 2 * place + SIZE[1]]
        panoptic = np.full(SIZE, 2000, np.uint16)
        panoptic[20:50, 30 - 2 * place : 60 - 2 * place] = 13001
        depth = np.where(panoptic == 2000, 20.0, 8.0).astype(np.float32)
        late = 5 if self.gap_after is not None and place > self.gap_after else 0
        stamp = round((place + late) * 1e8)
        return Sample(CameraFrame(image, stamp, "camera", K), FrameTruth(panoptic, depth), "drive", place, "clip")


def _config(**values):
    given = {"network": NETWORK, "pose_encoder": "mobilenetv3_small_050", "workers": 0, "device": "cpu",
             "batch_size": 2, "max_steps": 4, "checkpoint_every": 2, "validate_every": 0,
             "center_sigma_px": 3.0}  # fmt: skip
    return from_dict(TrainingConfig, {**given, **values})


def _objective(config):
    return Objective(config.loss, CITYSCAPES)


def _dataset(tmp_path, config, clip=None):
    return TrainingDataset(store_frames([clip or Clip()], SIZE, tmp_path / "frames", ""), config, _objective(config))


def test_frames_come_back_as_stored(tmp_path):
    store = store_frames([Clip(3)], (32, 48), tmp_path / "frames", "key")
    again = FrameStore(tmp_path / "frames")
    assert len(store) == len(again) == 3
    sample = again.sample(1)
    assert sample.frame.image.shape == (32, 48, 3)
    assert sample.frame.intrinsics[0, 0] == 30.0
    assert sample.frame.intrinsics[0, 2] == pytest.approx(23.5)
    assert set(np.unique(sample.truth.panoptic)) == {2000, 13001}
    assert set(np.unique(sample.truth.depth_m)) == {8.0, 20.0}
    assert (sample.sequence, sample.index, sample.frame.stamp_ns) == ("drive", 1, 100_000_000)


def test_frames_are_stored_once_for_a_key(tmp_path):
    class Once(Clip):
        reads = 0

        def __iter__(self):
            Once.reads += 1
            return super().__iter__()

    for key in ("a", "a", "b"):
        store_frames([Once()], SIZE, tmp_path, key)
    assert Once.reads == 2


def test_a_damaged_frame_is_counted_and_parts_its_neighbours(tmp_path):
    store = store_frames([Clip(7, broken={2})], SIZE, tmp_path, "")
    assert store.skipped == 1
    assert len(store) == 6
    assert [entry.follows_previous for entry in store.entries] == [False, True, False, True, True, True]
    with pytest.raises(DataError, match="no frame that can be read: frame 2 is damaged"):
        store_frames([Clip(3, broken={0, 1, 2})], SIZE, tmp_path, "other")


def test_incomplete_frames_are_refused(tmp_path):
    (tmp_path / "frames.json").write_text("{")
    with pytest.raises(DataError, match="no complete frames"):
        FrameStore(tmp_path)


def test_frames_of_another_version_are_refused(tmp_path):
    store_frames([Clip(2)], (32, 48), tmp_path / "frames", "")
    index = json.loads((tmp_path / "frames/frames.json").read_text())
    for broken in ({**index, "entries": [{"source": 0}]}, {k: v for k, v in index.items() if k != "skipped"}):
        (tmp_path / "frames/frames.json").write_text(json.dumps(broken))
        with pytest.raises(DataError, match=r"another version of this package.*delete it"):
            FrameStore(tmp_path / "frames")


def test_sources_of_two_label_spaces_are_refused(tmp_path):
    other = Clip()
    other.label_space = SEMKITTI
    with pytest.raises(DataError, match=r"label spaces \['cityscapes', 'semkitti'\]"):
        store_frames([Clip(), other], SIZE, tmp_path, "")


def test_sources_follow_the_target_in_time(tmp_path):
    config = _config(augmentation={"flip": 0.0, "color": 0.0})
    dataset = _dataset(tmp_path, config)
    batch = collate([dataset[Draw(2, 0)]])
    for place, image in ((2, batch.truth.image), (1, batch.truth.sources[0]), (3, batch.truth.sources[1])):
        expected = torch.from_numpy(Clip().sample(place).frame.image.copy()).permute(2, 0, 1) / 255
        assert torch.equal(image[0], expected)
    assert torch.equal(batch.shown, batch.truth.image)
    assert batch.truth.has_sources.tolist() == batch.truth.labelled.tolist() == [True]
    assert batch.truth.intrinsics[0, 0, 2] == 47.5


def test_ends_and_gaps_have_no_sources(tmp_path):
    config = _config()
    dataset = _dataset(tmp_path, config, Clip(6, gap_after=2))
    flags = [dataset[Draw(place, 0)]["has_sources"] for place in range(6)]
    assert flags == [False, True, False, False, True, False]
    assert dataset.alone == 4
    only_motion = _config(loss={"semantic": 0, "instance": 0, "panoptic_smoothness": 0, "panoptic_edges": 0,
                                "triplet": 0, "mask_moving_objects": False})  # fmt: skip
    assert TrainingDataset(dataset.store, only_motion, _objective(only_motion)).targets == [1, 4]


def test_mirroring_takes_k_labels_and_all_frames_along(tmp_path):
    dataset = _dataset(tmp_path, _config(augmentation={"flip": 1.0, "color": 1.0}))
    plain = _dataset(tmp_path, _config(augmentation={"flip": 0.0, "color": 0.0}))
    mirrored, straight = dataset[Draw(2, 0)], plain[Draw(2, 0)]
    assert torch.equal(mirrored["images"], straight["images"].flip(-1))
    assert torch.equal(mirrored["panoptic"], straight["panoptic"].flip(-1))
    assert mirrored["intrinsics"][0, 2] == SIZE[1] - 1 - straight["intrinsics"][0, 2]
    assert torch.allclose(mirrored["offsets_px"][1], -straight["offsets_px"][1].flip(-1), atol=1e-4)
    # The losses see the camera's colours, the networks see others.
    assert not torch.equal(mirrored["shown"], mirrored["images"])


def test_the_same_draw_is_the_same_sample(tmp_path):
    dataset = _dataset(tmp_path, _config(augmentation={"max_scale": 1.5}))
    one, two, other = dataset[Draw(1, 7)], dataset[Draw(1, 7)], dataset[Draw(1, 8)]
    assert torch.equal(one["shown"], two["shown"])
    assert not torch.equal(one["shown"], other["shown"])


def test_nothing_to_learn_from_is_said(tmp_path):
    config = _config(loss={"semantic": 0, "instance": 0, "panoptic_smoothness": 0, "panoptic_edges": 0, "triplet": 0})
    with pytest.raises(DataError, match="none of the 2 frames can be learnt from"):
        _dataset(tmp_path, config, Clip(2))


def test_order_goes_through_all_samples_and_can_start_anywhere():
    sampler = StepSampler([0] * 10, 5, 4, seed=1)
    batches = list(sampler)
    assert len(sampler) == len(batches) == 4
    turns = [sorted(draw.target for batch in batches[i : i + 2] for draw in batch) for i in (0, 2)]
    assert turns == [list(range(10))] * 2
    assert batches[0] != batches[2]
    assert list(StepSampler([0] * 10, 5, 4, seed=1, start=3)) == batches[3:]
    assert list(StepSampler([0] * 10, 5, 4, seed=2)) != batches


def test_two_processes_share_one_large_batch():
    whole = list(StepSampler([0] * 10, 4, 3))
    parts = [list(StepSampler([0] * 10, 2, 3, process=process, processes=2)) for process in (0, 1)]
    assert [one + two for one, two in zip(*parts, strict=True)] == whole


def test_sources_are_drawn_by_their_weights():
    draws = [draw.target for batch in StepSampler([0] * 90 + [1] * 10, 10, 100, weights=(1.0, 3.0)) for draw in batch]
    assert np.mean([target >= 90 for target in draws]) == pytest.approx(0.75, abs=0.05)
    with pytest.raises(ConfigError, match="one for each of the 2 data sources"):
        StepSampler([0, 1], 1, 1, weights=(1.0,))


@pytest.mark.parametrize(
    ("loss", "frozen", "trained"),
    [
        ({}, (), {"encoder", "semantic", "instance", "depth", "flow", "pose"}),
        ({"depth": 0, "flow": 0}, (), {"encoder", "semantic", "instance"}),
        ({"semantic": 0, "instance": 0, "flow": 0}, ("encoder",), {"semantic", "depth", "pose"}),
    ],
)
def test_what_is_trained_follows_from_the_losses(loss, frozen, trained):
    objective = _objective(_config(loss=loss))
    assert trained_parts(objective, frozen) == trained
    with pytest.raises(ConfigError, match="nothing to train"):
        trained_parts(objective, ("encoder", "semantic", "instance", "depth", "flow", "pose"))


def test_frozen_parts_keep_weights_and_statistics(tmp_path):
    config = _config(frozen=("encoder",))
    module = TrainingModule(config)
    dataset = _dataset(tmp_path, config)
    before = {name: value.clone() for name, value in module.network.encoder.state_dict().items()}
    optimizer = module.configure_optimizers()["optimizer"]
    module.losses(collate([dataset[Draw(1, 0)], dataset[Draw(2, 0)]]))["total"].backward()
    optimizer.step()
    after = module.network.encoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert module.network.semantic_decoder.training


def test_motions_turn_the_earlier_pair_round(tmp_path):
    """Pose pairs go in temporal order: the motion to t - 1 is the inverse of the one found from t - 1 to t."""
    config = _config()
    module = TrainingModule(config).eval()
    batch = collate([_dataset(tmp_path, config)[Draw(2, 0)]])
    calls = []

    def pose(first, second):
        calls.append((first, second))
        return torch.zeros(2, 3), torch.tensor([[0.0, 0, -1.0], [0, 0, -2.0]])

    prediction = predict(module.network, pose, batch, module.objective)
    first, second = calls[0]
    assert torch.equal(first, torch.cat([batch.shown_sources[0], batch.shown]))
    assert torch.equal(second, torch.cat([batch.shown, batch.shown_sources[1]]))
    assert [motion[0, 2, 3].item() for motion in prediction.source_from_target] == [1.0, -2.0]
    assert len(prediction.flow_to_target_px) == 2
    assert prediction.flow_to_target_px[0].shape == (1, 2, *SIZE)


def test_every_term_of_the_objective_trains(tmp_path):
    config = _config(loss={"supervised_depth": 1.0})
    module = TrainingModule(config).train()
    dataset = _dataset(tmp_path, config)
    terms = module.losses(collate([dataset[Draw(place, 0)] for place in (1, 2, 3)]))
    assert set(terms) >= set(module.objective.active_terms)
    assert len(module.objective.active_terms) == 10
    terms["total"].backward()
    without = [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


def test_a_term_that_is_not_finite_names_itself_and_the_sample(tmp_path):
    module = TrainingModule(_config()).train()
    with torch.no_grad():
        module.network.semantic_head.final.bias.fill_(float("nan"))
    batch = collate([_dataset(tmp_path, _config())[Draw(1, 0)]] * 2)
    with pytest.raises(NotFiniteError, match=r"'semantic'.*clip drive/1"):
        module.losses(batch)


def test_the_rate_falls_to_zero():
    module = TrainingModule(_config(max_steps=10, optimizer={"power": 1.0, "warmup_steps": 2}))
    assert [module.rate_at(step) for step in (0, 1, 5, 10)] == [0.5, 0.9, 0.5, 0.0]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole run of four steps, with validation after each second one."""
    out = tmp_path_factory.mktemp("run") / "out"
    config = _config(validate_every=2, picture_every=4)
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


def test_what_is_no_checkpoint_is_not_exported(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(WeightsError, match="not a checkpoint of this package"):
        export_checkpoint(tmp_path / "other.ckpt", tmp_path / "w.safetensors")


def test_the_mean_of_the_weights_is_exported_where_asked_for(tmp_path):
    config = _config(optimizer={"average": 0.99999, "learning_rate": 0.01}, max_steps=2, checkpoint_every=2)
    train(config, [Clip()], tmp_path / "out", names=["clip"])
    checkpoint = tmp_path / "out" / LAST_CHECKPOINT
    export_checkpoint(checkpoint, tmp_path / "w.safetensors")
    stored, newest = load_file(tmp_path / "w.safetensors"), read_checkpoint(checkpoint)["current_model_state"]
    # The mean began after the first step and hardly moved since; the second step moved each weight by its rate.
    moved = [(stored[name] - newest[f"network.{name}"]).abs().max().item() for name in ("semantic_head.final.weight",)]
    assert moved[0] == pytest.approx(0.01 * 0.5**0.9, rel=0.2)


def test_an_interrupt_ends_the_run_with_a_checkpoint(tmp_path):
    class Interrupting(Clip):
        """Validation data that stands for a user who presses Ctrl-C."""

        def __iter__(self):
            signal.raise_signal(signal.SIGINT)
            return super().__iter__()

    before = signal.getsignal(signal.SIGINT)
    config = _config(validate_every=1, checkpoint_every=3)
    result = train(config, [Clip()], tmp_path / "out", names=["clip"], validation=Interrupting())
    assert result.steps == 1
    assert read_checkpoint(tmp_path / "out" / LAST_CHECKPOINT)["global_step"] == 1
    assert result.weights.is_file()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_folder_with_a_run_is_not_written_over(finished):
    _, out, config = finished
    with pytest.raises(DataError, match="holds a training run; go on with --resume"):
        train(config, [Clip()], out)


def test_another_configuration_cannot_go_on(finished):
    _, out, config = finished
    other = _config(validate_every=2, picture_every=4, batch_size=1)
    with pytest.raises(WeightsError, match="batch_size is 2 there and 1 here"):
        train(other, [Clip()], out, names=["clip"], resume=True)
    (out / CONFIG_FILE).write_text(json.dumps({}))
    assert config.batch_size == 2


def test_starting_from_weights(finished, tmp_path):
    result, _, config = finished
    module = TrainingModule(config, str(result.weights))
    stored = load_file(result.weights)
    assert all(torch.equal(stored[name], value) for name, value in module.network.state_dict().items())


def test_starting_from_a_checkpoint_brings_the_pose_network(finished, tmp_path):
    _, out, config = finished
    held = read_checkpoint(out / LAST_CHECKPOINT)["state_dict"]
    begun = TrainingModule(replace(config, "seed", 7), str(out / LAST_CHECKPOINT)).state_dict()
    assert set(begun) == set(held)
    assert any(name.startswith("pose_network.") for name in held)
    assert all(torch.equal(begun[name], held[name]) for name in held)
    with pytest.raises(WeightsError, match=r"tensors are of another architecture, such as pose_network"):
        TrainingModule(replace(config, "pose_encoder", "resnet18"), str(out / LAST_CHECKPOINT))


def test_starting_from_what_fits(finished, tmp_path):
    result, out, config = finished
    finer = replace(replace(config, "network.head_stride", 2), "partial_start", True)
    held = read_checkpoint(out / LAST_CHECKPOINT)["state_dict"]
    for start in (out / LAST_CHECKPOINT, result.weights):
        module = TrainingModule(finer, str(start))
        stored = held if start.suffix == ".ckpt" else {f"network.{k}": v for k, v in load_file(result.weights).items()}
        own = module.state_dict()
        new = {name.removeprefix("network.") for name in module.anew}
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
    assert "nothing fits center_head (6 tensors), instance_decoder (24 tensors)" in told


def test_checkpoints_are_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "a.ckpt"
    AtomicCheckpoints().save_checkpoint({"step": 1}, path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(DataError, match=r"No space left on device.*the one before is kept"):
        AtomicCheckpoints().save_checkpoint({"step": 2}, path)
    assert read_checkpoint(path) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    torch.save({"state": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(WeightsError, match="not a whole checkpoint"):
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
    folder.mkdir()
    clip = Clip(4)
    for place in range(len(clip)):
        cv2.imwrite(str(folder / f"{place:06d}.png"), clip.sample(place).frame.image[..., ::-1])
    camera = {"width": SIZE[1], "height": SIZE[0], "rate_hz": 10.0, "K": K.flatten().tolist()}
    (folder / "camera.json").write_text(json.dumps(camera))
    config = _config(max_steps=2, frozen_statistics=True, frozen=("semantic", "instance"), picture_every=0,
                     augmentation={"flip": 0.0, "color": 0.0},
                     optimizer={"learning_rate": 1e-5, "pose_learning_rate": 1e-5},
                     loss={"semantic": 0, "instance": 0, "panoptic_smoothness": 0, "panoptic_edges": 0, "triplet": 0,
                           "mask_moving_objects": False, "auto_mask": False})  # fmt: skip
    losses = {}
    for processes in (1, 2):
        file, out = tmp_path / f"{processes}.yaml", tmp_path / f"out{processes}"
        file.write_text(yaml.safe_dump(to_dict(replace(config, "batch_size", 2 // processes))))
        command = [sys.executable, "-m", "monodvps_ros.cli.main", "train", "--config", str(file), "--data",
                   str(folder), "--out", str(out), "--devices", str(processes)]  # fmt: skip
        subprocess.run(command, check=True, timeout=600)
        log = EventAccumulator(str(out / "log")).Reload()
        losses[processes] = [event.value for event in log.Scalars("loss/total")]
    print("losses by number of processes:", losses)
    assert losses[2] == pytest.approx(losses[1], rel=1e-4)
    falls = [before - after for before, after in losses.values()]
    assert falls[0] > 1e-4 * losses[1][0]
    assert falls[1] == pytest.approx(falls[0], rel=0.05)


def test_the_reference_file_holds_every_setting_and_its_default():
    folder = Path(__file__).parent.parent / "config"
    assert (folder / REFERENCE_FILE.name).read_text() == reference()
    assert load(TrainingConfig, folder / REFERENCE_FILE.name) == TrainingConfig()


@pytest.mark.parametrize(
    "name",
    [
        "overfit_depth",
        "overfit_panoptic",
        "resnet50",
        "hrnet_w48",
        "shipped/1_start",
        "shipped/2_labelled",
        "shipped/3_all",
        "shipped/4_flow",
        "shipped/5_pose",
        "shipped/6_fine_labelled",
        "shipped/7_fine",
        "shipped/8_fine_flow",
        "self_supervised",
        "adapt",
    ],
)
def test_configs_that_ship_can_be_built(name):
    config = load(TrainingConfig, Path(__file__).parent.parent / "config" / f"{name}.yaml")
    assert measure_complexity(config.network)
    assert trained_parts(_objective(config), config.frozen)


def test_command_line_errors(capsys, tmp_path):
    words = ["train", "--data", str(tmp_path / "absent"), "--out", str(tmp_path / "out"), "loss.dpeth=1"]
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert "near: loss.depth" in capsys.readouterr().err
