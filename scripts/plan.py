"""What a config's training step takes on TPU chips, from the TPU compiler alone: no chip is needed and nothing runs.

    python scripts/plan.py --config FILE[:args] [--topology v5e:16x16] [--config.key=value ...]
        [--price MONEY_PER_CHIP_HOUR] [--json FILE] [--hlo FILE] [--option XLA_OPTION=VALUE ...] [--state]

Memory, FLOPs and messages are the compiler's; times are a roofline model of them (tl/roofline.py), not measured.
The weights are left out: they change no shape. Only where sentences are read they say how many tokens there are, by
their vocabulary; with weights=none, model_args.vocabulary and text.length say it. `--state` prints what a chip holds
between two steps, and compiles nothing. `--config.data=noise:224,1000,1281167` stands for any data set of images.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tl.errors import InputError
from tl.report.files import check_place, write_atomic


def main(argv: Sequence[str] | None = None) -> int:
    options, rest = _parse(argv)
    from tl import plan  # after parsing: --help needs no jax

    plan.prepare()
    from tl import config, runs

    try:
        check_place(options.json, "--json")
        flags = dict(pair.split("=", 1) for pair in options.option)
        chosen = config.load(options.config, config.parse_flags(rest))
        if runs.is_set(chosen):
            chosen = runs.members(chosen)[0][2]
        if options.state:
            print(f"{options.topology}: {size(plan.held(chosen, options.topology))} of state a chip")
            return 0
        found = plan.figures(chosen, options.topology, flags, options.hlo)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    found = {"config": options.config, "overrides": rest, "options": flags, **found}
    if options.price:
        found["price"] = options.price * found["chip_hours"]
    if options.json:
        write_atomic(options.json, json.dumps(found, indent=1) + "\n")
    print(*lines(found), sep="\n")
    return 0


def _parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    def pair(text: str) -> str:
        if "=" not in text:
            raise argparse.ArgumentTypeError(f"'{text}' is no XLA_OPTION=VALUE")
        return text

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", default="configs/default.py")
    parser.add_argument("--topology", default="v5e:2x2")
    parser.add_argument("--state", action="store_true")
    parser.add_argument("--price", type=float, default=0.0)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--hlo", type=pathlib.Path)
    parser.add_argument("--option", action="append", default=[], type=pair)
    return parser.parse_known_args(argv)


def lines(found: Mapping[str, Any]) -> list[str]:
    """The figures as they are printed."""
    memory, image, seconds = found["memory"], found["per_image"], found["seconds"]
    chips, total = found["chips"], sum(m["count"] for m in found["collectives"])
    rows = found.get("rows", "images")  # figures of earlier versions are of these
    kind = rows.split()[0]
    each = "an image:" if kind == "images" else f"a {kind.removesuffix('s')}:"
    printed = [
        f"{found['topology']}: {chips} chips, {found['batch_size']} {rows} a step, "
        f"{found['batch_size'] / chips:g} a chip (compiled in {found['compile_seconds']:.0f} s)",
        f"memory a chip:  {size(memory['arguments'])} arguments (state and batch), {size(memory['temporaries'])} "
        f"temporaries, {size(memory['peak'])} at the peak of {size(memory['chip'])}",
        f"{each:<15} {image['flops'] / 1e9:.2f} GFLOP, {size(image['bytes_accessed'])} accessed "
        f"(the compiler's count), of which {size(image['hbm'])} in HBM",
        f"collectives:    {total}" + "".join(_message(m) for m in found["collectives"][:6]),
        f"roofline:       {1e3 * seconds['step']:.2f} ms a step: {1e3 * seconds['compute']:.2f} compute, "
        f"{1e3 * seconds['memory']:.2f} HBM, {1e3 * seconds['interconnect']:.2f} messages; "
        f"{found['images_per_s']:,.0f} {kind}/s at most",
        f"the run:        {found['steps']:,} steps, {found['chip_hours']:.2f} chip-hours at least, as far as training"
        " goes",
    ]
    if "price" in found:
        printed.append(f"price:          {found['price']:,.2f} at least")
    return printed


def _message(m: Mapping[str, Any]) -> str:
    return f"\n                {m['count']} x {m['kind']} of {size(m['size'])} over {m['group']} chips"


def size(count: float) -> str:
    """Bytes as 1.2 GB, 3.4 MB, ... in powers of 1000, as chips are sold."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count:.0f} B"


if __name__ == "__main__":
    sys.exit(main())
