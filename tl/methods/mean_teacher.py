"""Mean Teacher (Tarvainen and Valpola 2017, arXiv:1703.01780, section 2): the answer of a network that slowly follows.

    loss = CE(z_l, y) + weight r(t) mean (p_u - q_u)^2,  r(t) = exp(-5 (1 - min(t / rise, 1))^2)
    q_u: by the teacher, of another view;  teacher <- decay teacher + (1 - decay) network

With config.ema what is tested and exported is an average, too: another one, which forgets the random start sooner.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax

from tl import losses
from tl.batches import Batch
from tl.methods.base import Method, labelled_and_views, start_of, the_classification, within
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, weight: float = 50.0, rise: float = 0.4, decay: float = 0.99) -> Method:
    """`weight` of the squared difference, reached after the share `rise` of the run; `decay` of the teacher."""
    task = the_classification(tasks, "mean_teacher")
    within("rise", rise, 0, 1)
    within("decay", decay, 0, 1)

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        supervised, (seen,) = labelled_and_views(net, task, batch, "target")
        teacher = net.elsewhere(**memory).outputs(batch["target_strong"], train=False)[task.name]
        taught = jax.lax.stop_gradient(jax.nn.softmax(teacher))
        apart = losses.squared_error(jax.nn.softmax(seen), taught).mean()
        value = supervised + weight * losses.risen(progress, rise) * apart
        return value, {"loss_labelled": supervised, "apart": apart}

    return Method(
        streams=("train", "target", "target_strong"),
        steps=[(loss, None)],
        memory=lambda net, data: start_of(net, *net.params),
        after=partial(after, decay),
    )


def after(decay: float, memory: Any, variables: Any, carry: Any) -> Any:
    """The teacher's parameters and statistics, the share 1 - `decay` nearer to the student's."""
    return jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, memory, dict(variables))
