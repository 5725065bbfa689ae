# SPDX-License-Identifier: Apache-2.0
"""What launch arguments say of one camera and of several, and which of them cannot apply."""

import pytest

from monodvps_ros.config.launch_cameras import LaunchCamera, is_true, launch_cameras, sibling
from monodvps_ros.errors import ConfigError


def test_camera_info_is_beside_the_image():
    assert sibling("/cam/image_raw", "camera_info") == "/cam/camera_info"
    assert sibling("image", "camera_info") == "camera_info"
    assert sibling("/image", "camera_info") == "/camera_info"


def test_nothing_said_leaves_one_camera_with_the_node_s_names_and_parameters():
    assert launch_cameras({}) == [LaunchCamera()]
    assert (LaunchCamera().remappings(), LaunchCamera().parameters()) == ([], {})


def test_one_camera_without_a_name():
    [camera] = launch_cameras({"image": "/cam/image_raw", "camera_height": "1.65", "compressed": "True"})
    assert camera.remappings() == [
        ("image", "/cam/image_raw"),
        ("image/compressed", "/cam/image_raw/compressed"),
        ("camera_info", "/cam/camera_info"),
    ]
    assert camera.parameters() == {"pipeline.scale.camera_height_m": 1.65, "compressed": True}


def test_several_cameras_each_with_its_own():
    front, left = launch_cameras({
        "cameras": "front, left", "image": "/f/image,/l/image_rect", "camera_info": ",/l/info",
        "camera_height": "1.6,0.9", "rectified": "auto", "compressed": "false,true",
    })  # fmt: skip
    assert front.remappings() == [
        ("front/image", "/f/image"),
        ("front/image/compressed", "/f/image/compressed"),
        ("front/camera_info", "/f/camera_info"),
    ]
    assert left.remappings()[-1] == ("left/camera_info", "/l/info")
    assert front.parameters() == {
        "cameras.front.camera_height_m": 1.6,
        "cameras.front.rectified": "auto",
        "cameras.front.compressed": False,
    }
    assert left.parameters()["cameras.left.compressed"] is True
    assert (front.prefix, left.prefix, LaunchCamera().prefix) == ("front/", "left/", "")


def test_names_in_the_parameter_file_count(tmp_path):
    file = tmp_path / "robot.yaml"
    file.write_text("/**:\n  ros__parameters:\n    cameras: [front, left]\n")
    assert [camera.name for camera in launch_cameras({"params_file": str(file)})] == ["front", "left"]
    with pytest.raises(ConfigError, match="image has 1 value for the 2 cameras front, left: '/cam'"):
        launch_cameras({"params_file": str(file), "image": "/cam"})
    file.write_text('/**:\n  ros__parameters:\n    cameras: [""]\n')
    assert launch_cameras({"params_file": str(file)}) == [LaunchCamera()]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"image": "/a,/b"}, "image has 2 values but cameras names none"),
        ({"camera_height": "1,2"}, "camera_height has 2 values but cameras names none"),
        ({"cameras": "a,b", "image": "/x"}, "image has 1 value for the 2 cameras a, b"),
        ({"cameras": "a,b", "rectified": "auto,true,true"}, "rectified has 3 values"),
        ({"cameras": "a,a"}, "each name must be given once"),
        ({"cameras": "a,1"}, "'1' must be letters"),
        ({"params_file": "/no/such.yaml"}, "params_file: /no/such.yaml: cannot be read"),
    ],
)
def test_arguments_that_cannot_apply_are_named(values, said):
    with pytest.raises(ConfigError, match=said):
        launch_cameras(values)


def test_values_that_are_none_are_named_with_their_argument():
    with pytest.raises(ConfigError, match="camera_height is 'high'; it must be a number"):
        LaunchCamera(camera_height="high").parameters()
    with pytest.raises(ConfigError, match="rviz is 'perhaps'; it must be true or false"):
        is_true("rviz", "perhaps")
    assert is_true("rviz", "TRUE") and not is_true("rviz", "0")
