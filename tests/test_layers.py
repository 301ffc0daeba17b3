"""Layers against torch and by hand."""

from __future__ import annotations

import functools
import pathlib
from typing import Any

import golden_recipe as recipe
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tl.batches import interleave
from tl.errors import InputError
from tl.mesh import batch_sharding, make_mesh, put
from tl.models import ops
from tl.models.heads import Head
from tl.models.layers import BatchNorm, GroupNorm, Mode

GOLDEN = pathlib.Path(__file__).parent / "golden"
# These programs run once: compiling them well would take longer than running them badly.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def all_own(path: str) -> bool:
    return True


def test_groups_have_their_own_statistics() -> None:
    """Two groups of rows are two batches: equal outputs, and running statistics that are the mean of theirs."""
    x = jnp.asarray(recipe.image((4, 3, 2, 5)))
    variables = BatchNorm().init(jax.random.key(0), x, Mode())

    def run(x: jax.Array, groups: int) -> Any:
        return BatchNorm().apply(variables, x, Mode(own_stats=all_own, norm_groups=groups), mutable=["batch_stats"])

    whole, statistics = run(x, 2)
    halves = [run(half, 0) for half in (x[:2], x[2:])]
    np.testing.assert_allclose(whole, jnp.concatenate([y for y, _ in halves]), atol=1e-6)
    means = jax.tree.map(lambda *leaves: sum(leaves) / 2, *(stats for _, stats in halves))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), statistics, means)
    with pytest.raises(InputError, match="norm_groups=3 does not divide a batch of 4 rows"):
        run(x, 3)


def test_streams_in_turn_have_their_own_statistics() -> None:
    """Rows of two streams in turn are two batches: equal outputs and gradients, and the running statistics of one."""
    rows = [jnp.asarray(recipe.image((3, 3, 2, 5))) * scale + scale for scale in (1.0, 3.0)]
    variables = BatchNorm().init(jax.random.key(0), rows[0], Mode())

    def run(x: jax.Array, streams: int) -> Any:
        return BatchNorm().apply(variables, x, Mode(own_stats=all_own, streams=streams), mutable=["batch_stats"])

    joined, statistics = run(interleave(*rows), 2)
    apart = [run(x, 1) for x in rows]
    np.testing.assert_allclose(joined, interleave(*(y for y, _ in apart)), atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), statistics, apart[1][1])
    by_all = jax.grad(lambda x: jnp.sum(run(x, 2)[0] ** 3))(interleave(*rows))
    by_each = [jax.grad(lambda x: jnp.sum(run(x, 1)[0] ** 3))(x) for x in rows]
    np.testing.assert_allclose(by_all, interleave(*by_each), atol=1e-4)


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
