"""Distillation: each term by hand, the teacher as it was, and teachers that cannot teach."""

from __future__ import annotations

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from numpy.testing import assert_allclose
from safetensors.numpy import load_file

from tl import begin, build, config, distillation, mixing, predictor
from tl.errors import InputError
from tl.evaluators.collect import collect
from tl.methods import distill
from tl.methods.base import Part, same_classes, taught
from tl.tasks import make as make_task


def test_attention_is_the_normalised_mean_square_over_channels():
    maps = jnp.array([[[[1.0, 1.0], [2.0, 2.0]], [[0.0, 0.0], [4.0, 0.0]]]])  # 2 x 2 pixels: 1, 4, 0, 8
    assert_allclose(distillation.attention(maps), [[1 / 9, 4 / 9, 0, 8 / 9]], rtol=1e-6)
    wide = jnp.concatenate([maps, maps], axis=-1)  # a width more changes nothing
    assert_allclose(distillation.attention_distance(maps, wide, ("a", "b")), 0, atol=1e-7)
    flat = jnp.ones((1, 2, 2, 3))
    expected = np.mean((np.array([1, 4, 0, 8]) / 9 - 0.5) ** 2)
    assert_allclose(distillation.attention_distance(maps, flat, ("a", "b")), expected, rtol=1e-6)


def test_hint_distance():
    assert_allclose(distillation.hint_distance(jnp.zeros((1, 1, 2, 1)), jnp.array([[[[1.0], [3.0]]]]), ("a", "b")), 2.5)


def test_relations_by_hand():
    # A right angle with sides 3 and 4: distances 3, 4, 5, each twice, of mean 4.
    corner = jnp.array([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    assert_allclose(distillation.pair_distances(corner), np.array([[0, 3, 4], [3, 0, 5], [4, 5, 0]]) / 4, rtol=1e-6)
    cosines = distillation.angles(corner)
    assert_allclose(cosines[0, 1, 2], 0, atol=1e-7)
    assert_allclose(cosines[1, 0, 2], 3 / 5, rtol=1e-6)
    assert_allclose(cosines[2, 0, 1], 4 / 5, rtol=1e-6)
    assert_allclose(distillation.huber(jnp.array([0.5, -2.0])), [0.125, 1.5])
    turned = 2 * corner @ jnp.array([[0.0, 1.0], [-1.0, 0.0]])  # the same relations, elsewhere and larger
    assert_allclose(jnp.stack(distillation.relational(corner, turned)), 0, atol=1e-10)
    line = jnp.array([[0.0], [1.0], [3.0]])
    distance, angle = distillation.relational(corner, line)
    apart = np.array([3, 4, 5]) / 4 - np.array([1, 3, 2]) / 2
    assert_allclose(distance, 2 * np.sum(0.5 * apart**2) / 9, rtol=1e-5)
    assert angle > 0
    gradient = jax.grad(lambda x: sum(distillation.relational(x, corner)))(jnp.zeros((3, 2)))
    assert np.isfinite(gradient).all()


def row(name: str, **changes):
    return toy.toy_config(f"configs/{name}.py", **{**toy.METHODS[name], "train_transforms": (), **changes})


def test_the_teacher_answers_as_its_own_run_did_and_is_not_exported(tmp_path):
    """A run teaches: its preprocessing, its bottleneck and its head, from images of the student's size."""
    first = toy.toy_config(
        "configs/scratch.py",
        **{**toy.PLAIN, "mean": (0.2, 0.2, 0.2), "bottleneck__width": 6, "head__hidden": (5,), "head__dropout": 0.5},
    )
    build.run(first, tmp_path / "teacher", quiet=True, report=False)
    changes = {"data": "digits", "teacher__weights": f"run:{tmp_path / 'teacher'}", "teacher__model_args": {}}
    student = row("distill", **changes)
    work = toy.Steps(student)
    net = begin.binder(work.experiment, lambda path: False)(work.state.params, work.state.stats)
    answers = collect(
        lambda batch: {"outputs": net.maps(batch, part="teacher")["outputs"]}, work.experiment.evals["test"]
    )
    said = np.load(tmp_path / "teacher" / "predictions.npz")["test/outputs/label"]
    assert_allclose(answers["outputs"], said, rtol=1e-4, atol=1e-5)
    summary = build.run(student, tmp_path / "student", quiet=True, report=False)
    held = toy.leaves_of(tmp_path / "student")
    assert not any("teacher" in path for path in held)
    assert summary["params/total"] == sum(leaf.size for path, leaf in held.items() if path.startswith("params/"))


def test_a_teacher_sees_images_of_its_own_size():
    work = toy.Steps(row("distill", image_size=12, resize=12))
    net = begin.binder(work.experiment, lambda path: False)(work.state.params, work.state.stats)
    rows = next(iter(work.experiment.passes["train"]))
    assert rows["image"].shape[1:3] == (12, 12)
    assert net.maps(rows, part="teacher")["stage1"].shape[1:3] == (2, 2)  # of 8 x 8 pixels
    assert net.maps(rows)["stage1"].shape[1:3] == (4, 4)


def test_the_loss_is_shared_between_labels_and_teacher():
    first = toy.Steps(row("distill", method_args={"share": 0.25, "temperature": 2.0})).run(1)[0]
    assert first["loss"] == pytest.approx(0.75 * first["loss_task"] + 0.25 * first["loss_teacher"], rel=1e-5)
    assert first["loss_teacher"] > 0


def test_student_and_teacher_see_the_same_mixtures():
    """Student and teacher are linear in the pixels' mean; the mixture is drawn as tl/mixing.py draws it."""

    class Linear:
        dtype = "float32"

        def outputs(self, inputs):
            value = inputs["image"].mean(axis=(1, 2, 3))
            return {"label": jnp.stack([value, jnp.zeros_like(value)], axis=1)}

        def maps(self, inputs, part, train):
            return {"outputs": 2 * self.outputs(inputs)["label"]}

    tasks = {"label": make_task("label", "classification", ("a", "b"))}
    method = distill.make(tasks, share=0.25, temperature=2.0, mixup=0.4, teacher=Part(Linear, outputs=2, source="x"))
    level, labels, key = np.array([1.0, -2.0, 3.0]), np.array([0, 1, 1]), jax.random.key(3)
    image = jnp.asarray(level, jnp.float32)[:, None, None, None] * jnp.ones((1, 2, 2, 3))
    value, scalars = method.steps[0][0](
        Linear(), {"train": {"image": image, "label": jnp.asarray(labels)}}, (), key, jnp.zeros(())
    )
    mixed = mixing.mixup(key, image, 0.4)
    share, partner = float(mixed.share), np.asarray(mixed.partner)
    x = share * level + (1 - share) * level[partner]
    log = lambda z: np.stack([-np.log1p(np.exp(-z)), -np.log1p(np.exp(z))], axis=1)  # noqa: E731
    hard = -(share * log(x)[range(3), labels] + (1 - share) * log(x)[range(3), labels[partner]]).mean()
    answers = np.exp(log(2 * x / 2))
    soft = 2.0**2 * (answers * (log(2 * x / 2) - log(x / 2))).sum(axis=1).mean()
    assert_allclose(scalars["loss_task"], hard, rtol=1e-5)
    assert_allclose(scalars["loss_teacher"], soft, rtol=1e-4)
    assert_allclose(value, 0.75 * hard + 0.25 * soft, rtol=1e-5)


def test_teachers_that_cannot_teach():
    with pytest.raises(InputError, match=r"'distill' learns from a teacher, and there is none: set"):
        build.experiment(row("distill", teacher__weights=""))
    seven = {"teacher__weights": toy.OLD, "teacher__model_args": {"widths": (4,), "hidden": 12}}
    with pytest.raises(InputError, match="tells 7 classes apart and the data has 4: 'distill' learns"):
        build.experiment(row("distill", **seven))
    toy.Steps(row("relational", **seven))  # features need no classes
    with pytest.raises(InputError, match="the weights of the teacher do not fit its network: params/teacher/"):
        toy.Steps(row("distill", teacher__model_args={"widths": (5,), "hidden": 12}))
    with pytest.raises(InputError, match="but the method 'finetune' learns from no teacher: leave it out"):
        build.experiment(toy.toy_config(teacher__model="lenet", **seven))
    for name, value in (("share", 1.5), ("temperature", 0.0)):
        with pytest.raises(InputError, match=rf"method_args.{name}={value} must lie in "):
            build.experiment(row("distill", method_args={name: value}))
    with pytest.raises(InputError, match="written for the model 'lenet', but the model is 'resnet20_cifar'"):
        build.experiment(row("distill", teacher__model="resnet20_cifar"))
    with pytest.raises(InputError, match=r"the teacher's 'fc' has no places to be compared"):
        toy.Steps(row("attention_transfer", method_args={"maps": ("stage1",), "teacher_maps": ("fc",)}))
    with pytest.raises(InputError, match=r"the student's 'fc' has no places to be compared"):
        toy.Steps(row("fitnets", method_args={"hint": "fc"}))
    with pytest.raises(InputError, match=r"the teacher .* reads image and the student tokens: name one of its kind"):
        build.experiment(toy.toy_config("configs/distill.py", **{**toy.TEXT, **toy.TAUGHT, "teacher__model": "lenet"}))
    with pytest.raises(InputError, match="cannot be matched in turn"):
        toy.Steps(row("attention_transfer", method_args={"maps": ("stage1",), "teacher_maps": ("stage1", "fc")}))
    with pytest.raises(InputError, match="unknown map in method_args 'stage9'"):
        toy.Steps(row("fitnets", method_args={"hint": "stage9"}))


@pytest.mark.parametrize(
    "asked", [{"reduce": "pca:3"}, {"head__maps": ("stage1", "pooled")}, {"head__pool": "flatten"}]
)
def test_a_teacher_answers_as_its_run_does(tmp_path, asked):
    """Also where it classifies fewer features, means of several maps or a map as it is."""
    made = tmp_path / "w"
    build.run(toy.toy_config("configs/probe.py", **asked, steps=3), made, quiet=True, report=False)
    work = toy.Steps(toy.toy_config("configs/distill.py", teacher__weights=f"run:{made}"), devices=1)
    net = begin.binder(work.experiment, lambda path: False)(work.state.params, work.state.stats)
    batch = next(iter(work.experiment.evals["test"]))
    said = taught(net, work.experiment.method.parts["teacher"], batch)["outputs"]
    held = np.load(made / "predictions.npz")["test/outputs/label"][: len(said)]
    assert_allclose(said[: len(held)], held, rtol=1e-4, atol=1e-5)


def test_classes_of_a_teacher_in_another_order():
    task = make_task("label", "classification", ("a", "b"))
    with pytest.raises(InputError, match=r"has the same classes in another order, b, a, \.\.\., than the data, a, b"):
        same_classes("distill", Part(lambda: None, outputs=2, classes=("b", "a"), source="x"), task)
    same_classes("distill", Part(lambda: None, outputs=2, classes=("b", "c"), source="x"), task)  # other names


def test_a_finished_student_predicts_without_its_teacher(tmp_path):
    teacher = tmp_path / "teacher.safetensors"
    shutil.copy(toy.TAUGHT["teacher__weights"].removeprefix("file:"), teacher)
    build.run(row("fitnets", teacher__weights=f"file:{teacher}"), tmp_path / "run", quiet=True, report=False)
    teacher.unlink()
    loaded = predictor.load(tmp_path / "run")
    assert loaded.tasks["label"].outputs == 4
    assert config.from_json((tmp_path / "run" / "config.json").read_text()).method == "fitnets"
    assert "params/regressor/conv/kernel" in load_file(tmp_path / "run" / "weights.safetensors")
