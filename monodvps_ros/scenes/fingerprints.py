# SPDX-License-Identifier: Apache-2.0
"""Tells whether a drive of 'drives' is the one that was meant.

A digest of its content answers to the bit, on the platform that the stored ones were made on. Elsewhere other vector
instructions and other releases of torch and NumPy may round a colour or a depth differently; there the drive's coarse
measures answer, which rounding cannot move.
"""

import hashlib
import json
import platform
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monodvps_ros.data.image_files import depth_to_file
from monodvps_ros.data.sources import open_source
from monodvps_ros.files import write_bytes
from monodvps_ros.labels import CITYSCAPES, LABEL_DIVISOR
from monodvps_ros.scenes.drives import SPLITS, SplitDrive, split
from monodvps_ros.scenes.split_files import is_written
from monodvps_ros.types import Sample

STORED_FILE = Path(__file__).with_name("fingerprints.json")
#: By how much drives of two platforms may differ: mean colour in grey levels, shares of classes, and relative mean
#: inverse depth.
COLOR_TOLERANCE, SHARE_TOLERANCE, DEPTH_TOLERANCE = 0.05, 1e-4, 1e-4


class Likeness(str, Enum):
    """How alike two drives are."""

    SAME = "same to the bit"
    CLOSE = "same within rounding"
    OTHER = "not the same"


@dataclass(frozen=True)
class Fingerprint:
    """Of the frames of a drive, or of some of them.

    Attributes:
        sha256: over images, panoptic ids, depth in 1/256 m (0 for none) and K rounded to 1e-6, frame by frame: what
            recordings and Cityscapes-DVPS files both hold.
        frames: their number.
        mean_rgb: grey levels.
        class_share: of pixels, by class id; the rest is void.
        mean_inverse_depth: 1/m, over pixels with depth.
    """

    sha256: str
    frames: int
    mean_rgb: tuple[float, ...]
    class_share: tuple[float, ...]
    mean_inverse_depth: float

    def compare(self, other: "Fingerprint") -> Likeness:
        """Tell how alike another one is."""
        if self.sha256 == other.sha256:
            return Likeness.SAME
        if self.frames != other.frames or self.mean_inverse_depth == 0.0:
            return Likeness.OTHER
        color = np.abs(np.subtract(self.mean_rgb, other.mean_rgb)).max()
        share = np.abs(np.subtract(self.class_share, other.class_share)).max()
        depth = abs(other.mean_inverse_depth / self.mean_inverse_depth - 1.0)
        close = color <= COLOR_TOLERANCE and share <= SHARE_TOLERANCE and depth <= DEPTH_TOLERANCE
        return Likeness.CLOSE if close else Likeness.OTHER


def fingerprint(samples: Iterable[Sample]) -> Fingerprint:
    """Take the fingerprint of frames with panoptic truth, depth and K.

    Args:
        samples: in time order; at least one.
    """
    digest, frames = hashlib.sha256(), 0
    color, shares, depth = np.zeros(3), np.zeros(len(CITYSCAPES)), np.zeros(2)
    for sample in samples:
        image, truth, intrinsics = sample.frame.image, sample.truth, sample.frame.intrinsics
        assert truth.panoptic is not None and truth.depth_m is not None and intrinsics is not None
        stored_depth = depth_to_file(truth.depth_m)
        for part, kind in ((image, "u1"), (truth.panoptic, "<u2"), (stored_depth, "<u2")):
            digest.update(np.ascontiguousarray(part, kind).tobytes())
        digest.update(np.rint(intrinsics * 1e6).astype("<i8").tobytes())
        frames += 1
        color += image.mean((0, 1), dtype=np.float64)
        classes = truth.panoptic.ravel() // LABEL_DIVISOR
        shares += np.bincount(classes, minlength=66)[: len(CITYSCAPES)] / classes.size
        known = stored_depth[stored_depth > 0].astype(np.float64) / 256.0
        depth += (1.0 / known).sum(), known.size
    return Fingerprint(
        sha256=digest.hexdigest(),
        frames=frames,
        mean_rgb=tuple((color / frames).round(4).tolist()),
        class_share=tuple((shares / frames).round(7).tolist()),
        mean_inverse_depth=round(float(depth[0] / max(depth[1], 1.0)), 8),
    )


def written_fingerprint(drive: SplitDrive, out: Path, as_bag: bool) -> Fingerprint:
    """Take the fingerprint of a drive that `write_drives` wrote.

    Raises:
        DataError: it is missing, or cannot be read.
    """
    if as_bag:
        return fingerprint(open_source(out / drive.folder / drive.name))
    sequence = f"{drive.index:06d}"
    return fingerprint(sample for sample in open_source(out / drive.folder) if sample.sequence == sequence)


def stored_fingerprints() -> dict[str, Fingerprint]:
    """Return the fingerprints that the drives have: by a drive's name, or ``name/0`` for its first frame."""
    found: dict[str, dict[str, Any]] = json.loads(STORED_FILE.read_text(encoding="utf-8"))["fingerprints"]
    tuples = ("mean_rgb", "class_share")
    return {name: Fingerprint(**entry | {key: tuple(entry[key]) for key in tuples}) for name, entry in found.items()}


def stored_platform() -> dict[str, str]:
    """Return what the stored fingerprints were made on."""
    found: dict[str, str] = json.loads(STORED_FILE.read_text(encoding="utf-8"))["platform"]
    return found


def this_platform() -> dict[str, str]:
    """Say what may change the last bit of a rendered frame; the number of threads does not."""
    capability = torch.backends.cpu.get_cpu_capability()
    return {
        "machine": f"{platform.system()} {platform.machine()}",
        "vector_instructions": "AVX2 or AVX512" if capability.startswith("AVX") else capability,  # give the same bits
        "torch": torch.__version__.partition("+")[0],
        "numpy": np.__version__,
    }


def store(out: Path) -> list[str]:
    """Store the fingerprints of recordings of 'drives': of each whole split that is there, and of first frames.

    Args:
        out: folder of the data set.

    Returns:
        The names of the splits.

    Raises:
        DataError: a recording cannot be read.
    """
    found = {name: asdict(print_) for name, print_ in stored_fingerprints().items()} if STORED_FILE.exists() else {}
    whole = [name for name in SPLITS if all(is_written(drive, out, as_bag=True) for drive in split(name))]
    for drive in (drive for name in whole for drive in split(name)):
        samples = list(open_source(out / drive.folder / drive.name))
        found[f"{drive.name}/0"] = asdict(fingerprint(samples[:1]))
        found[drive.name] = asdict(fingerprint(samples))
    rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(found.items()))
    text = f'{{\n "platform": {json.dumps(this_platform())},\n "fingerprints": {{\n{rows}\n }}\n}}\n'
    write_bytes(STORED_FILE, text.encode())
    return whole


if __name__ == "__main__":
    sys.stdout.write(f"stored the fingerprints of {', '.join(store(Path(sys.argv[1])))} in {STORED_FILE}\n")
