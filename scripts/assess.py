"""What a finished classifier is worth beyond its accuracy.

    python scripts/assess.py --workdir W [--on test] [--groups domain|folder:N|FILE.csv#COLUMN]
        [--corruptions [KIND ...]] [--attacks EPSILON ...] [--privacy] [--images N] [--json FILE]

Always its calibration, as it is and, where val is not what is judged, by a temperature fitted on val. `--groups`:
accuracy, true and false positive rates of each group, their gaps, demographic parity, equalised odds, with 95 %
bootstrap intervals. `--corruptions`: accuracy at five levels of each kind. `--attacks`: accuracy where every pixel may
change by so much of 0..255, by FGSM and PGD. `--privacy`: whether the loss tells training images from others.
`--images N` judges by N images, drawn by seed.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tl.errors import InputError, unknown
from tl.report.files import check_place, plain, write_atomic


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True, type=pathlib.Path)
    parser.add_argument("--on", default="test", help="test | val | target")
    parser.add_argument("--groups", default="", help="domain | folder:N | FILE.csv#COLUMN")
    parser.add_argument("--corruptions", nargs="*", metavar="KIND", help="by default all")
    parser.add_argument("--attacks", nargs="+", type=float, default=(), metavar="EPSILON")
    parser.add_argument("--privacy", action="store_true")
    parser.add_argument("--images", type=int, default=0)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args(argv)
    try:
        found = assessed(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    show(found)
    if options.json:
        write_atomic(options.json, json.dumps(plain(found), indent=1) + "\n")
    return 0


def assessed(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that is asked for; all input is looked at before the first image."""
    from tl import assessment
    from tl.data import corruptions
    from tl.runtime import prepare

    prepare()
    kinds = list(corruptions.STRENGTHS) if options.corruptions == [] else options.corruptions or []
    for kind in kinds:
        if kind not in corruptions.STRENGTHS:
            raise unknown("corruption", kind, corruptions.STRENGTHS)
    for epsilon in options.attacks:
        if not 0 < epsilon <= 255:
            raise InputError(f"--attacks {epsilon:g}: a pixel changes by more than 0 and at most 255.")
    if options.images < 0:
        raise InputError(f"--images {options.images} must not be negative; 0 are all.")
    check_place(options.json, "--json")
    of = assessment.opened(options.workdir, options.on, options.images)
    if options.privacy and options.on == "train":
        raise InputError("--privacy compares the training images with others: take --on test.")
    groups = assessment.group_names(of, options.groups) if options.groups else None
    found: dict[str, Any] = {"set": options.on, "images": len(of.split), "calibration": assessment.calibration(of)}
    if groups is not None:
        found["fairness"] = assessment.fair(of, groups)
    if kinds:
        found["corruptions"] = assessment.corrupted(of, kinds)
    if options.attacks:
        found["attacks"] = assessment.attacked(of, options.attacks)
    if options.privacy:
        found["membership"] = assessment.secrets(of)
    return found


def show(found: Mapping[str, Any]) -> None:
    """Tables of what was found."""
    from tl.report.table import print_table

    told = found["calibration"]
    ways = ["as it is", "calibrated"][: 1 + ("temperature" in told)]
    print_table(
        f"calibration on {found['images']:,} images of {found['set']}"
        + (f", temperature {told['temperature']:.3f}" if len(ways) > 1 else ""),
        ["", "accuracy", "loss", "calibration error"],
        [[way, *(told[f"{way}/{key}"] for key in ("accuracy", "loss", "ece"))] for way in ways],
    )
    if "fairness" in found:
        rows, gaps = found["fairness"]["groups"], found["fairness"]["gaps"]
        between = {name: interval(*ends) for name, ends in found["fairness"]["intervals"].items()}
        several = len(next(iter(rows.values()))["tpr"]) > 2
        print_table(
            "groups" + (", rates are means over classes" if several else ", rates are those of the second class"),
            ["group", "images", "accuracy", "95 % interval", "true positives", "false positives"],
            [
                [name, row["n"], row["accuracy"], between[f"group/{name}"], rate(row["tpr"]), rate(row["fpr"])]
                for name, row in rows.items()
            ],
        )
        lines = [[name, value, between[name]] for name, value in gaps.items()]
        print_table("between groups", ["figure", "value", "95 % interval"], lines)
    if "corruptions" in found:
        lines = [[kind, *values, sum(values) / 5] for kind, values in found["corruptions"].items()]
        print_table("accuracy under corruptions", ["", *(f"level {i}" for i in range(1, 6)), "mean"], lines)
    if "attacks" in found:
        lines = [[name, *values.values()] for name, values in found["attacks"].items()]
        print_table("accuracy under attacks", ["", *next(iter(found["attacks"].values()))], lines)
    if "membership" in found:
        told = found["membership"]
        print(f"training images told by their loss: AUC {told['auc']:.4f}, advantage {told['advantage']:.4f}")


def interval(low: float, high: float, known: float) -> str:
    """As it is printed, with the share of the samples in which there was such a figure, where it is not all."""
    if not known:
        return "-"
    return f"{low:.4f} to {high:.4f}" + (f", in {known:.0%} of the samples" if known < 1 else "")


def rate(values: np.ndarray) -> float:
    """(C,) of two classes the second's, of more their mean, where there are any."""
    there = values[np.isfinite(values)] if len(values) > 2 else values[1:]
    return float(there.mean()) if len(there) else float("nan")


if __name__ == "__main__":
    sys.exit(main())
