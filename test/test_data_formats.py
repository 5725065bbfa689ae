# SPDX-License-Identifier: Apache-2.0
"""Formats of data: found by their module being there; no two detect one path."""

import textwrap

import cv2
import numpy as np
import pytest

from monodvps_ros.data import formats as package
from monodvps_ros.data import open_source
from monodvps_ros.data.bag import BagWriter
from monodvps_ros.data.formats import find_format, format_named, formats, prediction_layout
from monodvps_ros.data.predictions import open_predictions, whole_frames, write_prediction
from monodvps_ros.errors import ConfigError, DataError

TOY = textwrap.dedent(
    '''
    """One .npz file: images (N, H, W, 3) uint8."""
    import numpy as np
    from monodvps_ros.data.format import Format, PredictionLayout
    from monodvps_ros.data.formats.cityscapes_dvps import FORMAT as CITYSCAPES_DVPS
    from monodvps_ros.labels import CITYSCAPES
    from monodvps_ros.metrics import DatasetRules
    from monodvps_ros.types import CameraFrame, Sample
    from dataclasses import replace

    class Source:
        rate_hz, label_space = 4.0, CITYSCAPES
        def __init__(self, path): self.images = np.load(path)["images"]
        def __len__(self): return len(self.images)
        def __iter__(self):
            for index, image in enumerate(self.images):
                yield Sample(CameraFrame(image, 1 + index * 250_000_000), index=index)

    FORMAT = Format("a toy", lambda path: path.suffix == ".npz", lambda path, options: Source(path),
                    rules=DatasetRules("toy", (1, 7)), layout=replace(CITYSCAPES_DVPS.layout, name="toy"))
    '''
)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    folder = tmp_path / "more_formats"
    folder.mkdir()
    (folder / "toy.py").write_text(TOY)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    formats.cache_clear()
    yield
    monkeypatch.undo()
    formats.cache_clear()


def test_a_format_is_found_by_its_module_being_there(tmp_path, toy):
    np.savez(tmp_path / "clip.npz", images=np.full((3, 4, 6, 3), 9, np.uint8))
    source = open_source(tmp_path / "clip.npz")
    assert [sample.frame.stamp_ns for sample in source] == [1, 250_000_001, 500_000_001]
    with pytest.raises(DataError, match=r"is a toy: rate_hz \(5\) does not apply to it"):
        open_source(tmp_path / "clip.npz", rate_hz=5)
    assert format_named("toy").rules.windows == (1, 7)
    whole_frames(tmp_path, prediction_layout("toy"))
    zeros = np.zeros((4, 6), np.uint8)
    write_prediction(tmp_path, "000000_000000", prediction_layout("toy"), zeros, zeros, np.ones((4, 6), np.float32))
    (frame,) = open_predictions(tmp_path, "toy")
    assert frame.name == "000000_000000" and (frame.depth_m == 1).all()


def test_names_that_do_not_exist():
    with pytest.raises(ConfigError, match=r"no data set 'kitti'; there are: .*cityscapes-dvps.*semkitti-dvps"):
        format_named("kitti")
    with pytest.raises(
        ConfigError, match=r"no layout of predictions 'toy'; there are: .*cityscapes-dvps.*semkitti-dvps"
    ):
        prediction_layout("toy")


def test_no_two_formats_detect_one_path(tmp_path):
    image = np.zeros((4, 6, 3), np.uint8)
    for name in ("000000_000000_ulm_000000_000000_leftImg8bit.png", "000000_000000_leftImg8bit.png", "a.png"):
        folder = tmp_path / name.removesuffix(".png")
        folder.mkdir()
        cv2.imwrite(str(folder / name), image)
    with BagWriter(tmp_path / "bags" / "drive"):
        pass
    (tmp_path / "clip.mp4").touch()
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "pseudo_labels.json").write_text("{}")
    found = {}
    for path in (*tmp_path.iterdir(), tmp_path / "bags" / "drive"):
        detected = [each.title for each in formats() if not each.fallback and each.detects(path)]
        assert len(detected) <= 1, path
        found[path.name] = find_format(path).title.partition(" (")[0]
    assert found == {
        "000000_000000_ulm_000000_000000_leftImg8bit": "a split of Cityscapes-DVPS",
        "000000_000000_leftImg8bit": "a split of SemKITTI-DVPS",
        "a": "a folder of images",
        "bags": "a recording",
        "drive": "a recording",
        "clip.mp4": "a video",
        "labels": "a folder of pseudo-labels",
    }
