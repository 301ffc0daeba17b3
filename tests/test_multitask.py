"""Several tasks: whose labels they are, the ways to weigh them worked by hand, and the layers they share."""

from __future__ import annotations

import csv
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from numpy.testing import assert_allclose
from PIL import Image

from scripts import predict
from tl import begin, build, inputs, multitask, runs, tasks
from tl.data import measured
from tl.data.several import open_tasks
from tl.errors import InputError
from tl.evaluators.figures import figures
from tl.methods import dwa, gradnorm, pcgrad, uncertainty

LEAN = ("lean", {"of": "slant"})
TWO = {"a": tasks.make("a", "regression", ("a",)), "b": tasks.make("b", "regression", ("b",))}


class Product:
    """Outputs p * x and p^2 * x of one shared parameter, and one of each head added."""

    def __init__(self, params):
        self.params = params

    def outputs(self, rows):
        p, x = self.params["backbone"], rows["x"]
        return {"a": (p * x + self.params["head_a"])[:, None], "b": (p**2 * x + self.params["head_b"])[:, None]}

    def log_variance(self):
        return self.params["log_variance"]


NOW = jnp.asarray(0.5)
ROWS = {"train": {"x": jnp.array([1.0, 2.0]), "a": jnp.array([0.0, 0.0]), "b": jnp.array([9.0, 9.0])}}
PARAMS = {"backbone": jnp.array(1.0), "head_a": jnp.array(0.0), "head_b": jnp.array(0.0)}
LOSSES = np.array([(1 + 4) / 2, (64 + 49) / 2])
SLOPES = np.array([(2 * 1 + 2 * 2 * 2) / 2, (2 * -8 * 2 + 2 * -7 * 4) / 2])  # by the shared parameter, of a and of b


def gradient_of(method, memory=()):
    def objective(params):
        value, aux = method.steps[0][0](Product(params), ROWS, memory, jax.random.key(0), NOW)
        return value, (aux, "stats")

    return method.gradient(objective, PARAMS)


def test_labels_of_each_task(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (20, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "one.npz", x_train=image, y_train=np.arange(20) % 2)
    np.savez(tmp_path / "two.npz", x_train=255 - image, y_train=np.arange(20) % 3)
    spec = f"npz:{tmp_path}/one.npz+npz:{tmp_path}/two.npz"
    wanted = (("first", {"data": "one"}), ("second", {"data": "two"}), ("which", {"of": "domain"}), LEAN)
    dataset = open_tasks(spec, wanted, val_fraction=0.0)
    assert dataset.tasks["second"] == ("classification", ("0", "1", "2"))
    assert dataset.tasks["which"] == ("classification", ("one", "two"))
    train = dataset.splits["train"]
    one = train.labels["which"] == 0
    assert (train.labels["domain"] == train.labels["which"]).all()
    assert set(train.labels["first"][one]) == {0, 1}
    assert set(train.labels["first"][~one]) == {-1}
    assert set(train.labels["second"][~one]) == {0, 1, 2}
    assert set(train.labels["second"][one]) == {-1}
    row = int(np.flatnonzero(~one)[0])
    assert train.labels["lean"][row] == pytest.approx(measured.slant(measured.ink(train.load(row))))
    only = open_tasks(spec, (("lean", {"of": "slant", "data": "one"}),), val_fraction=0.0)
    assert np.isnan(only.splits["train"].labels["lean"]).sum() == len(train) - one.sum()


@pytest.mark.parametrize("width", [2, 5])
@pytest.mark.parametrize("lean", [0.0, 0.3, -0.5])
def test_a_stroke_is_measured(width, lean):
    y, x = np.mgrid[:28, :28]
    middle = 14 + lean * (14 - y)
    inside = np.clip(width / 2 + 0.5 - abs(x - middle), 0, 1) * (abs(y - 14) < 9)
    stroke = measured.ink(np.repeat((255 * inside).astype(np.uint8)[:, :, None], 3, axis=2))
    assert measured.slant(stroke) == pytest.approx(lean, abs=0.02)
    assert measured.thickness(stroke) == pytest.approx(width * np.cos(np.arctan(lean)), abs=0.4)


def test_what_is_not_known_does_not_count():
    task = tasks.of_some(tasks.make("label", "classification", ("a", "b")))
    outputs = jnp.array([[2.0, 0.0], [0.0, 1.0], [5.0, 0.0]])
    assert_allclose(task.loss(outputs, jnp.array([0, 0, -1])), np.log1p(np.exp([-2.0, 1.0])).mean(), rtol=1e-6)
    assert float(task.loss(outputs, jnp.array([-1, -1, -1]))) == 0
    value = tasks.of_some(tasks.make("v", "regression", ("x", "y")))
    labels = jnp.array([[1.0, 1.0], [1.0, jnp.nan], [5.0, 2.0]])
    assert_allclose(value.loss(outputs, labels), (1 + 2) / 2)
    assert_allclose(value.each(outputs, labels), [1, 0, 2])
    assert np.isfinite(jax.grad(lambda found: value.loss(found, labels))(outputs)).all()
    table = {
        "outputs/label": np.array([[2.0, 0], [0, 1], [5, 0]]),
        "label": np.array([0, 0, -1]),
        "index": np.arange(3),
    }
    assert figures({"val": table}, {"label": task})["val/accuracy"] == 0.5


def test_uncertainties_weigh():
    one = tasks.make("b", "classification", ("x", "y"))
    method = uncertainty.make({"a": TWO["a"], "b": one})
    net = Product({**PARAMS, "log_variance": jnp.array([0.2, -0.4])})
    net.outputs = lambda rows: {"a": rows["x"][:, None], "b": jnp.zeros((2, 2))}
    rows = {"train": {**ROWS["train"], "b": jnp.array([0, 1])}}
    value, scalars = method.steps[0][0](net, rows, (), jax.random.key(0), NOW)
    by_hand = np.exp(-0.2) * 2.5 / 2 + 0.1 + np.exp(0.4) * np.log(2) - 0.2
    assert_allclose(value, by_hand, rtol=1e-6)
    assert_allclose(scalars["loss_b"], np.log(2), rtol=1e-6)


def test_gradients_that_point_apart():
    """Along one parameter two gradients of different sign take each other away whole; heads keep theirs."""
    found, (value, (aux, stats)) = gradient_of(pcgrad.make(TWO, layers={}))
    assert_allclose(value, LOSSES.sum())
    assert_allclose(found["backbone"], 0, atol=1e-5)
    assert_allclose([found["head_a"], found["head_b"]], [3, -15])
    assert float(aux["conflict"]) == 1
    assert (stats, "order" in aux) == ("stats", False)
    # In a plane, by hand: (1, 0) against (-1, 1) loses half of (-1, 1) times -1; and the other its share of (1, 0).
    first, second = multitask.without_conflicts([jnp.array([1.0, 0]), jnp.array([-1.0, 1])], jnp.array([1, 0]))
    assert_allclose(first, [0.5, 0.5])
    assert_allclose(second, [0, 1])
    # Three, the others as they were and in the order given: by hand, the third of (1, 0), (-1, 1), (0, -1) meets the
    # second, loses (-1, 1) times -1/2 and is (-1/2, -1/2), then the first, and is (0, -1/2).
    three = [jnp.array(v) for v in ([1.0, 0], [-1.0, 1], [0.0, -1])]
    found = multitask.without_conflicts(three, jnp.array([2, 1, 0]))
    assert_allclose(found, [[0.5, 0.5], [0, 0], [0, -0.5]], atol=1e-7)
    same = [jnp.array([1.0, 1]), jnp.array([1.0, 0])]
    assert_allclose(multitask.without_conflicts(same, jnp.array([0, 1])), same)


def test_norms_are_balanced():
    method = gradnorm.make(TWO, alpha=2.0, rate=0.01, layers={})
    memory = {"weights": jnp.array([0.5, 1.5]), "first": jnp.array([5.0, 60.0])}
    found, (value, (aux, _)) = gradient_of(method, memory)
    assert_allclose(found["backbone"], 0.5 * SLOPES[0] + 1.5 * SLOPES[1], rtol=1e-6)
    assert_allclose(value, 0.5 * LOSSES[0] + 1.5 * LOSSES[1], rtol=1e-6)
    norms = np.array([0.5, 1.5]) * abs(SLOPES)
    assert_allclose(aux["carry"]["norms"], norms, rtol=1e-6)
    ratio = LOSSES / [5, 60]
    aim = norms.mean() * (ratio / ratio.mean()) ** 2
    moved = np.array([0.5, 1.5]) - 0.01 * np.sign(norms - aim) * norms / [0.5, 1.5]
    after = method.after(memory, {}, aux["carry"])
    assert_allclose(after["weights"], moved * 2 / moved.sum(), rtol=1e-5)
    # The first losses are those of the first step.
    begun = method.after(method.memory(None, None), {}, aux["carry"])
    assert_allclose(begun["first"], LOSSES)
    # What is learnt to the end, or was never asked, makes no weight worthless.
    for losses, first in (([0.0, 0.0], [1.0, 1.0]), ([1.0, 0.0], [1.0, 0.0])):
        moved = multitask.balanced(jnp.ones(2), jnp.zeros(2), jnp.array(losses), jnp.array(first), 1.5, 0.025)
        assert_allclose(moved, [1, 1])


def test_what_falls_slowly_counts_more():
    method = dwa.make(TWO, temperature=2.0, every=2)
    memory = method.memory(None, None)
    for losses in ([8.0, 4], [4, 4], [4, 3], [2, 3]):
        value, aux = method.steps[0][0](Product(PARAMS), ROWS, memory, jax.random.key(0), NOW)
        assert_allclose(value, LOSSES.sum(), rtol=1e-6)  # until two stretches are whole
        memory = method.after(memory, {}, {"losses": jnp.array(losses)})
    shares = np.exp(np.array([3 / 6, 3 / 4]) / 2)
    shares = 2 * shares / shares.sum()
    value, aux = method.steps[0][0](Product(PARAMS), ROWS, memory, jax.random.key(0), NOW)
    assert_allclose(value, (shares * LOSSES).sum(), rtol=1e-6)
    assert_allclose(aux["weight_b"], shares[1], rtol=1e-6)


def test_tasks_of_two_sources(tmp_path):
    """A set in which a task is not known has no figure of it, and heads are kept, asked for and replaced each alone."""
    wanted = (("p", {"data": "glyphs:digits"}), ("h", {"data": "digits"}))
    changes = {**toy.SEVERAL, "data": "glyphs:digits+digits", "tasks": wanted, "steps": 2, "eval_every": 2}
    chosen = toy.toy_config("configs/multi_task.py", **changes, class_report=True)
    summary = build.run(chosen, tmp_path / "a", quiet=True)
    assert {"test/p/accuracy", "test/h/accuracy"} <= summary.keys()
    assert "of p</h2>" in (tmp_path / "a" / "report.html").read_text()
    held = toy.leaves_of(tmp_path / "a")

    def begun(**more):
        again = toy.toy_config("configs/multi_task.py", **changes, **more, weights=f"run:{tmp_path / 'a'}")
        return begin.init(build.experiment(again))[0].params["head_h"]["kernel"]

    assert (begun() == held["params/head_h/kernel"]).all()
    assert (begun(classifier="replace") != held["params/head_h/kernel"]).any()
    changes["tasks"] = (*wanted, ("new", {"of": "domain"}))
    with pytest.raises(InputError, match=r"not filled: params/head_new/bias"):
        begun(classifier="keep")
    assert (begun() == held["params/head_h/kernel"]).all()


def test_a_task_without_labels_in_a_set_has_no_figure():
    table = {"outputs/label": np.zeros((2, 2)), "label": np.array([-1, -1]), "index": np.arange(2)}
    assert figures({"val": table}, {"label": tasks.of_some(tasks.make("label", "classification", ("a", "b")))}) == {}


def test_tasks_share_layers_and_are_predicted(tmp_path, capsys):
    changes = {**toy.SEVERAL, "steps": 2, "eval_every": 2, "select": "val/slant/mae", "bottleneck__width": 5}
    wanted = (("what", {"layer": "x"}), *((kind, {"of": kind, "layer": "y"}) for kind in ("slant", "thickness")))
    summary = build.run(toy.toy_config("configs/multi_task.py", **{**changes, "tasks": wanted}), tmp_path, quiet=True)
    assert {"test/what/accuracy", "test/slant/mae", "test/thickness/r2"} <= summary.keys()
    leaves = toy.leaves_of(tmp_path)
    assert leaves["params/head_slant/kernel"].shape == (5, 1)
    assert {path.split("/")[1] for path in leaves} >= {"layer_x", "layer_y", "head_what", "head_thickness"}
    table = np.load(tmp_path / "predictions.npz")
    assert table["test/outputs/what"].shape == (len(table["test/thickness"]), 10)

    image = inputs.open_data(toy.toy_config()).splits["test"].load(0)
    Image.fromarray(image).save(tmp_path / "one.png")
    assert runs.headline(summary).startswith(f"test/what/accuracy {summary['test/what/accuracy']:.4f}, ")
    assert predict.main(["--workdir", str(tmp_path), str(tmp_path / "one.png")]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["what/class"] in list("0123456789")
    assert float(row["slant/slant"]) == pytest.approx(table["test/outputs/slant"][0, 0], abs=1e-4)


def test_a_set_of_runs_prints_every_task(capsys):
    rows = [
        {"variant": variant, "metric": metric, "mean": mean, "std": 0.01, "n": 3}
        for variant in ("sum", "weighed")
        for metric, mean in (("test/what/accuracy", 0.91), ("test/lean/mae", 0.08), ("val/lean/mae", 0.5))
    ]
    runs.print_set(rows)
    printed = capsys.readouterr().out
    assert "test/what/accuracy" in printed
    assert "test/lean/mae" in printed
    assert "val/lean/mae" not in printed
    assert runs.headline({"test/lean/mae": 0.08, "time/wall_s": 2.0}) == "done, 2 s"


def test_no_ensemble_of_several_tasks(tmp_path):
    changes = {**toy.SEVERAL, "steps": 0, "combine": "ensemble", "weights": f"{toy.OLD}+{toy.OLD}"}
    with pytest.raises(InputError, match=r"config.combine='ensemble' joins predictions of one task: leave config.task"):
        build.run(toy.toy_config("configs/multi_task.py", **changes), tmp_path)
    assert not any(tmp_path.iterdir())


def test_what_tasks_cannot_share_or_learn():
    frozen = {**toy.SEVERAL, "groups": (("head.*", {}), (".*", None))}
    with pytest.raises(InputError, match=r"learns the part 'log_variance', which config.groups freezes"):
        toy.Steps(toy.toy_config("configs/uncertainty.py", **frozen))
    with pytest.raises(InputError, match="the tasks share no layer"):
        multitask.has_common({"backbone": {}, "head_a": {"kernel": jnp.ones(1)}}, ["head_a"])


@pytest.mark.parametrize(
    ("said", "changes"),
    [
        (r"source of labels in config.tasks.a.of 'colour'", {"tasks": (("a", {"of": "colour"}),)}),
        (r"'domain' cannot be a task's name", {"tasks": (("domain", {"of": "slant"}),)}),
        (r"'a/b' cannot be a task's name", {"tasks": (("a/b", {"of": "slant"}),)}),
        (r"config.tasks names 'a' twice", {"tasks": (("b", {}), ("a", {"of": "slant"}), ("a", {"of": "slant"}))}),
        (r"config.tasks holds \['a'\]: write \(NAME, \{...\}\)", {"tasks": (["a"],)}),
        (r"flip changes what config.tasks measures", {"train_transforms": (("flip", {}),)}),
        (r"config.swad judges weights by val/loss", {"swad": (2, 2, 0.3)}),
        (
            r"config.accumulate=2 would cut batches of 2 domains",
            {
                "data": "digits+glyphs:digits",
                "tasks": (("a", {"data": "digits"}), ("b", {"of": "domain"})),
                "accumulate": 2,
                "mesh__data": 1,
                "mesh__model": 8,
            },
        ),
        (r"key in config.tasks.a 'off'", {"tasks": (("a", {"off": "label"}),)}),
        (r"data in config.tasks.a.data 'usps'", {"tasks": (("a", {"data": "usps"}),)}),
        (r"config.tasks.a tells sources apart: name several", {"tasks": (("a", {"of": "domain"}),)}),
        (
            r"a and b are both the labels of 'digits'",
            {"tasks": (("a", {}), ("b", {}))},
        ),
        (r"config.tasks.a.kind is about the data's own", {"tasks": (("a", {"of": "slant", "kind": "binary"}),)}),
        (r"config.target='glyphs:digits' does not go with config.tasks", {"target": "glyphs:digits"}),
        (r"shares layers, whose form is that of a bottleneck", {"tasks": (("a", {"layer": "x"}),)}),
        (r"'pcgrad' weighs several tasks, and there is one", {"method": "pcgrad", "tasks": ()}),
        (r"metric in config.select 'val/accuracy'", {"select": "val/accuracy"}),
        (r"config.task='regression' does not go with config.tasks: give the kind", {"task": "regression"}),
        (r"'mcc' needs one task of kind classification", {"method": "mcc"}),
        (
            r"have different classes",
            {
                "data": "digits+noise:8,3,60",
                "tasks": (("a", {}), ("b", {"of": "domain"})),
            },
        ),
    ],
)
def test_tasks_that_cannot_be(said, changes):
    with pytest.raises(InputError, match=said):
        build.experiment(toy.toy_config("configs/multi_task.py", **{**toy.SEVERAL, **changes}))
