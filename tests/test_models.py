"""Backbones against torch's answers, layers against their plain forms and against torch."""

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
from tl.mesh import batch_sharding, make_mesh, put
from tl.models import ops
from tl.models.heads import Head
from tl.models.layers import BatchNorm, GroupNorm, Mode
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
    assert {name.split(".")[0] for name in NAMES} == set(models.names())


@pytest.mark.parametrize("name", models.names())
def test_parameter_counts(name: str) -> None:
    backbone = models.make(name)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    variables, features = jax.eval_shape(
        lambda key, x: (backbone.init(key, x), backbone.init_with_output(key, x)[0]["pooled"]), jax.random.key(0), image
    )
    outputs = 10 if "cifar" in name else 1000
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) + (maps["pooled"].shape[1] + 1) * outputs
    assert count == PUBLISHED[name.removesuffix("_tf")]
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


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


def test_fence_is_exact_and_leaves_no_trace_in_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    x = jnp.array([0.0, -0.0, 1e-37, 3.3e38, -1.7, jnp.inf, jnp.nan])
    for parameter in (jnp.array([3.0]), jnp.array([jnp.inf, 1.0, jnp.nan])):
        ones = ops.hidden_ones(parameter)
        assert ones is not None
        assert np.asarray(ops.fence(x, ones)).tobytes() == np.asarray(x).tobytes()
        assert jax.grad(lambda x, ones=ones: ops.fence(x, ones).sum())(jnp.ones(3)).tolist() == [1, 1, 1]
    backbone, variables, images = small("resnet20_cifar", size=8)
    fenced = backbone.apply(variables, images)["pooled"]
    monkeypatch.setattr(ops, "hidden_ones", lambda parameter: None)
    assert np.array_equal(backbone.apply(variables, images)["pooled"], fenced)


def test_fence_survives_compilation() -> None:
    """XLA would replace a division by one scalar by a product, which does not stop the fusion."""
    program = jax.jit(lambda x, p: ops.fence(x, jnp.asarray(ops.hidden_ones(p)))).lower(jnp.ones((4, 4)), jnp.ones(2))
    divisions = [line for line in str(program.compile().as_text()).splitlines() if " divide(" in line]
    assert len(divisions) == 1
    assert "f32[4,4]" in divisions[0]


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize(("window", "groups", "padding"), [(3, 6, 1), (3, 6, "SAME"), (1, 1, 0)])
def test_cpu_forms_equal_the_plain_convolution(strides: int, window: int, groups: int, padding: int | str) -> None:
    """Depthwise 3x3 and pointwise convolutions, forward and gradients, to 1e-12 in float64."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        x = rng.standard_normal((2, 8, 7, 6))
        kernel = rng.standard_normal((window, window, 6 // groups, 6))
        cotangent = rng.standard_normal((2, -(-8 // strides), -(-7 // strides), 6))
        same = jax.lax.padtype_to_pads((8, 7), (window, window), (strides, strides), "SAME")
        pads = same if isinstance(padding, str) else [(padding, padding)] * 2

        @quick
        def both(x: jax.Array, kernel: jax.Array, cotangent: jax.Array) -> list:
            results = []
            for form in (
                lambda x, kernel: ops.conv(x, kernel, strides, padding, groups),
                lambda x, kernel: ops.plain_conv(x, kernel, strides, pads, groups),
            ):
                y, pull = jax.vjp(form, x, kernel)
                results.append((y, *pull(cotangent)))
            return results

        for got, wanted in zip(*both(x, kernel, cotangent), strict=True):
            assert got.dtype == jnp.float64
            np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-12)


def test_batch_norm_derivative_equals_autodiff() -> None:
    """Reverse and forward mode, with cotangents of the statistics too, to 1e-12 in float64."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        x, tangent = 3 + 2 * rng.standard_normal((2, 4, 3, 5, 6))
        scale, bias, d_scale, d_bias, d_mean, d_var = rng.standard_normal((6, 6))

        @quick
        def derivatives(primals: tuple, tangents: tuple, cotangents: tuple) -> list:
            results = []
            for function in (ops.batch_norm, ops.batch_norm.fun):  # `fun`: without its derivative rule
                closed = lambda *args, function=function: function(*args, jnp.asarray(1e-5))  # noqa: E731
                y, pull = jax.vjp(closed, *primals)
                results.append((*y, *pull(cotangents), *jax.jvp(closed, primals, tangents)[1]))
            return results

        got, wanted = derivatives((x, scale, bias), (tangent, d_scale, d_bias), (tangent, d_mean, d_var))
        for a, b in zip(got, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_batch_norm_and_adaptive_pool_equal_torch() -> None:
    golden = np.load(GOLDEN / "layers.npz")
    x = jnp.asarray(recipe.image((3, 5, 9, 4)))
    tensors = {key: recipe.tensor(key, (4,), 1.0) for key in ("weight", "bias", "running_mean", "running_var")}
    params = {"scale": tensors["weight"], "bias": tensors["bias"]}
    stats = {"mean": tensors["running_mean"], "var": tensors["running_var"]}

    def loss(x: jax.Array, params: dict):
        variables = {"params": params, "batch_stats": stats}
        y, new = BatchNorm().apply(variables, x, Mode(own_stats=all_own), mutable=["batch_stats"])
        return jnp.sum(y**3), (y, new["batch_stats"])

    (dx, d_params), (y, new) = jax.grad(loss, argnums=(0, 1), has_aux=True)(x, params)
    np.testing.assert_allclose(y, golden["batch_norm"], atol=1e-5)
    np.testing.assert_allclose(dx, golden["batch_norm_dx"], atol=1e-4)
    np.testing.assert_allclose(d_params["scale"], golden["batch_norm_dscale"], rtol=1e-4)
    np.testing.assert_allclose(new["mean"], golden["batch_norm_mean"], atol=1e-6)
    np.testing.assert_allclose(new["var"], golden["batch_norm_var"], rtol=1e-5)
    np.testing.assert_allclose(ops.adaptive_pool(x, 7), golden["adaptive_pool"], atol=1e-6)


def normalise(variables: Any, x: jax.Array, mode: Mode) -> Any:
    return BatchNorm().apply(variables, x, mode)


def test_batch_norm_without_mutable_statistics_only_normalises() -> None:
    x = jnp.asarray(3 + recipe.image((4, 3, 3, 3)))
    variables = {
        "params": {"scale": jnp.ones(3), "bias": jnp.zeros(3)},
        "batch_stats": {"mean": jnp.zeros(3), "var": jnp.ones(3)},
    }
    np.testing.assert_allclose(normalise(variables, x, Mode(own_stats=all_own)).mean((0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(normalise(variables, x, Mode()), x, rtol=1e-4)


def test_statistics_are_those_of_the_global_batch() -> None:
    mesh = make_mesh()
    assert mesh.size == 8
    with jax.enable_x64(True):
        x = 3 + np.random.default_rng(0).standard_normal((16, 2, 2, 3))

        @quick
        def derivative(x: jax.Array) -> tuple:
            def loss(x: jax.Array) -> tuple:
                y, mean, var = ops.batch_norm(x, jnp.ones(3), jnp.ones(3), jnp.asarray(1e-5))
                return jnp.sum(y**3), (mean, var)

            return jax.grad(loss, has_aux=True)(x)

        dx, (mean, var) = derivative(put(x, batch_sharding(mesh)))
        np.testing.assert_allclose(mean, x.mean((0, 1, 2)), rtol=1e-12)
        np.testing.assert_allclose(var, x.var((0, 1, 2)), rtol=1e-12)
        np.testing.assert_allclose(dx, derivative(x)[0], atol=1e-12)


def test_group_norm_by_hand() -> None:
    x = recipe.image((2, 3, 4, 6))
    y: Any = GroupNorm(groups=2).apply({"params": {"scale": jnp.ones(6), "bias": jnp.zeros(6)}}, jnp.asarray(x))
    parts = x.reshape(2, 12, 2, 3)
    wanted = (parts - parts.mean((1, 3), keepdims=True)) / np.sqrt(parts.var((1, 3), keepdims=True) + 1e-5)
    np.testing.assert_allclose(y, wanted.reshape(x.shape), atol=1e-5)


def test_head_shapes_and_names() -> None:
    maps: Any = {"stage1": jnp.ones((2, 4, 4, 3)), "stage2": jnp.ones((2, 2, 2, 5)), "pooled": jnp.ones((2, 5))}
    logits, plain = jax.eval_shape(Head(7).init_with_output, jax.random.key(0), maps)
    assert logits.shape == (2, 7)
    assert jax.tree.map(jnp.shape, plain["params"]) == {"kernel": (5, 7), "bias": (7,)}
    head = Head(7, hidden=(6,), dropout=0.5, pool="flatten", dtype="bfloat16")
    logits, deep = jax.eval_shape(head.init_with_output, jax.random.key(0), maps)
    assert logits.dtype == jnp.float32
    hidden = {"kernel": (20, 6), "bias": (6,)}
    assert jax.tree.map(jnp.shape, deep["params"]) == {"fc1": hidden, "kernel": (6, 7), "bias": (7,)}
    with pytest.raises(InputError, match="head pooling 'max'"):
        Head(7, pool="max").init(jax.random.key(0), maps)
    with pytest.raises(InputError, match="spatial map"):
        Head(7, pool="flatten").init(jax.random.key(0), {"pooled": maps["pooled"]})


def test_dropout_of_the_head_runs_in_training_only() -> None:
    maps: Any = {"pooled": jnp.ones((1, 64))}
    variables = {"params": {"kernel": jnp.ones((64, 1)), "bias": jnp.zeros(1)}}
    head: Any = Head(1, dropout=0.5)
    assert head.apply(variables, maps).item() == 64
    assert head.apply(variables, maps, Mode(train=True), rngs={"dropout": jax.random.key(0)}).item() != 64


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
