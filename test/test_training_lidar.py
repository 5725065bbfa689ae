# SPDX-License-Identifier: Apache-2.0
"""Depth in metres from LiDAR points and depth images: transforms, clouds, projection, what is hidden, the command."""

import json
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from recordings import STORE, write_bag
from test_training_stereo import run

from monodvps_ros.config import SceneConfig
from monodvps_ros.data import open_source
from monodvps_ros.data.bag import BagWriter
from monodvps_ros.data.bag.messages import message, transform_fields
from monodvps_ros.data.bag.streams import Nearest
from monodvps_ros.data.bag.transform_tree import TransformTree
from monodvps_ros.data.formats.pseudo_labels import MANIFEST
from monodvps_ros.data.lidar import read_extrinsics
from monodvps_ros.data.point_clouds import cloud_points
from monodvps_ros.errors import DataError, EncodingError
from monodvps_ros.geometry.sparse_depth import project_to_depth
from monodvps_ros.scenes import Drive

HEIGHT, WIDTH = 48, 64
K = np.array([[50.0, 0.0, 32.0], [0.0, 50.0, 24.0], [0.0, 0.0, 1.0]])
SECOND = 1_000_000_000
#: From the axes of a LiDAR (x forward, y left, z up) to those of a camera (x right, y down, z forward).
AXES = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])


def pose(rotation=None, translation=(0.0, 0.0, 0.0)):
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3) if rotation is None else rotation
    matrix[:3, 3] = translation
    return matrix


def write_cloud(writer, stamp_ns, points, topic="/lidar/points", frame_id="lidar"):
    points = np.asarray(points, "<f4").reshape(-1, 3)
    fields = [{"name": name, "offset": 4 * place, "datatype": 7, "count": 1} for place, name in enumerate("xyz")]
    layout = {"height": 1, "width": len(points), "is_bigendian": False, "point_step": 12, "row_step": 12 * len(points)}
    fields = {**layout, "fields": fields, "data": points.reshape(-1).view(np.uint8), "is_dense": True}
    writer.message(topic, "sensor_msgs/msg/PointCloud2", stamp_ns, frame_id, fields)


def write_drive(path, clouds, frames=3, transforms=True):
    """Frames at 1.0, 1.1, 1.2 s ...; clouds by their stamps in seconds, each a list of points of the LiDAR."""
    with BagWriter(path) as writer:
        if transforms:
            # base -> lidar 0.5 m up and 1 m ahead; base -> camera 0.5 m ahead on a mast that moves up with time
            writer.transform(0, "base", "lidar", pose(translation=(1.0, 0.0, 0.5)), is_static=True)
        for number in range(frames):
            stamp = SECOND + number * SECOND // 10
            if transforms:
                writer.transform(stamp, "base", "camera", pose(AXES.T, (0.5, 0.0, 0.1 * number)))
            writer.camera_info("/camera/camera_info", stamp, "camera", (HEIGHT, WIDTH), K)
            writer.image("/camera/image_raw", stamp, "camera", np.full((HEIGHT, WIDTH, 3), 90, np.uint8), "rgb8")
        for seconds, points in clouds.items():
            write_cloud(writer, round(seconds * SECOND), points)
    return path


def pixels_with(depth_m):
    """Depth by row and column of the pixels that have it."""
    return {(int(v), int(u)): float(depth_m[v, u]) for v, u in np.argwhere(np.isfinite(depth_m))}


class TestNearest:
    def items(self):
        self.opened += 1
        return iter([(10, "a"), (20, "b"), (30, "c")])

    def test_the_nearest_within_the_bound_and_the_earlier_of_two(self):
        self.opened = 0
        stream = Nearest(self.items, 6e-9)
        assert [stream.at(stamp) for stamp in (3, 4, 14, 15, 16, 20, 36, 37)] == [
            None,
            "a",
            "a",
            "a",
            "b",
            "b",
            "c",
            None,
        ]
        assert self.opened == 1
        assert stream.at(10) == "a" and self.opened == 2
        assert Nearest(lambda: iter([]), 1.0).at(5) is None


class TestTransforms:
    def test_through_static_and_moving_joints(self, tmp_path):
        tree = TransformTree(write_drive(tmp_path / "drive", {}), 0.01)
        # The LiDAR's point (9.5, -1, 0) is (10.5, -1, 0.5) of the base: 10 m before the camera, 1 m right, 0.5 m up.
        for number, down in ((0, -0.5), (1, -0.4), (2, -0.3)):
            matrix = tree.lookup("camera", "lidar", SECOND + number * SECOND // 10)
            np.testing.assert_allclose(matrix @ [9.5, -1.0, 0.0, 1.0], [1.0, down, 10.0, 1.0], atol=1e-12)
        back = tree.lookup("lidar", "/camera", SECOND)
        np.testing.assert_allclose(back @ [1.0, -0.5, 10.0, 1.0], [9.5, -1.0, 0.0, 1.0], atol=1e-12)

    def test_frames_that_are_not_connected_are_named(self, tmp_path):
        tree = TransformTree(write_drive(tmp_path / "drive", {}), 0.01)
        with pytest.raises(DataError, match=r"do not connect frame 'radar' to 'camera'.*base, camera, lidar"):
            tree.lookup("camera", "radar", SECOND)
        with pytest.raises(DataError, match=r"do not connect .* within 0.01 s of 1050000000 ns"):
            tree.lookup("camera", "lidar", SECOND + SECOND // 20)

    def test_a_part_after_a_jump_back_has_its_own(self, tmp_path):
        stamps = [50, 51, 52, 53, 50, 51, 54, 55]  # the second run passes the end of the first
        fields = [
            transform_fields(stamp, "map", "camera", pose(translation=(place, 0.0, 0.0)))
            for place, stamp in enumerate(stamps, 1)
        ]
        found = [
            ("/tf", number, message(STORE, "tf2_msgs/msg/TFMessage", each)) for number, each in enumerate(fields, 1)
        ]
        write_bag(tmp_path / "drive", found)
        tree = TransformTree(tmp_path / "drive", 1e-9)
        assert [tree.lookup("map", "camera", stamp, 0)[0, 3] for stamp in (50, 51, 53, 54)] == [1, 2, 4, 4]
        assert [tree.lookup("map", "camera", stamp, 1)[0, 3] for stamp in (50, 51, 53, 55)] == [5, 6, 7, 8]
        with pytest.raises(DataError, match="do not connect"):
            tree.lookup("map", "camera", 50, 2)

    def test_a_circle_is_refused(self, tmp_path):
        with BagWriter(tmp_path / "drive") as writer:
            for parent, child in (("a", "b"), ("b", "a")):
                writer.transform(0, parent, child, np.eye(4), is_static=True)
        with pytest.raises(DataError, match="in a circle"):
            TransformTree(tmp_path / "drive", 0.1).lookup("a", "b", 0)


class TestClouds:
    def cloud(
        self, kind="<f4", big=False, names="xyz", points=((1, 2, 3), (4, np.nan, 6), (7, 8, 9), (0, 0, 1)), **more
    ):
        """An organized cloud of 2 x 2 points whose rows are padded; x, y and z after two bytes."""
        size = np.dtype(kind).itemsize
        step = 2 + 3 * size
        rows = np.zeros((2, 2 * step + 5), np.uint8)
        for place, point in enumerate(points):
            start = (place % 2) * step + 2
            rows[place // 2, start : start + 3 * size] = np.array(point, kind).view(np.uint8)
        fields = [
            SimpleNamespace(name=n, offset=2 + size * i, datatype=7 if size == 4 else 8) for i, n in enumerate(names)
        ]
        values = {"fields": fields, "is_bigendian": big, "height": 2, "width": 2, "point_step": step}
        return SimpleNamespace(**{**values, "row_step": rows.shape[1], "data": rows.ravel(), **more})

    @pytest.mark.parametrize(("kind", "big"), [("<f4", False), (">f4", True), ("<f8", False)])
    def test_places_whatever_their_layout(self, kind, big):
        assert cloud_points(self.cloud(kind, big)).tolist() == [[1, 2, 3], [7, 8, 9], [0, 0, 1]]
        assert cloud_points(self.cloud(kind, big, height=0, width=0)).shape == (0, 3)

    def test_what_cannot_be_read_is_named(self):
        with pytest.raises(EncodingError, match=r"no z of FLOAT32 or FLOAT64; its fields: x \(datatype 7\)"):
            cloud_points(self.cloud(names="xyq"))
        with pytest.raises(EncodingError, match="need more"):
            cloud_points(self.cloud(height=3))
        for wrong in ({"point_step": 8}, {"point_step": 0, "row_step": 0}, {"row_step": 8}):
            with pytest.raises(EncodingError, match=r"row_step \d+; 2 points a row with .* to byte 14 need more"):
                cloud_points(self.cloud(**wrong))


class TestProjection:
    def test_points_fall_on_their_pixels(self):
        points = [[0, 0, 10], [2, -1, 10], [0.4, 0, 5], [0, 0, -5], [0, 0, 0.1], [40, 0, 10]]
        depth_m = project_to_depth(np.array(points, float), K, (HEIGHT, WIDTH))
        # u = 32 + 50 * 2 / 10 and v = 24 - 50 / 10; u = 32 + 50 * 0.4 / 5. The others are behind, too near, outside.
        assert pixels_with(depth_m) == {(24, 32): 10.0, (19, 42): 10.0, (24, 36): 5.0}

    def test_the_nearest_of_several_on_a_pixel_counts(self):
        depth_m = project_to_depth(np.array([[0, 0, 8.0], [0, 0, 5.0], [0, 0, 9.0]]), K, (HEIGHT, WIDTH))
        assert depth_m[24, 32] == 5.0 and np.isfinite(depth_m).sum() == 1

    def test_a_wall_is_not_seen_through_a_board(self):
        """A sensor 1 m above the camera sees a wall at 20 m over the edge of a board at 10 m that hides it here."""
        focal, size = 500.0, (240, 320)
        intrinsics = np.array([[focal, 0.0, 160.0], [0.0, focal, 120.0], [0.0, 0.0, 1.0]])
        board = [[x, y, 10.0] for x in np.arange(-1.0, 1.01, 0.1) for y in np.arange(-1.0, 1.01, 0.2)]
        wall = [[x, y, 20.0] for x in np.arange(-6.0, 6.01, 0.2) for y in np.arange(-4.0, 4.01, 0.4)]
        above = np.array([0.0, -1.0, 0.0])  # where the sensor is
        seen = []
        for point in np.array(wall):
            x, y, _ = above + (point - above) * 0.5  # where its ray meets the board's plane
            if not (-1.0 <= x <= 1.0 and -1.0 <= y <= 1.0):
                seen.append(point)
        depth_m = project_to_depth(np.array([*board, *seen]), intrinsics, size)
        # In the image the board is columns 110..210 and rows 70..170 (500 / 10 = 50 px a metre). For the sensor its
        # shadow on the wall is y -1..3 m, so what it measures at -2..-1 m is hidden for the camera, rows 70..95.
        hidden = [point for point in seen if abs(point[0]) < 1.9 and -1.9 < point[1] < -1.05]
        assert len(hidden) >= 30
        inside = depth_m[72:168, 112:208]
        assert set(np.unique(inside[np.isfinite(inside)])) == {10.0}
        # All of the board is kept, and of the wall what is half a degree (4 px) beside the board or above it.
        assert (depth_m == 10.0).sum() == len(board)
        beside = [point for point in seen if abs(point[0]) > 2.3 or point[1] < -2.1]
        assert (depth_m == 20.0).sum() >= len([p for p in beside if abs(25 * p[0]) < 159 and abs(25 * p[1]) < 119])

    def test_in_a_rendered_street_what_is_hidden_goes_and_what_is_seen_stays(self):
        """A sensor 1.2 m above the camera, 60 lines: depth of what it sees, against the camera's own true depth."""
        config = SceneConfig(height=192, width=640, frames=6, traffic=1.2, antialias=False, weather="clear")
        sensor, camera = (Drive(replace(config, camera_height_m=height), 12)[5] for height in (2.6, 1.4))
        k, depth_m = sensor.frame.intrinsics, sensor.truth.depth_m[::3, ::2]
        v, u = np.mgrid[0:192:3, 0:640:2]
        points = np.stack([(u - k[0, 2]) / k[0, 0] * depth_m, (v - k[1, 2]) / k[1, 1] * depth_m, depth_m], -1)
        points = points[depth_m < 80.0].astype(np.float64)
        move = np.linalg.inv(camera.truth.world_from_camera) @ sensor.truth.world_from_camera
        points = points @ move[:3, :3].T + move[:3, 3]
        found = project_to_depth(points, camera.frame.intrinsics, (192, 640))
        true, all_points = camera.truth.depth_m, np.full((192, 640), np.nan)
        ordered = points[np.argsort(-points[:, 2])]  # the nearest last
        columns, rows = np.rint((ordered @ camera.frame.intrinsics.T)[:, :2] / ordered[:, 2:]).astype(int).T
        inside = (columns >= 0) & (columns < 640) & (rows >= 0) & (rows < 192) & (ordered[:, 2] > 0)
        all_points[rows[inside], columns[inside]] = ordered[inside, 2]
        right = np.abs(all_points / true - 1.0) < 0.1
        wrong = np.isfinite(all_points) & ~right
        kept = np.isfinite(found)
        assert wrong.sum() > 0.14 * (right | wrong).sum()
        assert (kept & wrong).sum() < 0.06 * kept.sum()
        assert (kept & right).sum() > 0.94 * right.sum()

    def test_a_road_hides_nothing(self):
        """All points of a plane 1.6 m below the camera, to 60 m, stay."""
        focal, size = 500.0, (240, 320)
        intrinsics = np.array([[focal, 0.0, 160.0], [0.0, focal, 60.0], [0.0, 0.0, 1.0]])
        road = np.array([[x, 1.6, z] for z in np.arange(6.0, 60.0, 1.5) for x in np.arange(-1.5, 1.6, 0.5)])
        pixels = np.rint((road @ intrinsics.T)[:, :2] / road[:, 2:]).astype(int)
        depth_m = project_to_depth(road, intrinsics, size)
        assert np.isfinite(depth_m).sum() == len(np.unique(pixels, axis=0))


class TestCommand:
    POINTS = ((9.5, -1.0, 0.0), (19.5, 2.0, -1.0))

    def label(self, data, out, *words):
        return run("pseudo-label", "--data", data, "--out", out, "--depth-teacher", *words)

    def test_points_of_the_nearest_cloud_through_the_transforms(self, tmp_path, capsys):
        later = ((4.5, 0.0, 0.0),)
        data = write_drive(tmp_path / "drive", {1.04: self.POINTS, 1.13: later})
        assert self.label(data, tmp_path / "labels", "lidar") == 0
        said = capsys.readouterr()
        assert "in metres, by LiDAR" in said.err
        assert "2 frames labelled" in said.out and "1 frame has no depth; the recording contains nothing" in said.out
        first, second, third = open_source(tmp_path / "labels")
        # (1, -0.5, 10): u = 32 + 5, v = 24 - 2.5 -> 22 (round half to even). (20, 2, -0.5) of the base is -2 m right,
        # 0.5 m down at 20 m: u = 32 - 5, v = 24 + 1.25.
        assert pixels_with(first.truth.depth_m) == pytest.approx({(22, 37): 10.0, (25, 27): 20.0}, rel=0.002)
        # (5.5, 0, 0.5) of the base, camera 0.1 m up: 0.4 m up at 5 m: v = 24 - 4
        assert pixels_with(second.truth.depth_m) == pytest.approx({(20, 32): 5.0}, rel=0.002)
        assert third.truth.depth_m is None
        manifest = json.loads((tmp_path / "labels" / MANIFEST).read_text())
        assert manifest["inverse_depth"] == "metric"
        assert manifest["depth_teacher"] == {"name": "lidar", "topic": None, "within_s": 0.05}

    def test_the_bound_in_time_is_an_option(self, tmp_path, capsys):
        data = write_drive(tmp_path / "drive", {1.04: self.POINTS}, frames=1)
        assert self.label(data, tmp_path / "labels", "lidar", "--depth-within", "0.03") == 2
        assert "no frame can be labelled: the recording contains nothing" in capsys.readouterr().err

    def test_extrinsics_of_a_file(self, tmp_path):
        data = write_drive(tmp_path / "drive", {1.0: self.POINTS}, frames=1, transforms=False)
        file = tmp_path / "lidar.yaml"
        file.write_text("camera_from_lidar: [0, -1, 0, 0,  0, 0, -1, -0.5,  1, 0, 0, 0.5]\n")
        assert self.label(data, tmp_path / "labels", "lidar", "--extrinsics", file) == 0
        (sample,) = open_source(tmp_path / "labels")
        assert pixels_with(sample.truth.depth_m) == pytest.approx({(22, 37): 10.0, (25, 27): 20.0}, rel=0.002)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("camera_from_lidar: [1, 2]", "expected 12 or 16 finite numbers"),
            ("other: 1", "'camera_from_lidar' is None"),
            ("camera_from_lidar: [2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]", "expected rows of a rotation"),
            ("camera_from_lidar: [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2]", "the fourth 0 0 0 1"),
            ("camera_from_lidar: [1", "cannot be read as YAML"),
            (f"camera_from_lidar: [{'9' * 400}]", "expected 12 or 16 finite numbers"),
            (f"camera_from_lidar: {'9' * 5000}", "cannot be read as YAML"),
            ("camera_from_lidar: [\xff\xfe]", "cannot be read as YAML"),
        ],
    )
    def test_extrinsics_that_are_none(self, tmp_path, text, said):
        (tmp_path / "lidar.yaml").write_bytes(text.encode("latin-1"))
        with pytest.raises(DataError, match=said):
            read_extrinsics(tmp_path / "lidar.yaml")

    def test_without_transforms_the_reason_is_told(self, tmp_path, capsys):
        data = write_drive(tmp_path / "drive", {1.0: self.POINTS}, transforms=False)
        assert self.label(data, tmp_path / "labels", "lidar") == 2
        assert "do not connect frame 'lidar' to 'camera'" in capsys.readouterr().err

    def test_a_depth_topic_in_millimetres_or_metres(self, tmp_path, capsys):
        with BagWriter(tmp_path / "drive") as writer:
            for number, (unit, dtype, encoding) in enumerate(((1000, np.uint16, "16UC1"), (1, np.float32, "32FC1"))):
                stamp = SECOND + number * SECOND // 10
                writer.camera_info("/camera/camera_info", stamp, "camera", (HEIGHT, WIDTH), K)
                writer.image("/camera/image_raw", stamp, "camera", np.zeros((HEIGHT, WIDTH, 3), np.uint8), "rgb8")
                depth = np.full((HEIGHT, WIDTH), 2.5 * unit, dtype)
                depth[0] = 0
                writer.image(f"/depth_{encoding}/image", stamp + 1_000_000, "camera", depth, encoding)
        data = tmp_path / "drive"
        for number, encoding in enumerate(("16UC1", "32FC1")):
            out = tmp_path / encoding
            assert self.label(data, out, "topic", "--depth-topic", f"/depth_{encoding}/image") == 0
            samples = list(open_source(out))
            assert samples[1 - number].truth.depth_m is None
            depth_m = samples[number].truth.depth_m
            assert np.isnan(depth_m[0]).all()
            np.testing.assert_allclose(depth_m[1:], 2.5, rtol=0.001)
        assert self.label(data, tmp_path / "none", "topic") == 2
        assert "which topic has the depth images" in capsys.readouterr().err
        assert self.label(data, tmp_path / "none", "topic", "--depth-topic", "/camera/camera_info") == 2
        assert "expected sensor_msgs/msg/Image" in capsys.readouterr().err
        assert self.label(data, tmp_path / "none", "lidar") == 2
        assert "contains no point clouds" in capsys.readouterr().err
        assert not (tmp_path / "none").exists()

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("lidar",), "is not a recording; LiDAR points are read from rosbag2 only"),
            (("topic", "--depth-topic", "/x"), "is not a recording; depth images are read from rosbag2 only"),
            (("stereo", "--extrinsics", "x.yaml"), "extrinsics are for the depth teacher 'lidar', not for 'stereo'"),
            (("shipped", "--depth-topic", "/x"), "not to 'shipped'"),
        ],
    )
    def test_what_does_not_go_together(self, tmp_path, capsys, words, said):
        (tmp_path / "images").mkdir()
        cv2.imwrite(str(tmp_path / "images" / "0.png"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        assert self.label(tmp_path / "images", tmp_path / "labels", *words) == 2
        assert said in capsys.readouterr().err and not (tmp_path / "labels").exists()
