# SPDX-License-Identifier: Apache-2.0
"""The configuration tree: defaults, files, overrides, views, refusals."""

import ast
import dataclasses
from pathlib import Path

import pytest
import yaml

from monodvps_ros import config as settings_tree
from monodvps_ros.config import (
    CameraConfig,
    LossConfig,
    NetworkConfig,
    NodeConfig,
    PipelineConfig,
    PseudoLabelConfig,
    SceneConfig,
    TrainingConfig,
    TrainingNodeConfig,
    from_dict,
    load,
    replace,
    settings,
    to_dict,
)
from monodvps_ros.config.tree import Config
from monodvps_ros.errors import ConfigError
from monodvps_ros.losses import TERMS

TREES = (PipelineConfig, NetworkConfig, CameraConfig, NodeConfig, TrainingNodeConfig, SceneConfig, TrainingConfig,
         PseudoLabelConfig)  # fmt: skip


@pytest.mark.parametrize("tree", TREES)
def test_every_setting_says_what_it_is_and_its_default_is_allowed(tree):
    listed = list(settings(tree))
    assert len({entry.name for entry in listed}) == len(listed)
    for entry in listed:
        assert entry.description.endswith((".", ")")) and len(entry.description) > 10, entry.name
        value = entry.default
        assert not entry.choices or isinstance(value, tuple) or value in entry.choices, entry.name
        # an override with the default by its dotted name is always taken
        assert load(tree, None, {entry.name: value}) == tree(), entry.name


@pytest.mark.parametrize("tree", TREES)
def test_every_number_has_a_least_and_a_greatest_value(tree):
    for entry in settings(tree):
        if entry.type in (int, float, tuple[int, ...], tuple[float, ...]):
            assert entry.at_least is not None and entry.at_most is not None, entry.name
            for beyond in (entry.at_least - 1, entry.at_most + 1, 2**63 - 1):
                value = (beyond,) if entry.type not in (int, float) else beyond
                with pytest.raises(ConfigError, match=r"it must be at (least|most)"):
                    load(tree, None, {entry.name: value})


def test_an_option_that_is_a_text_is_taken_as_it_is():
    for text in ("w #2.safetensors", "w: a.safetensors", "[w].safetensors", "\udce9", "1", "null", "'a'"):
        assert load(PipelineConfig, None, {"weights": text}).weights == text


@pytest.mark.parametrize("tree", TREES)
def test_a_tree_survives_yaml(tree, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(to_dict(tree())))
    assert load(tree, path) == tree()


def test_a_file_over_the_defaults_and_overrides_over_the_file(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("tracker: {max_age: 3, min_iou: 0.5}\nscale: {camera_height_m: 2}\n")
    config = load(PipelineConfig, path, {"tracker.min_iou": 0.25, "cloud.organized": False, "device": "cpu"})
    assert (config.tracker.max_age, config.tracker.min_iou) == (3, 0.25)
    assert config.scale.camera_height_m == 2.0 and isinstance(config.scale.camera_height_m, float)
    assert config.cloud.organized is False
    assert config.grouping == PipelineConfig().grouping


def test_a_file_over_the_file_that_it_is_based_on(tmp_path):
    (tmp_path / "low.yaml").write_text("tracker: {max_age: 3, min_iou: 0.5}\nscale: {camera_height_m: 2}\n")
    (tmp_path / "mid.yaml").write_text("base: low.yaml\ntracker: {min_iou: 0.25}\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "top.yaml").write_text("base: ../mid.yaml\ndevice: cpu\nscale: {mode: none}\n")
    config = load(PipelineConfig, tmp_path / "sub" / "top.yaml", {"tracker.max_age": 4})
    assert (config.tracker.max_age, config.tracker.min_iou, config.device) == (4, 0.25, "cpu")
    assert (config.scale.mode, config.scale.camera_height_m) == ("none", 2.0)


def test_configurations_that_ship_are_found_from_any_folder(tmp_path, monkeypatch):
    name = Path("config/adapt.yaml")
    expected = load(TrainingConfig, Path(__file__).parents[1] / name)
    monkeypatch.chdir(tmp_path)
    assert load(TrainingConfig, name) == expected
    name.parent.mkdir()
    name.write_text("batch_size: 3\n")  # one's own comes first
    assert load(TrainingConfig, name).batch_size == 3
    with pytest.raises(ConfigError, match=r"^config/absent.yaml: cannot be read: No such file"):
        load(TrainingConfig, Path("config/absent.yaml"))


def test_errors_of_a_base(tmp_path):
    path = tmp_path / "top.yaml"
    for text, match in (
        ("base: 3", "'base' must be the name of a file but is 3"),
        ("base: none.yaml", "none.yaml: cannot be read"),
        ("base: top.yaml", "is based on itself"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=match):
            load(PipelineConfig, path)


def test_scientific_notation_that_yaml_takes_for_text_is_a_number():
    assert load(PipelineConfig, None, {"scale.drift": "1e-3"}).scale.drift == 1e-3


def test_replace_changes_one_setting_only():
    changed = replace(PipelineConfig(), "cloud.stride", 5)
    assert changed.cloud.stride == 5
    assert dataclasses.replace(changed, cloud=PipelineConfig().cloud) == PipelineConfig()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"tracker.min_iuo": 0.1}, r"unknown key 'tracker.min_iuo'; known here: min_iou"),
        ({"traker": {}}, r"unknown key 'traker'"),
        ({"tracker.min_iou": 1.5}, r"tracker.min_iou is 1.5; it must be at most 1.0"),
        ({"tracker.max_age": -1}, r"tracker.max_age is -1; it must be at least 0"),
        ({"cloud.stride": 2.5}, r"'cloud.stride' must be of type int but is 2.5"),
        ({"cloud.stride": True}, r"must be of type int but is True"),
        ({"scale.mode": "guess"}, r"'guess'; it must be one of auto, camera_height, fixed, none"),
        ({"scale.camera_height_m": float("nan")}, r"is nan; it must be a finite number"),
        ({"cloud.max_range_m": float("inf")}, r"is inf; it must be a finite number"),
        ({"scale": 3}, r"'scale' must contain a group of keys but is 3"),
        ({"grouping.nms_kernel": 4}, r"nms_kernel is 4; it must be odd"),
        ({"tracker.min_iuo": 0.1}, r"\(is 'min_iou' meant\?\)$"),
        ({"cloud.organized": "false"}, r"'cloud.organized' must be of type bool but is 'false'"),
    ],
)
def test_what_is_wrong_is_named_with_its_value(overrides, said):
    with pytest.raises(ConfigError, match=said):
        load(PipelineConfig, None, overrides)


def test_what_is_wrong_below_a_group_is_named_by_its_dotted_name():
    for tree, overrides, said in (
        (NodeConfig, {"pipeline.tracker.max_age": -1}, "pipeline.tracker.max_age is -1; it must be at least 0"),
        (NodeConfig, {"pipeline.grouping.nms_kernel": 4}, "pipeline.grouping.nms_kernel is 4; it must be odd"),
        (TrainingConfig, {"loss.triplet_patch": 4}, "loss.triplet_patch is 4; it must be odd"),
        (TrainingConfig, {"frozen": ["pose", "head"]}, "frozen is 'head'; it must be one of encoder, semantic, "
         "instance, depth, flow, pose"),
        (TrainingConfig, {"augmentation.min_scale": 2.0}, "augmentation.min_scale is 2.0; it must not be above "
         "max_scale, which is 1.0"),
        (PseudoLabelConfig, {"scales": []}, "scales is empty; give at least one, 1 for the input size alone"),
        (NodeConfig, {"cameras": ["a", "a"]}, "cameras is ['a', 'a']; each name must be given once"),
    ):  # fmt: skip
        with pytest.raises(ConfigError) as caught:
            load(tree, None, overrides)
        assert str(caught.value) == f"configuration: {said}"


def test_a_configuration_cannot_be_made_with_a_value_out_of_range():
    with pytest.raises(ConfigError, match=r"^SceneConfig.frames is 0; it must be at least 1$"):
        SceneConfig(frames=0)
    with pytest.raises(ConfigError, match=r"^SceneConfig.weather is 'snow'; it must be one of any, clear"):
        dataclasses.replace(SceneConfig(), weather="snow")


def test_network_settings_that_do_not_go_together_are_refused():
    for values, said in (
        ({"output_stride": 24}, "16 or 32"),
        ({"input_width": 650}, "multiple of 32"),
        ({"min_depth_m": 5.0, "max_depth_m": 4.0}, "below"),
    ):
        with pytest.raises(ConfigError, match=said):
            from_dict(NetworkConfig, values)


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml"):
        load(PipelineConfig, tmp_path / "absent.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_bytes("device: café\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"broken\.yaml: cannot be read as YAML"):
        load(PipelineConfig, broken)
    broken.write_text("a: [1\n")
    with pytest.raises(ConfigError, match=r"broken\.yaml: cannot be read as YAML"):
        load(PipelineConfig, broken)
    broken.write_text("- 1\n")
    with pytest.raises(ConfigError, match="keys and values"):
        load(PipelineConfig, broken)


def test_every_configuration_class_is_checked_here():
    """A new root of the tree must be added above, or hang below one of them."""
    known = set()

    def walk(tree):
        known.add(tree)
        for value in vars(tree()).values():
            if dataclasses.is_dataclass(value):
                walk(type(value))

    for tree in TREES:
        walk(tree)
    declared = {
        value
        for name, value in vars(settings_tree).items()
        if name.endswith("Config") and dataclasses.is_dataclass(value)
    }
    assert declared == known
    assert all(issubclass(tree, Config) for tree in known)  # which checks ranges and choices


def identifiers(path):
    """Attributes that a module reads, and names that it mentions."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    read = {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)}
    mentioned = {node.id for node in nodes if isinstance(node, ast.Name)}
    mentioned |= {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    return read, mentioned


def unread_settings(modules):
    """Settings that no module reads that also mentions their class, or one that contains it."""
    # Terms are given a LossConfig as `TermInputs.config`; `NodeConfig.of_camera` takes CameraConfigs over by name.
    containers = {"LossConfig": {"TermInputs"}, "CameraConfig": {"NodeConfig", "ScaleConfig"}}
    weights = {name for term in TERMS for name in (term.name, term.group)}  # read by the objective, by this table
    fields = set()

    def walk(tree, above):
        above = above | {tree.__name__}
        containers.setdefault(tree.__name__, set()).update(above)
        for name, value in vars(tree()).items():
            if dataclasses.is_dataclass(value):
                walk(type(value), above)
            elif tree is not LossConfig or name not in weights:
                fields.add((tree.__name__, name))

    for tree in TREES:
        walk(tree, frozenset())
    return {
        (tree, name)
        for tree, name in fields
        if not any(name in read and mentioned & containers[tree] for read, mentioned in modules)
    }


def test_every_setting_is_read_by_some_code():
    root = Path(settings_tree.__file__).parents[1]
    modules = [identifiers(path) for path in root.rglob("*.py") if path.parent != root / "config"]
    assert len(modules) > 200
    assert unread_settings(modules) == set()
    # A setting that only a namesake of another class is read for is found: the node has a `max_gap_s` as well.
    training = [(read, mentioned) for read, mentioned in modules if "TrainingConfig" not in mentioned]
    assert ("TrainingConfig", "max_gap_s") in unread_settings(training)
    assert ("NodeConfig", "max_gap_s") not in unread_settings(training)
