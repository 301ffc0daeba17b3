"""Weak and strong scaling of a planned step, drawn from what scripts/plan.py --json wrote.

    python scripts/scaling.py PLAN.json [PLAN.json ...] --out docs/scaling.svg

A chip's program is the same on any number of chips but for the size of its groups, so one compilation gives its FLOPs,
traffic and messages; tl/roofline.py gives the time of each on v5p slices of 4 to 4,096 chips. Nothing is measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tl import roofline

SLICES = ("2x2x1", "2x2x4", "4x4x4", "4x8x8", "8x8x16", "16x16x16")

STRONG = 8192  # images a step: the largest batch whose accuracy Goyal et al. 2017 (arXiv:1706.02677) kept


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plans", type=pathlib.Path, nargs="+")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("scaling.svg"))
    options = parser.parse_args(argv)
    plans = {path.stem: json.loads(path.read_text()) for path in options.plans}
    draw(plans, options.out)
    for name, found in plans.items():
        for kind in ("weak", "strong"):
            cells = [f"{chips}: {rate:,.0f} ({share:.0%})" for chips, rate, share in curve(found, kind)]
            print(f"{name}, {kind}, images/s: {', '.join(cells)}")
    return 0


def curve(found: Mapping[str, Any], kind: str) -> list[tuple[int, float, float]]:
    """[(chips, images/s, share of the rate of the first slice times chips)].

    weak: the plan's images on each chip; strong: STRONG images cut over all of them. FLOPs follow the images, and so
    does the traffic but for the state, which every chip reads and writes once a step.
    """
    rows = []
    first = math.prod(roofline.topology(f"v5p:{SLICES[0]}")[1])
    per_chip, state = found["batch_size"] / found["chips"], 2 * found["memory"]["arguments"]
    for name in SLICES:
        chips = math.prod(roofline.topology(f"v5p:{name}")[1])
        images = per_chip if kind == "weak" else STRONG / chips
        messages = [
            # What went over all chips of the plan goes over all of this slice; smaller groups stay as they are.
            dataclasses.replace(m, group=chips if m.group == found["chips"] else min(m.group, chips))
            for m in (roofline.Collective(**row) for row in found["collectives"])
        ]
        flops = found["per_image"]["flops"] * images
        traffic = state + max(0.0, found["per_image"]["hbm"] - state / per_chip) * images
        rate = images * chips / roofline.seconds(flops, traffic, messages, f"v5p:{name}")["step"]
        rows.append((chips, rate, 0.0))
    return [(chips, rate, rate / rows[0][1] * first / chips) for chips, rate, _ in rows]


def draw(plans: Mapping[str, Mapping[str, Any]], out: pathlib.Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "tl", "font.size": 9})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(8, 3.2), sharey=True)
    for axis, kind in zip(axes, ("weak", "strong"), strict=True):
        for name, found in plans.items():
            rows = curve(found, kind)
            axis.plot([r[0] for r in rows], [100 * r[2] for r in rows], marker="o", markersize=3, label=name)
        axis.set(
            xscale="log",
            xlabel="chips (v5p)",
            title=f"{kind} scaling" + (f", {STRONG:,} images" if kind == "strong" else ""),
            ylim=(0, 105),
        )
        axis.set_xticks([r[0] for r in rows], [str(r[0]) for r in rows])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("share of linear, %")
    axes[0].legend(loc="lower left")
    figure.tight_layout()
    figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None)


if __name__ == "__main__":
    sys.exit(main())
