"""A toy run for tests: a ResNet of width 4 on 8 x 8 pixels, small enough to compile and train in a second."""

from __future__ import annotations

import json
import os
import pathlib
import sys
from typing import Any

import jax
import numpy as np
import pytest
from PIL import features
from toy_settings import (
    ADAPT,
    ADAPTED,
    BESIDE,
    EPISODES,
    FEW,
    GENERALISE,
    GRAPH,
    LENET,
    NO_LABELS,
    OLD,
    PLAIN,
    ROWS,
    SECOND,
    SECOND_GROUP,
    SEVERAL,
    SMALL,
    TAGS,
    TAUGHT,
    TEXT,
    TWO_VIEWS,
    VIEWS,
    WINDOWS,
)

from tl import averages, begin, build, config, optim
from tl import mesh as meshes
from tl.advance import compiled
from tl.data import streams
from tl.step import make_step

# One row per method, for test_methods.py, test_hosts_agree.py and test_plan.py: config file -> settings beside SMALL;
# all randomness on. `falls` names the scalar that training brings down, "loss" by default.
METHODS = {
    "finetune": {
        **LENET,
        "bottleneck__width": 8,
        "bottleneck__norm": True,
        "method_args": {"mixup": 0.4},
        "head__dropout": 0.3,
        "ema": 0.9,
        "optim__name": "adamw",
    },
    "probe": {"head__hidden": (6,)},
    "scratch": {"method_args": {"cutmix": 1.0}},
    "dan": ADAPT,
    "jan": ADAPT,
    "coral": {**ADAPT, "method_args": {"means": False}, "falls": "loss_source"},
    "dann": {**ADAPT, "method_args": {"hidden": (8,)}, "bottleneck__dropout": 0.2, "falls": "loss_source"},
    "bsp": {**ADAPT, "method_args": {"hidden": (8,), "singular": 1e-4}, "falls": "loss_source"},
    "cdan": {**ADAPT, "method_args": {"hidden": (8,)}, "falls": "loss_source"},
    "cdan_e": {
        **ADAPT,
        "method_args": {"hidden": (8,), "entropy": True},
        "domain_norm": True,
        "falls": "loss_source",
    },
    "adda": {
        **SECOND,
        "method": "adda",
        "method_args": {"hidden": (8,)},
        "groups": (("head", None), (".*", {})),
        "falls": "loss_0",
    },
    "adabn": {
        **SECOND,
        "method": "adabn",
        "groups": ((".*", None),),
        "frozen_stats": "none",
        "falls": "",  # no parameter moves
    },
    "mcd": {**ADAPT, "method_args": {"repeats": 2}, "falls": "loss_source"},
    "mdd": {**ADAPT, "method_args": {"hidden": (8,)}, "falls": "loss_source"},
    "afn": {**ADAPT, "falls": "loss_source"},
    "mcc": {**ADAPT, "target_labels": 2},
    "minimum_entropy": ADAPT,
    "pseudo_label": {**ADAPT, "method_args": {"threshold": 0.3}, "falls": "loss_source"},
    "fixmatch": {**ADAPT, **VIEWS, "method_args": {"threshold": 0.2}, "falls": "loss_source"},
    "adamatch": {**ADAPT, **VIEWS, "falls": "loss_source"},
    "irm": {**GENERALISE, "method_args": {"weight": 2.0}, "falls": "risk"},
    "vrex": {**GENERALISE, "falls": "risk"},
    "group_dro": {**GENERALISE, "falls": "risk"},
    "dg_mixup": GENERALISE,
    "mixstyle": {**GENERALISE, "method_args": {"maps": ("stage1",)}},
    "rsc": GENERALISE,
    "swad": {**GENERALISE, "swad": (2, 2, 0.5), "steps": 20},
    "dg_coral": {**GENERALISE, "falls": "loss_source"},
    "l2_sp": {**PLAIN, **LENET, "optim__name": "adam", "falls": "loss_task"},
    "bss": {**PLAIN, "batch_size": 8, "method_args": {"count": 2}, "falls": "loss_task"},
    "delta": {**PLAIN, "stages": (), "method": "delta", "falls": "loss_task"},
    "lwf": {**PLAIN, **LENET, "weights": OLD, "falls": "loss_task"},
    "co_tuning": {**PLAIN, **LENET, "weights": OLD},
    "stochnorm": PLAIN,
    "bitfit": PLAIN,
    "lora": {**PLAIN, "lora__rank": 2},
    "adapters": PLAIN,
    "distill": {**PLAIN, **LENET, **TAUGHT},
    "fitnets": {**PLAIN, **LENET, **TAUGHT, "method_args": {"hint": "stage1"}},
    "attention_transfer": {**PLAIN, **LENET, **TAUGHT},
    "relational": {**PLAIN, **LENET, **TAUGHT},
    "bi_tuning": {
        **PLAIN,
        **LENET,
        "bottleneck__width": 8,
        "strong_transforms": (("shift", {}),),
        "method_args": {"keys": 3, "width": 5, "momentum": 0.9},
    },
    "replay": SECOND_GROUP,
    "lwf_incremental": {**SECOND_GROUP, "falls": "loss_new"},
    "ewc": {**SECOND_GROUP, "method_args": {"weight": 10.0}, "falls": "loss_new"},
    "icarl": SECOND_GROUP,
    "pi_model": {**FEW, "falls": "loss_labelled"},
    "mean_teacher": {**FEW, "falls": "loss_labelled"},
    "vat": {**FEW, "falls": "loss_labelled"},
    "mixmatch": {**FEW, "falls": "loss_labelled"},
    "flexmatch": {**FEW, "method_args": {"threshold": 0.2, "weight": 0.1}, "falls": "loss_labelled"},
    "autoencoder": {**NO_LABELS, "method_args": {"width": 2}},
    "denoising": {**NO_LABELS, "method_args": {"width": 2, "noise": 0.5}},
    "vae": {**NO_LABELS, "method_args": {"width": 2, "latent": 3}},
    "rotnet": NO_LABELS,
    "simclr": {**TWO_VIEWS, "method_args": {"width": 4, "hidden": 6, "temperature": 0.5}},
    "barlow": {**TWO_VIEWS, "method_args": {"width": 6}},
    "protonet": EPISODES,
    "matching": EPISODES,
    "relation": {**EPISODES, "method_args": {"map": "stage2", "width": 4, "hidden": 3}},
    "nearest_mean": {**EPISODES, "episode__batch": 0, "method_args": {"finetune": 3}},
    "maml": {**ADAPTED, "optim__clip": 0.0, "method_args": {}},
    "reptile": {**ADAPTED, "method_args": {"steps": 2, "test_steps": 2}, "falls": "loss_start"},
    "uncertainty": SEVERAL,
    "pcgrad": SEVERAL,
    "gradnorm": {**SEVERAL, "falls": "loss_digit"},
    "dwa": {**SEVERAL, "method_args": {"every": 3}},
    "transe": {**GRAPH, "method_args": {"rank": 4}},
    "distmult": {**GRAPH, "method_args": {"rank": 4, "n3": 0.01}},
    "complex": {**GRAPH, "method_args": {"rank": 4, "n3": 0.01}},
    "rotate": {**GRAPH, "method_args": {"rank": 4}},
    "dgp": {**ROWS, "method_args": {"hidden": 6}},
    "nearest_rows": {**ROWS, "falls": ""},
    "fusion": {**BESIDE, "method_args": {"rank": 3}},
    "text": TEXT,
    "text_cnn": WINDOWS,
    "text_tags": TAGS,
    "dg_dann": {**GENERALISE, "method_args": {"hidden": (8,), "adapt": False}, "falls": "loss_source"},
}

GOLDEN = pathlib.Path(__file__).parent / "golden" / "steps.json"
GOLDEN_STEPS = json.loads(GOLDEN.read_text()) if GOLDEN.is_file() else {"freetype": "", "steps": {}}

# Where every method costs a minute, two stand for all (without and with a memory), unless TL_TESTS=all.
ALL = os.environ.get("TL_TESTS") == "all"
WIDE = list(METHODS) if ALL else ["finetune", "group_dro"]
# For a test that is the slowest of several like it.
SLOW = pytest.mark.skipif(not ALL, reason="TL_TESTS=all is not set: of several alike the slowest did not run")
# Other arguments of a method that has a row already.
AGAIN = ("scratch", "bsp", "cdan", "dg_coral", "dg_dann", "dg_mixup", "denoising", "text_cnn", "text_tags")
ONCE = [name for name in METHODS if ALL or name not in AGAIN]


def toy_config(spec: str = "configs/finetune.py", **changes: Any):
    """The config of `spec`, shrunk; `changes` by key, dots as double underscores."""
    dotted = {key.replace("__", "."): value for key, value in changes.items() if key != "falls"}
    return config.load(spec, {**SMALL, "train_transforms": (("shift", {}),), **dotted})


def arguments(**changes: Any) -> list[str]:
    """The same as command-line flags."""
    return [f"--config.{key}={value}" for key, value in {**SMALL, "train_transforms": (), **changes}.items()]


class Steps:
    """The step of a config on some devices, without the loop around it."""

    def __init__(self, chosen: Any, devices: int = 8) -> None:
        self.mesh = meshes.make_mesh(jax.devices()[:devices], chosen.mesh)
        self.experiment = build.experiment(chosen, self.mesh)
        self.state, self.optimizer = begin.init(self.experiment)
        bind = begin.binder(self.experiment, begin.statistics_policy(self.optimizer, chosen.frozen_stats))
        self.function = make_step(
            bind,
            self.experiment.method,
            self.optimizer,
            steps=20,
            seed=0,
            accumulate=chosen.accumulate,
            average=averages.rate(chosen, self.experiment.eval_every, self.experiment.steps),
        )
        self.step = compiled(self.function, self.state)

    def run(self, count: int) -> list[dict[str, float]]:
        """`count` more steps -> their scalars."""
        batches = iter(streams.batches(self.experiment.streams, self.mesh, int(self.state.step), threads=0))
        found = []
        for _ in range(count):
            self.state, scalars = self.step(self.state, next(batches))
            found.append({name: float(value) for name, value in scalars.items()})
        assert getattr(self.step, "_cache_size")() <= 1, "the step was compiled again"  # noqa: B009 (private, untyped)
        return found

    def host(self) -> Any:
        """The state as numpy arrays."""
        return jax.device_get(self.state)


def steps_of(name: str, devices: int = 8) -> Steps:
    """A row of METHODS in float64, at a rate at which 20 steps teach something."""
    changes = {"dtype": "float64", "schedule__lr": 2e-2, "schedule__warmup": 0}
    return Steps(toy_config(f"configs/{name}.py", **{**METHODS[name], **changes}), devices)


def same_leaves(left: Any, right: Any, tolerance: float = 0.0) -> None:
    """Equal trees, bit for bit or within `tolerance`, with the path of the first leaf that differs."""
    a, b = optim.paths(_plain(left)), optim.paths(_plain(right))
    assert a.keys() == b.keys()
    for path in a:
        np.testing.assert_allclose(a[path], b[path], rtol=tolerance, atol=tolerance, err_msg=path)


def same_scalars(left: list[dict[str, float]], right: list[dict[str, float]]) -> None:
    """Rows of scalars that are the same but for rounding."""
    for one, other in zip(left, right, strict=True):
        assert one == pytest.approx(other, rel=1e-6)


def _plain(tree: Any) -> dict[str, Any]:
    return {str(i): leaf for i, leaf in enumerate(jax.tree.leaves(tree))}


def leaves_of(folder: pathlib.Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(folder / "weights.safetensors")


def write_golden_steps(names: list[str]) -> None:
    """The first and tenth step's scalars, anew: `python tests/toy.py` when they shall change, or `... NAME NAME`."""
    with jax.enable_x64(True):
        found = {name: steps_of(name, devices=1).run(10)[::9] for name in names}
    steps = GOLDEN_STEPS["steps"] | found
    content = {"freetype": features.version("freetype2"), "steps": {name: steps[name] for name in METHODS}}
    GOLDEN.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    write_golden_steps(sys.argv[1:] or list(METHODS))
