"""Fewer features behind a frozen backbone, and a head that reads several maps."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
import toy
from numpy.testing import assert_allclose
from sklearn.decomposition import PCA

import main
from tl import begin, build, predictor, reduction
from tl.errors import InputError
from tl.models.heads import Head

PROBE = {**toy.LENET, "reduce": "pca:5", "train_transforms": ()}


def work_of(**changes):
    return toy.Steps(toy.toy_config("configs/probe.py", **{**PROBE, **changes}), devices=1)


def features_of(work, split="train"):
    net = begin.binder(work.experiment, lambda path: False)(work.state.params, work.state.stats)
    batches = list(work.experiment.passes[split] if split == "train" else work.experiment.evals[split])
    rows = [(net.maps(batch)["pooled"], net.features(batch), batch["mask"]) for batch in batches]
    return [np.concatenate([np.asarray(row[i])[np.asarray(row[2])] for row in rows]) for i in (0, 1)]


def test_principal_directions_of_the_training_images():
    whole, small = features_of(work_of())
    wanted = PCA(5, svd_solver="full").fit(whole)
    assert_allclose(np.abs(small), np.abs(wanted.transform(whole)), rtol=1e-3, atol=1e-4)


def test_the_test_images_have_no_say():
    """Fitted on train alone: the map is that of the training images, whatever else is evaluated."""
    work = work_of()
    whole, _ = features_of(work)
    test, small = features_of(work, "test")
    assert_allclose(np.abs(small), np.abs(PCA(5, svd_solver="full").fit(whole).transform(test)), rtol=1e-3, atol=1e-4)


def test_random_directions_keep_distances_and_do_not_train():
    work = work_of(reduce="random:600", model_args={"widths": (4,), "hidden": 700})
    before = work.host().params["reduce"]
    whole, small = features_of(work)
    pairs = np.arange(len(whole) // 2)
    apart, kept = (np.linalg.norm(rows[pairs] - rows[pairs + len(pairs)], axis=1) for rows in (whole, small))
    assert_allclose(kept, apart, rtol=0.25)
    work.run(2)
    toy.same_leaves(before, work.host().params["reduce"])


def test_a_run_predicts_with_its_own_map(tmp_path):
    folder = tmp_path / "run"
    flags = [*toy.arguments(**toy.LENET, reduce="pca:5"), "--workdir", str(folder), "--config", "configs/probe.py"]
    assert main.main(flags) == 0
    held = dict(np.load(folder / "predictions.npz"))
    loaded = predictor.load(folder)
    split = build.experiment(toy.toy_config("configs/probe.py", **PROBE)).dataset.splits["test"]
    assert_allclose(loaded.outputs(split)["label"], held["test/outputs/label"], rtol=1e-4, atol=1e-5)
    assert json.loads((folder / "summary.json").read_text())["params/trained"] == 5 * 10 + 10


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reduce": "pca"}, r"config.reduce='pca' is neither pca:N nor random:N"),
        ({"reduce": "pca:13"}, r"config.reduce='pca:13' asks for more than the 12 features"),
        ({"reduce": "pca:12", "labels_per_class": 1}, r"asks for more than the 10 training images"),
        ({"groups": ((".*", {}),)}, r"is fitted on features that stay, but backbone/.* moves"),
        ({"head__pool": "flatten"}, r"config.head reads past reduce: set head.pool='gap'"),
    ],
)
def test_maps_that_cannot_be(changes, said):
    with pytest.raises(InputError, match=said):
        work_of(**changes)


def test_a_head_on_the_means_of_several_maps():
    maps = {"stage1": jnp.full((1, 2, 2, 1), 3.0), "pooled": jnp.array([[0.0, 2.0]])}
    head = Head(outputs=1, maps=("stage1", "pooled"))
    params = {"params": {"kernel": jnp.array([[1.0], [10.0], [100.0]]), "bias": jnp.zeros(1)}}
    assert_allclose(np.asarray(head.apply(params, maps)), [[1 + 100]], rtol=1e-6)  # each mean has length 1
    with pytest.raises(InputError, match=r"unknown map in head.maps 'stage9'"):
        Head(outputs=1, maps=("stage9",)).apply(params, maps)
    with pytest.raises(InputError, match=r"head.maps reads means of maps, not head.pool='flatten'"):
        Head(outputs=1, maps=("stage1",), pool="flatten").apply(params, maps)


def test_a_side_head_learns_on_cached_maps(tmp_path):
    """Everything from the first map that it reads is kept, and the same is learnt as without."""
    ends = []
    for number, kept in enumerate((False, True)):
        folder = tmp_path / str(number)
        chosen = toy.toy_config(
            "configs/probe.py",
            **toy.PLAIN,
            head__maps=("stage1", "pooled"),
            recompute_frozen=not kept,
            train_transforms=(),
        )
        build.run(chosen, folder, quiet=True, report=False)
        ends.append(toy.leaves_of(folder))
    toy.same_leaves(ends[0], ends[1], 1e-5)


def test_ways_by_name():
    assert reduction.parse("") == ("", 0)
    assert reduction.parse("random:7") == ("random", 7)
