# SPDX-License-Identifier: Apache-2.0
"""Hub models: names, classes, merging of queries, and the real loading code on tiny untrained models."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch

from monodvps_ros.config import PipelineConfig, ScaleConfig
from monodvps_ros.errors import ConfigError, LabelError, MissingDependencyError, WeightsError
from monodvps_ros.foundation import FoundationModel
from monodvps_ros.foundation.names import class_mapping, parse_pair
from monodvps_ros.foundation.panoptic import HubPanoptic, merge_queries
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.network import load_network
from monodvps_ros.perception import Pipeline
from monodvps_ros.perception.loading import load_model
from monodvps_ros.types import CameraFrame, PerceptionModel

CAR, ROAD = 13, 0


def test_pairs_of_names():
    panoptic, depth = parse_pair("mask2former-cityscapes+depth-anything-v2-metric")
    assert panoptic.startswith("facebook/") and depth.startswith("depth-anything/")
    assert parse_pair("me/mine+you/yours") == ("me/mine", "you/yours")
    for wrong in ("mask2former-cityscapes", "mask2former+depth-anything-v2", "a/b+c/d+e/f"):
        with pytest.raises(ConfigError, match="mask2former"):
            parse_pair(wrong) if "mask" in wrong else parse_pair("mask2former+" + wrong)


def test_classes_are_mapped_by_name_and_unknown_ones_listed():
    names = dict(enumerate(reversed(CITYSCAPES.names)))
    assert class_mapping(names, CITYSCAPES) == list(range(18, -1, -1))
    assert class_mapping({0: "Traffic-Light", 1: "motorbike", 2: "pedestrian"}, CITYSCAPES) == [6, 17, 11]
    with pytest.raises(LabelError, match="giraffe, zebra"):
        class_mapping({0: "road", 1: "giraffe", 2: "zebra"}, CITYSCAPES)


def test_queries_merge_by_hand():
    classes = torch.zeros(4, 19)
    classes[0, CAR], classes[1, CAR], classes[2, ROAD], classes[3, CAR] = 0.9, 0.8, 0.9, 0.4
    masks = torch.zeros(4, 1, 8)
    masks[0, 0, :3] = 1.0  # a car of three pixels
    masks[1, 0, 2:7] = 0.9  # another, which loses one of five pixels to it: exactly 0.8 is left
    masks[2, 0, 7] = 1.0  # stuff is no instance
    masks[3, 0, 7] = 1.0  # not sure enough
    assert merge_queries(classes, masks, CITYSCAPES).tolist() == [[1, 1, 1, 2, 2, 2, 2, 0]]
    masks[1, 0, 6] = 0.0  # now it loses one of four
    assert merge_queries(classes, masks, CITYSCAPES).tolist() == [[1, 1, 1, 0, 0, 0, 0, 0]]


def _save_oneformer(transformers, backbone, folder):
    """A OneFormer as on the hub: the model, a tokenizer of CLIP's kind, and a preprocessor that names a far file."""
    config = transformers.OneFormerConfig(
        backbone_config=backbone, conv_dim=32, mask_dim=32, hidden_dim=32, encoder_feedforward_dim=32, encoder_layers=1,
        decoder_layers=2, num_attention_heads=2, dim_feedforward=32, num_queries=5, query_dec_layers=1,
        task_seq_len=24, text_encoder_width=32, id2label=dict(enumerate(CITYSCAPES.names)),
    )  # fmt: skip
    transformers.OneFormerForUniversalSegmentation(config).save_pretrained(folder)
    letters = sorted(set("thetaskispanoptic"))
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = {"tokenizer_class": "CLIPTokenizer", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    classes = {str(number): {"isthing": 0, "name": name} for number, name in enumerate(CITYSCAPES.names)}
    (folder / "classes.json").write_text(json.dumps(classes))
    images = {
        "image_processor_type": "OneFormerImageProcessor", "image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.25, 1.0],
        "class_info_file": "elsewhere.json", "repo_path": "nobody/nothing",
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(images))


@pytest.fixture(scope="module")
def tiny_models(tmp_path_factory):
    """Tiny untrained models, saved as the hub's are."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    swin = transformers.SwinConfig(
        embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    panoptic = transformers.Mask2FormerConfig(
        backbone_config=swin, feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=32,
        encoder_layers=1, decoder_layers=2, num_attention_heads=2, dim_feedforward=32, num_queries=5,
        id2label=dict(enumerate(CITYSCAPES.names)),
    )  # fmt: skip
    transformers.Mask2FormerForUniversalSegmentation(panoptic).save_pretrained(folder / "panoptic")
    transformers.Mask2FormerImageProcessor().save_pretrained(folder / "panoptic")
    _save_oneformer(transformers, swin, folder / "queries")
    for kind in ("metric", "relative"):
        depth = transformers.DepthAnythingConfig(
            backbone_config=transformers.Dinov2Config(
                hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=28, patch_size=14,
                out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False,
            ),
            reassemble_hidden_size=16, neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, head_hidden_size=8,
            depth_estimation_type=kind, max_depth=80 if kind == "metric" else 1,
        )  # fmt: skip
        transformers.DepthAnythingForDepthEstimation(depth).save_pretrained(folder / kind)
        transformers.DPTImageProcessor().save_pretrained(folder / kind)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["metric", "relative"])
def test_a_pair_drives_the_pipeline(tiny_models, kind):
    model = FoundationModel(f"{tiny_models}/panoptic+{tiny_models}/{kind}", input_size=(64, 128))
    assert isinstance(model, PerceptionModel)
    assert model.is_metric == (kind == "metric")
    intrinsics = np.array([[80.0, 0, 63.5], [0, 80.0, 31.5], [0, 0, 1]])
    image = np.random.default_rng(0).integers(0, 256, (48, 96, 3), dtype=np.uint8)
    pipeline = Pipeline(model, PipelineConfig(device="cpu", scale=ScaleConfig(unknown="publish")))
    for stamp in (1, 2):
        seen = pipeline.step(CameraFrame(image, stamp, "camera", intrinsics))
    assert seen.depth_m.shape == seen.panoptic.shape == (48, 96)
    not_sky = seen.semantic != CITYSCAPES.class_id("sky")
    assert (seen.depth_m[not_sky] > 0).all()
    assert seen.cloud is not None


@pytest.mark.slow
def test_oneformer_is_told_its_task(tiny_models, monkeypatch):
    transformers = pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = HubPanoptic(str(tiny_models / "queries"), CITYSCAPES, torch.device("cpu"))
    images = transformers.OneFormerImageProcessor(
        repo_path=str(tiny_models / "queries"), class_info_file="classes.json", do_resize=False, do_rescale=False,
        image_mean=[0.1, 0.2, 0.3], image_std=[0.5, 0.25, 1.0],
    )  # fmt: skip
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_models / "queries")
    processor = transformers.OneFormerProcessor(images, tokenizer, max_seq_length=24, task_seq_length=24)
    image = torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0))
    theirs = processor(image.numpy(), ["panoptic"], return_tensors="pt", input_data_format="channels_first")
    given = {}
    forward = model._hub.model.forward
    monkeypatch.setattr(model._hub.model, "forward", lambda **inputs: given.update(inputs) or forward(**inputs))
    logits, instances = model(image[None])
    assert given["task_inputs"].tolist() == theirs["task_inputs"].tolist()
    assert given["task_inputs"][0, -1] == 0, "what follows the text is 0"
    assert torch.allclose(given["pixel_values"], torch.as_tensor(theirs["pixel_values"]), atol=1e-6)
    assert logits.shape == (1, 19, 64, 96) and logits.isfinite().all() and instances.shape == (1, 64, 96)


@pytest.mark.slow
def test_oneformer_drives_the_pipeline(tiny_models):
    model = FoundationModel(f"{tiny_models}/queries+{tiny_models}/metric", input_size=(64, 128))
    image = np.random.default_rng(0).integers(0, 256, (48, 96, 3), dtype=np.uint8)
    seen = Pipeline(model, PipelineConfig(device="cpu")).step(CameraFrame(image, 1))
    assert seen.panoptic.shape == seen.depth_m.shape == (48, 96)


def test_oneformer_without_its_tokenizer_says_so(tiny_models, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        shutil.copy(tiny_models / "queries" / name, tmp_path / name)
    with pytest.raises(WeightsError, match="its tokenizer makes"):
        HubPanoptic(str(tmp_path), CITYSCAPES, torch.device("cpu"))


@pytest.mark.slow
def test_scores_and_instances_have_the_images_size(tiny_models):
    model = FoundationModel(f"{tiny_models}/panoptic+{tiny_models}/metric", input_size=(64, 96))
    output = model.infer(torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)))
    assert output.class_logits.shape == (1, 19, 64, 96)
    assert output.instances.shape == (1, 64, 96)
    assert output.depth_m.shape[:2] == (1, 1) and output.memory == ()


def test_a_model_that_cannot_be_had_says_so(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="network connection"):
        FoundationModel(f"{tmp_path}/empty+{tmp_path}/empty")


def test_the_configuration_chooses_the_model(tmp_path):
    device = torch.device("cpu")
    network = load_model(PipelineConfig(weights="random"), device)
    assert network.description == f"{load_network('random').description}; torch float32"
    with pytest.raises(ConfigError, match="both"):
        load_model(PipelineConfig(weights="random", model="a/b+c/d"), device)
    with pytest.raises(ConfigError, match=r"PANOPTIC\+DEPTH"):
        load_model(PipelineConfig(model="a/b"), device)


def test_without_transformers_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependencyError, match="pip install"):
        FoundationModel("mask2former-cityscapes+depth-anything-v2-metric")
