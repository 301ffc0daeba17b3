"""Backbones: torch's answers for every depth, published sizes, names of maps and statistics, dtypes."""

from __future__ import annotations

import functools
import json
import pathlib
from typing import Any

import flax.linen as nn
import golden_recipe as recipe
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from tl import models
from tl.errors import InputError
from tl.models import ops
from tl.models.heads import Head
from tl.models.layers import Mode
from tl.weights.convert import convert

GOLDEN = pathlib.Path(__file__).parent / "golden"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.npz") if path.stem != "layers")
# Parameters with 1,000 classes, as torchvision and the CIFAR authors (10 classes) publish them.
PUBLISHED = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "mobilenet_v2": 3_504_872,
    "bit_resnet50x1": 25_549_352,
    "resnet20_cifar": 269_722,
    "resnet32_cifar": 464_154,
    "resnet44_cifar": 658_586,
    "resnet56_cifar": 853_018,
    "resnet110_cifar": 1_727_962,
    "lenet": 431_080,
    "conv4": 111_680 + 65_000,  # Snell et al.'s 111,936 without 4 x 64 biases, and a classifier
}
TINY: dict[str, dict[str, Any]] = {
    "resnet50": {"blocks": (1, 1), "width": 4},
    "resnet20_cifar": {"blocks": (1, 1), "width": 4},
    "vgg16_bn": {"convs": (1, 1), "width": 4, "hidden": 8},
    "mobilenet_v2_tf": {"blocks": (1, 1, 2), "width": 0.25},
    "bit_resnet50x1": {"blocks": (1, 1), "width": 8, "groups": 4},
}


def all_own(path: str) -> bool:
    return True


def forward(model: str, **args: Any):
    """A function (tree, images) -> (maps, logits)."""
    backbone = models.make(model, **args)

    def answer(tree: dict, images: np.ndarray) -> tuple:
        variables = {"params": tree["params"]["backbone"], "batch_stats": tree.get("stats", {}).get("backbone", {})}
        maps = backbone.apply(variables, images)
        head = Head(tree["params"]["head"]["bias"].size)
        return maps, head.apply({"params": tree["params"]["head"]}, maps)

    return answer


# These programs run once: compiling them well would take longer than running them badly.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@functools.cache
def compiled(model: str, hidden: int | None = None):
    return quick(forward(model, **({"hidden": hidden} if hidden else {})))


@pytest.mark.parametrize("name", NAMES)
def test_golden(name: str) -> None:
    """Source-named tensors, through the real name table, give torch's maps and logits."""
    golden, model = np.load(GOLDEN / f"{name}.npz"), name.split(".")[0]
    args = {"hidden": 64} if model.startswith("vgg") else {}
    shapes = json.loads(str(golden["tensors"]))
    tensors = {key: recipe.tensor(key, tuple(shape), float(golden["gain"])) for key, shape in shapes.items()}
    tree = unflatten_dict(convert(tensors, model, **args), sep="/")
    # ResNets of all depths are made of the same few layers: op by op, they share what one of them compiles.
    run = forward(model) if model.startswith("resnet") else compiled(model, **args)
    maps, logits = run(tree, recipe.image(tuple(golden["shape"])))
    assert tuple(maps) == models.make(model).feature_maps
    # Standardised kernels have a gain of their own: rounding grows through BiT as nowhere else.
    tolerance = 1e-4 if model.startswith("bit") else 1e-5
    stored = {key.removesuffix(".sample") for key in golden.files if key.endswith(".sample")}
    assert len(stored) >= 4
    for key in stored:
        value, wanted, moments = np.asarray(maps[key]), golden[f"{key}.sample"], golden[f"{key}.moments"]
        assert value.shape == tuple(moments[2:].astype(int))
        np.testing.assert_allclose(recipe.sample(value, key), wanted, rtol=0, atol=tolerance * np.abs(wanted).max())
        np.testing.assert_allclose([value.mean(), value.std()], moments[:2], rtol=0, atol=tolerance * moments[1])
    wanted = golden["logits"]
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(np.asarray(logits), wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


def test_every_family_has_a_golden_file() -> None:
    assert {name.split(".")[0] for name in NAMES} == set(models.reading("image")) - {"conv4"}  # of no one else


@pytest.mark.parametrize("name", models.reading("image"))
def test_parameter_counts(name: str) -> None:
    backbone = models.make(name)
    side = 28 if name in ("lenet", "conv4") else 32
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    maps, variables = jax.eval_shape(backbone.init_with_output, jax.random.key(0), image)
    outputs = 10 if "cifar" in name or name == "lenet" else 1000
    features = maps["pooled"].shape[1]
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) + (features + 1) * outputs
    assert count == PUBLISHED[name.removesuffix("_tf")]
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_conv4_block_by_block(norm: str) -> None:
    """Convolution, norm, ReLU and pooling, written out."""
    backbone: Any = models.make("conv4", widths=(4, 8), pools=1, norm=norm)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 6, 3)), jnp.float32)
    variables = backbone.init(jax.random.key(0), images)
    maps = backbone.apply(variables, images)
    x = images.mean(axis=-1, keepdims=True)
    for number, pooled in ((1, True), (2, False)):
        layer = variables["params"][f"stage{number}"]
        x = jax.lax.conv_general_dilated(
            x, layer["conv"]["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        if norm == "batch":
            x = x / np.sqrt(1 + 1e-5)  # running mean 0 and variance 1
        if norm == "group":  # of one channel each
            x = (x - x.mean((1, 2), keepdims=True)) / jnp.sqrt(x.var((1, 2), keepdims=True) + 1e-5)
        x = jnp.maximum(x, 0)
        x = x.reshape(2, 3, 2, 3, 2, 4).max((2, 4)) if pooled else x
        np.testing.assert_allclose(maps[f"stage{number}"], x, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(maps["pooled"], x.reshape(2, -1), rtol=1e-4, atol=1e-5)


def small(name: str, size: int = 16, **args: Any) -> tuple[Any, Any, jax.Array]:
    """(backbone, variables, images): weights from the recipe, since random initialisers take long to compile."""
    backbone = models.make(name, **(TINY[name] | args))
    images = jnp.asarray(recipe.image((2, size, size, 3)))
    shapes: Any = flatten_dict(jax.eval_shape(backbone.init, jax.random.key(0), images), sep="/")
    flat = {key: recipe.tensor(key.replace("var", "running_var"), leaf.shape, 1.0) for key, leaf in shapes.items()}
    return backbone, jax.tree.map(jnp.asarray, unflatten_dict(flat, sep="/")), images


def gradient(backbone: Any, variables: Any, images: jax.Array) -> Any:
    """d(sum of squared features) with everything switched to training -> (gradient, (new collections, maps))."""

    def loss(params: Any) -> tuple:
        maps, new = backbone.apply(
            {**variables, "params": params},
            images,
            Mode(train=True, own_stats=all_own),
            rngs={"dropout": jax.random.key(2)},
            mutable=["batch_stats"],
        )
        return jnp.sum(jnp.square(maps["pooled"])), (new, maps)

    return jax.grad(loss, has_aux=True)(variables["params"])


@pytest.mark.parametrize("name", TINY)
def test_maps_by_name_from_any_start(name: str) -> None:
    """Order and shapes, also through jit; `start` runs what lies behind the map."""
    backbone, variables, images = small(name)
    maps = jax.eval_shape(backbone.apply, variables, images)
    assert tuple(maps) == backbone.feature_maps
    for i, start in enumerate(backbone.feature_maps):
        rest = jax.eval_shape(functools.partial(backbone.apply, mode=Mode(), start=start), variables, maps[start])
        assert list(rest.items()) == list(maps.items())[i:]
    with pytest.raises(InputError, match="feature map 'stage9'"):
        backbone.apply(variables, images, Mode(), "stage9")


@pytest.mark.parametrize("name", TINY)
def test_dtypes_in_training(name: str) -> None:
    """bfloat16 maps, everything that is kept float32; all float64 when asked."""
    for dtype, kept in (("bfloat16", "float32"), ("float64", "float64")):
        with jax.enable_x64(dtype == "float64"):
            backbone, variables, images = small(name, dtype=dtype)
            variables = jax.eval_shape(backbone.init, jax.random.key(0), images)
            slopes, (new, maps) = jax.eval_shape(functools.partial(gradient, backbone), variables, images)
            assert {str(leaf.dtype) for leaf in jax.tree.leaves((slopes, new, maps["pooled"]))} == {kept}
            assert maps[backbone.feature_maps[0]].dtype == dtype


def test_one_training_step_in_bfloat16() -> None:
    backbone, variables, images = small("resnet20_cifar", size=8, dtype="bfloat16", blocks=(1,))
    slopes, (new, _) = quick(functools.partial(gradient, backbone))(variables, images)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), variables["batch_stats"], new["batch_stats"])
    assert all(jax.tree.leaves(moved))


def test_start_continues_behind_a_map() -> None:
    backbone, variables, images = small("resnet20_cifar", size=8)
    maps = backbone.apply(variables, images)
    again = backbone.apply(variables, maps["stage1"], Mode(), "stage1")
    np.testing.assert_array_equal(again["pooled"], maps["pooled"])


def test_own_stats_goes_by_the_path_below_the_backbone() -> None:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array, mode: Mode) -> Any:
            return small("resnet20_cifar")[0].copy(name="backbone")(x, mode)["pooled"]

    _, variables, images = small("resnet20_cifar", size=8)
    nested = {collection: {"backbone": tree} for collection, tree in variables.items()}
    mode = Mode(own_stats=lambda path: path == "stage1/block1/bn1")
    _, new = Net().apply(nested, images, mode, mutable=["batch_stats"])
    before: Any = flatten_dict(nested["batch_stats"], sep="/")
    after: Any = flatten_dict(new["batch_stats"], sep="/")
    moved = {key for key in before if not np.array_equal(before[key], after[key])}
    assert moved == {f"backbone/stage1/block1/bn1/{leaf}" for leaf in ("mean", "var")}


def test_fence_changes_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, variables, images = small("resnet20_cifar", size=8)
    fenced = backbone.apply(variables, images)["pooled"]
    monkeypatch.setattr(ops, "hidden_ones", lambda parameter: None)
    assert np.array_equal(backbone.apply(variables, images)["pooled"], fenced)


def test_make_refuses_what_it_does_not_know() -> None:
    with pytest.raises(InputError, match=r"unknown model 'resnet51': did you mean resnet50"):
        models.make("resnet51")
    with pytest.raises(InputError, match=r"argument of model resnet50 'widht': did you mean width"):
        models.make("resnet50", widht=3)
    with pytest.raises(InputError, match="dtype 'float8'"):
        models.make("resnet50", dtype="float8")
    assert models.make("resnet50", blocks=[1, 1]).blocks == (1, 1)
    assert models.preprocess("mobilenet_v2_tf").mean == (0.5, 0.5, 0.5)
    assert models.preprocess("resnet20_cifar").size == 32
