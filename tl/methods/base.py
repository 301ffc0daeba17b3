"""The protocol every method follows: what a batch holds, which losses move which parts, and how to predict.

A method is a module `tl/methods/NAME.py` with `make(tasks, *, hyper_parameter=..., ...) -> Method`. The loop knows
no method: it reads the fields below. `make` may also ask for facts by these names: `domains`, the number of labelled
domains; `target`, whether there is an unlabelled one; `source_outputs`, how many classes the classifier of the weights
knows, 0 where they have none; `teacher`, the network of config.teacher as a part, None in a finished run's prediction;
`earlier`, how many of the classes were learnt before, in earlier stages or by earlier data; `episodes`, their shapes;
`relations`, how many a knowledge graph has, either direction counted; `nodes`, features of entities (data/rows.py);
`layers`, the parts that hold layers which some tasks share (config.tasks); `graph`, what stands beside images.
"""

from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from tl import contrast, losses
from tl import episodes as maths
from tl.batches import Batch, join, last, parted
from tl.episodes import Episodes, Shape
from tl.errors import InputError
from tl.tasks import Task

# pictures(net, inputs, memory) -> {what it is: (N, H, W, 3) in 0..255}, row below row: what a method makes of images
Pictures = Callable[[Any, Mapping[str, jax.Array], Any], OrderedDict[str, jax.Array]]
# loss(net, batch, memory, key, progress) -> (scalar, aux): scalars in aux are logged, aux["carry"] reaches `after`
Loss = Callable[[Any, Batch, Any, jax.Array, jax.Array], tuple[jax.Array, dict[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Part:
    """A network beside backbone and head. `make()` builds the module: a factory, never a shared instance.

    `weights` names the part of the weights' file that fills it, such as `head`, where none there has its own name. A
    part that is `split` runs as it lies, over the mesh's axis `model`; all others are fetched whole for every step.
    """

    make: Callable[[], Any]
    weights: str | None = None
    trained: bool = True
    split: bool = False
    preprocess: Any = None
    # A network that is finished, a teacher, brings its weights along; it has so many outputs, and is from there.
    leaves: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    outputs: int = 0
    classes: tuple[str, ...] = ()  # their names, where they are known
    source: str = ""


def scalar_gradient(objective: Callable[[Any], tuple[jax.Array, Any]], params: Any) -> tuple[Any, Any]:
    """`objective(params) -> (scalar, rest)`: the gradient, and `rest` with the value in front."""
    (value, rest), grads = jax.value_and_grad(objective, has_aux=True)(params)
    return grads, (value, rest)


@dataclasses.dataclass(frozen=True)
class Method:
    """See docs/architecture.md; the defaults make plain supervised training."""

    streams: tuple[str, ...]
    steps: Sequence[tuple[Loss, tuple[str, ...] | None]]  # in order: the loss, and the parts it may move (None = all)
    parts: Mapping[str, Part] = dataclasses.field(default_factory=dict)
    heads: bool = True  # whether there is one for each task, or features alone say the answer
    memory: Callable[[Any, Any], Any] = lambda net, data: ()
    # (memory, {"params", "stats"} as the network runs with them, carry) -> memory, after every step
    after: Callable[[Any, Any, Any], Any] = lambda memory, variables, carry: memory
    pieces: Callable[[Any], Any] = last  # the carries of config.accumulate's pieces, stacked -> the one that counts
    ready: Callable[[Any, Any, Any], Any] | None = None  # (net, memory, data) -> what an evaluation gets as memory
    kept: tuple[str, ...] = ()  # what of that memory a finished run predicts with
    passes: tuple[str, ...] = ()  # streams that `ready` goes through beside those above, and no batch holds
    by_row: bool = False  # whether the loss of a batch is the mean of what each row would have by itself
    gradient: Callable[..., tuple[Any, Any]] = scalar_gradient
    predict: Callable[[Any, Mapping[str, jax.Array], Any], dict[str, jax.Array]] = lambda net, inputs, memory: (
        net.outputs(inputs)
    )
    # (net, memory, the images of a batch) -> (loss, outputs, memory): evaluation learns from what it is asked, in the
    # order it comes; the loss then moves what config.groups let, and such a method takes no step before
    online: Callable[[Any, Any, Mapping[str, jax.Array]], tuple[jax.Array, dict[str, jax.Array], Any]] | None = None
    pictures: Pictures | None = None  # for the report


# Which `make` may ask for by name.
FACTS = (
    "domains",
    "target",
    "source_outputs",
    "teacher",
    "earlier",
    "episodes",
    "relations",
    "nodes",
    "layers",
    "graph",
)
OLD_HEAD = "old_head"  # the part that goes on from the classifier of the weights, beside the new one


def the_classification(tasks: Mapping[str, Task], method: str) -> Task:
    """The only task, which must have classes that exclude each other."""
    (task, *others) = tasks.values()
    if others or task.kind != "classification":
        kinds = ", ".join(t.kind for t in tasks.values())
        raise InputError(f"the method '{method}' needs one task of kind classification, not {kinds}.")
    return task


def loss_of_each(net: Any, tasks: Mapping[str, Task], inputs: Mapping[str, jax.Array], **flags: Any) -> jax.Array:
    """(T,) the tasks' losses on one stream's rows; `flags` as for `net.outputs`."""
    outputs = net.outputs(inputs, **flags)
    return jnp.stack([task.loss(outputs[name], inputs[name]) for name, task in tasks.items()])


def supervised(net: Any, tasks: Mapping[str, Task], inputs: Mapping[str, jax.Array], **flags: Any) -> jax.Array:
    """The sum of the tasks' losses."""
    return loss_of_each(net, tasks, inputs, **flags).sum()


def start_of(net: Any, *parts: str) -> dict[str, dict[str, Any]]:
    """Parameters and statistics of the parts as they are now, a memory: `net.elsewhere(**memory)` is that network."""
    return {
        "params": {part: net.params[part] for part in parts},
        "stats": {part: net.stats[part] for part in parts if part in net.stats},
    }


def class_means(net: Any, batches: Iterable[Mapping[str, jax.Array]], task: Task) -> jax.Array:
    """(C, D) means of each class's features, both made of length 1; 0 for a class without images."""

    @jax.jit
    def sums(params: Any, stats: Any, inputs: Mapping[str, jax.Array]) -> jax.Array:
        features = contrast.unit(net.elsewhere(params, stats).features(inputs))
        belongs = jax.nn.one_hot(inputs[task.name], task.outputs, dtype=features.dtype)
        return (belongs * inputs["mask"][:, None].astype(features.dtype)).T @ features

    return contrast.unit(sum((sums(net.params, net.stats, inputs) for inputs in batches), jnp.zeros(())))


def new_layers(net: Any) -> dict[str, Any]:
    """The parameters of all parts but the backbone."""
    return {part: tree for part, tree in net.params.items() if part != "backbone"}


def taught(net: Any, teacher: Part | None, inputs: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """The teacher's maps and `outputs` for the same images, through which no gradient goes."""
    assert teacher is not None
    return jax.lax.stop_gradient(net.maps(inputs, part="teacher", train=False))


def parts_of(teacher: Part | None) -> dict[str, Part]:
    """The teacher as one of a method's parts; nothing where it is not needed any more."""
    return {} if teacher is None else {"teacher": teacher}


def same_classes(method: str, teacher: Part | None, task: Task) -> None:
    """InputError where the teacher tells other classes apart than the task."""
    if teacher is not None and teacher.outputs != task.outputs:
        raise InputError(
            f"the teacher '{teacher.source}' tells {teacher.outputs} classes apart and the data has {task.outputs}: "
            f"'{method}' learns from its answers; take attention_transfer or relational, or another teacher."
        )
    if teacher is not None and teacher.classes != task.classes and {*teacher.classes} == {*task.classes}:
        raise InputError(
            f"the teacher '{teacher.source}' has the same classes in another order, {', '.join(teacher.classes[:3])}, "
            f"..., than the data, {', '.join(task.classes[:3])}, ...: take one that was trained in the data's order."
        )


def answers_loss(
    method: str, task: Task, teacher: Part | None, share: float, temperature: float
) -> Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, dict[str, Any]]]:
    """(outputs, the teacher's outputs, labels) -> (loss, its two terms), Hinton et al. 2015, section 2.

    `share` is the weight of the teacher's answers, softened by `temperature`; the labels have the rest.
    InputError for either out of its range and for a teacher of other classes.
    """
    same_classes(method, teacher, task)
    within("share", share, 0, 1)
    within("temperature", temperature, 1e-3, math.inf)

    def loss(outputs: jax.Array, answers: jax.Array, labels: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        soft, hard = losses.distillation(outputs, answers, temperature).mean(), task.loss(outputs, labels)
        return (1 - share) * hard + share * soft, {"loss_task": hard, "loss_teacher": soft}

    return loss


def needs_classifier(method: str, source_outputs: int) -> None:
    """InputError where the weights bring no classifier of their own."""
    if not source_outputs:
        raise InputError(
            f"the method '{method}' goes on from the classifier of the weights, and config.weights has none: name "
            "weights with a classifier, not 'none'."
        )


def within(name: str, value: float, low: float, high: float) -> None:
    """InputError for an argument out of its range."""
    if not low <= value <= high:
        raise InputError(f"method_args.{name}={value} must lie in {low}..{high}.")


def by_episodes(
    name: str,
    tasks: Mapping[str, Task],
    episodes: Episodes,
    outputs: Callable[[Any, Mapping[str, jax.Array], Shape], jax.Array],
    *,
    heads: bool = False,
    parts: Mapping[str, Part] | None = None,
    compare: Callable[[jax.Array, jax.Array], jax.Array] = losses.cross_entropy,
) -> Method:
    """A method that learns from the queries of episodes, of which `outputs` are (E, way * query, way)."""
    task = the_classification(tasks, name)
    shape = episodes.train
    if shape is None:
        raise InputError(f"the method '{name}' learns from episodes: set config.episode.batch to how many a step.")

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        rows = outputs(net, batch["train"], shape).reshape(-1, shape.way)
        wanted = maths.labels(shape, len(rows) // (shape.way * shape.query))
        return compare(rows, wanted).mean(), {"accuracy": (rows.argmax(axis=-1) == wanted).mean()}

    def predict(net: Any, inputs: Mapping[str, jax.Array], memory: Any) -> dict[str, jax.Array]:
        return {task.name: maths.in_place(outputs(net, inputs, episodes.test), episodes.test)}

    return Method(streams=("train",), steps=[(loss, None)], parts=parts or {}, heads=heads, predict=predict)


def same_way(method: str, episodes: Episodes) -> None:
    """InputError where the head of training does not fit the episodes of evaluation."""
    if episodes.train and episodes.train.way != episodes.test.way:
        raise InputError(
            f"the method '{method}' adapts one head to every episode, and one of {episodes.train.way} classes cannot "
            f"tell {episodes.test.way} apart: leave config.episode.train_way at 0, or give so many classes."
        )


@dataclasses.dataclass(frozen=True)
class Pass:
    """What source and target rows give in one forward pass; `loss` is the task's on the source."""

    source: jax.Array  # (S, D) features
    target: jax.Array  # (T, D)
    source_logits: jax.Array  # (S, C)
    target_logits: jax.Array  # (T, C)
    loss: jax.Array


def source_and_target(net: Any, task: Task, batch: Batch) -> Pass:
    """Both streams in one pass: batch norm then sees them together, unless config.domain_norm keeps them apart."""
    features, outputs = net.both(join(batch["train"], batch["target"]), streams=2)
    (source, target), (known, unknown) = parted(features, 2), parted(outputs[task.name], 2)
    return Pass(source, target, known, unknown, task.loss(known, batch["train"][task.name]))


def plain_labels(method: str, task: Task) -> None:
    """InputError where config asks for what the method's loss of labels does not know."""
    if not task.plain:
        raise InputError(
            f"the method '{method}' takes labels as they are: set config.label_smoothing=0 and config.class_weights=''."
        )


def labelled_and_views(net: Any, task: Task, batch: Batch, *views: str) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """The task's loss on the rows of train, and the (N, C) outputs of those of each stream in `views`, of one pass."""
    rows = join(batch["train"], *(batch[view] for view in views))
    known, *others = parted(net.outputs(rows)[task.name], 1 + len(views))
    return task.loss(known, batch["train"][task.name]), tuple(others)


def aligned_streams(domains: int, target: bool, adapt: bool) -> tuple[str, ...]:
    """What a method reads that brings domains together: the labelled ones and, to `adapt` to it, the target.

    Without `adapt` it generalises: nothing of the target is seen.
    """
    return ("train", "target") if adapt and (target or domains == 1) else ("train",)
