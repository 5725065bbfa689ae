# SPDX-License-Identifier: Apache-2.0
"""Pictures: known values at known pixels."""

import cv2
import numpy as np
import pytest
from PIL import Image

from monodvps_ros.demo.filmstrip import BIRDS_EYE_SHAPE, FRAME_WIDTH_PX, draw_filmstrip
from monodvps_ros.demo.video import write_video
from monodvps_ros.evaluation import pictures
from monodvps_ros.evaluation.pictures import (
    Panels,
    birds_eye,
    color_depth,
    depth_palette,
    fit_width,
    video_frame,
    write_tags,
)
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.outputs import POINT_DTYPE

CAR, ROAD = CITYSCAPES.class_id("car"), CITYSCAPES.class_id("road")


def cloud_of(*points):
    cloud = np.zeros(len(points), POINT_DTYPE)
    for place, (x, y, z, label) in zip(cloud, points, strict=True):
        place["x"], place["y"], place["z"], place["label"] = x, y, z, label
    return cloud


def light(class_id):
    return (0.7 * CITYSCAPES.colors[class_id] + 0.3 * 255).astype(np.uint8)


def test_depth_colors_at_the_ends_of_the_scale_and_beyond():
    depth_m = np.array([[pictures.NEAREST_M, pictures.FARTHEST_M, 0.5, 500.0]], np.float32)
    picture = color_depth(depth_m)
    assert np.array_equal(picture[0, [0, 2]], depth_palette()[[0, 0]])
    assert np.array_equal(picture[0, [1, 3]], depth_palette()[[255, 255]])


def test_depth_color_in_the_middle_is_that_of_the_geometric_mean():
    middle = np.sqrt(pictures.NEAREST_M * pictures.FARTHEST_M)
    assert np.array_equal(color_depth(np.full((1, 1), middle, np.float32))[0, 0], depth_palette()[128])


def test_near_is_brighter_than_far():
    brightness = depth_palette().astype(int).sum(1)
    assert brightness[0] > brightness[128] > brightness[255]


@pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf, 0.0, -3.0])
def test_no_depth_is_grey(nothing):
    assert tuple(color_depth(np.full((1, 1), nothing, np.float32))[0, 0]) == pictures.NO_DEPTH_COLOR


def test_birds_eye_places_points_in_metres():
    # 100 px for 50 m: 2 px a metre; the camera is at column 50 and row 100.
    picture = birds_eye(cloud_of((10.0, 0.0, 23.0, CAR), (-7.0, 1.5, 12.0, ROAD)), CITYSCAPES, (100, 100))
    assert np.array_equal(picture[100 - 46, 50 + 20], light(CAR))
    assert np.array_equal(picture[100 - 24, 50 - 14], light(ROAD))


def test_birds_eye_leaves_out_what_is_missing_or_outside():
    empty = birds_eye(cloud_of(), CITYSCAPES, (100, 100))
    points = [(np.nan, np.nan, np.nan, CAR), (0.0, 0.0, 51.0, CAR), (-26.0, 0.0, 10.0, CAR), (0.0, 0.0, -1.0, CAR)]
    assert np.array_equal(birds_eye(cloud_of(*points), CITYSCAPES, (100, 100)), empty)


def test_birds_eye_draws_the_higher_point_over_the_lower():
    wall, terrain = CITYSCAPES.class_id("wall"), CITYSCAPES.class_id("terrain")
    for points in (
        [(3.0, -1.0, 23.0, wall), (3.0, 1.0, 23.0, terrain)],
        [(3.0, 1.0, 23.0, terrain), (3.0, -1.0, 23.0, wall)],
    ):
        assert np.array_equal(birds_eye(cloud_of(*points), CITYSCAPES, (100, 100))[54, 56], light(wall))


def test_birds_eye_draws_an_unknown_label_white():
    assert tuple(birds_eye(cloud_of((3.0, 0.0, 23.0, 4_000_000_000)), CITYSCAPES, (100, 100))[54, 56]) == (
        255,
        255,
        255,
    )


def test_birds_eye_takes_organized_clouds():
    cloud = cloud_of((3.0, 0.0, 23.0, CAR), (5.0, 0.0, 30.0, ROAD))
    assert np.array_equal(
        birds_eye(cloud.reshape(2, 1), CITYSCAPES, (100, 100)), birds_eye(cloud, CITYSCAPES, (100, 100))
    )


def test_tags_are_written_at_their_place_on_a_copy():
    picture = np.full((60, 200, 3), 90, np.uint8)
    written = write_tags(picture, [("car 7", 150, 30)])
    changed = np.argwhere((written != picture).any(2))
    assert abs(changed.mean(0) - (30, 150)).max() < 4
    assert (picture == 90).all()


def test_tags_at_the_edge_stay_inside():
    picture = np.full((40, 120, 3), 90, np.uint8)
    middle = write_tags(picture, [("car 7", 60, 20)])
    corner = write_tags(picture, [("car 7", 0, 0)])
    assert (corner != 90).any(2).sum() > 0.7 * (middle != 90).any(2).sum()


def test_a_tag_that_would_cover_another_is_left_out():
    picture = np.full((60, 200, 3), 90, np.uint8)
    first = write_tags(picture, [("car 7", 100, 30)])
    assert np.array_equal(write_tags(picture, [("car 7", 100, 30), ("truck 12", 105, 32)]), first)
    assert not np.array_equal(write_tags(picture, [("car 7", 100, 30), ("truck 12", 105, 50)]), first)


def test_fit_width_keeps_the_shape():
    assert fit_width(np.zeros((375, 1242, 3), np.uint8), 640).shape == (193, 640, 3)


def panels(stamp_ns=0, size=(48, 160), cloud=True):
    image = np.full((*size, 3), 200, np.uint8)
    depth_m = np.full(size, 10.0, np.float32)
    color = np.full((*size, 3), 40, np.uint8)
    points = cloud_of((3.0, 0.0, 23.0, CAR)) if cloud else None
    return Panels(stamp_ns, image, depth_m, color, [("car 7", 80, 24)], points)


def test_video_frames_have_one_even_size_with_and_without_what_may_be_missing():
    whole = video_frame(panels(), CITYSCAPES, with_cloud=True)
    lacking = video_frame(Panels(0, panels().image), CITYSCAPES, with_cloud=True)
    assert whole.shape == lacking.shape == (3 * 192, 640 + int(0.9 * 3 * 192) // 2 * 2, 3)
    assert whole.dtype == np.uint8
    assert video_frame(panels(size=(47, 161)), CITYSCAPES, with_cloud=False).shape[0] % 2 == 0


def test_video_frame_shows_image_color_and_depth_under_each_other():
    frame = video_frame(panels(), CITYSCAPES, with_cloud=False)
    assert tuple(frame[150, 600]) == (200, 200, 200)
    assert tuple(frame[192 + 150, 600]) == (40, 40, 40)
    assert np.array_equal(frame[384 + 150, 600], color_depth(np.full((1, 1), 10.0, np.float32))[0, 0])


def read_png(path):
    return cv2.imread(str(path))[..., ::-1]


def test_filmstrip_holds_every_frame_and_leaves_out_an_empty_row(tmp_path):
    draw_filmstrip(tmp_path / "two.png", [panels(0), panels(10**9)], CITYSCAPES, "two frames")
    draw_filmstrip(tmp_path / "one.png", [panels(0)], CITYSCAPES, "one frame")
    draw_filmstrip(tmp_path / "bare.png", [panels(0, cloud=False)], CITYSCAPES, "no cloud")
    two, one, bare = (read_png(tmp_path / f"{name}.png") for name in ("two", "one", "bare"))
    assert two.shape[1] - one.shape[1] == FRAME_WIDTH_PX + 8
    assert one.shape[0] - bare.shape[0] == int(BIRDS_EYE_SHAPE * FRAME_WIDTH_PX) + 8
    assert (two == 200).all(2).sum() == pytest.approx(2 * 480 * 144, rel=0.05)


def test_video_is_written_and_can_be_read(tmp_path):
    frames = [np.full((48, 64, 3), value, np.uint8) for value in (30, 120, 210)]
    path = write_video(tmp_path / "drive", iter(frames), 5.0)
    video = cv2.VideoCapture(str(path))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(5.0)
    levels = [video.read()[1].mean() for _ in range(3)]
    assert levels == pytest.approx([30, 120, 210], abs=6)


def test_video_falls_back_to_gif_without_the_codec(tmp_path, monkeypatch):
    class NoCodec:
        fourcc = staticmethod(cv2.VideoWriter.fourcc)

        def __init__(self, *_):
            pass

        def isOpened(self):
            return False

    monkeypatch.setattr(cv2, "VideoWriter", NoCodec)
    path = write_video(tmp_path / "drive", [np.full((48, 64, 3), v, np.uint8) for v in (30, 210)], 5.0)
    assert path == tmp_path / "drive.gif"
    with Image.open(path) as gif:
        assert gif.n_frames == 2
    assert not (tmp_path / "drive.mp4").exists()
