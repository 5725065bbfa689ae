# SPDX-License-Identifier: Apache-2.0
"""Makes the weights called 'street' from the folders of street recordings, step by step, by `monodvps` commands.

    python tools/train_street.py --street STREET --out OUT

A step whose result is there is left out, and a training run that was interrupted goes on from its last checkpoint:
give the same command again. STREET holds ``stereo_kitti2015/``, ``camvid428/``, ``sequences/NAME/`` and
``pseudo/NAME/``: panoptic labels of a teacher, named as the images; true masks in ``road/`` of a recording correct
them. Left out, to measure on: the last 20 scenes of stereo_kitti2015 and the sequence 0001TP of camvid428, whose
frames of camvid40 are then of a street that was never seen.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from monodvps_ros.config import PipelineConfig, TrainingConfig, load
from monodvps_ros.data import open_source
from monodvps_ros.data.image_files import read_map, write_image
from monodvps_ros.errors import DataError
from monodvps_ros.labels import CITYSCAPES, LABEL_DIVISOR
from monodvps_ros.network import MonoDVPS, load_network, load_pose_network, read_card, save_weights
from monodvps_ros.outputs import Output
from monodvps_ros.perception import Pipeline

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "config" / "shipped"
SHIPPED = ROOT / "monodvps_ros" / "weights" / "drives.safetensors"
HELD_OUT = 20
HELD_OUT_SEQUENCE = "0001TP"
#: Distance between the two cameras, metres: KITTI's colour pair and its grey pair.
BASELINES_M = {"stereo_kitti2015": 0.5327, "kitti_village400_gray_stereo": 0.5372}
SEQUENCES = ("kitti_village400_gray_stereo", "kitti_street268", "kitti_avenue91", "nuscenes100", "carnd_motorway38_mit")
STILLS, CAMVID = "stereo_kitti2015", "camvid428"
SHORT_DRIVES = ("train2", "train3")
DONE = ".complete"
#: Entry of the card that says by which factor the scale was corrected.
SCALED = "scale_corrected_by"
CHECKPOINT, WEIGHTS = "checkpoints/last.ckpt", "weights.safetensors"
RUNS = (
    "street_1", "street_2", "street_3", "street_4_panoptic", "street_5_upright", "street_6_joint", "street_7_depth",
    "street_8_motion",
)  # fmt: skip
#: The run whose network corrects the ground of the sequences, for the runs after it.
CORRECTING_RUN = "street_2"
#: The run whose network is the teacher of depth on sequences without stereo, in the run of `DEPTH_RUN`.
TEACHING_RUN = "street_5_upright"
#: The run of everything at once, by one process on a GPU. From it on, the drives of 'train3' are trained on too.
JOINT_RUN = "street_6_joint"
#: The run of the depth decoder alone.
DEPTH_RUN = "street_7_depth"
#: Runs after which the mean of the depth decoders of another run and of this one goes on, and the share of this one.
MEANS = {JOINT_RUN: (TEACHING_RUN, 0.5), DEPTH_RUN: (JOINT_RUN, 0.75)}
MEAN = "mean.safetensors"
DEPTH_DECODER = "depth_head."


@dataclass(frozen=True)
class Step:
    """One step: what it is called, whether its result is there, and how it is made."""

    name: str
    is_done: Callable[[], bool]
    make: Callable[[], None]


def command(*words: object) -> None:
    """Run a `monodvps` command; whoever interrupts it interrupts this script too."""
    line = [sys.executable, "-m", "monodvps_ros.cli.main", *map(str, words)]
    print("monodvps", *line[3:], flush=True)
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "PYTHONPATH": str(ROOT)}
    finished = subprocess.run(line, env=environment, check=False)
    if finished.returncode:
        sys.exit(finished.returncode)


def link_folder(source: Path, pseudo: Path, out: Path, kept: Iterable[str], **camera: object) -> None:
    """Make a folder of links to the images of some names, with their truth and a teacher's labels."""
    names = set(kept)
    parts = {"image": source / "image", "image_right": source / "image_right", "depth": source / "depth"}
    for part, folder in {**parts, "panoptic_pseudo": pseudo}.items():
        for file in sorted(folder.glob("*.*")) if folder.is_dir() else ():
            if file.stem in names:
                (out / part).mkdir(parents=True, exist_ok=True)
                link = out / part / file.name
                link.unlink(missing_ok=True)
                link.symlink_to(file.resolve())
    known = source / "camera.json"
    if known.is_file():
        values = {**json.loads(known.read_text()), **camera}
        (out / "camera.json").write_text(json.dumps(values))


def correct_roads(pseudo: Path, roads: Path) -> None:
    """Correct a folder of a teacher's labels by true masks of the road, in place: no file that is linked changes.

    The teacher takes paths and pavements for road: what it calls road outside the mask becomes sidewalk.
    """
    road, sidewalk = (CITYSCAPES.class_id(name) * LABEL_DIVISOR for name in ("road", "sidewalk"))
    for file in sorted(pseudo.glob("*.png")):
        mask = roads / file.name
        if mask.is_file():
            labels, is_road = read_map(file, [np.uint16]), read_map(mask, [np.uint8]) > 0
            corrected = np.where(labels == road, np.uint16(sidewalk), labels)
            file.unlink()
            write_image(file, np.where(is_road, np.uint16(road), corrected))


def narrow_roads(pseudo: Path, second: Path) -> None:
    """Take a network's sidewalk and terrain where a teacher says road, in place.

    On streets with true masks, the road that neither calls anything else is better than that of either.
    """
    road, *others = (CITYSCAPES.class_id(name) * LABEL_DIVISOR for name in ("road", "sidewalk", "terrain"))
    for file in sorted(pseudo.glob("*.png")):
        (other,) = second.glob(f"{file.stem}_*.png")
        labels, corrected = read_map(file, [np.uint16]), read_map(other, [np.uint16])
        narrowed = np.where((labels == road) & np.isin(corrected, others), corrected, labels)
        file.unlink()
        write_image(file, narrowed)


def images(folder: Path) -> list[str]:
    """Return the names of a folder's images without endings, in order."""
    return sorted(path.stem for path in (folder / "image").iterdir())


def link(street: Path, data: Path, name: str) -> None:
    """Bring one recording into a folder to train on."""
    is_stills = name == STILLS
    source = street / name if name in (STILLS, CAMVID) else street / "sequences" / name
    camera: dict[str, object] = {"baseline_m": BASELINES_M[name]} if name in BASELINES_M else {}
    if is_stills:
        camera["stills"] = True
    kept = images(source)[: -HELD_OUT if is_stills else None]
    if name == CAMVID:
        kept = [image for image in kept if not image.startswith(HELD_OUT_SEQUENCE)]
    link_folder(source, street / "pseudo" / name, data / name, kept, **camera)
    correct_roads(data / name / "panoptic_pseudo", source / "road")
    (data / name / DONE).touch()


def measure(data: Path, name: str) -> None:
    """Measure the depth of stereo pairs."""
    command("pseudo-label", "--data", data / name, "--out", data / f"{name}_depth", "--depth-teacher", "stereo")
    (data / f"{name}_depth" / DONE).touch()


def correct_ground(data: Path, name: str, weights: Path) -> None:
    """Correct the ground in a teacher's labels of a sequence by a network that has learnt from true masks."""
    seen = data / f"{name}_ground"
    command("pseudo-label", "--data", data / name, "--out", seen, "--teacher", weights, "--scales", 1)
    narrow_roads(data / name / "panoptic_pseudo", seen / "panoptic" / name)
    (seen / DONE).touch()


def teach_depth(data: Path, name: str, weights: Path) -> None:
    """Estimate the depth of a sequence without stereo by a network."""
    command("pseudo-label", "--data", data / name, "--out", data / f"{name}_taught", "--depth-teacher", weights)
    (data / f"{name}_taught" / DONE).touch()


def render(drives: Path, split: str) -> None:
    """Render the short drives of a split."""
    command("scenes", "--split", split, "--out", drives, "--jobs", 2)
    (drives / f".{split}").touch()


def data_steps(street: Path, data: Path) -> list[Step]:
    """Everything that is to be trained on."""
    steps = []
    for name in (STILLS, *SEQUENCES, CAMVID):
        ready = data / name / DONE
        steps.append(Step(f"link {name}", ready.exists, partial(link, street, data, name)))
    for name in BASELINES_M:
        ready = data / f"{name}_depth" / DONE
        steps.append(Step(f"stereo depth of {name}", ready.exists, partial(measure, data, name)))
    drives = data / "drives"
    rendered = {split: drives / f".{split}" for split in SHORT_DRIVES}
    return [
        *steps,
        *(Step(f"render {split}", mark.exists, partial(render, drives, split)) for split, mark in rendered.items()),
    ]


def sources(data: Path, run: str) -> list[Path]:
    """Return what a run is trained on, in the order of its `source_weights`."""

    def folder(name: str) -> Path:
        if name in BASELINES_M:
            return data / f"{name}_depth"
        return data / (f"{name}_taught" if run == DEPTH_RUN and name in SEQUENCES else name)

    drives = SHORT_DRIVES if RUNS.index(run) >= RUNS.index(JOINT_RUN) else SHORT_DRIVES[:1]
    return [*map(folder, (STILLS, *SEQUENCES, CAMVID)), *(data / "drives" / name for name in drives)]


def is_newer(made: Path, *origins: Path) -> bool:
    """Say whether a file is there and no older than all that it was made of."""
    if not all(path.exists() for path in (made, *origins)):
        return False
    return made.stat().st_mtime >= max(path.stat().st_mtime for path in origins)


def is_trained(config: Path, weights: Path) -> bool:
    """Say whether a run came to its last step."""
    return weights.is_file() and int(read_card(weights)["card"]["steps"]) >= load(TrainingConfig, config).max_steps


def train(run: str, data: Path, start: Path, out: Path, devices: int) -> None:
    """Train, or go on from the last checkpoint."""
    begin = ["--resume"] if (out / CHECKPOINT).exists() else ["--weights", start]
    config = CONFIGS / f"{run}.yaml"
    command("train", "--config", config, "--data", *sources(data, run), "--out", out, "--devices", devices, *begin)


def write_mean(first: Path, second: Path, share: float, target: Path) -> None:
    """Write the second network with the mean of both networks' depth decoders, its own with a share of the weight.

    Raises:
        DataError: the networks differ in their settings.
    """
    one, network = (load_network(path, for_inference=False) for path in (first, second))
    if one.config != network.config:
        raise DataError(f"{first} and {second}: networks of different settings have no mean; train both anew")
    weights, before = network.state_dict(), one.state_dict()
    for name, value in weights.items():
        if name.startswith(DEPTH_DECODER) and value.is_floating_point():
            weights[name] = torch.lerp(before[name], value, share)
    network.load_state_dict(weights)
    save_weights(target, network, read_card(second)["card"], pose_network=load_pose_network(second))


def training_steps(data: Path, out: Path, devices: int) -> list[Step]:
    """All runs one after the other, each from the one before, with what is made of their networks in between."""
    steps, start = [], SHIPPED
    for name in RUNS:
        folder = out / name
        weights = folder / WEIGHTS
        done = partial(is_trained, CONFIGS / f"{name}.yaml", weights)
        processes, where = (1, " on a GPU") if name == JOINT_RUN else (devices, "")
        steps.append(Step(f"train {name}{where}", done, partial(train, name, data, start, folder, processes)))
        start = folder / CHECKPOINT
        if name == CORRECTING_RUN:
            for sequence in SEQUENCES:
                ready, make = data / f"{sequence}_ground" / DONE, partial(correct_ground, data, sequence, weights)
                steps.append(Step(f"correct the ground of {sequence}", ready.exists, make))
        if name == TEACHING_RUN:
            for sequence in (found for found in SEQUENCES if found not in BASELINES_M):
                is_taught = partial(is_newer, data / f"{sequence}_taught" / DONE, weights)
                make = partial(teach_depth, data, sequence, weights)
                steps.append(Step(f"estimate the depth of {sequence}", is_taught, make))
        if name in MEANS:
            (other, share), start = MEANS[name], folder / MEAN
            parts = out / other / WEIGHTS, weights
            make, done = partial(write_mean, *parts, share, start), partial(is_newer, start, *parts)
            steps.append(Step(f"mean of the depth decoders of {other} and {name}", done, make))
    return steps


def fit_scale(weights: Path, measured: Path) -> None:
    """Correct the scale of metric weights by their canonical focal length, in place.

    Afterwards the median of the training frames' medians of predicted over measured depth is 1; the uprightness loss
    draws depth nearer by some percent.

    Raises:
        DataError: no frame has measured depth.
    """
    network, pose_network = load_network(weights, for_inference=False), load_pose_network(weights)
    pipeline = Pipeline(load_network(weights), PipelineConfig(device="cpu", sky_depth=True))
    ratios = []
    for sample in open_source(measured):
        predicted, true = pipeline.step(sample.frame, frozenset({Output.DEPTH})).depth_m, sample.truth.depth_m
        if predicted is not None and true is not None and (known := np.isfinite(ratio := predicted / true)).any():
            ratios.append(float(np.median(ratio[known])))
    if not ratios:
        raise DataError(f"{measured}: no frame has measured depth and a known K; the scale cannot be fitted")
    factor = float(np.median(ratios))
    print(f"depth over measured depth on {len(ratios)} frames: {factor:.4f}", flush=True)
    config = network.config
    scaled = MonoDVPS(dataclasses.replace(config, canonical_focal_px=config.canonical_focal_px * factor)).eval()
    scaled.load_state_dict(network.state_dict())
    card = {**read_card(weights)["card"], SCALED: factor}
    save_weights(weights, scaled, card, half=True, pose_network=pose_network)


def main() -> None:
    """Do what is left to do."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--street", type=Path, required=True, help="Folder of the street recordings.")
    parser.add_argument("--out", type=Path, required=True, help="Folder for everything that is made.")
    parser.add_argument("--devices", type=int, default=1, help="Training processes of the runs on a CPU.")
    parser.add_argument("--dry-run", action="store_true", help="Say what is done and what is left to do.")
    given = parser.parse_args()
    out = given.out.resolve()
    weights, last = out / "street.safetensors", out / RUNS[-1] / WEIGHTS
    exported = partial(is_newer, weights, last)
    export = Step("export", exported, lambda: command("export", "--checkpoint", last, "--out", weights, "--half"))
    measured = out / "data" / f"{STILLS}_depth"
    scale = Step(
        "fit the scale",
        lambda: exported() and SCALED in read_card(weights)["card"],
        lambda: fit_scale(weights, measured),
    )
    for step in [
        *data_steps(given.street.resolve(), out / "data"),
        *training_steps(out / "data", out, given.devices),
        export,
        scale,
    ]:
        done = step.is_done()
        print(f"{step.name}: {'done' if done else 'to do'}", flush=True)
        if not done and not given.dry_run:
            step.make()


if __name__ == "__main__":
    main()
