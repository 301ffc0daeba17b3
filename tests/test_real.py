"""Real data and real weights (TL_DATA): published accuracies, and transfer that works."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tl import weights
from tl.data.sources import open_source

ROOT = pathlib.Path(__file__).resolve().parents[1]
PUBLISHED = {20: 0.9173, 32: 0.9263, 44: 0.9310, 56: 0.9339}


def summary_of(spec: str, folder: pathlib.Path) -> dict:
    """What a user's run leaves, in a process of its own: what these tests compile, compiles fast and runs slowly."""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command = [sys.executable, "main.py", "--config", spec, "--workdir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "summary.json").read_text())


@pytest.mark.parametrize("depth", PUBLISHED)
def test_cifar_resnets_reach_their_published_accuracy(depth, tl_data, tmp_path):
    """Top-1 on the 10,000 test images, within 0.02 points."""
    spec = (
        f"configs/evaluate.py:model=resnet{depth}_cifar,weights=file:{tl_data}/weights/cifar10_resnet{depth}.safetensors,"
        f"data=npz:{tl_data}/cifar10.npz,batch_size=200"
    )
    summary = summary_of(spec, tmp_path / "w")
    assert summary["test/accuracy"] == pytest.approx(PUBLISHED[depth], abs=0.0002 + 1e-9)


def test_th_and_safetensors_are_the_same_parameters(tl_data):
    both = [
        weights.load(f"file:{tl_data}/weights/cifar10_resnet20.{kind}", "resnet20_cifar")
        for kind in ("th", "safetensors")
    ]
    assert both[0] is not None
    assert both[1] is not None
    left, right = both[0].flat, both[1].flat
    assert left.keys() == right.keys()
    assert all(np.array_equal(left[name], right[name]) for name in left)


def test_frozen_mobilenet_separates_ants_from_bees(tl_data, tmp_path):
    """A linear probe on the real ImageNet MobileNetV2; the three seeds and fine-tuning stand in the README."""
    spec = (
        f"configs/probe.py:model=mobilenet_v2_tf,weights=file:{tl_data}/weights/imagenet_mobilenet_v2_tf.safetensors,"
        f"data=tar:{tl_data}/hymenoptera.tar,epochs=4"
    )
    summary = summary_of(spec, tmp_path / "w")
    assert summary["test/accuracy"] >= 0.94


def test_complex_finds_the_answers_of_a_real_graph(tl_data, tmp_path):
    """One of the seeds of docs/results.md; 661 triples of UMLS are tested, both ways."""
    settings = "epochs=20,method_args.rank=100,method_args.n3=0.003,seed=0"
    spec = f"configs/complex.py:data=kg:{tl_data}/kg/umls.tar.gz,{settings}"
    summary = summary_of(spec, tmp_path / "w")
    assert summary["test/mrr"] >= 0.93
    assert summary["test/hits10"] >= 0.99


def test_wordnet_is_read_whole_and_nothing_tested_is_learnt(tl_data):
    found = open_source(f"kg:{tl_data}/kg/WN18RR.tar.gz", kind="ranking")
    assert (len(found.classes), len(found.relations)) == (40_943, 22)
    # The counts of Dettmers et al. 2018, twice: each triple asks for its tail and for its head.
    assert {name: len(split) for name, split in found.splits.items()} == {"train": 173_670, "val": 6_068, "test": 6_268}
    triples = {
        name: {(*split.load(i).tolist(), int(split.labels["label"][i])) for i in range(len(split))}
        for name, split in found.splits.items()
    }
    assert not triples["train"] & triples["test"]
    assert not triples["train"] & triples["val"]
