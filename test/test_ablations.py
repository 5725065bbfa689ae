# SPDX-License-Identifier: Apache-2.0
"""The ablations: their configs, what their table says, and small runs that are kept and gone on with."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from monodvps_ros.cli.ablations import parse_seeds
from monodvps_ros.cli.main import main
from monodvps_ros.config import SceneConfig, TrainingConfig, load
from monodvps_ros.errors import ConfigError, DataError
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.losses import Objective
from monodvps_ros.network import MonoDVPS, save_weights
from monodvps_ros.scenes import Drive, write_bag
from monodvps_ros.training import ablations as runner
from monodvps_ros.training.ablation_table import MEASURES, VARIANTS, spread, statements, table
from monodvps_ros.training.ablations import LABELLED, UNLABELLED, VALIDATION, Ablations, finished
from monodvps_ros.training.run import train

CONFIGS = Path(__file__).parent.parent / "config" / "ablations"
TERMS = {
    "panoptic_only": {"semantic", "center", "offset"},
    "depth_only": {"photometric", "smoothness"},
    "depth_weight_1": {"photometric", "smoothness", "semantic", "center", "offset", "flow"},
}


def terms_of(name):
    return set(Objective(load(TrainingConfig, CONFIGS / f"{name}.yaml").loss, CITYSCAPES).active_terms)


class TestConfigs:
    def test_every_variant_has_one_and_no_other_is_there(self):
        assert {path.stem for path in CONFIGS.glob("*.yaml")} == {"base", *(variant.name for variant in VARIANTS)}
        for variant in VARIANTS:
            assert set(variant.over) <= {other.name for other in VARIANTS}
            assert set(variant.paper) <= {key for key, *_ in MEASURES}

    def test_terms(self):
        for name, terms in TERMS.items():
            assert terms_of(name) == terms, name
        assert terms_of("pgs") - terms_of("depth_weight_50") == {"panoptic_smoothness"}
        for name, term in (("ped", "panoptic_edges"), ("pgt", "triplet")):
            assert terms_of(name) - terms_of("depth_weight_50") == {term}
        assert terms_of("pgs_ped") - terms_of("pgs") == {"panoptic_edges"}
        assert terms_of("pgs_ped_pgt") - terms_of("pgs_ped") == {"triplet"}
        assert terms_of("moving_objects") == terms_of("extended") == terms_of("pgs_ped_pgt")
        supervised, self_supervised = terms_of("supervised_depth"), terms_of("depth_weight_50")
        assert (supervised - self_supervised, self_supervised - supervised) == ({"supervised_depth"}, {"photometric"})

    def test_weights_and_all_else_equal(self):
        configs = {variant.name: load(TrainingConfig, CONFIGS / f"{variant.name}.yaml") for variant in VARIANTS}
        for name, weight in (("depth_weight_1", 1.0), ("depth_weight_50", 50.0), ("depth_weight_100", 100.0)):
            assert configs[name].loss.depth == weight
        masks = [name for name, config in configs.items() if config.loss.mask_moving_objects]
        assert masks == ["moving_objects", "moving_objects_fixed", "moving_objects_flow", "extended"]
        thresholds = {name: (configs[name].loss.iou_start, configs[name].loss.iou_end) for name in masks}
        assert thresholds.pop("moving_objects_fixed") == (0.7, 0.7)
        assert set(thresholds.values()) == {(0.7, 0.3)}
        assert [name for name in masks if configs[name].loss.moving_test == "flow"] == ["moving_objects_flow"]
        assert len({repr(vars(config) | {"loss": None}) for config in configs.values()}) == 1


class TestTable:
    FOUND = {  # noqa: RUF012
        "panoptic_only": {"pq": [30.0, 32.0]},
        "depth_only": {"abs_rel": [0.30, 0.32], "sq_rel": [3.0, 3.0], "rmse": [9.0, 9.0]},
        "depth_weight_1": {"pq": [20.0, 20.0], "abs_rel": [0.2, 0.2], "sq_rel": [3.5, 3.5], "rmse": [9.1, 8.9]},
        "depth_weight_50": {"pq": [25.0, 27.0], "abs_rel": [0.25, 0.25]},
    }

    def test_spread(self):
        assert spread([1.0, 2.0, 6.0]) == pytest.approx(7**0.5)
        assert spread([4.0]) == 0.0

    def test_rows(self):
        lines = table(self.FOUND).splitlines()
        assert lines[0].startswith("| | PQ↑ paper | ours | absRel↓ paper | ours |")
        assert len(lines) == 2 + 4 and len({line.count("|") for line in lines}) == 1
        assert lines[2] == "| Panoptic only | 63.5 | 31.0 ± 1.4 | – | – | – | – | – | – |"  # noqa: RUF001
        assert "| 0.098 | 0.310 ± 0.014 | 0.731 | 3.000 ± 0.000 |" in lines[3]
        assert "| 63.5 | 31.0 |" in table({"panoptic_only": {"pq": [31.0]}})

    def test_order(self):
        said = statements(self.FOUND)
        assert said[0] == (
            "Multi-task, depth weight 1 over Panoptic only: PQ -11.0, paper -0.6: worse, as in the paper"
        )
        assert "over Depth only: absRel -0.110, paper +0.008: better here, the other way in the paper" in said[1]
        assert "RMSE +0.000, paper +0.351: within the spread of the seeds" in said[3]
        assert said[4].endswith("PQ +6.0, paper +0.7: better, as in the paper")
        assert len(said) == 1 + 3 + 2

    def test_order_where_the_paper_has_no_difference_or_is_silent(self):
        found = {
            "depth_weight_50": {"abs_rel": [0.3]},
            "depth_weight_100": {"abs_rel": [0.2]},
            "pgs": {"abs_rel": [0.4]},
        }
        said = statements(found)
        assert said[0].endswith("absRel -0.100, paper +0.000: better here, no difference in the paper")
        assert said[1].endswith("absRel +0.100, paper is silent: worse here")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drives")
    config = SceneConfig(frames=4, height=64, width=96, view_distance_m=60.0)
    for seed, part in enumerate((LABELLED, UNLABELLED, VALIDATION)):
        write_bag(Drive(config, seed), folder / part)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Configs like the real ones, of a network that is smaller still."""
    folder = tmp_path_factory.mktemp("configs")
    shutil.copytree(CONFIGS, folder, dirs_exist_ok=True)
    base = yaml.safe_load((folder / "base.yaml").read_text())
    base["network"] |= {
        "encoder": "mobilenetv3_small_050", "input_height": 64, "input_width": 96, "aspp_channels": 16,
        "semantic_channels": 16, "instance_channels": 16, "head_channels": 8, "flow_channels": 8,
    }  # fmt: skip
    base |= {"pose_encoder": "mobilenetv3_small_050", "batch_size": 2, "max_steps": 2}
    base |= {"encoder_weights": "", "pose_encoder_weights": ""}
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    return folder


def run(*words):
    with pytest.raises(SystemExit) as ended:
        main(["ablations", *map(str, words)])
    return ended.value.code


@pytest.mark.slow
def test_a_finished_run_is_kept(tmp_path, data, small, capsys):
    words = ("--data", data, "--out", tmp_path, "--configs", small, "--only", "depth_weight_50")
    assert run(*words) == 0
    result = tmp_path / "depth_weight_50" / "seed_0" / "result.json"
    first = result.read_text()
    assert set(json.loads(first)["figures"]) == {"pq", "abs_rel", "sq_rel", "rmse"}
    assert json.loads(first)["steps"] == 2
    assert (result.parent / "weights.safetensors").is_file() and not (result.parent / "checkpoints").exists()
    capsys.readouterr()
    assert run(*words) == 0
    shown = capsys.readouterr()
    assert "[1/1] depth_weight_50, seed 0: finished before" in shown.err
    assert "| Multi-task, depth weight 50 |" in shown.out
    assert result.read_text() == first
    assert json.loads((tmp_path / "results.json").read_text())["runs"] == [json.loads(first)]
    assert run(*words, "--steps", 3) == 2
    assert "max_steps is 2 there and 3 here" in capsys.readouterr().err


@pytest.mark.slow
def test_an_interrupted_run_goes_on(tmp_path, data, small, monkeypatch, capsys):
    start = tmp_path / "start.safetensors"
    save_weights(start, MonoDVPS(load(TrainingConfig, small / "panoptic_only.yaml").network), {})
    words = ("--data", data, "--out", tmp_path, "--configs", small, "--only", "panoptic_only", "--weights", start)
    resumed, started_from = [], []

    def stopped_then_whole(config, sources, out, **options):
        resumed.append(options["resume"])
        started_from.append(options["weights"])
        steps = 1 if len(resumed) == 1 else config.max_steps
        result = train(replace(config, max_steps=steps), sources, out, **options)
        return replace(result, stopped_by=2) if len(resumed) == 1 else result

    monkeypatch.setattr(runner, "train", stopped_then_whole)
    assert run(*words) == 130
    assert "run the same command again to continue" in capsys.readouterr().err
    assert not (tmp_path / "panoptic_only" / "seed_0" / "result.json").exists()
    assert run(*words) == 0
    assert resumed == [False, True]
    assert started_from == [str(start), ""]
    result = json.loads((tmp_path / "panoptic_only" / "seed_0" / "result.json").read_text())
    assert result["steps"] == 2 and set(result["figures"]) == {"pq"}


def test_errors(tmp_path, data, small):
    given = {"data": data, "out": tmp_path, "configs": small}
    with pytest.raises(ConfigError, match="no ablation 'pgx'; there are: panoptic_only"):
        Ablations(**given, names=("pgx",))
    with pytest.raises(ConfigError, match="no seeds"):
        Ablations(**given, seeds=())
    with pytest.raises(ConfigError, match="seed is given by --seeds"):
        Ablations(**given, overrides=(("seed", "3"),))
    with pytest.raises(DataError, match="labelled: is missing; render it with: monodvps scenes --split train"):
        Ablations(**{**given, "data": tmp_path})
    with pytest.raises(ConfigError, match="cannot be read"):
        wanted = Ablations(**{**given, "configs": tmp_path})
        wanted.config(wanted.variants[0], 0)
    broken = Ablations(**given, names=("panoptic_only",))
    folder = broken.folder(broken.variants[0], 0)
    folder.mkdir(parents=True)
    (folder / "result.json").write_text("{}")
    with pytest.raises(DataError, match="is not a result of this command"):
        finished(broken, broken.variants[0], 0)
    assert parse_seeds("0,3") == (0, 3)
    for text in ("", "a", "1,1", "-1"):
        with pytest.raises(ConfigError, match="seeds is"):
            parse_seeds(text)


def test_the_teacher_is_run_first(tmp_path, data, small):
    given = {"data": data, "out": tmp_path, "configs": small}
    assert [variant.name for variant in Ablations(**given, names=("extended",)).variants] == [
        "panoptic_only",
        "extended",
    ]
    taught = Ablations(**given, names=("extended",), teacher="weights.safetensors")
    assert [variant.name for variant in taught.variants] == ["extended"]
    assert Ablations(**given).variants == list(VARIANTS)


@pytest.mark.slow
def test_variants_with_two_seeds_and_the_extended_set(tmp_path, data, small):
    names = ("panoptic_only", "depth_only", "extended")
    only = [word for name in names for word in ("--only", name)]
    assert run("--data", data, "--out", tmp_path, "--configs", small, "--seeds", "0,1", *only) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert [(entry["variant"], entry["seed"]) for entry in results["runs"]] == [
        (name, seed) for name in names for seed in (0, 1)
    ]
    assert set(results["runs"][0]["figures"]) == {"pq"}
    assert set(results["runs"][2]["figures"]) == {"abs_rel", "sq_rel", "rmse"}
    assert "±" in (tmp_path / "ablations.md").read_text()
    frames = {path.name for path in (tmp_path / "frames").iterdir()}
    assert frames == {"labelled", "extended_0", "extended_1"}
