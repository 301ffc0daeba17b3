"""Small trees of parameters and an optimiser's walk over them, for the tests of tl/optim.py."""

import jax
import jax.numpy as jnp

from tl import optim

ALL = ((".*", {}),)
PATHS = [
    "backbone/stem/conv/kernel",
    "backbone/stem/bn/scale",
    "backbone/stem/bn/bias",
    "backbone/stage1/block1/conv1/kernel",
    "backbone/stage1/block2/conv1/kernel",
    "backbone/stage2/block1/conv1/kernel",
    "head/kernel",
    "head/bias",
]
tree = optim.nested


def vector(*values):
    return jnp.array(values, jnp.float32)


def constant(rate):
    return optim.make_schedule("constant", rate, 10)


def walk(optimizer, params, grads, parts=None, first_step=0):
    """Parameters, optimiser state and gradient norm after one update for each of `grads`."""
    update = jax.jit(lambda g, o, p, step: optimizer.update(g, o, p, step, parts))
    opt, norm = optimizer.init(params), jnp.nan
    for step, grad in enumerate(grads, start=first_step):
        params, opt, norm = update(grad, opt, params, jnp.int32(step))
    return params, opt, norm
