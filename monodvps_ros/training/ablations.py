# SPDX-License-Identifier: Apache-2.0
"""Runs the ablations: each variant with each seed, once; what is finished is kept."""

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from monodvps_ros.config import PseudoLabelConfig, TrainingConfig, load, to_dict
from monodvps_ros.data.sources import open_source
from monodvps_ros.errors import ConfigError, DataError, counted, shortened
from monodvps_ros.files import read_json, write_bytes
from monodvps_ros.network import load_network
from monodvps_ros.perception import resolve_device
from monodvps_ros.training.ablation_table import MEASURES, VARIANTS, Variant, statements, table
from monodvps_ros.training.pseudo_labels import PseudoLabelling, Recording
from monodvps_ros.training.run import LAST_CHECKPOINT, WEIGHTS_FILE, train
from monodvps_ros.training.teachers import load_teacher
from monodvps_ros.training.validation import validate

RESULT_FILE, RESULTS_FILE, TABLE_FILE = "result.json", "results.json", "ablations.md"
LABELLED, UNLABELLED, VALIDATION = "train/labelled", "train/unlabelled", "val"
#: The variant whose network labels the unlabelled drives.
TEACHER = "panoptic_only"
#: The teacher looks at each image at its input size, as it is and mirrored; the paper's seven sizes cost as many times
#: the run itself.
_TEACHING = PseudoLabelConfig(scales=(1.0,))
#: What may differ between a finished run and the one that is asked for.
_NO_MATTER = ("workers", "device", "checkpoint_every", "picture_every", "validate_every", "validation_frames")


@dataclass(frozen=True)
class Ablations:
    """What is to be run.

    Attributes:
        data: folder of the data set 'drives': its labelled and unlabelled part of 'train', and 'val'.
        out: folder for the runs; a run that is finished there is kept, one that was interrupted goes on.
        configs: folder of the variants' configs.
        seeds: of the runs.
        names: variants to run; empty for all.
        overrides: settings by dotted name, for every variant.
        validation_frames: measured at the end of each run, at most.
        teacher: weights file that labels the unlabelled drives; empty takes the network of 'panoptic_only' and the
            same seed, which is then run first.
        weights: weights file or checkpoint that every run starts from; empty for what the configs say. A start that
            knows of depth and ego motion already lets short runs tell the variants apart.

    Raises:
        ConfigError: a name is not that of a variant, there are no seeds, or a seed is among the overrides.
        DataError: the folder lacks a part.
    """

    data: Path
    out: Path
    configs: Path
    seeds: tuple[int, ...] = (0,)
    names: tuple[str, ...] = ()
    overrides: tuple[tuple[str, Any], ...] = ()
    validation_frames: int = 200
    teacher: str = ""
    weights: str = ""

    def __post_init__(self) -> None:
        """Check names and folders."""
        known = [variant.name for variant in VARIANTS]
        for name in self.names:
            if name not in known:
                raise ConfigError(f"no ablation '{shortened(name)}'; there are: {', '.join(known)}")
        if not self.seeds:
            raise ConfigError("no seeds; give at least one")
        if "seed" in dict(self.overrides):
            raise ConfigError("seed is given by --seeds; leave it out of the settings")
        parts = [LABELLED, VALIDATION, *([UNLABELLED] if any(variant.extended for variant in self.variants) else [])]
        for part in parts:
            if not (self.data / part).is_dir():
                raise DataError(
                    f"{self.data / part}: is missing; render it with: monodvps scenes --split "
                    f"{part.partition('/')[0]} --out {self.data}"
                )

    @property
    def variants(self) -> list[Variant]:
        """What is to be run, in its order."""
        chosen = [variant for variant in VARIANTS if not self.names or variant.name in self.names]
        teaches = any(variant.extended for variant in chosen) and not self.teacher
        if teaches and all(variant.name != TEACHER for variant in chosen):
            chosen = [next(variant for variant in VARIANTS if variant.name == TEACHER), *chosen]
        return chosen

    def config(self, variant: Variant, seed: int) -> TrainingConfig:
        """Return the config of a run.

        Raises:
            ConfigError: it cannot be read.
        """
        path = self.configs / f"{variant.name}.yaml"
        return load(TrainingConfig, path, {**dict(self.overrides), "seed": seed})

    def folder(self, variant: Variant, seed: int) -> Path:
        """Return the folder of a run."""
        return self.out / variant.name / f"seed_{seed}"


def run_ablations(ablations: Ablations, console: Console) -> int:
    """Run all that is not finished, seed by seed; write results and table after each run.

    Args:
        ablations: what is to be run.
        console: to print to.

    Returns:
        0, or the number of the signal that ended it before its end.

    Raises:
        DataError: a folder holds a run of other settings, or as `train` says.
    """
    todo = [(variant, seed) for seed in ablations.seeds for variant in ablations.variants]
    for place, (variant, seed) in enumerate(todo, 1):
        found = finished(ablations, variant, seed)
        state = "finished before" if found is not None else "running"
        console.print(f"[{place}/{len(todo)}] {variant.name}, seed {seed}: {state}", markup=False, highlight=False)
        if found is None:
            stopped_by = _run(ablations, variant, seed, console)
            if stopped_by:
                return stopped_by
        write_results(ablations)
    return 0


def finished(ablations: Ablations, variant: Variant, seed: int) -> dict[str, Any] | None:
    """Return the result of a run that is there, None where it is not.

    Raises:
        DataError: it was made with other settings, or cannot be read.
    """
    path = ablations.folder(variant, seed) / RESULT_FILE
    if not path.is_file():
        return None
    try:
        result: dict[str, Any] = read_json(path)
        there = dict(result["settings"])
    except (TypeError, ValueError, KeyError) as error:
        raise DataError(f"{path}: is not a result of this command: {error}; remove it") from None
    here = _settings(ablations, variant, seed)
    other = [f"{key} is {there.get(key)!r} there and {here[key]!r} here" for key in here if there.get(key) != here[key]]
    if other:
        raise DataError(f"{path.parent}: contains a run of other settings: {'; '.join(other)}; choose another --out")
    return result


def write_results(ablations: Ablations) -> None:
    """Write what the runs that are finished found: all numbers as JSON, the table as Markdown."""
    runs = []
    for variant in VARIANTS:
        for seed in ablations.seeds:
            result = finished(ablations, variant, seed)
            if result is not None:
                runs.append(result)
    found: dict[str, dict[str, list[float]]] = {}
    for result in runs:
        figures = found.setdefault(result["variant"], {})
        for key, value in result["figures"].items():
            figures.setdefault(key, []).append(value)
    said = statements(found)
    write_bytes(ablations.out / RESULTS_FILE, (json.dumps({"runs": runs, "order": said}, indent=1) + "\n").encode())
    text = table(found) + "".join(f"- {sentence}\n" for sentence in ["", *said] if sentence)
    write_bytes(ablations.out / TABLE_FILE, text.encode())


def _settings(ablations: Ablations, variant: Variant, seed: int) -> dict[str, Any]:
    """Return all that shapes the result of a run."""
    config = {k: v for k, v in to_dict(ablations.config(variant, seed)).items() if k not in _NO_MATTER}
    return {**config, "validation_frames": ablations.validation_frames,
            "teacher": ablations.teacher if variant.extended else "", "weights": ablations.weights}  # fmt: skip


def _run(ablations: Ablations, variant: Variant, seed: int, console: Console) -> int:
    """Train and measure; return the number of the signal that ended it, 0 where none did."""
    folder, config, begin = ablations.folder(variant, seed), ablations.config(variant, seed), time.monotonic()
    device, resume = resolve_device(config.device), (folder / LAST_CHECKPOINT).exists()
    names, frames = [str(ablations.data / LABELLED)], ablations.out / "frames" / "labelled"
    if variant.extended:
        names.append(str(_pseudo_labels(ablations, seed, device, console)))
        frames = ablations.out / "frames" / f"extended_{seed}"
    trained = train(
        config,
        [open_source(name) for name in names],
        folder,
        names=names,
        weights="" if resume else ablations.weights,
        resume=resume,
        console=console,
        frames=frames,
    )
    if trained.stopped_by:
        return trained.stopped_by
    seconds = time.monotonic() - begin
    network = load_network(trained.weights, device)
    found = validate(network, open_source(ablations.data / VALIDATION), ablations.validation_frames)
    result = {
        "variant": variant.name,
        "seed": seed,
        "figures": _figures(found["figures"]["median"], config),
        "steps": trained.steps,
        "seconds": round(seconds, 1),
        "settings": _settings(ablations, variant, seed),
    }
    write_bytes(folder / RESULT_FILE, (json.dumps(result, indent=1) + "\n").encode())
    shutil.rmtree((folder / LAST_CHECKPOINT).parent)  # many times the size of the weights, and of no more use
    return 0


def _figures(found: Mapping[str, float | None], config: TrainingConfig) -> dict[str, float]:
    """Return what was measured of the tasks that the run trains: PQ in percent, depth errors by median scaling."""
    trained = {"pq": config.loss.semantic > 0 and config.loss.instance > 0}
    figures = {key: found[key] for key, *_ in MEASURES if trained.get(key, config.loss.depth > 0)}
    return {key: value for key, value in figures.items() if value is not None}


def _pseudo_labels(ablations: Ablations, seed: int, device: torch.device, console: Console) -> Path:
    """Label the unlabelled drives, where that is not done yet; return the folder of the labels."""
    out = ablations.out / "pseudo_labels" / f"seed_{seed}"
    teacher = next(variant for variant in VARIANTS if variant.name == TEACHER)
    weights = ablations.teacher or str(ablations.folder(teacher, seed) / WEIGHTS_FILE)
    path = ablations.data / UNLABELLED
    labeller = load_teacher(weights, _TEACHING, device)
    labelling = PseudoLabelling(Recording(path, open_source(path)), out, labeller, _TEACHING, device)
    console.print(
        f"labelling {counted(labelling.length, 'frame')}; {labelling.description}", soft_wrap=True, markup=False
    )
    for _ in labelling:
        pass
    return out
