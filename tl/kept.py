"""Where the maps of a frozen network lie on disk, and what a row is called there."""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax

from tl import mesh as meshes
from tl import runtime
from tl.data import cache
from tl.data.base import Split
from tl.data.order import STRONG
from tl.optim import paths
from tl.weights import tree_sha256

if TYPE_CHECKING:
    from tl.step import State
    from tl.train import Experiment

FORMAT = 4  # of what lies there: to be raised when a backbone computes something else than before


class Keys:
    """A folder for each source, weights, preprocessing and place in the network."""

    def __init__(self, experiment: Experiment, state: State, name: str) -> None:
        names = experiment.modules["backbone"].feature_maps
        layers = set(names[: names.index(name) + 1])
        variables = paths({"params": state.params["backbone"], "stats": state.stats.get("backbone", {})})
        config = experiment.config
        self._leaves = {path: leaf for path, leaf in variables.items() if path.split("/")[1] in layers}
        # Two versions or kinds of machine round differently: what one computed is not quite what the other would.
        self._common = [FORMAT, jax.__version__, jax.default_backend(), name, config.model, config.dtype]
        self._common += [config.model_args.to_dict(), repr(experiment.preprocess["backbone"])]
        self._common += [config.image_library]
        self._views = {
            stream: config.strong_transforms if stream.endswith(STRONG) else config.train_transforms
            for stream in experiment.views
        }
        self._weights = ""
        self.folders: list[pathlib.Path] = []

    def place(self, split: Split, stream: str, view: str = "") -> tuple[pathlib.Path, Sequence[str]]:
        """The folder, and what each row is called in it. `stream`: whose views these are; "": as evaluation sees them.

        `view`: of those that evaluation averages over, see `views`.

        Where one source says what a name stands for, all its images share a folder: other cuts of it find them there.
        """
        self._weights = self._weights or tree_sha256(meshes.gather(self._leaves))
        assert split.origin, "whose images are kept is not known"
        views = [stream, self._views[stream]] if stream in self._views else []
        shared = not views and "+" not in split.origin and len(set(split.names)) == len(split)
        own = [*self._common, self._weights, split.origin if shared else cache.identity(split), views]
        text = json.dumps([*own, view] if view else own)
        folder = runtime.cache_folder() / "features" / hashlib.sha256(text.encode()).hexdigest()[:32]
        self.folders.append(folder)
        return folder, split.names if shared else [str(i) for i in range(len(split))]

    def used(self) -> str:
        kept = [folder for folder in self.folders if folder.is_dir()]
        return f" in {kept[0].parent}" if kept else ""
