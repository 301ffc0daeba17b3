"""The network a loss sees: named parts bound to their variables, with one train flag.

A part's module is applied by itself to `params[part]` and `stats[part]`, so the names in the state are the parts' names
followed by the names in the module. `stats` is replaced as parts run: read `net.stats` when the loss is done.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from tl.models.layers import Mode
from tl.preprocess import normalise, unnormalise
from tl.tasks import head_name

Tree = Any
NOTHING = (None, None)


@dataclasses.dataclass
class Net:
    """`own_stats("backbone/stage1/...")` says where batch norm uses and updates the batch's own statistics in training.

    Where it `adapts`, batch norm uses them in evaluation as well, and updates nothing.

    With `init_key` set, a part that has no parameters yet creates them when it is first used.
    """

    modules: Mapping[str, Any]
    tasks: tuple[str, ...]
    preprocess: Mapping[str, Any]  # Preprocess of the parts that read images
    params: dict[str, Tree]
    stats: dict[str, Tree]
    own_stats: Callable[[str], bool] = lambda path: True
    train: bool = False
    adapts: bool = False  # `own_stats` is asked outside training, too
    update_stats: bool = True
    norm_groups: int = 0
    domain_norm: bool = False  # streams that a method joins, and says so, have statistics of their own: see Mode
    joined: bool = False  # whether any did
    columns: Callable[[jax.Array], jax.Array] = lambda scores: scores  # see `mesh.columns`
    layers: Mapping[str, str] = dataclasses.field(default_factory=dict)  # task -> the part between bottleneck and head
    key: jax.Array | None = None
    init_key: jax.Array | None = None
    calls: int = 0
    _seen: tuple[Any, Any] = NOTHING  # inputs and what the bottleneck left of their maps, in evaluation

    def __post_init__(self) -> None:
        for part in self.modules:
            if hasattr(type(self), part) or part in self.__dataclass_fields__:
                raise ValueError(f"a part cannot be called '{part}': Net has an attribute of that name")

    @property
    def dtype(self) -> str:
        """The compute dtype of the backbone."""
        return self.modules["backbone"].dtype

    def maps(self, inputs: Mapping[str, jax.Array], *, part: str = "backbone", **flags: Any) -> dict[str, jax.Array]:
        """The stage maps of `part` by name, the last being `pooled` (N, D). `inputs` is a stream's batch.

        The backbone takes the field it `reads`, images by default, or a cached map `map/NAME`, behind which it goes on;
        `map/NAME@VIEW` are those of other views (`views.seen`).
        """
        for field, value in inputs.items():
            if part == "backbone" and field.startswith("map/") and "@" not in field:
                return self.call(part, value, start=field.removeprefix("map/"), **flags)
        reads = getattr(self.modules[part], "reads", "image")
        if reads != "image":
            return self.call(part, inputs[reads], **flags)
        image, wanted = inputs["image"], self.preprocess[part]
        if part != "backbone" and image.ndim == 4 and image.shape[1:3] != (wanted.size, wanted.size):
            # The images are as the backbone wants them: another network may want another size.
            size = (image.shape[0], wanted.size, wanted.size, image.shape[3])
            image = jax.image.resize(image.astype(jnp.float32), size, "linear")
        return self.call(part, normalise(image, wanted, self.modules[part].dtype), **flags)

    def pixels(self, inputs: Mapping[str, jax.Array]) -> jax.Array:
        """(N, H, W, 3) images of a stream's batch as the backbone takes them in, normalised, in float32 at least."""
        return normalise(inputs["image"], self.preprocess["backbone"], jnp.promote_types(self.dtype, jnp.float32))

    def pictured(self, pixels: jax.Array) -> jax.Array:
        """The images in 0..255, and beyond, that `pixels` makes these of."""
        return unnormalise(pixels, self.preprocess["backbone"])

    def features(self, inputs: Mapping[str, jax.Array], **flags: Any) -> jax.Array:
        """(N, D) features that the heads read: pooled ones, or what the bottleneck makes of them."""
        return self._read(inputs, **flags)["pooled"]

    def outputs(self, inputs: Mapping[str, jax.Array], **flags: Any) -> dict[str, jax.Array]:
        """{task: (N, outputs)} of all heads, over one pass of the backbone."""
        return self.both(inputs, **flags)[1]

    def both(self, inputs: Mapping[str, jax.Array], **flags: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Features and outputs of one pass."""
        maps = self._read(inputs, **flags)
        return maps["pooled"], self._answers(maps, self.tasks, **flags)

    def maps_and_outputs(
        self, inputs: Mapping[str, jax.Array], **flags: Any
    ) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        """The backbone's maps, as `maps` gives them, and the outputs of all heads, of one pass."""
        maps = self.maps(inputs, **flags)
        return maps, self._answers(self._narrowed(maps, **flags), self.tasks, **flags)

    def logits(self, inputs: Mapping[str, jax.Array], task: str | None = None, **flags: Any) -> jax.Array:
        """(N, outputs) of the task's head, of the only task where none is named."""
        if task is None:
            (task,) = self.tasks
        return self._answers(self._read(inputs, **flags), (task,), **flags)[task]

    def classify(self, features: jax.Array, *, part: str = "", **flags: Any) -> jax.Array:
        """(N, D) features -> (N, outputs) of the only task's head, or of the head `part`."""
        return self.call(part or head_name(self.tasks, *self.tasks), {"pooled": features}, **flags)

    def _read(self, inputs: Mapping[str, jax.Array], **flags: Any) -> dict[str, jax.Array]:
        """What a head reads: the backbone's maps, the pooled ones through the bottleneck.

        In evaluation the same inputs are read once: the compiler would compute features and outputs apart.
        """
        if self._seen[0] is inputs and not self.train and not flags:
            return self._seen[1]
        maps = self._narrowed(self.maps(inputs, **flags), **flags)
        if not self.train and not flags:
            self._seen = (inputs, maps)
        return maps

    def _narrowed(self, maps: dict[str, jax.Array], **flags: Any) -> dict[str, jax.Array]:
        """The same maps, the pooled ones reduced and through the bottleneck where there are these."""
        for part in ("reduce", "bottleneck"):
            if part in self.modules:
                maps = {**maps, "pooled": self.call(part, maps["pooled"], **flags)}
        return maps

    def _answers(self, maps: Mapping[str, jax.Array], tasks: Sequence[str], **flags: Any) -> dict[str, jax.Array]:
        """The outputs of those tasks' heads, each behind the layer that it shares with others, if it does."""
        layers = {task: self.layers[task] for task in tasks if task in self.layers}
        shared = {part: self.call(part, maps["pooled"], **flags) for part in dict.fromkeys(layers.values())}
        read = {task: {**maps, "pooled": shared[part]} for task, part in layers.items()}
        return {task: self.call(head_name(self.tasks, task), read.get(task, maps), **flags) for task in tasks}

    def call(
        self,
        part: str,
        *args: Any,
        train: bool | None = None,
        update_stats: bool | None = None,
        change: Callable[[str, jax.Array], jax.Array] | None = None,
        running_share: float = 0.0,
        streams: int = 1,
        **kwargs: Any,
    ) -> Any:
        """Apply one part. `train` and `update_stats` may be set per call (teachers, weak views).

        `change(name, map)` gives what goes on in place of a map of the backbone. `running_share`: see `layers.Mode`.
        `streams`: how many were joined, of which batch norm sees each by itself under config.domain_norm.
        """
        self.joined |= streams > 1
        train = self.train if train is None else train
        update = self.update_stats if update_stats is None else update_stats
        new = part not in self.params and self.init_key is not None
        out = self._create(part, *args, **kwargs) if new else None
        mode = Mode(
            train=train,
            own_stats=partial(self._owns, part, train),
            norm_groups=self.norm_groups,
            streams=streams if self.domain_norm else 1,
            running_share=running_share,
            change=change,
        )
        rngs = None if self.key is None else {"dropout": jax.random.fold_in(self.key, self.calls)}
        self.calls += 1
        if new and not train and change is None:
            return out
        variables = {"params": self.params[part], "batch_stats": self.stats.get(part, {})}
        if not train:
            return self.modules[part].apply(variables, *args, mode=mode, **kwargs)
        out, changed = self.modules[part].apply(
            variables, *args, mode=mode, rngs=rngs, mutable=["batch_stats"], **kwargs
        )
        if update and part in self.stats:
            self.stats = {**self.stats, part: changed["batch_stats"]}
        return out

    def with_params(self, params: dict[str, Tree]) -> Net:
        """The same net elsewhere: inner loops, references. Its statistics are its own from here on."""
        return dataclasses.replace(self, params=params, _seen=NOTHING)

    def elsewhere(self, params: Mapping[str, Tree], stats: Mapping[str, Tree]) -> Net:
        """The same net with other parameters and statistics of the parts that are given."""
        params, stats = {**self.params, **params}, {**self.stats, **stats}
        return dataclasses.replace(self, params=params, stats=stats, _seen=NOTHING)

    def __getattr__(self, part: str) -> Callable[..., Any]:
        modules = self.__dict__.get("modules", {})  # not yet set while a copy is being made
        if part not in modules:
            raise AttributeError(f"the net has no part '{part}': its parts are {', '.join(modules)}")
        return partial(self.call, part)

    def _owns(self, part: str, train: bool, path: str) -> bool:
        return (train or self.adapts) and self.own_stats(f"{part}/{path}")

    def _create(self, part: str, *args: Any, **kwargs: Any) -> Any:
        """What the part answers in evaluation, its parameters being made on the way."""
        # The name, not the order of creation, seeds a part: adding one leaves the others' start as it was.
        assert self.init_key is not None
        key = jax.random.fold_in(self.init_key, zlib.crc32(part.encode()))
        out, variables = self.modules[part].init_with_output({"params": key}, *args, mode=Mode(), **kwargs)
        self.params = {**self.params, part: variables.get("params", {})}
        if variables.get("batch_stats"):
            self.stats = {**self.stats, part: variables["batch_stats"]}
        return out
