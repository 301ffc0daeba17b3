"""Classes in groups: what a stage sees, what is kept of it, and the terms of the methods that forget less."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

import main
from tl import build, config, increments, losses, metrics, predictor
from tl.data.increments import bounds, group
from tl.errors import InputError
from tl.inputs import open_data

GROUPS = {"data": "noise:8,4,120", "increments": 2, "labels_per_class": 0}


def second(name, **changes):
    return toy.Steps(toy.toy_config(f"configs/{name}.py", **{**toy.METHODS[name], **changes}), devices=1)


def losses_of(work):
    """The scalars of the first step, and what it is made of: net, batch."""
    return work.run(1)[0]


def test_groups_are_of_equal_size():
    assert bounds(10, 5) == [0, 2, 4, 6, 8, 10]
    assert bounds(7, 3) == [0, 2, 5, 7]
    with pytest.raises(InputError, match=r"config.increments=5 is not possible: 4 classes make 2..4 groups"):
        bounds(4, 5)


def test_a_stage_sees_its_own_classes_and_what_was_kept():
    dataset = open_data(toy.toy_config(data="noise:8,4,120", labels_per_class=0))
    first, last = (group(dataset, 2, number, exemplars=3, seed=0).splits for number in (1, 2))
    seen = {name: sorted(set(split.labels["label"].tolist())) for name, split in last.items()}
    assert seen == {
        "train": [2, 3],
        "val": [0, 1, 2, 3],
        "test": [0, 1, 2, 3],
        "earlier": [0, 1],
        "exemplars": [0, 1, 2, 3],
    }
    assert {name: sorted(set(split.labels["label"].tolist())) for name, split in first.items()} == {
        name: [0, 1] for name in ("train", "val", "test", "exemplars")
    }
    assert len(last["earlier"]) == 6
    # What is kept of the first group are images that it was learnt from.
    assert set(last["earlier"].names) == set(first["exemplars"].names) <= set(first["train"].names)
    assert not set(last["train"].names) & set(last["test"].names)


def test_forgetting_is_the_fall_from_the_best():
    """Group 1 was .9 at best and ends at .5, group 2 falls from .8 to .7: the mean of .4 and .1."""
    table = np.array([[0.9, np.nan, np.nan], [0.7, 0.8, np.nan], [0.5, 0.7, 0.6]])
    assert metrics.forgetting(table) == pytest.approx(0.25)


def test_replay_adds_the_loss_on_kept_images():
    scalars = losses_of(second("replay", method_args={"weight": 0.5}))
    assert scalars["loss"] == pytest.approx(scalars["loss_new"] + 0.5 * scalars["loss_earlier"], rel=1e-6)


def test_without_forgetting_the_first_step_finds_nothing_lost():
    """The start says what it said, and the new classes alone are told apart: five of ten."""
    work = second("lwf_incremental", model_args={"widths": (4,), "hidden": 12, "dropout": 0.0})
    scalars = losses_of(work)
    assert scalars["loss_earlier"] == pytest.approx(0, abs=1e-6)
    assert scalars["loss"] == pytest.approx(scalars["loss_new"], rel=1e-6)
    outputs = np.array([[5.0, 1.0, 0.2, -0.3]])
    by_hand = np.log(np.exp(0.2) + np.exp(-0.3)) + 0.3
    assert losses.cross_entropy(jnp.asarray(outputs)[:, 2:], jnp.array([3]) - 2)[0] == pytest.approx(by_hand)


def test_the_fisher_information_is_the_mean_square_of_single_gradients():
    work = second("ewc")
    fisher = work.host().memory["fisher"]["head"]
    # Of a softmax behind a linear layer: the gradient is (p - y) x for the kernel and p - y for the bias.
    experiment, state = work.experiment, work.state
    from tl import begin

    net = begin.binder(experiment, lambda path: False)(state.params, state.stats)
    rows = [jax.device_get(batch) for batch in experiment.passes["earlier"]]
    kernel, bias, count = 0.0, 0.0, 0
    for batch in rows:
        features, outputs = net.both(batch)
        slope = np.asarray(jax.nn.softmax(outputs["label"]) - jax.nn.one_hot(batch["label"], 10))[batch["mask"]]
        x = np.asarray(features)[batch["mask"]]
        kernel = kernel + np.einsum("nd,nc->dc", x**2, slope**2)
        bias, count = bias + (slope**2).sum(axis=0), count + len(x)
    assert count == 15
    np.testing.assert_allclose(fisher["kernel"], kernel / count, rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(fisher["bias"], bias / count, rtol=1e-4)


def test_what_mattered_is_pulled_back():
    """Half the weight times the sum of Fisher information times the square of the way gone."""
    work = second("ewc", method_args={"weight": 10.0})
    scalars = work.run(2)
    assert scalars[0]["moved"] == 0
    assert scalars[1]["loss"] == pytest.approx(scalars[1]["loss_new"] + 5 * scalars[1]["moved"], rel=1e-6)
    assert scalars[1]["moved"] > 0


def test_the_nearest_mean_of_kept_images_decides():
    work = second("icarl")
    from tl import begin

    method, experiment, state = work.experiment.method, work.experiment, work.state
    net = begin.binder(experiment, lambda path: False)(state.params, state.stats)
    assert method.ready is not None
    ready = method.ready(net, state.memory, experiment.passes)
    batch = next(iter(experiment.passes["exemplars"]))
    features = np.asarray(net.features(batch))[np.asarray(batch["mask"])]
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    labels = np.asarray(batch["label"])[np.asarray(batch["mask"])]
    means = np.stack([features[labels == c].mean(axis=0) for c in range(10)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(ready["means"], means, rtol=1e-4, atol=1e-6)
    outputs = method.predict(net, batch, ready)["label"][: len(features)]
    np.testing.assert_allclose(outputs, -((features[:, None] - means[None]) ** 2).sum(-1), rtol=1e-3, atol=1e-5)
    # Before the first evaluation there is no mean: every class is as far away as can be.
    assert (np.asarray(method.predict(net, batch, state.memory)["label"]) == -8).all()


def test_a_run_over_groups_resumes_and_says_what_was_forgotten(tmp_path):
    folder = tmp_path / "run"
    flags = [
        *toy.arguments(**toy.LENET, **GROUPS, exemplars=3),
        "--workdir",
        str(folder),
        "--config",
        "configs/icarl.py",
    ]
    assert main.main(flags) == 0
    summary = json.loads((folder / "summary.json").read_text())
    stages = [json.loads((folder / "stages" / str(k) / "summary.json").read_text()) for k in (0, 1)]
    after = [summary[f"groups/after{k}/group1"] for k in (1, 2)]
    assert after[0] == pytest.approx(stages[0]["test/accuracy"])  # one group of two classes, among these alone
    assert summary["groups/forgetting"] == pytest.approx(after[0] - after[1])
    last = [summary[f"groups/after2/group{k}"] for k in (1, 2)]
    assert summary["groups/accuracy"] == pytest.approx(np.mean(last))
    assert summary["known_group/accuracy"] >= summary["groups/accuracy"]
    # The finished run predicts by the nearest of its means, as it was tested.
    stage = config.from_json((folder / "stages" / "1" / "config.json").read_text())
    said = predictor.load(folder).outputs(open_data(stage).splits["test"])["label"]
    held = np.load(folder / "predictions.npz")["test/outputs/label"]
    np.testing.assert_allclose(said, held, rtol=1e-4, atol=1e-5)
    assert (held <= 0).all()
    stamp = (folder / "stages" / "1" / "weights.safetensors").stat().st_mtime_ns
    assert main.main(flags) == 0
    assert (folder / "stages" / "1" / "weights.safetensors").stat().st_mtime_ns == stamp


def test_domains_one_after_the_other(tmp_path):
    """Two domains of the same classes: each is a group, and the earlier one's figures stand beside."""
    data = {"data": "digits+glyphs:digits-sans", "increments": 2, "exemplars": 3, "labels_per_class": 6}
    seen = open_data(toy.toy_config("configs/replay.py", **data, increment=2))
    names = {name: {str(n).partition("/")[0] for n in split.names} for name, split in seen.splits.items()}
    assert names["train"].isdisjoint(names["earlier"])
    assert names["test"] == names["train"] | names["earlier"] == names["exemplars"]
    assert len(seen.splits["earlier"]) == 30
    flags = [*toy.arguments(**toy.LENET, **data), "--workdir", str(tmp_path), "--config", "configs/replay.py"]
    assert main.main(flags) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    table = np.load(tmp_path / "predictions.npz")
    right, place = table["test/outputs/label"].argmax(axis=1) == table["test/label"], table["test/domain"]
    assert [summary[f"groups/after2/group{k + 1}"] for k in (0, 1)] == [right[place == k].mean() for k in (0, 1)]
    assert "known_group/accuracy" not in summary
    fell = summary["groups/after1/group1"] - summary["groups/after2/group1"]
    assert summary["groups/forgetting"] == pytest.approx(fell)


def test_new_data_beside_old(tmp_path):
    """The old test images are evaluated before and after, and the old images of each class come in beside the new."""
    first = tmp_path / "first"
    assert (
        main.main(
            [*toy.arguments(**toy.LENET, data="digits"), "--workdir", str(first), "--config", "configs/scratch.py"]
        )
        == 0
    )
    flags = toy.arguments(
        **toy.LENET, data="glyphs:digits", earlier="digits", exemplars=2, weights=f"run:{first}", **{"optim.clip": 5.0}
    )
    second = tmp_path / "second"
    assert main.main([*flags, "--workdir", str(second), "--config", "configs/refinetune.py"]) == 0
    before = json.loads((first / "summary.json").read_text())
    after = json.loads((second / "summary.json").read_text())
    assert after["before/earlier/accuracy"] == pytest.approx(before["test/accuracy"])
    assert 0 <= after["earlier/accuracy"] <= 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"increments": 5}, r"config.increments=5 is not possible"),
        ({"increments": 2, "increment": 3}, r"config.increment=3 must be a group in 1..2"),
        ({"increments": 2, "increment": 2, "exemplars": 400}, r"400 labels a class are more than"),
        (
            {"increments": 2, "increment": 2, "exemplars": 0},
            r"'replay' keeps images of what was learnt: set config.exemplars",
        ),
        ({"increments": 2, "increment": 1, "target": "glyphs:digits", "data": "digits"}, r"leave config.target out"),
        (
            {"increments": 3, "increment": 1, "data": "digits+glyphs:digits"},
            r"names 2 domains, of which each is a group",
        ),
        ({"increments": 0, "earlier": "digits"}, r"the domains 'noise:8,4,120' and 'digits' have different classes"),
    ],
)
def test_groups_that_cannot_be(changes, said):
    chosen = {**toy.LENET, "data": "noise:8,4,120", "exemplars": 3, **changes}
    if chosen["increments"] == 5:
        chosen["increment"] = 1
    with pytest.raises(InputError, match=said):
        build.experiment(toy.toy_config("configs/replay.py", **chosen))


def test_stages_of_its_own(tmp_path):
    chosen = config.load("configs/incremental.py", {"stages": ({"epochs": 1},)})
    with pytest.raises(InputError, match=r"config.increments makes a stage of each group"):
        increments.run(chosen, tmp_path, lambda *args, **kwargs: {})


def test_classes_must_be_new_to_the_nearest_means():
    for changes, said in (
        (
            {"earlier": "glyphs:digits", "increments": 0, "increment": 0},
            "here none is new: take replay or lwf_incremental",
        ),
        ({"unlabelled": True, "labels_per_class": 2}, "does not go with config.unlabelled: leave one of them out"),
    ):
        with pytest.raises(InputError, match=said):
            second("icarl", **changes)
