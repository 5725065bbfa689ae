# SPDX-License-Identifier: Apache-2.0
import dataclasses

import pytest
import torch

from monodvps_ros.config import LossConfig
from monodvps_ros.errors import ConfigError, NotFiniteError, ShapeError
from monodvps_ros.geometry import resize_matrix, warp_by_depth
from monodvps_ros.geometry.resizing import resize_nearest
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.losses import (
    Objective,
    TrainingBatch,
    TrainingPrediction,
    class_target,
    edge_aware_smoothness,
    minimum_reprojection_loss,
    panoptic_smoothness,
    scale_invariant_log,
    semantic_loss,
    small_instance_weights,
)
from monodvps_ros.losses.scales import resize_flow
from monodvps_ros.types import NetworkOutput

HEIGHT, WIDTH = 32, 64
EVERYTHING = LossConfig(supervised_depth=1.0)
TERMS = {
    "photometric",
    "smoothness",
    "panoptic_smoothness",
    "panoptic_edges",
    "triplet",
    "supervised_depth",
    "center",
    "offset",
    "semantic",
    "flow",
}
SUMS = {"depth", "instance", "total"}


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def make_batch(count=2, **changes):
    ids = torch.tensor([0, 7000, 13001, 13002, 11001, 65535])
    coarse = ids[torch.randint(0, 6, (count, 1, 4, 8), generator=torch.Generator().manual_seed(5))]
    k = torch.tensor([[40.0, 0.0, 31.5], [0.0, 40.0, 15.5], [0.0, 0.0, 1.0]])
    known = {
        "image": random(count, 3, HEIGHT, WIDTH),
        "intrinsics": k.expand(count, 3, 3),
        "sources": (random(count, 3, HEIGHT, WIDTH, seed=1), random(count, 3, HEIGHT, WIDTH, seed=2)),
        "panoptic": resize_nearest(coarse, (HEIGHT, WIDTH))[:, 0],
        "centers": random(count, 1, HEIGHT, WIDTH, seed=3),
        "center_weights": torch.ones(count, 1, HEIGHT, WIDTH),
        "offsets_px": 10 * random(count, 2, HEIGHT, WIDTH, seed=4),
        "offset_weights": (random(count, 1, HEIGHT, WIDTH, seed=5) > 0.5).float(),
        "depth_m": 10 * random(count, 1, HEIGHT, WIDTH, seed=6),
        "names": tuple(f"drive/{place}" for place in range(count)),
    }
    return TrainingBatch(**{**known, **changes})


def make_prediction(count=2, learn=False):
    sizes = [(HEIGHT // stride, WIDTH // stride) for stride in (2, 4, 8, 16)]
    leaves = {
        "logits": random(count, 19, 8, 16, seed=10),
        "heatmap": random(count, 1, 8, 16, seed=11),
        "offsets": random(count, 2, 8, 16, seed=12),
        "motion": 0.2 * random(count, 3, seed=13),
    }
    for place, size in enumerate(sizes):
        leaves[f"disparity{place}"] = 0.02 + 0.02 * random(count, 1, *size, seed=20 + place)
        leaves[f"features{place}"] = random(count, 8, *size, seed=30 + place) - 0.5
        leaves[f"flow{place}"] = 4 * random(count, 2, *size, seed=40 + place) - 2
        leaves[f"back{place}"] = 4 * random(count, 2, *size, seed=50 + place) - 2
    if learn:
        for leaf in leaves.values():
            leaf.requires_grad_()
    output = NetworkOutput(
        class_logits=leaves["logits"],
        center_heatmap=leaves["heatmap"],
        offsets_px=leaves["offsets"],
        disparities=tuple(leaves[f"disparity{i}"] for i in range(4)),
        depth_features=tuple(leaves[f"features{i}"] for i in range(4)),
        flow_px=tuple(leaves[f"flow{i}"] for i in range(4)),
    )
    still = torch.eye(4).expand(count, 4, 4)
    shift = torch.nn.functional.pad(leaves["motion"][:, :, None], (3, 0, 0, 1))
    prediction = TrainingPrediction(
        output,
        source_from_target=(still + shift, still - shift),
        flow_back_px=tuple(leaves[f"back{i}"] for i in range(4)),
        flow_to_target_px=(random(count, 2, 16, 32, seed=60), random(count, 2, 16, 32, seed=61)),
    )
    return prediction, leaves


class TestSum:
    def test_terms_are_named_and_add_up(self):
        terms = Objective(EVERYTHING, CITYSCAPES)(make_batch(), make_prediction()[0])
        assert set(terms) == TERMS | SUMS
        value = {name: term.item() for name, term in terms.items()}
        depth = (
            value["photometric"]
            + 0.001 * value["smoothness"]
            + 0.01 * value["panoptic_smoothness"]
            + 0.0001 * value["panoptic_edges"]
            + 0.1 * value["triplet"]
            + value["supervised_depth"]
        )
        instance = 200 * value["center"] + 0.01 * value["offset"]
        assert value["depth"] == pytest.approx(depth, rel=1e-5)
        assert value["instance"] == pytest.approx(instance, rel=1e-5)
        total = 50 * depth + value["semantic"] + instance + 10 * value["flow"]
        assert value["total"] == pytest.approx(total, rel=1e-5)
        assert all(value[name] > 0 for name in TERMS)

    def test_reaches_everything_that_was_predicted(self):
        prediction, leaves = make_prediction(learn=True)
        Objective(EVERYTHING, CITYSCAPES)(make_batch(), prediction)["total"].backward()
        for name, leaf in leaves.items():
            if name in ("features2", "features3"):  # smaller than a patch of the triplet loss
                continue
            assert leaf.grad is not None, name
            assert leaf.grad.isfinite().all(), name
            assert leaf.grad.any(), name

    def test_the_papers_weights_are_the_defaults(self):
        config = LossConfig()
        names = "depth semantic instance flow photometric smoothness panoptic_smoothness panoptic_edges triplet"
        weights = [getattr(config, name) for name in names.split()]
        assert weights == [50, 1, 1, 10, 1, 0.001, 0.01, 0.0001, 0.1]
        assert [config.center, config.offset, config.iou_start, config.supervised_depth] == [200, 0.01, 0.7, 0]

    @pytest.mark.parametrize("name", sorted(TERMS))
    def test_any_term_can_be_switched_off(self, name):
        config = dataclasses.replace(EVERYTHING, **{name: 0.0})
        terms = Objective(config, CITYSCAPES)(make_batch(), make_prediction()[0])
        assert set(terms) == (TERMS | SUMS) - {name}

    @pytest.mark.parametrize(
        ("group", "gone"),
        [
            ("instance", {"instance", "center", "offset"}),
            (
                "depth",
                {"depth", "photometric", "smoothness", "panoptic_smoothness", "panoptic_edges", "triplet",
                 "supervised_depth"},
            ),
        ],
    )  # fmt: skip
    def test_groups_can_be_switched_off(self, group, gone):
        config = dataclasses.replace(EVERYTHING, **{group: 0.0})
        assert set(Objective(config, CITYSCAPES)(make_batch(), make_prediction()[0])) == (TERMS | SUMS) - gone

    def test_terms_that_are_off_need_nothing(self):
        config = LossConfig(depth=0.0, instance=0.0, flow=0.0)
        batch = TrainingBatch(image=random(2, 3, HEIGHT, WIDTH), panoptic=make_batch().panoptic)
        assert set(Objective(config, CITYSCAPES)(batch, make_prediction()[0])) == {"semantic", "total"}

    def test_all_off_is_an_error(self):
        config = LossConfig(depth=0.0, instance=0.0, flow=0.0, semantic=0.0)
        with pytest.raises(ConfigError, match="all terms"):
            Objective(config, CITYSCAPES)(make_batch(), make_prediction()[0])

    @pytest.mark.parametrize(
        ("missing", "term"),
        [
            ({"panoptic": None}, "panoptic"),
            ({"sources": ()}, "sources"),
            ({"intrinsics": None}, "intrinsics"),
            ({"centers": None}, "centers"),
            ({"offset_weights": None}, "offset_weights"),
            ({"depth_m": None}, "depth_m"),
        ],
    )
    def test_what_is_missing_is_named(self, missing, term):
        with pytest.raises(ConfigError, match=rf"is on but the batch has no {term}; .*switch the term off"):
            Objective(EVERYTHING, CITYSCAPES)(make_batch(**missing), make_prediction()[0])

    @pytest.mark.parametrize("missing", ["source_from_target", "flow_to_target_px"])
    def test_what_was_not_predicted_is_named(self, missing):
        prediction = dataclasses.replace(make_prediction()[0], **{missing: ()})
        with pytest.raises(ConfigError, match=f"the prediction has no {missing}"):
            Objective(EVERYTHING, CITYSCAPES)(make_batch(), prediction)


class TestTerms:
    """Each term against the public functions that it is made of."""

    def setup_method(self):
        self.batch, self.prediction = make_batch(), make_prediction()[0]

    def term(self, name, **changes):
        config = dataclasses.replace(EVERYTHING, **changes)
        return Objective(config, CITYSCAPES)(self.batch, self.prediction)[name].item()

    def test_photometric_is_the_mean_over_scales_at_half_resolution(self):
        half = (HEIGHT // 2, WIDTH // 2)
        image, *sources = (torch.nn.functional.avg_pool2d(x, 2) for x in (self.batch.image, *self.batch.sources))
        k = torch.from_numpy(resize_matrix((HEIGHT, WIDTH), half)).float() @ self.batch.intrinsics
        losses = []
        for disparity in self.prediction.output.disparities:
            enlarged = torch.nn.functional.interpolate(disparity, half, mode="bilinear")
            depth = 1 / (0.01 + 9.99 * enlarged)
            pairs = [
                warp_by_depth(s, depth, m, k) for s, m in zip(sources, self.prediction.source_from_target, strict=True)
            ]
            warped, valid = zip(*pairs, strict=True)
            losses.append(minimum_reprojection_loss(warped, sources, image, valid=valid))
        expected = sum(losses).item() / 4
        assert self.term("photometric", mask_moving_objects=False) == pytest.approx(expected, rel=1e-4)

    def test_auto_mask_and_moving_objects_can_be_switched_off(self):
        values = {
            self.term("photometric", auto_mask=auto_mask, mask_moving_objects=moving)
            for auto_mask in (True, False)
            for moving in (True, False)
        }
        assert len(values) == 4

    def test_smoothness_halves_from_scale_to_scale(self):
        expected = 0.0
        for place, disparity in enumerate(self.prediction.output.disparities):
            size = disparity.shape[2:]
            image = torch.nn.functional.interpolate(self.batch.image, size, mode="area")
            expected += edge_aware_smoothness(disparity, image).item() / 2**place / 4
        assert self.term("smoothness") == pytest.approx(expected, rel=1e-5)

    def test_panoptic_smoothness_takes_the_map_at_each_scale(self):
        ids = self.batch.panoptic[:, None]
        expected = 0.0
        for place, disparity in enumerate(self.prediction.output.disparities):
            smaller = resize_nearest(ids, disparity.shape[2:])
            expected += panoptic_smoothness(disparity, smaller).item() / 2**place / 4
        assert self.term("panoptic_smoothness") == pytest.approx(expected, rel=1e-5)

    def test_semantic_is_taken_at_the_labels_size(self):
        logits = torch.nn.functional.interpolate(self.prediction.output.class_logits, (HEIGHT, WIDTH), mode="bilinear")
        weights = small_instance_weights(self.batch.panoptic, CITYSCAPES.thing_ids, 350)
        small = 350 * 1024  # of 1024 x 2048; these images have a 1024th of its pixels
        assert len(weights.unique()) == 2
        expected = semantic_loss(logits, class_target(self.batch.panoptic), weights).item()
        assert self.term("semantic", small_instance_px=small) == pytest.approx(expected, rel=1e-5)
        self.batch = make_batch(semantic_weights=2 * weights)
        assert self.term("semantic") == pytest.approx(2 * expected, rel=1e-5)

    def test_offsets_count_in_pixels_of_the_papers_images(self):
        off_by_one = dataclasses.replace(
            self.prediction.output, offsets_px=torch.ones_like(self.prediction.output.offsets_px)
        )
        self.prediction = dataclasses.replace(self.prediction, output=off_by_one)
        self.batch = dataclasses.replace(self.batch, offsets_px=torch.zeros_like(self.batch.offsets_px))
        assert self.term("offset") == pytest.approx(32.0)  # 1 px where the paper's images have 32

    def test_noise_comes_from_the_generator(self):
        def photometric(seed):
            generator = torch.Generator().manual_seed(seed)
            return Objective(EVERYTHING, CITYSCAPES, generator=generator)(self.batch, self.prediction)["photometric"]

        assert photometric(1) == photometric(1)

    def test_threshold_falls_with_the_steps(self):
        objective = Objective(dataclasses.replace(EVERYTHING, iou_start=1.0, iou_end=0.0), CITYSCAPES)
        first = objective(self.batch, self.prediction, 0, 100)["photometric"]
        last = objective(self.batch, self.prediction, 99, 100)["photometric"]
        assert first != last
        assert last.item() == pytest.approx(self.term("photometric", mask_moving_objects=False))

    def test_half_precision_predictions_are_taken_in_float32(self):
        self.prediction = dataclasses.replace(
            self.prediction,
            output=dataclasses.replace(
                self.prediction.output, class_logits=self.prediction.output.class_logits.bfloat16()
            ),
        )
        terms = Objective(EVERYTHING, CITYSCAPES)(self.batch, self.prediction)
        assert {term.dtype for term in terms.values()} == {torch.float32}

    def test_autocast_does_not_reach_the_losses(self):
        plain = Objective(EVERYTHING, CITYSCAPES)(self.batch, self.prediction)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = Objective(EVERYTHING, CITYSCAPES)(self.batch, self.prediction)
        assert mixed == plain

    def test_measured_depth_is_compared_at_its_own_size(self):
        expected = 0.0
        for disparity in self.prediction.output.disparities:
            enlarged = torch.nn.functional.interpolate(disparity, (HEIGHT, WIDTH), mode="bilinear")
            depth = 1 / (0.01 + 9.99 * enlarged)
            expected += scale_invariant_log(depth, self.batch.depth_m, scale_invariance=0.5).item() / 4
        assert self.term("supervised_depth") == pytest.approx(expected, rel=1e-5)

    def test_flow_is_counted_in_pixels_of_its_scale(self):
        flow = torch.tensor([8.0, 4.0])[None, :, None, None].expand(1, 2, 4, 8)
        smaller = resize_flow(flow, (2, 4), (32, 64))
        assert smaller.shape == (1, 2, 2, 4)
        assert smaller[0, :, 0, 0].tolist() == [0.5, 0.25]

    def test_smoothness_of_flow_is_taken_at_the_finest_scale_alone(self):
        with_it, without = self.term("flow"), self.term("flow", flow_smoothness=0.0)
        finest = dataclasses.replace(self.prediction.output, flow_px=self.prediction.output.flow_px[:1])
        self.prediction = dataclasses.replace(self.prediction, output=finest)
        difference = self.term("flow") - self.term("flow", flow_smoothness=0.0)
        assert difference > 0
        assert with_it - without == pytest.approx(difference / 4, rel=1e-4)

    def test_even_patches_are_refused(self):
        with pytest.raises(ConfigError, match="triplet_patch is 4; it must be odd"):
            LossConfig(triplet_patch=4)


class TestBatches:
    def test_batch_of_two_equals_two_of_one(self):
        objective = Objective(EVERYTHING, CITYSCAPES)
        batch, prediction = make_batch(), make_prediction()[0]
        both = objective(batch, prediction)
        ones = []
        for row in range(2):
            flags = torch.arange(2) == row
            part = dataclasses.replace(batch, labelled=flags, has_sources=flags)
            ones.append(objective(part, prediction))
        for name in TERMS - {"smoothness", "supervised_depth"}:
            mean = (ones[0][name] + ones[1][name]).item() / 2
            assert both[name].item() == pytest.approx(mean, rel=1e-4), name

    def test_samples_without_labels_or_sources_are_not_looked_at(self):
        objective = Objective(EVERYTHING, CITYSCAPES)
        batch, prediction = make_batch(), make_prediction()[0]
        flags = torch.tensor([True, False])
        expected = objective(dataclasses.replace(batch, labelled=flags, has_sources=flags), prediction)
        ruined = [source.clone() for source in batch.sources]
        for source in ruined:
            source[1] = float("nan")
        centers = batch.centers.clone()
        centers[1] = float("nan")
        changed = dataclasses.replace(batch, sources=tuple(ruined), centers=centers, labelled=flags, has_sources=flags)
        assert objective(changed, prediction) == expected

    def test_none_labelled_counts_as_zero(self):
        none = torch.tensor([False, False])
        terms = Objective(EVERYTHING, CITYSCAPES)(make_batch(labelled=none, has_sources=none), make_prediction()[0])
        for name in ("photometric", "flow", "triplet", "panoptic_smoothness", "semantic", "center", "offset"):
            assert terms[name].item() == 0.0
        assert terms["smoothness"] > 0

    def test_shapes_are_compared(self):
        with pytest.raises(ShapeError, match=r"panoptic is \(2, 1, 32, 63\) but image is \(2, 3, 32, 64\)"):
            make_batch(panoptic=torch.zeros(2, 32, 63, dtype=torch.int64))
        with pytest.raises(ShapeError, match=r"sources\[1\] is \(1, 3, 32, 64\) but image is \(2, 3, 32, 64\)"):
            make_batch(sources=(random(2, 3, 32, 64), random(1, 3, 32, 64)))
        with pytest.raises(ShapeError, match=r"source_from_target\[0\] is \(3, 4, 4\) but output.class_logits"):
            TrainingPrediction(make_prediction()[0].output, source_from_target=(torch.zeros(3, 4, 4),))


class TestNotFinite:
    @pytest.mark.parametrize(
        ("field", "term"),
        [
            ("disparities", "photometric"),
            ("depth_features", "triplet"),
            ("class_logits", "semantic"),
            ("center_heatmap", "center"),
            ("offsets_px", "offset"),
            ("flow_px", "flow"),
        ],
    )
    def test_names_the_term_the_sample_and_the_step(self, field, term):
        prediction = make_prediction()[0]
        value = getattr(prediction.output, field)
        value = tuple(entry.clone() for entry in value) if isinstance(value, tuple) else value.clone()
        (value[0] if isinstance(value, tuple) else value)[1] = float("nan")
        prediction = dataclasses.replace(prediction, output=dataclasses.replace(prediction.output, **{field: value}))
        objective = Objective(EVERYTHING, CITYSCAPES)
        with pytest.raises(NotFiniteError, match=rf"'{term}' is nan at step 17, sample drive/1;"):
            objective(make_batch(), prediction, step=17, total_steps=100)
        with pytest.raises(NotFiniteError, match="sample number 1 of the batch"):
            objective(make_batch(names=()), prediction)

    def test_motion_that_is_nan_is_not_taken_for_invalid(self):
        prediction = make_prediction()[0]
        motion = prediction.source_from_target[0].clone()
        motion[0, 0, 3] = float("nan")
        prediction = dataclasses.replace(prediction, source_from_target=(motion, prediction.source_from_target[1]))
        with pytest.raises(NotFiniteError, match=r"'photometric' is nan .* sample drive/0"):
            Objective(EVERYTHING, CITYSCAPES)(make_batch(), prediction)

    def test_an_image_that_is_nan_names_its_sample(self):
        sources = tuple(source.clone() for source in make_batch().sources)
        sources[1][0, 0, 3, 3] = float("inf")
        with pytest.raises(NotFiniteError, match="drive/0"):
            Objective(EVERYTHING, CITYSCAPES)(make_batch(sources=sources), make_prediction()[0])
