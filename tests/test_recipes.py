"""The recipes, shrunk by `smoke=true`, from random weights in the published file formats; stages by config."""

from __future__ import annotations

import itertools
import json
import pathlib
import re

import golden_recipe
import numpy as np
import pytest
import toy
import weight_files
from safetensors.numpy import save_file

import main
from tl import build, config

RECIPES = {
    "cifar10_resnet50": ("resnet50", "safetensors"),
    "two_class_flatten": ("resnet50", "pth"),
    "feature_extractor": ("resnet50", "safetensors"),
    "vgg16_flatten": ("vgg16", "pth"),
}


def published_file(path: pathlib.Path, model: str) -> str:
    """Random weights of a network of width 4 under torchvision's names: a sixteenth of the published channels."""
    golden = np.load(pathlib.Path(__file__).parent / "golden" / f"{model}.npz")
    names = {name: tuple(shape) for name, shape in dict(json.loads(str(golden["tensors"]))).items()}
    names = {name: shape for name, shape in names.items() if not re.match(r"layer\d\.[1-9]", name)}  # one block each
    narrow = {name: tuple(d // 16 if d >= 64 else d for d in shape) for name, shape in names.items()}
    tensors = {name: golden_recipe.tensor(name, shape, 1.0) for name, shape in narrow.items()}
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        kinds = {"f": "FloatStorage", "i": "LongStorage"}
        saved = {n: weight_files.tensor(kinds[t.dtype.kind], str(i), t) for i, (n, t) in enumerate(tensors.items())}
        weight_files.write_zip(path, saved)
    return f"file:{path}"


@pytest.mark.parametrize("name", RECIPES if toy.ALL else ["feature_extractor"])
def test_recipe_runs_and_compares_before_and_after(name, tmp_path):
    model, kind = RECIPES[name]
    weights = published_file(tmp_path / f"weights.{kind}", model)
    spec = f"configs/recipes/{name}.py:smoke=true,weights={weights}"
    assert main.main(["--config", spec, "--workdir", str(tmp_path / "w")]) == 0
    summary = json.loads((tmp_path / "w" / "summary.json").read_text())
    assert {"before/test/accuracy", "test/accuracy"} <= summary.keys()
    if name == "cifar10_resnet50":
        assert len(list((tmp_path / "w" / "class_report").iterdir())) == 2


@toy.SLOW
def test_the_result_is_the_source_of_a_second_task(tmp_path):
    spec = "configs/recipes/two_class_flatten.py:smoke=true"
    first = build.run(config.load(spec), tmp_path / "first", quiet=True)
    again = config.load(spec, {"weights": f"run:{tmp_path / 'first'}", "steps": 0})
    second = build.run(again, tmp_path / "second", quiet=True)
    assert second["before/test/accuracy"] == first["test/accuracy"]
    left, right = toy.leaves_of(tmp_path / "first"), toy.leaves_of(tmp_path / "second")
    assert all(left[path].tobytes() == right[path].tobytes() for path in left)


@pytest.mark.parametrize("name", ["lp_ft", "gradual_unfreezing"])
def test_stages_thaw_from_the_top(name, tmp_path):
    """What a stage holds frozen is, bit for bit, what the stage before it left; the last stage moves everything."""
    chosen = toy.toy_config(f"configs/{name}.py", eval_every=1)
    stages = tuple({**dict(stage), "epochs": 1} for stage in chosen.stages)
    chosen = config.merged(chosen, {"stages": stages, "steps": -1})
    build.run(chosen, tmp_path / "w", quiet=True)
    trees = [toy.leaves_of(tmp_path / "w" / "stages" / str(i)) for i in range(len(stages))]
    moved = [
        {path for path in after if after[path].tobytes() != before[path].tobytes()}
        for before, after in itertools.pairwise(trees)
    ]
    assert len(moved[-1]) == len(trees[0])
    for lower, higher in itertools.pairwise(moved):
        assert lower < higher
    if name == "gradual_unfreezing":
        assert {path.split("/")[2] for path in moved[0] if "backbone" in path} == {"stage3"}
        assert {path.split("/")[2] for path in moved[1] if "backbone" in path} == {"stage2", "stage3"}
