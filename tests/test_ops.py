"""Operations against their plain forms, and the forms for a CPU against those for accelerators."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import golden_recipe as recipe
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tl.models import ops
from tl.models.layers import BatchNorm, Conv, Mode, conv_norm

# These programs run once: compiling them well would take longer than running them badly.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def all_own(path: str) -> bool:
    return True


def test_fence_is_exact_and_leaves_no_trace_in_gradients() -> None:
    x = jnp.array([0.0, -0.0, 1e-37, 3.3e38, -1.7, jnp.inf, jnp.nan])
    for parameter in (jnp.array([3.0]), jnp.array([jnp.inf, 1.0, jnp.nan])):
        ones = ops.hidden_ones(parameter)
        assert ones is not None
        assert np.asarray(ops.fence(x, ones)).tobytes() == np.asarray(x).tobytes()
        assert jax.grad(lambda x, ones=ones: ops.fence(x, ones).sum())(jnp.ones(3)).tolist() == [1, 1, 1]


def test_fence_survives_compilation() -> None:
    """XLA would replace a division by one scalar by a product, which does not stop the fusion."""
    program = jax.jit(lambda x, p: ops.fence(x, jnp.asarray(ops.hidden_ones(p)))).lower(jnp.ones((4, 4)), jnp.ones(2))
    divisions = [line for line in str(program.compile().as_text()).splitlines() if " divide(" in line]
    assert len(divisions) == 1
    assert "f32[4,4]" in divisions[0]


# window, groups, padding, channels in, channels out
FORMS = {
    "depthwise": (3, 6, 1, 6, 6),
    "depthwise as TensorFlow pads": (3, 6, "SAME", 6, 6),
    "pointwise": (1, 1, 0, 6, 4),
    "winograd": (3, 1, 1, 32, 33),
    "taps": (3, 1, 1, 16, 5),
    "first layer": (7, 1, 3, 3, 5),
    "one channel": (3, 1, 1, 1, 5),
    "rows": (5, 1, 0, 4, 6),
}


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("large", [False, True])
def test_cpu_forms_equal_the_plain_convolution(name: str, strides: int, large: bool, monkeypatch) -> None:
    """Output, both gradients, and the gradients' own tangents, to 1e-11 in float64."""
    window, groups, padding, c, d = FORMS[name]
    if large:
        monkeypatch.setattr(ops, "MOST_TILED", 0)
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        x, dx = rng.standard_normal((2, 2, 8, 7, c))
        kernel, dkernel = rng.standard_normal((2, window, window, c // groups, d))
        same = jax.lax.padtype_to_pads((8, 7), (window, window), (strides, strides), "SAME")
        pads = same if isinstance(padding, str) else [(padding, padding)] * 2

        @quick
        def everything(primals: tuple, tangents: tuple) -> list:
            results = []
            for form in (
                lambda x, kernel: ops.conv(x, kernel, strides, padding, groups),
                lambda x, kernel: ops.plain_conv(x, kernel, strides, pads, groups),
            ):
                gradients = jax.value_and_grad(lambda *a, form=form: jnp.sum(jnp.sin(form(*a))), argnums=(0, 1))
                results.append((form(*primals), jax.jvp(gradients, primals, tangents)))
            return results

        got, wanted = everything((x, kernel), (dx, dkernel))
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
            assert a.dtype == jnp.float64
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


def test_frozen_kernels_and_inputs_have_no_gradient() -> None:
    """Of two gradients the one that is not asked for is not computed."""
    x, kernel = jnp.ones((1, 4, 4, 32)), jnp.ones((3, 3, 32, 32))

    def products(which: int) -> int:
        gradient = jax.grad(lambda *a: ops.conv(*a, padding=1).sum(), argnums=which)
        return str(jax.make_jaxpr(gradient)(x, kernel)).count("dot_general")

    assert products(0) == products(1) == 32  # of them 16 are the forward pass


@pytest.mark.parametrize(("window", "strides", "padding"), [(3, 2, 1), (2, 2, 0), (3, 1, 1), (2, 3, 0)])
def test_max_pool_equals_the_plain_one(window: int, strides: int, padding: int, monkeypatch) -> None:
    """With many equal pixels, of which the first one gets the gradient, and its own tangent."""
    rng = np.random.default_rng(0)
    x, dx = rng.integers(0, 3, (2, 2, 9, 8, 5)).astype(np.float32)

    def everything() -> Any:
        pool = lambda x: jnp.sum(ops.max_pool(x, window, strides, padding) ** 3)  # noqa: E731
        return jax.tree.leaves((ops.max_pool(x, window, strides, padding), jax.jvp(jax.grad(pool), (x,), (dx,))))

    got = everything()
    monkeypatch.setattr(ops, "for_cpu", lambda: False)
    for a, b in zip(got, everything(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("padding", [0, 1])
def test_max_pool_on_accelerators_equals_that_on_a_cpu(padding: int) -> None:
    x = jnp.asarray(recipe.image((2, 6, 7, 3)))
    found = []
    for target in ("cpu", "tpu"):
        token = ops.TARGET.set(target)
        y, pull = jax.vjp(lambda x: ops.max_pool(x, 3, 2, padding), x)
        found.append((y, *pull(jnp.cos(y))))
        ops.TARGET.reset(token)
    for got, wanted in zip(*found, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_batch_norm_derivative_equals_autodiff() -> None:
    """Reverse and forward mode, with cotangents of the statistics too, to 1e-12 in float64."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        x, tangent = 3 + 2 * rng.standard_normal((2, 4, 3, 5, 6))
        scale, bias, d_scale, d_bias, d_mean, d_var = rng.standard_normal((6, 6))

        @quick
        def derivatives(primals: tuple, tangents: tuple, cotangents: tuple) -> list:
            results = []
            plain: Any = functools.partial(ops._normalised.fun, True)  # without its derivative rule
            functions: tuple[Any, ...] = (ops.batch_norm, plain)
            for function in functions:
                closed = lambda *args, function=function: function(*args, jnp.asarray(1e-5), 0.0)  # noqa: E731
                y, pull = jax.vjp(closed, *primals)
                results.append((*y, *pull(cotangents), *jax.jvp(closed, primals, tangents)[1]))
            return results

        got, wanted = derivatives((x, scale, bias), (tangent, d_scale, d_bias), (tangent, d_mean, d_var))
        for a, b in zip(got, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


class Pair(nn.Module):
    """A pointwise convolution to four times the width and its norm."""

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        return conv_norm(Conv(4 * x.shape[-1], size=1, strides=2, name="conv"), BatchNorm(name="bn"), x, mode)


@pytest.mark.parametrize("module", [Pair(), BatchNorm()])
@pytest.mark.parametrize("groups", [0, 2])
def test_forms_for_accelerators_equal_those_for_a_cpu(module: Any, groups: int) -> None:
    """Outputs, statistics and both modes' derivatives, to 1e-12 in float64, far from a mean of 0 too."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        x, tangent = 3 + 2 * rng.standard_normal((2, 4, 6, 5, 3))
        variables = jax.tree.map(
            lambda leaf: leaf + np.linspace(0.1, 0.5, leaf.size).reshape(leaf.shape),
            module.init(jax.random.key(0), jnp.asarray(x), Mode()),
        )
        mode = Mode(own_stats=all_own, norm_groups=groups)

        def derivatives(variables: Any, x: jax.Array, tangent: jax.Array) -> tuple:
            def run(params: Any, x: jax.Array) -> Any:
                return module.apply({**variables, "params": params}, x, mode, mutable=["batch_stats"])

            (y, stats), pull = jax.vjp(run, variables["params"], x)
            tangents = (jax.tree.map(jnp.cos, variables["params"]), tangent)
            forward = jax.jvp(run, (variables["params"], x), tangents)[1]
            return y, stats, pull((jnp.sin(3 * y), jax.tree.map(jnp.zeros_like, stats))), forward

        found = []
        for target in ("cpu", "tpu"):
            token = ops.TARGET.set(target)
            found.append(quick(lambda *args: derivatives(*args))(variables, x, tangent))
            ops.TARGET.reset(token)
        for got, wanted in zip(*map(jax.tree.leaves, found), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-12)


def test_the_folded_norm_is_as_exact_in_bfloat16() -> None:
    """Against float32: outputs and gradients within twice the error of the plain form, statistics far below it."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(np.maximum(rng.standard_normal((8, 7, 7, 32)), 0), jnp.bfloat16)
    kernel, cotangent = (
        jnp.asarray(rng.standard_normal(shape) / 8, jnp.float32) for shape in ((32, 128), (8, 7, 7, 128))
    )
    scale, bias, epsilon = jnp.linspace(0.5, 1.5, 128), jnp.linspace(-1, 1, 128), jnp.asarray(1e-5)

    def plain(x: jax.Array, kernel: jax.Array) -> tuple:
        return ops.batch_norm(ops.dot(x, kernel.astype(x.dtype)), scale, bias, epsilon)

    def folded(x: jax.Array, kernel: jax.Array) -> tuple:
        return ops.pointwise_norm(x, kernel, scale, bias, epsilon)

    def results(form: Any, dtype: Any) -> list:
        @quick
        def run(x: jax.Array, kernel: jax.Array) -> tuple:
            (y, mean, variance), pull = jax.vjp(form, x.astype(dtype), kernel)
            return y, mean, variance, *pull((cotangent.astype(dtype), jnp.zeros(128), jnp.zeros(128)))

        return [np.asarray(leaf, np.float32) for leaf in run(x, kernel)]

    exact, own_all, other_all = results(plain, jnp.float32), results(folded, jnp.bfloat16), results(plain, jnp.bfloat16)
    for number, wanted in enumerate(exact):
        own, other = (np.linalg.norm(got[number] - wanted) / np.linalg.norm(wanted) for got in (own_all, other_all))
        assert own < (2 * other if number in (0, 3, 4) else 1e-4), number


def test_one_pass_over_a_map_far_from_zero_keeps_its_variance() -> None:
    """A mean of 1,000 deviations: E[x^2] - E[x]^2 in float32 would be off by a tenth, shifted it is not."""
    x = 1000 + jnp.asarray(np.random.default_rng(0).standard_normal((64, 8, 8, 2)), jnp.float32)
    token = ops.TARGET.set("tpu")
    _, mean, variance = ops.batch_norm(x, jnp.ones(2), jnp.zeros(2), jnp.asarray(1e-5), jnp.full(2, 999.0))
    ops.TARGET.reset(token)
    exact = np.asarray(x, np.float64)
    np.testing.assert_allclose(mean, exact.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(variance, exact.var((0, 1, 2)), rtol=1e-4)
