"""Where arrays lie: split or whole, the numbers are the same."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
import toy
from jax.sharding import PartitionSpec

from tl import build, inputs, optim
from tl import mesh as meshes
from tl.checkpoint import Checkpoints
from tl.errors import InputError


def test_the_longest_axis_that_divides_is_split():
    mesh = meshes.make_mesh(axes={"model": 4})
    assert dict(mesh.shape) == {"data": 2, "model": 4}
    shapes = {"kernel": (3, 3, 16, 32), "dense": (2048, 10), "bias": (512,), "odd": (33, 77), "step": ()}
    tree = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    specs = {name: place.spec for name, place in meshes.state_sharding(tree, mesh).items()}
    assert specs == {
        "kernel": PartitionSpec(None, None, None, "model"),
        "dense": PartitionSpec("model"),
        "bias": PartitionSpec(),  # under LEAST_SPLIT elements
        "odd": PartitionSpec(),
        "step": PartitionSpec(),
    }


@pytest.mark.parametrize("axes", [{"model": 3}, {"data": 2, "model": 2}])
def test_a_mesh_that_does_not_hold_all_devices_is_refused(axes):
    with pytest.raises(InputError, match=r"config.mesh = .* does not make 8, the number of devices"):
        build.experiment(toy.toy_config(mesh=axes))


def wide(**changes):
    settings = {"dtype": "float64", "ema": 0.9, "model_args": {"width": 16, "blocks": (1,)}}
    return toy.toy_config(**{**settings, **changes})


@toy.SLOW
def test_split_parameters_and_blocks_run_again_change_no_number(tmp_path):
    """Ten steps in float64: whole on 8 devices, split over 4 of 8, and with every block's inside computed twice.

    A checkpoint of the first goes on with its parameters split, to the same end.
    """
    kept = Checkpoints(tmp_path / "checkpoints")
    with jax.enable_x64(True):
        plain, split, again = (toy.Steps(wide(**c)) for c in ({}, {"mesh": {"model": 4}}, {"remat": True}))
        plain.run(4)
        kept.save(4, plain.state)
        kept.wait()
        plain.run(6)
        for work in (split, again):
            work.run(10)
            toy.same_leaves(plain.host(), work.host(), 1e-9)
        split.state = kept.restore(split.state, 4)
        split.run(6)
        kept.close()
        toy.same_leaves(plain.host(), split.host(), 1e-9)
    name = "stage1/block1/conv1/kernel"
    for tree in (split.state.params, split.state.ema["params"]):
        leaf = optim.paths(tree["backbone"])[name]
        assert leaf.addressable_shards[0].data.size * 4 == leaf.size

    def held(work: toy.Steps) -> int:
        """Bytes of optimiser state on one device."""
        return sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(work.state.opt))

    assert held(split) < 0.4 * held(plain)


def test_a_run_with_split_parameters_ends_as_any_other_and_may_move(tmp_path):
    summary = build.run(wide(dtype="float32", steps=1, mesh={"model": 4}), tmp_path / "w", quiet=True)
    assert (tmp_path / "w" / "weights.safetensors").is_file()
    assert build.run(wide(dtype="float32", steps=1), tmp_path / "w", quiet=True) == summary  # the same run elsewhere


def test_noise_is_a_data_set_of_any_size():
    dataset = inputs.open_data(toy.toy_config(data="noise:16,20,7", labels_per_class=0))
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 20, "val": 64, "test": 64}
    assert dataset.splits["train"].load(3).shape == (16, 16, 3)
    for bad in ("noise:0", "noise:a,b", "noise:1,2,3,4"):
        with pytest.raises(InputError, match="takes up to three positive numbers"):
            inputs.open_data(toy.toy_config(data=bad))
