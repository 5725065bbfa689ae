# SPDX-License-Identifier: Apache-2.0
"""Stored frames, samples and their augmentation, and the order of the data."""

import dataclasses
import json
import multiprocessing
import pickle
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from training_clip import SIZE, Clip, K, make_config, make_dataset, make_objective

from monodvps_ros.errors import ConfigError, DataError
from monodvps_ros.labels import SEMKITTI
from monodvps_ros.losses import Need, TrainingBatch
from monodvps_ros.training.batch import with_float_images
from monodvps_ros.training.batch_memory import BatchMemory, received
from monodvps_ros.training.dataset import Draw, TrainingDataset, collate, needs_met
from monodvps_ros.training.frames import FrameEntry, FrameStore, store_frames
from monodvps_ros.training.sampler import StepSampler
from monodvps_ros.types import CameraFrame, FrameTruth


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
    with pytest.raises(DataError, match="has no readable frame: frame 2 is damaged"):
        store_frames([Clip(3, broken={0, 1, 2})], SIZE, tmp_path, "other")


def test_incomplete_frames_are_refused(tmp_path):
    (tmp_path / "frames.json").write_text("{")
    with pytest.raises(DataError, match="no complete set of frames"):
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
    config = make_config(augmentation={"flip": 0.0, "color": 0.0})
    dataset = make_dataset(tmp_path, config)
    batch = with_float_images(collate([dataset[Draw(2, 0)]]))
    for place, image in ((2, batch.truth.image), (1, batch.truth.sources[0]), (3, batch.truth.sources[1])):
        expected = torch.from_numpy(Clip().sample(place).frame.image.copy()).permute(2, 0, 1) / 255
        assert torch.equal(image[0], expected)
    assert torch.equal(batch.shown, batch.truth.image)
    assert batch.truth.has_sources.tolist() == batch.truth.labelled.tolist() == [True]
    assert batch.truth.intrinsics[0, 0, 2] == 47.5


def test_loader_processes_collate_the_same_batch_in_shared_memory(tmp_path, monkeypatch):
    dataset = make_dataset(tmp_path, make_config())
    samples = [dataset[Draw(place, place)] for place in (1, 2)]
    plain = collate(samples)
    monkeypatch.setattr("monodvps_ros.training.dataset.get_worker_info", object)
    sent = collate(samples)
    arrived = pickle.loads(ForkingPickler.dumps(sent))
    names = [field.name for field in dataclasses.fields(TrainingBatch)]
    assert sent.block.is_shared() and not plain.shown.is_shared()
    for name in names:
        value, expected = getattr(arrived.truth, name), getattr(plain.truth, name)
        if isinstance(expected, torch.Tensor):
            assert torch.equal(value, expected) and value.dtype == expected.dtype, name
        elif name != "sources":
            assert value == expected, name
    pairs = ((arrived.truth.sources, plain.truth.sources), (arrived.shown_sources, plain.shown_sources))
    assert all(torch.equal(*pair) for both in pairs for pair in zip(*both, strict=True))
    assert torch.equal(arrived.shown, plain.shown)


def test_memory_of_a_batch_is_used_again_when_none_of_its_tensors_is_left():
    memory = BatchMemory()
    rows = [torch.arange(3.0), torch.arange(3.0, 6.0)]

    def send(factor):
        block, places = memory.stack({"flag": [torch.tensor(True)] * 2, "rows": [row * factor for row in rows]})
        return block.data_ptr(), received(block, places)

    first, tensors = send(1.0)
    assert tensors["flag"].tolist() == [True, True] and tensors["rows"].tolist() == [[0, 1, 2], [3, 4, 5]]
    kept = tensors.pop("rows")[1, 1:]
    del tensors
    second, others = send(10.0)
    assert second != first and kept.tolist() == [4, 5]
    del kept
    third, again = send(100.0)
    assert third == first and again["rows"].tolist() == [[0, 100, 200], [300, 400, 500]]
    assert others["rows"].tolist() == [[0, 10, 20], [30, 40, 50]]


def test_memory_of_a_batch_stays_taken_where_a_forked_process_drops_its_copy():
    block, places = BatchMemory().stack({"rows": [torch.ones(3)]})
    held = [received(block, places)]
    child = multiprocessing.get_context("fork").Process(target=held.clear)
    child.start()
    child.join(60)
    assert child.exitcode == 0 and block[0] == 1
    held.clear()
    assert block[0] == 0


def test_memory_stays_free_where_tensors_cannot_be_stacked():
    memory = BatchMemory()
    first, places = memory.stack({"rows": [torch.ones(4)] * 2})
    received(first, places)
    with pytest.raises(RuntimeError, match="stack expects each tensor to be equal size"):
        memory.stack({"rows": [torch.ones(4), torch.ones(2)]})
    assert memory.stack({"rows": [torch.ones(4)] * 2})[0].data_ptr() == first.data_ptr()


def test_ends_and_gaps_have_no_sources(tmp_path):
    config = make_config()
    dataset = make_dataset(tmp_path, config, Clip(6, gap_after=2))
    flags = [dataset[Draw(place, 0)]["has_sources"] for place in range(6)]
    assert flags == [False, True, False, False, True, False]
    assert dataset.without_motion == 4
    only_motion = make_config(
        loss={
            "semantic": 0,
            "instance": 0,
            "panoptic_smoothness": 0,
            "panoptic_edges": 0,
            "triplet": 0,
            "mask_moving_objects": False,
        }
    )
    assert TrainingDataset(dataset.store, only_motion, make_objective(only_motion)).targets == [1, 4]


def entry(seconds, follows_previous=True, **changes):
    known = {"source": 0, "sequence": "a", "index": 0, "stamp_ns": round(seconds * 1e9), "frame_id": "camera",
             "intrinsics": (1.0,) * 9, "follows_previous": follows_previous, "labelled": False, "has_depth": False,
             "pseudo": False, "has_inverse_depth": False, "name": ""}  # fmt: skip
    return FrameEntry(**{**known, **changes})


def test_neighbours_are_no_farther_apart_than_the_greatest_gap():
    entries = [
        entry(0.0, False), entry(0.1), entry(0.2), entry(0.5), entry(0.6), entry(0.7, False), entry(0.8), entry(0.8)
    ]  # fmt: skip

    def whole(max_gap_s):
        return [n for n in range(len(entries)) if Need.MOTION in needs_met(entries, n, max_gap_s, False)]

    assert whole(0.1) == [1]
    assert whole(0.299) == [1]
    assert whole(0.3) == [1, 2, 3]  # 4 has no frame after it, 5 and 6 none before or at a later time
    assert whole(0.05) == []


def test_depth_in_metres_needs_k_where_the_network_is_metric():
    entries = [entry(0.0, has_depth=True), entry(0.1, has_depth=True, intrinsics=None)]
    metric = [needs_met(entries, n, 1.0, True) for n in (0, 1)]
    assert metric == [{Need.MEASURED_DEPTH}, set()]
    assert needs_met(entries, 1, 1.0, False) == {Need.MEASURED_DEPTH}


def test_zoomed_crops_are_cut_from_frames_stored_larger(tmp_path):
    class Fine(Clip):  # a chequered image, twice as large as what the network sees
        def sample(self, place):
            kept = super().sample(place)
            rows, columns = np.mgrid[0 : 2 * SIZE[0], 0 : 2 * SIZE[1]]
            image = np.repeat((255 * ((rows + columns) % 2)).astype(np.uint8)[..., None], 3, 2)
            return dataclasses.replace(
                kept, frame=CameraFrame(image, kept.frame.stamp_ns, intrinsics=K), truth=FrameTruth()
            )

    store = store_frames([Fine(3)], (2 * SIZE[0], 2 * SIZE[1]), tmp_path, "")
    config = make_config(
        augmentation={"flip": 0.0, "color": 0.0, "min_scale": 2.0, "max_scale": 2.0}, loss={"pseudo_depth": 1.0}
    )
    dataset = TrainingDataset(store, config, make_objective(config))
    image = dataset[Draw(0, 0)]["images"][0]
    assert tuple(image.shape) == (*SIZE, 3)
    assert set(image.unique().tolist()) == {0, 255}  # not blurred
    assert bool((image[1:] != image[:-1]).all())


def test_mirroring_takes_k_labels_and_all_frames_along(tmp_path):
    dataset = make_dataset(tmp_path, make_config(augmentation={"flip": 1.0, "color": 1.0}))
    plain = make_dataset(tmp_path, make_config(augmentation={"flip": 0.0, "color": 0.0}))
    mirrored, straight = dataset[Draw(2, 0)], plain[Draw(2, 0)]
    assert torch.equal(mirrored["images"], straight["images"].flip(-2))
    assert torch.equal(mirrored["panoptic"], straight["panoptic"].flip(-1))
    assert mirrored["intrinsics"][0, 2] == SIZE[1] - 1 - straight["intrinsics"][0, 2]
    assert torch.allclose(mirrored["offsets_px"][1], -straight["offsets_px"][1].flip(-1), atol=1e-4)
    # The losses see the camera's colours, the networks see others.
    assert not torch.equal(mirrored["shown"], mirrored["images"])


def test_the_same_draw_is_the_same_sample(tmp_path):
    dataset = make_dataset(tmp_path, make_config(augmentation={"max_scale": 1.5}))
    one, two, other = dataset[Draw(1, 7)], dataset[Draw(1, 7)], dataset[Draw(1, 8)]
    assert torch.equal(one["shown"], two["shown"])
    assert not torch.equal(one["shown"], other["shown"])


def test_nothing_to_learn_from_is_said(tmp_path):
    config = make_config(
        loss={"semantic": 0, "instance": 0, "panoptic_smoothness": 0, "panoptic_edges": 0, "triplet": 0}
    )
    with pytest.raises(DataError, match="none of the 2 frames can be used"):
        make_dataset(tmp_path, config, Clip(2))


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
    sampler = StepSampler([0] * 90 + [1] * 10, 10, 100, weights=(1.0, 3.0), names=("day", "night"))
    draws = [draw.target for batch in sampler for draw in batch]
    assert np.mean([target >= 90 for target in draws]) == pytest.approx(0.75, abs=0.05)
    with pytest.raises(ConfigError, match="one for each of 2 data sources"):
        StepSampler([0, 1], 1, 1, weights=(1.0,), names=("day", "night"))
    with pytest.raises(DataError, match=r"night: has a weight above 0 .* but no frame .*set its weight to 0"):
        StepSampler([0, 0, 2], 1, 1, weights=(1.0, 2.0, 1.0), names=("day", "night", "fog"))
    assert list(StepSampler([0, 2], 4, 2, weights=(1.0, 0.0, 1.0), names=("day", "night", "fog")))
