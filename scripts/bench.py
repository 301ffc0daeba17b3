"""This project beside torch on this machine: the same work, threads and allocator settings, measured in turns.

python scripts/bench.py [WORK ...] [--quick] [--write] [--torch PYTHON]
python scripts/bench.py --gpu [--dry]

torch and torchvision are no dependencies: PYTHON is an interpreter that has them (this one by default). Each side of
each work is a process of its own, so that the peak of its memory is its own; the two are asked for a measurement in
turns, after both are warm. A ratio above 1 means that this project is faster. `--quick` repeats less and takes torch's
faster form, eager or compiled, from docs/performance.json; `--write` renews that file and the table in
docs/performance.md. `--gpu` trains and runs ResNet-50 in bfloat16 at batch 256; `--dry` sees that this works, anywhere.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import bench_works as bench
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "docs" / "performance.json", ROOT / "docs" / "performance.md"
# What tl.runtime.prepare sets for this side by itself.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "2147483647", "MALLOC_TOP_PAD_": "268435456"}
H200_PEAK = 790e12  # bf16 FLOP/s that matrix products reach there


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("works", nargs="*", metavar="WORK")
    for flag in ("--quick", "--write", "--gpu", "--dry"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--torch", default=sys.executable, metavar="PYTHON")
    flags = parser.parse_args(arguments)
    table = bench.GPU_WORKS if flags.gpu else bench.WORKS
    if unknown := [name for name in flags.works if name not in table]:
        print(f"error: unknown work '{unknown[0]}': it must be one of {', '.join(table)}.", file=sys.stderr)
        return 2
    if subprocess.run([flags.torch, "-c", "import torch_models"], capture_output=True, cwd=ROOT / "scripts").returncode:
        print(
            f"error: {flags.torch} lacks torch or torchvision: install them, or give --torch PYTHON.", file=sys.stderr
        )
        return 2
    old = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    kept = {row["work"]: row for row in old}
    with tempfile.TemporaryDirectory() as scratch:
        lab = Lab(pathlib.Path(scratch), flags, kept)
        peak = lab.peak()
        print(f"measured peak {peak / 1e9:.0f} GFLOP/s", file=sys.stderr)
        for name in flags.works or table:
            row = kept[name] = lab.measure(name, table[name], peak)
            print(line(row), flush=True)
            if flags.write and not flags.dry:
                write([kept[name] for name in {**bench.WORKS, **bench.GPU_WORKS} if name in kept])
    return 0


class Lab:
    """Where measurements are made: the files they need, the processes that run."""

    def __init__(self, folder: pathlib.Path, flags: Any, kept: dict[str, Any]) -> None:
        self.folder, self.flags, self.kept = folder, flags, kept
        self.turns = 3 if flags.quick else 6
        self.options: dict[str, Any] = {"threads": os.cpu_count(), "images": str(folder / "images")}
        self.change = bench.DRY if flags.dry else {}

    def start(self, side: str, name: str, cache: pathlib.Path | None = None, **options: Any) -> Side:
        python = {"ours": sys.executable, "torch": self.flags.torch}[side]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        if side == "torch":
            environment |= ALLOCATOR
        if cache:
            environment |= {"TL_CACHE": str(cache)}
        given = json.dumps({**self.options, "change": self.change, **options})
        return Side([python, str(ROOT / "scripts" / f"bench_{side}.py"), name, given], environment)

    def peak(self) -> float:
        """FLOP/s of the best large matrix product of either side."""
        if self.flags.gpu and not self.flags.dry:
            return H200_PEAK
        sides = [self.start(side, "peak", change={}) for side in ("ours", "torch")]
        best = max(side.ask() for _ in range(self.turns) for side in sides)
        for side in sides:
            side.stop()
        return best

    def measure(self, name: str, work: bench.Work, peak: float) -> dict[str, Any]:
        if work.kind == "start":
            return self.starts(name)
        if work.kind == "loader":
            pictures(self.folder / "images")
        change = dict(self.change)
        if work.kind == "probe" and self.flags.quick:
            change["repeat"] = 400
        work = dataclasses.replace(work, **change)
        forms = ["eager", "compile"]
        if self.flags.quick or self.flags.dry:
            forms = [self.kept.get(name, {}).get("form", "eager")]
        ours, theirs = (self.start(side, name, change=change, forms=forms) for side in ("ours", "torch"))
        turns = 1 if work.kind == "probe" else self.turns
        pairs = [(ours.ask(), theirs.ask()) for _ in range(turns)]
        values = list(zip(*pairs, strict=True))
        row = result(name, work.unit, *map(statistics.median, values), best=[max(v) for v in values])
        row["share_of_peak"] = round(max(values[0]) * work.gflop * 1e9 / peak, 3) if work.gflop else None
        row |= {"form": theirs.notes.get("form"), "peak_mib": [round(side.peak_mib) for side in (ours, theirs)]}
        for side in (ours, theirs):
            side.stop()
            if "device_peak_mib" in side.notes:
                row.setdefault("device_peak_mib", []).append(round(side.notes["device_peak_mib"]))
        return row

    def starts(self, name: str) -> dict[str, Any]:
        """Seconds from a new process to the end of its first step, the weights read from a file."""
        files = self.folder / "start"
        if not files.is_dir():
            files.mkdir()
            make = [self.flags.torch, "-c", MAKE_WEIGHTS, str(files)]
            subprocess.run(make, check=True, cwd=ROOT / "scripts", stderr=subprocess.DEVNULL)
        seconds: dict[str, list[float]] = {"ours": [], "torch": []}
        for turn in range(self.turns + 1):
            cache = files / (f"cache{turn}" if name == "start_cold" else "cache")
            for side in seconds:
                began = time.perf_counter()
                process = self.start(side, name, cache, weights=str(files / f"{side}.pth"))
                process.wait_ready()
                seconds[side].append(time.perf_counter() - began)
                process.stop()
        # The first turn fills the caches of the file system, and for a warm start those of compiled programs.
        ours, theirs = (values[1:] for values in seconds.values())
        row = result(name, "s", statistics.median(ours), statistics.median(theirs), best=[min(ours), min(theirs)])
        return {**row, "ratio": round(1 / row["ratio"], 2), "share_of_peak": None, "form": "eager"}


MAKE_WEIGHTS = """
import sys, torch, torch_models
from torchvision import models as tv
state = tv.resnet50(num_classes=1000).state_dict()
for side in ("ours", "torch"):
    torch.save(state, f"{sys.argv[1]}/{side}.pth")
"""


class Side:
    """One process that measures; see bench_works.serve."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=environment, text=True
        )
        self.notes: dict[str, Any] = {}
        self.peak_mib = 0.0

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        if not text:
            raise SystemExit(f"the process ended without an answer: {' '.join(self.process.args[1:3])}")  # type: ignore[index]
        return json.loads(text)

    def wait_ready(self) -> None:
        if not self.notes:
            self.notes = self.read()

    def ask(self) -> float:
        self.wait_ready()
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = self.read()
        self.peak_mib = answer["peak_mib"]
        return answer["value"]

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def result(name: str, unit: str, ours: float, theirs: float, best: list[float]) -> dict[str, Any]:
    """`ratio` is that of the medians."""
    row = {"work": name, "unit": unit, "ours": digits(ours), "theirs": digits(theirs), "ratio": round(ours / theirs, 2)}
    return {**row, "best": [digits(value) for value in best]}


def digits(value: float) -> float:
    return float(f"{value:.3g}")


def pictures(folder: pathlib.Path, count: int = 256) -> None:
    """JPEG files of 500 x 375 with the spectrum of photographs (1 / frequency), about 45 kB each."""
    from PIL import Image

    if folder.is_dir():
        return
    rng = np.random.default_rng(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(500), np.fft.fftfreq(375))) + 1e-3
    for i in range(count):
        noise = np.fft.fft2(rng.standard_normal((3, 375, 500)))
        image = np.fft.ifft2(noise / frequency**1.2).real
        image = np.clip(128 + 50 * (image - image.mean()) / image.std(), 0, 255).astype(np.uint8)
        data = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).save(data, "JPEG", quality=92)
        path = folder / f"class{i % 2}" / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.getvalue())


HEADER = (
    "| work | ours | torch | ratio | share of peak | torch's form | peak memory, MiB |\n| --- " + "| --- " * 6 + "|"
)


def line(row: dict[str, Any]) -> str:
    share = "" if row["share_of_peak"] is None else f"{row['share_of_peak']:.0%}"
    memory = " / ".join(map(str, row.get("peak_mib", [])))
    figures = " | ".join(
        f"{row[side]:g} ({best:g})" for side, best in zip(("ours", "theirs"), row["best"], strict=True)
    )
    return f"| {row['work']}, {row['unit']} | {figures} | {row['ratio']:.2f} | {share} | {row['form']} | {memory} |"


def write(rows: list[dict[str, Any]]) -> None:
    """docs/performance.json, and its rows as the table in docs/performance.md."""
    RESULTS.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    begin, end = "<!-- table -->", "<!-- end of table -->"
    text = PAGE.read_text()
    before, after = text[: text.index(begin) + len(begin)], text[text.index(end) :]
    PAGE.write_text(f"{before}\n{HEADER}\n" + "\n".join(map(line, rows)) + f"\n{after}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
