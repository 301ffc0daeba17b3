"""Pruning and eight-bit kernels: what goes, what stays away, and what the network says after it."""

import json
import re

import jax
import numpy as np
import pytest
import toy
from safetensors.numpy import load_file

import main
from scripts import quantise as script
from tl import config, optim, pruning, weights
from tl.errors import InputError
from tl.weights.quantised import quantise, restore

SMALL = {"weights": "none", **toy.LENET, "prune__share": 0.5}


def tree(**kernels):
    return {"backbone": {name: {"kernel": np.array(rows, np.float32)} for name, rows in kernels.items()}}


def settings(**changes):
    return config.load("configs/prune.py", {"weights": "none", **changes})


def test_the_smallest_of_all_layers_together_go():
    params = tree(one=[[1.0, -0.1], [0.3, 2.0]], two=[[0.2, -4.0], [5.0, 6.0]])
    found = pruning.pruned(params, settings(**{"prune.share": 3 / 8}))["backbone"]
    np.testing.assert_array_equal(found["one"]["kernel"], np.array([[1, 0], [0, 2]], np.float32))
    np.testing.assert_array_equal(found["two"]["kernel"], np.array([[0, -4], [5, 6]], np.float32))


def test_a_layer_left_empty():
    params = tree(small=[[0.1, 0.2]], large=[[3.0, 4.0]])
    with pytest.raises(
        InputError, match=r"config.prune.share=0.5 leaves 1 layers without a weight, among them backbone/s"
    ):
        pruning.pruned(params, settings(**{"prune.share": 0.5}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prune.share": 1.0}, r"config.prune.share=1.0 must lie between 0 and 1"),
        ({"prune.share": 0.0, "prune.layers": "head"}, r"config.prune.share=0 prunes nothing"),
        ({"prune.layers": "backbone/stage9"}, r"config.prune.layers='backbone/stage9' matches no layer"),
        ({"lora.rank": 2}, r"config.prune goes with neither config.lora nor"),
    ],
)
def test_settings_that_cannot_be(changes, said):
    with pytest.raises(InputError, match=said):
        pruning.pruned(tree(one=[[1.0]]), settings(**changes))


def test_what_is_gone_stays_away_on_any_number_of_devices():
    with jax.enable_x64(True):
        ends = []
        for devices in (8, 1):
            work = toy.Steps(toy.toy_config("configs/prune.py", **{**SMALL, "dtype": "float64"}), devices)
            before = optim.paths(work.host().params)
            work.run(3)
            ends.append(work.host())
        after = optim.paths(ends[0].params)
        toy.same_leaves(ends[0], ends[1], 1e-9)
    kernels = [path for path in before if path in work.optimizer.pinned]
    gone = sum(int((before[path] == 0).sum()) for path in kernels)
    assert gone == round(0.5 * sum(before[path].size for path in kernels))
    for path in kernels:
        np.testing.assert_array_equal(after[path] == 0, before[path] == 0)
        assert (after[path] != before[path]).any()
    assert not any(path.startswith("head") for path in kernels)


def test_eight_bits_by_hand():
    flat = {
        "params/a/kernel": np.array([[1.27, 0.0], [-0.636, 0.0]], np.float32),
        "params/a/bias": np.array([3, 4], np.float32),
    }
    small = quantise(flat)
    np.testing.assert_array_equal(small["params/a/kernel"], np.array([[127, 0], [-64, 0]], np.int8))
    np.testing.assert_allclose(small["params/a/kernel_scale"], [0.01, 1], rtol=1e-6)
    back = restore(small)
    assert back.keys() == flat.keys()
    np.testing.assert_allclose(back["params/a/kernel"], [[1.27, 0], [-0.64, 0]], rtol=1e-6)
    assert restore(flat) == flat


def test_a_run_in_eight_bits(tmp_path, capsys):
    """A quarter of the bytes, nearly the same network, read as any weights are."""
    run, out = tmp_path / "run", tmp_path / "small.safetensors"
    assert main.main([*toy.arguments(**toy.LENET), "--workdir", str(run), "--config", "configs/prune.py"]) == 0
    assert json.loads((run / "summary.json").read_text())["params/pruned"] > 0
    capsys.readouterr()
    assert script.main([str(run), str(out)]) == 0
    said = capsys.readouterr().out
    found = {kind: re.search(rf"{kind}\W+([\d,]+)\W+([\d.]+)\W+([\d.]+)", said) for kind in ("float32", "int8")}
    exact, small = ([float(one.replace(",", "")) for one in row.groups()] for row in found.values() if row)
    own = json.loads((run / "summary.json").read_text())
    np.testing.assert_allclose(exact[1:], [own["test/accuracy"], own["test/loss"]], atol=6e-5)
    assert small[0] < 0.7 * exact[0]  # biases and what the file says of itself stay
    assert small[2] == pytest.approx(own["test/loss"], abs=0.05)
    exact = load_file(run / "weights.safetensors")
    loaded = weights.load(f"file:{out}", "lenet", {"widths": (4,), "hidden": 12})
    assert loaded is not None
    for path, value in exact.items():
        step = np.abs(value).max() / 127
        np.testing.assert_allclose(loaded.flat[path], value, atol=0.51 * step if path.endswith("kernel") else 0)
    assert script.main([str(run), str(out)]) == 2
    assert "exists: give another name" in capsys.readouterr().err
    assert script.main([str(tmp_path), str(out)]) == 2
    assert "is no finished run" in capsys.readouterr().err
