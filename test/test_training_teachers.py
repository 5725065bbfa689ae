# SPDX-License-Identifier: Apache-2.0
"""Teachers: averaging of views, labels of an image, the region of the ego car, guesses of depth."""

import dataclasses

import numpy as np
import pytest
import torch

from monodvps_ros.config import NetworkConfig, PipelineConfig, PseudoLabelConfig, SceneConfig, TrackerConfig
from monodvps_ros.errors import ConfigError, DataError, WeightsError
from monodvps_ros.labels import CITYSCAPES, VOID_PANOPTIC_ID
from monodvps_ros.network import MonoDVPS, load_network, save_weights
from monodvps_ros.outputs import Output
from monodvps_ros.perception import Pipeline
from monodvps_ros.scenes import Drive
from monodvps_ros.training import teachers
from monodvps_ros.training.augmented_views import average_views, view_size
from monodvps_ros.training.depth_teachers import NetworkDepthTeacher, load_depth_teacher
from monodvps_ros.training.ego_region import EgoRegion, parse_polygon
from monodvps_ros.training.measuring_teachers import MeasuredDepth
from monodvps_ros.training.teachers import NetworkTeacher, label_image, load_teacher
from monodvps_ros.types import CameraFrame, NetworkOutput, Sample

CPU = torch.device("cpu")
SIZE = (64, 96)
TINY = NetworkConfig(encoder="mobilenetv3_small_050", input_height=SIZE[0], input_width=SIZE[1], aspp_channels=16,
                     semantic_channels=16, instance_channels=16, flow_channels=16)  # fmt: skip
ONCE = PseudoLabelConfig(scales=(1.0,), flips=False, confidence=0.0, device="cpu")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A weights file of a tiny network that says many things: its untrained scores are spread out."""
    torch.manual_seed(3)
    network = MonoDVPS(TINY)
    network.eval()
    said = network.infer(noise())
    with torch.no_grad():
        for head, scores in ((network.semantic_head, said.class_logits), (network.center_head, said.center_heatmap)):
            list(head.parameters())[-2].mul_(2.0 / scores.std(-1).mean())
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, network, {})
    return path


def noise(height=SIZE[0], width=SIZE[1], seed=0):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def say(classes, heatmap, offsets):
    disparity = torch.full_like(heatmap, 0.5)
    return NetworkOutput(classes, center_heatmap=heatmap, offsets_px=offsets, disparities=(disparity,))


def symmetric(image):
    """What a network says that takes left and right alike: offsets dx turn round when the image does."""
    slope = image.roll(-1, 3) - image.roll(1, 3)
    return say(4 * image, image.mean(1, keepdim=True), torch.cat((10 * image[:, :1], 10 * slope[:, :1]), 1))


def maps(output):
    return output.class_logits.softmax(1), output.center_heatmap, output.offsets_px


class TestViews:
    def test_one_plain_view_is_what_the_network_says(self):
        output, plain = average_views(symmetric, noise(), SIZE, (1.0,), False), symmetric(noise())
        for found, expected in zip(maps(output), maps(plain), strict=True):
            assert torch.allclose(found, expected, atol=1e-6)

    def test_a_symmetric_network_says_the_same_with_flips_as_without(self):
        with_flips = average_views(symmetric, noise(), SIZE, (1.0,), True)
        for found, expected in zip(maps(with_flips), maps(symmetric(noise())), strict=True):
            assert torch.allclose(found, expected, atol=1e-6)

    def test_a_mirrored_image_gets_the_mirrored_answer_from_any_network(self, tiny):
        network = load_network(str(tiny), "cpu")
        scales = (0.5, 1.0)
        plain = maps(average_views(network.infer, noise(), SIZE, scales, True))
        mirrored = maps(average_views(network.infer, noise().flip(3), SIZE, scales, True))
        turned = torch.tensor([1.0, -1.0])[:, None, None]
        for place, (found, expected) in enumerate(zip(mirrored, plain, strict=True)):
            assert torch.allclose(found, expected.flip(3) * (turned if place == 2 else 1.0), atol=1e-4), place
        once = maps(average_views(network.infer, noise(), SIZE, scales, False))
        assert not torch.allclose(plain[0], once[0], atol=1e-3), "else the test could not fail"

    @pytest.mark.parametrize("scales", [(0.5,), (1.0,), (2.0,), (0.5, 1.0, 2.0)])
    def test_offsets_are_in_pixels_of_scale_one(self, scales):
        def infer(view):
            """Every pixel points down by a tenth of the view's height and left by a fifth of its width."""
            height, width = view.shape[2:]
            shift = torch.tensor([height / 10, -width / 5])[None, :, None, None]
            return say(view, view[:, :1], shift.expand(1, 2, height // 4, width // 4))

        offsets = average_views(infer, noise(), SIZE, scales, False).offsets_px
        assert offsets.shape == (1, 2, *SIZE)
        assert torch.allclose(offsets[0, 0], torch.tensor(6.4)) and torch.allclose(offsets[0, 1], torch.tensor(-19.2))

    def test_offsets_of_a_view_that_is_not_in_proportion(self):
        # 0.6 of 64 x 96 is 38.4 x 57.6, seen as 32 x 64: dy grows by 2, dx by 1.5
        def infer(view):
            assert view.shape[2:] == (32, 64)
            return say(view, view[:, :1], torch.ones(1, 2, 8, 16))

        offsets = average_views(infer, noise(), SIZE, (0.6,), False).offsets_px
        assert torch.allclose(offsets[0, 0], torch.tensor(2.0)) and torch.allclose(offsets[0, 1], torch.tensor(1.5))

    def test_probabilities_are_averaged_and_not_scores(self):
        def infer(view):
            """Half and half in the small view, nine to one in the large one."""
            share = 0.5 if view.shape[2] == 32 else 0.9
            scores = torch.tensor([share, 1 - share]).log()[None, :, None, None] + 7.0
            scale = float(view.shape[2])
            spread = scores.expand(1, 2, *view.shape[2:])
            return say(spread, torch.full_like(view[:, :1], scale), torch.zeros_like(spread))

        output = average_views(infer, noise(), SIZE, (0.5, 1.0), False)
        assert torch.allclose(output.class_logits.exp()[0, :, 0, 0], torch.tensor([0.7, 0.3]))
        assert torch.allclose(output.center_heatmap, torch.tensor((32.0 + 64.0) / 2))

    def test_views_are_cut_from_the_image_itself(self):
        """A large view shows detail that the image at scale one has lost."""
        seen = {}

        def infer(view):
            seen[view.shape[2]] = view
            return symmetric(view)

        image = noise(128, 192)
        average_views(infer, image, SIZE, (1.0, 2.0), False)
        assert torch.equal(seen[128], image) and seen[64].var() < image.var()

    @pytest.mark.parametrize(
        ("scale", "expected"), [(1.0, (192, 640)), (0.75, (128, 480)), (2.0, (384, 1280)), (0.1, (32, 64))]
    )
    def test_sizes_are_multiples_of_32(self, scale, expected):
        assert view_size((192, 640), scale) == expected


class TestLabels:
    def test_classes_and_segments_are_those_of_the_live_pipeline(self):
        teacher, network = NetworkTeacher("shipped", ONCE, CPU), load_network("", "cpu")
        height, width = network.input_size  # of another size the pipeline's image is rounded to whole grey levels
        (sample,) = Drive(SceneConfig(frames=1, height=height, width=width, traffic=0.6, view_distance_m=60.0), 2)
        image = sample.frame.image
        ids = label_image(teacher, image, ONCE, CPU)
        config = PipelineConfig(device="cpu", precision="float32", output_size="camera", tracker=TrackerConfig())
        live = Pipeline(network, config).step(CameraFrame(image, 1), frozenset({Output.PANOPTIC}))
        assert len(np.unique(ids)) > 3
        pairs = set(zip(ids.ravel().tolist(), live.panoptic.ravel().tolist(), strict=True))
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}), "segments are the same"
        assert all(a // 1000 == b // 1000 for a, b in pairs), "and so are their classes"

    def test_what_is_less_sure_than_the_threshold_is_void(self):
        class Fixed:
            labels = CITYSCAPES

            def predict(self, image):
                """Road for certain on the left; on the right half road, half building but a little."""
                scores = torch.full((1, 19, *SIZE), -50.0)
                scores[:, 0] = 0.0
                scores[:, 2, :, 48:] = -1e-3
                return NetworkOutput(scores, instances=torch.zeros(1, *SIZE, dtype=torch.long), depth_m=scores[:, :1])

        image = np.zeros((128, 192, 3), np.uint8)
        for confidence, right in ((0.0, 0), (0.5, 0), (0.51, VOID_PANOPTIC_ID)):
            ids = label_image(Fixed(), image, PseudoLabelConfig(confidence=confidence, device="cpu"), CPU)
            assert ids.shape == (128, 192) and ids.dtype == np.uint16
            assert (ids[:, :96] == 0).all() and (ids[:, 96:] == right).all(), confidence

    @pytest.mark.slow
    def test_more_views_change_the_label(self, tiny):
        image = (noise(seed=5)[0].permute(1, 2, 0) * 255).byte().numpy()
        many = PseudoLabelConfig(scales=(0.5, 1.0), confidence=0.0, device="cpu")
        once = label_image(NetworkTeacher(str(tiny), ONCE, CPU), image, ONCE, CPU)
        assert (label_image(NetworkTeacher(str(tiny), many, CPU), image, many, CPU) != once).any()

    @pytest.mark.slow
    def test_another_size_can_be_asked_for(self, tiny):
        wide = PseudoLabelConfig(scales=(1.0,), flips=False, input_height=96, input_width=160, device="cpu")
        output = NetworkTeacher(str(tiny), wide, CPU).predict(noise())
        assert output.class_logits.shape == (1, 19, 96, 160)
        with pytest.raises(ConfigError, match="multiples of 32"):
            NetworkTeacher(str(tiny), PseudoLabelConfig(input_height=100, input_width=160, device="cpu"), CPU)

    @pytest.mark.parametrize(("height", "seen"), [(0, (512, 1696)), (64, (64, 96))])
    def test_models_of_the_hub_look_once_at_the_images_shape(self, monkeypatch, height, seen):
        class Model:
            labels = CITYSCAPES

            def __init__(self, *_):
                pass

            def __call__(self, image):
                assert tuple(image.shape[2:]) == seen
                return torch.zeros(1, 19, *seen), torch.zeros(1, *seen, dtype=torch.long)

        monkeypatch.setattr(teachers, "HubPanoptic", Model)
        config = PseudoLabelConfig(input_height=height, input_width=96 if height else 0, device="cpu")
        teacher = load_teacher("mask2former-cityscapes", config, CPU)
        assert label_image(teacher, np.zeros((375, 1242, 3), np.uint8), config, CPU).shape == (375, 1242)

    def test_a_name_that_is_nobodys_is_refused_with_the_list(self, tmp_path):
        for load, known in ((load_teacher, "mask2former-cityscapes"), (load_depth_teacher, "depth-anything-v2")):
            with pytest.raises(ConfigError, match=rf"{known}.*weights file"):
                load("nobody", ONCE, CPU) if load is load_teacher else load("nobody", CPU, MeasuredDepth(tmp_path))
        with pytest.raises(WeightsError, match="no such weights file"):
            load_teacher(str(tmp_path / "gone.safetensors"), ONCE, CPU)


class TestDepth:
    def test_our_network_guesses_its_disparity_in_both_views(self, tiny):
        image = (noise(100, 130)[0].permute(1, 2, 0) * 255).byte().numpy()
        teacher = NetworkDepthTeacher(str(tiny), CPU)
        guess = teacher.inverse_depth(Sample(CameraFrame(image, 1)))
        mirrored = teacher.inverse_depth(Sample(CameraFrame(image[:, ::-1], 1)))
        assert guess.shape == (100, 130) and guess.dtype == np.float32
        np.testing.assert_allclose(mirrored, guess[:, ::-1], atol=1e-6)
        assert not teacher.is_metric

    def test_a_metric_network_says_metres_by_the_cameras_focal_length(self, tmp_path):
        torch.manual_seed(1)
        config = dataclasses.replace(TINY, metric=True, canonical_focal_px=60.0)
        save_weights(tmp_path / "plain.safetensors", network := MonoDVPS(dataclasses.replace(config, metric=False)), {})
        metric = MonoDVPS(config)
        metric.load_state_dict(network.state_dict())
        save_weights(tmp_path / "metric.safetensors", metric, {})
        image = (noise(100, 130)[0].permute(1, 2, 0) * 255).byte().numpy()
        plain, metres = (
            NetworkDepthTeacher(str(tmp_path / f"{name}.safetensors"), CPU) for name in ("plain", "metric")
        )
        intrinsics = np.array([[130.0, 0.0, 65.0], [0.0, 130.0, 50.0], [0.0, 0.0, 1.0]])
        disparity = plain.inverse_depth(Sample(CameraFrame(image, 1)))
        inverse = metres.inverse_depth(Sample(CameraFrame(image, 1, intrinsics=intrinsics)))
        near, far = config.min_depth_m, config.max_depth_m
        # 130 px for 100 rows: 1.3 times as many pixels as the input has rows. Depth is that over 60 of the network's.
        expected = (1 / far + (1 / near - 1 / far) * disparity) * 60.0 / (1.3 * config.input_height)
        assert metres.is_metric
        np.testing.assert_allclose(inverse, expected, rtol=1e-5)
        with pytest.raises(DataError, match="needs the camera's K"):
            metres.inverse_depth(Sample(CameraFrame(image, 1)))


class TestEgoRegion:
    def test_a_polygon_holds_its_corners(self):
        mask = EgoRegion(polygon="2,3 5,3 5,4 2,4").mask((6, 8))
        assert mask.dtype == bool and mask.shape == (6, 8)
        assert np.argwhere(mask).tolist() == [[3, u] for u in range(2, 6)] + [[4, u] for u in range(2, 6)]

    def test_a_file_is_taken_as_it_is(self, tmp_path):
        import cv2

        pixels = np.zeros((4, 6), np.uint8)
        pixels[3], pixels[2, 0] = 255, 1
        cv2.imwrite(str(tmp_path / "ego.png"), pixels)
        region = EgoRegion(tmp_path / "ego.png")
        assert (region.mask((4, 6)) == (pixels > 0)).all()
        with pytest.raises(DataError, match="4 x 6"):
            region.mask((8, 12))

    @pytest.mark.parametrize("text", ["", "1,2 3,4", "1,2 3,4 5", "a,b c,d e,f", "1,2;3,4;5,6"])
    def test_what_is_no_polygon_is_refused(self, text):
        with pytest.raises(ConfigError, match="three corners"):
            parse_polygon(text)

    def test_one_of_the_two_is_wanted(self, tmp_path):
        for arguments in ({}, {"file": tmp_path / "ego.png", "polygon": "0,0 1,0 1,1"}):
            with pytest.raises(ConfigError, match="either"):
                EgoRegion(**arguments)
        with pytest.raises(DataError, match="does not exist"):
            EgoRegion(tmp_path / "ego.png")
