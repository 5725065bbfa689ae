# SPDX-License-Identifier: Apache-2.0
"""The ablations of tables 1 and 2 of the paper: its rows, ours beside them, and where their order differs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

#: What is measured: key, title, digits, whether lower is better.
MEASURES = (
    ("pq", "PQ", 1, False),
    ("abs_rel", "absRel", 3, True),
    ("sq_rel", "sqRel", 3, True),
    ("rmse", "RMSE", 3, True),
)


@dataclass(frozen=True)
class Variant:
    """One row.

    Attributes:
        name: of its config in ``config/ablations``, without suffix.
        title: what it is.
        over: names of the rows that it is compared with.
        paper: the paper's figures by the keys of `MEASURES`, on Cityscapes-DVPS; what it does not tell is left out.
        extended: trains on the labelled drives and the pseudo-labelled ones; else on the labelled ones alone.
    """

    name: str
    title: str
    over: tuple[str, ...]
    paper: Mapping[str, float]
    extended: bool = False


#: In the order in which they are run; 'panoptic_only' also teaches 'extended'. Source of the figures: Petrovai &
#: Nedevschi, tables 1 and 2. Depth at weight 1 has absRel 0.151 in table 1 and 0.106 in table 2, which also has its
#: sqRel and RMSE; the latter stands here. The single steps of the panoptic-guided losses are not in these tables.
VARIANTS = (
    Variant("panoptic_only", "Panoptic only", (), {"pq": 63.5}),
    Variant("depth_only", "Depth only", (), {"abs_rel": 0.098, "sq_rel": 0.731, "rmse": 4.919}),
    Variant(
        "depth_weight_1",
        "Multi-task, depth weight 1",
        ("panoptic_only", "depth_only"),
        {"pq": 62.9, "abs_rel": 0.106, "sq_rel": 0.841, "rmse": 5.270},
    ),
    Variant(
        "depth_weight_50",
        "Multi-task, depth weight 50",
        ("depth_weight_1",),
        {"pq": 63.6, "abs_rel": 0.102, "sq_rel": 0.767, "rmse": 5.034},
    ),
    Variant(
        "depth_weight_100",
        "Multi-task, depth weight 100",
        ("depth_weight_50",),
        {"pq": 63.2, "abs_rel": 0.102},
    ),
    Variant("pgs", "Depth weight 50 + PGS", ("depth_weight_50",), {}),
    Variant("ped", "Depth weight 50 + PED", ("depth_weight_50",), {}),
    Variant("pgt", "Depth weight 50 + PGT", ("depth_weight_50",), {}),
    Variant("pgs_ped", "Depth weight 50 + PGS + PED", ("pgs",), {}),
    Variant(
        "pgs_ped_pgt",
        "+ PGT",
        ("pgs_ped", "depth_weight_50"),
        {"abs_rel": 0.099, "sq_rel": 0.747, "rmse": 4.988},
    ),
    Variant(
        "moving_objects",
        "+ moving-object masking",
        ("pgs_ped_pgt", "depth_weight_50"),
        {"pq": 63.6, "abs_rel": 0.098, "sq_rel": 0.701, "rmse": 4.864},
    ),
    Variant("moving_objects_fixed", "the same, threshold fixed at 0.7", ("moving_objects",), {}),
    Variant("moving_objects_flow", "the same, by residual flow", ("moving_objects",), {}),
    Variant(
        "extended",
        "+ extended train set",
        ("moving_objects",),
        {"pq": 66.5, "abs_rel": 0.082, "sq_rel": 0.515, "rmse": 4.198},
        extended=True,
    ),
    Variant(
        "supervised_depth",
        "Multi-task, supervised depth",
        ("depth_weight_50",),
        {"abs_rel": 0.070, "sq_rel": 0.368, "rmse": 3.675},
    ),
)

#: Figures of one row: measure to a figure for each seed; a measure that the row does not train is left out.
Figures = Mapping[str, Sequence[float]]


def spread(values: Sequence[float]) -> float:
    """Return the sample standard deviation of one or more numbers, 0 for one."""
    return stdev(values) if len(values) > 1 else 0.0


def table(found: Mapping[str, Figures]) -> str:
    """Write the rows that were run beside the paper's, as Markdown.

    Args:
        found: name of a variant to its figures.
    """
    titles = [f"{title}{'↓' if lower else '↑'}" for _, title, _, lower in MEASURES]
    lines = [
        "| | " + " | ".join(f"{title} paper | ours" for title in titles) + " |",
        "|---|" + "---:|" * (2 * len(titles)),
    ]
    for variant in (variant for variant in VARIANTS if variant.name in found):
        cells = []
        for key, _, digits, _ in MEASURES:
            published, ours = variant.paper.get(key), found[variant.name].get(key)
            cells.append("–" if published is None else f"{published:.{digits}f}")  # noqa: RUF001 (a dash for no number)
            cells.append("–" if not ours else _with_spread(ours, digits))  # noqa: RUF001
        lines.append(f"| {variant.title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _with_spread(values: Sequence[float], digits: int) -> str:
    text = f"{fmean(values):.{digits}f}"
    return text if len(values) < 2 else f"{text} ± {spread(values):.{digits}f}"


def statements(found: Mapping[str, Figures]) -> list[str]:
    """Say for each step between two rows and each measure whether our order is the paper's.

    A difference that is smaller than the two rows' spreads together says nothing; with one seed there is no spread to
    compare with, and every difference is taken as it is.

    Args:
        found: name of a variant to its figures.

    Returns:
        One sentence for each step and measure that was measured on both sides.
    """
    titles = {variant.name: variant.title for variant in VARIANTS}
    papers = {variant.name: variant.paper for variant in VARIANTS}
    said = []
    for variant in VARIANTS:
        for other in variant.over:
            for key, title, digits, lower in MEASURES:
                here, there = found.get(variant.name, {}).get(key), found.get(other, {}).get(key)
                if here and there:
                    paper = _difference(papers[variant.name].get(key), papers[other].get(key))
                    verdict = _verdict(here, there, paper, lower)
                    ours = f"{fmean(here) - fmean(there):+.{digits}f}"
                    published = "is silent" if paper is None else f"{paper:+.{digits}f}"
                    said.append(
                        f"{titles[variant.name]} over {titles[other]}: {title} {ours}, paper {published}: {verdict}"
                    )
    return said


def _difference(here: float | None, there: float | None) -> float | None:
    return None if here is None or there is None else here - there


def _verdict(here: Sequence[float], there: Sequence[float], paper: float | None, lower_is_better: bool) -> str:
    difference = fmean(here) - fmean(there)
    if abs(difference) <= spread(here) + spread(there):
        return "within the spread of the seeds"
    word = "better" if (difference < 0) == lower_is_better else "worse"
    if paper is None:
        return f"{word} here"
    if paper == 0:
        return f"{word} here, no difference in the paper"
    return f"{word}, as in the paper" if (paper < 0) == (difference < 0) else f"{word} here, the other way in the paper"
