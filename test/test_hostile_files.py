# SPDX-License-Identifier: Apache-2.0
"""Files that claim more than they hold, or are not what they seem: one short error, and no memory spent on a claim."""

import json
import struct
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import TINY

from monodvps_ros.cli.main import main
from monodvps_ros.config import (
    NetworkConfig,
    NodeConfig,
    OdometryConfig,
    PipelineConfig,
    TrainingConfig,
    from_dict,
    load,
)
from monodvps_ros.data import open_source
from monodvps_ros.data.bag import BagWriter
from monodvps_ros.data.image_codec import decode_compressed
from monodvps_ros.errors import (
    ConfigError,
    DataError,
    EncodingError,
    MonoDVPSError,
    WeightsError,
    line_of,
    shortened,
    shown,
)
from monodvps_ros.fleet import list_recordings
from monodvps_ros.network import MonoDVPS, load_network, save_weights, weights_file
from monodvps_ros.perception.loading import load_model

BOMB = "max_steps:\n - &a0 [l,l,l,l,l,l,l,l,l]\n" + "".join(
    f" - &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)
CONTENTS = {
    "binary": b"\x80\x81",
    "date": b"max_steps: 2024-13-45",
    "digits": b"max_steps: " + b"9" * 5000,
    "nesting": b"a: " + b"[" * 5000,
    "null": b'base: "a\\0b"',
    "aliases": BOMB.encode(),
    "infinite": b"max_steps: .inf",
    "key": b"k" * 100 + b": 1",
}


@pytest.mark.parametrize("name", CONTENTS)
def test_yaml_that_cannot_be_read_is_one_short_error(tmp_path, name):
    path = tmp_path / "a.yaml"
    path.write_bytes(CONTENTS[name])
    with pytest.raises(ConfigError) as error:
        load(TrainingConfig, path)
    assert str(path) in str(error.value) and len(str(error.value)) < 1500


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("a.yaml", lambda path: load(TrainingConfig, path)),
        ("list.txt", lambda path: list_recordings(path, path.with_name("out"))),
        ("a.safetensors", lambda path: load_model(PipelineConfig(weights=str(path)))),
        *((name, lambda path: next(iter(open_source(path.parent)))) for name in ("camera.json", "poses.txt", "0.png")),
    ],
)
def test_a_file_that_is_larger_than_memory_is_one_error(tmp_path, name, read):
    """Sparse, so that it takes no room on the disk."""
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((4, 4, 3), np.uint8))
    with (tmp_path / name).open("ab") as file:
        file.truncate(1 << 40)
    with pytest.raises(MonoDVPSError, match=rf"{name}: (cannot be read: it is larger than|not a complete safetensors)"):
        read(tmp_path / name)


def test_texts_from_outside_are_shown_on_one_printable_line():
    assert shortened("a b é 日 'c'") == "a b é 日 'c'"
    assert line_of(DataError("a\x1b[2J\n b")) == r"a\x1b[2J b"
    assert shortened("\ud800 \x1b[2J\x07\r\nnext\u202e\udcff") == r"\ud800 \x1b[2J\x07  next\u202e\udcff"
    assert len(shortened("\x1b" * 10**6)) == len(shortened("x" * 10**6)) == 200
    assert shortened("x" * 200) == "x" * 200
    assert shortened("a" * 200 + "b" * 200) == "a" * 100 + "…" + "b" * 99  # of a path, the name of the file stays


@pytest.mark.parametrize(
    "ask",
    [
        open_source,
        load_network,
        lambda name: load(TrainingConfig, Path(name)),
        lambda name: load_model(PipelineConfig(device=name)),
        lambda name: load_model(PipelineConfig(weights=name, device="cpu")),
        lambda name: load_model(PipelineConfig(weights=f"{name}.onnx", device="cpu")),
        lambda name: load_model(PipelineConfig(model=name, device="cpu")),
        lambda name: load_model(PipelineConfig(model=f"{name}+{name}", device="cpu")),
        lambda name: load_model(PipelineConfig(model=name, weights=name, device="cpu")),
        lambda name: NodeConfig(cameras=(name,)),
        lambda name: NodeConfig(pipeline=PipelineConfig(odometry=OdometryConfig(frame=name, child_frame=name))),
        lambda name: MonoDVPS(NetworkConfig(encoder=name)),
    ],
)
def test_a_name_of_any_length_is_one_short_error(ask):
    with pytest.raises(MonoDVPSError) as error:
        ask("x" * 10_000)
    assert len(str(error.value)) < 700


def test_values_are_shown_in_at_most_200_characters():
    assert shown([1, "a"]) == "[1, 'a']"
    assert max(len(shown(value)) for value in ("x" * 10**6, list(range(10**6)), 10**4000, {"k": "x" * 10**6})) <= 200


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "a.safetensors"
    torch.manual_seed(0)
    save_weights(path, MonoDVPS(from_dict(NetworkConfig, TINY)), {})
    return path


HEADERS = {
    "memory": lambda header: header["network"].update(aspp_channels=2_000_000),
    "overflow": lambda header: header["network"].update(aspp_channels=2**40),
    "label_space": lambda header: header.update(label_space=None),
    "card": lambda header: header.update(card=[1]),
    "no card": lambda header: header.pop("card"),
    "network": lambda header: header.update(network=[1]),
    "encoder": lambda header: header["network"].update(encoder="none"),
    "encoder's type": lambda header: header["network"].update(encoder=5),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_lies_is_refused_before_memory_is_allocated(weights, tmp_path, name):
    with safe_open(weights, framework="pt") as file:
        metadata = file.metadata()
    header = json.loads(metadata["monodvps"])
    HEADERS[name](header)
    path = tmp_path / "b.safetensors"
    save_file(load_file(weights), path, {**metadata, "monodvps": json.dumps(header)})
    with pytest.raises(WeightsError, match=r"b\.safetensors") as error:
        load_network(path)
    assert len(str(error.value)) < 2000


def test_a_header_of_deep_nesting_is_refused(weights, tmp_path):
    path = tmp_path / "b.safetensors"
    save_file(load_file(weights), path, {"monodvps": "[" * 100_000})
    with pytest.raises(WeightsError, match="JSON"):
        load_network(path)


def claiming(height, width, kind):
    """Return the bytes of an 8 x 8 image whose header claims another size."""
    data = bytearray(cv2.imencode(kind, np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    if kind == ".jpg":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", height, width)
    else:
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


@pytest.mark.parametrize("kind", [".jpg", ".png"])
@pytest.mark.parametrize("size", [(9000, 9000), (30000, 30000), (65500, 65500)])
def test_the_size_that_an_image_claims_is_checked_before_it_is_decoded(size, kind):
    tracemalloc.start()
    try:
        with pytest.raises(EncodingError, match="at most 64 megapixels"):
            decode_compressed(claiming(*size, kind), kind[1:])
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_smaller_bound_can_be_given():
    data = cv2.imencode(".png", np.zeros((20, 30, 3), np.uint8))[1].tobytes()
    assert decode_compressed(data, "png", max_pixels=600).shape == (20, 30, 3)
    with pytest.raises(EncodingError, match=r"claims 30 x 20 pixels; at most 0\.000599 megapixels"):
        decode_compressed(data, "png", max_pixels=599)


@pytest.mark.parametrize("asked", [None, "/none", "/long\x1b[31m" + "x" * 100_000])
def test_names_of_topics_are_not_repeated_whole(tmp_path, asked):
    with BagWriter(tmp_path / "bag") as writer:
        for number in range(60):
            writer.image(f"/a{number:02d}\x1b[2J{'y' * 1000}", 1, "camera", np.zeros((4, 4, 3), np.uint8), "rgb8")
    with pytest.raises(DataError, match=r"/a00\\x1b\[2Jyyy.*, and 10 more") as error:
        open_source(tmp_path / "bag", image_topic=asked)
    assert "\x1b" not in str(error.value) and len(str(error.value)) < 15_000


def test_a_long_format_is_not_repeated_whole():
    data = cv2.imencode(".png", np.zeros((20, 30, 3), np.uint8))[1].tobytes()[:60]
    with pytest.raises(EncodingError, match="cannot be decoded: not a complete xxx") as error:
        decode_compressed(data, "x" * 100_000)
    assert len(str(error.value)) < 600


def test_an_image_file_that_claims_too_much_is_a_data_error(tmp_path):
    (tmp_path / "image").mkdir()
    (tmp_path / "image/0.jpg").write_bytes(claiming(30000, 30000, ".jpg"))
    with pytest.raises(DataError, match=r"0\.jpg: claims"):
        next(iter(open_source(tmp_path)))


@pytest.mark.parametrize(
    "command",
    [
        "pseudo-label --data {images} --teacher random scales=[1.0] --out {out}",
        "export --checkpoint {weights} --out {out}.safetensors",
        "predict --input {images} --weights random --out {out}",
    ],
)
def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, capsys, command):
    images = tmp_path / "images"
    images.mkdir()
    cv2.imwrite(str(images / "0.png"), np.zeros((64, 128, 3), np.uint8))
    (tmp_path / "file").write_text("")
    words = command.format(images=images, weights=weights_file("drives"), out=tmp_path / "file/out").split()
    with pytest.raises(SystemExit) as ended:
        main(words)
    text = capsys.readouterr().err.strip()
    assert ended.value.code == 2 and "Traceback" not in text
    last = text.splitlines()[-1]
    assert last.startswith(f"monodvps: {tmp_path / 'file'}") and "is a file; give a folder" in last


def test_brackets_in_a_path_are_no_markup(tmp_path, capfd):
    folder = tmp_path / "src[" / "red]"  # as in "[/red]", which closes a style
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "0.png"), np.zeros((64, 128, 3), np.uint8))
    with pytest.raises(SystemExit) as ended:
        main(["predict", "--input", str(folder), "--weights", "random", "--out", str(tmp_path / "[bold]out")])
    captured = capfd.readouterr()
    assert ended.value.code == 0
    assert f"{folder}: 1 frame" in captured.err and "[bold]out" in captured.out + captured.err
