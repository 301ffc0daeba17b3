"""Every kind of task: width of the head, loss, metrics, probabilities, and what a user can get wrong."""

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from tl import metrics, tasks
from tl.errors import InputError

LN2, LN3 = np.log(2.0), np.log(3.0)


def test_classification_has_one_output_a_class():
    task = tasks.make("label", "classification", ("cat", "dog"))
    assert (task.name, task.kind, task.outputs, task.classes) == ("label", "classification", 2, ("cat", "dog"))
    # softmax(0, ln 3) = (1, 3) / 4: the mean of ln 4 and ln(4/3)
    assert_allclose(task.loss(jnp.array([[0.0, LN3], [0.0, LN3]]), jnp.array([0, 1])), np.log(16 / 3) / 2, rtol=1e-6)
    assert_allclose(task.probabilities(np.array([[0, LN3]])), [[0.25, 0.75]])
    assert task.metrics(np.array([[0, LN3], [0, LN3]]), np.array([0, 1]))["accuracy"] == 0.5


def test_class_weights_weigh_the_examples():
    task = tasks.make("label", "classification", ("a", "b"), class_weights=np.array([1.0, 3.0]))
    # losses ln 4 (class 0, weight 1) and ln(4/3) (class 1, weight 3)
    loss = task.loss(jnp.array([[0.0, LN3], [0.0, LN3]]), jnp.array([0, 1]))
    assert_allclose(loss, (np.log(4) + 3 * np.log(4 / 3)) / 4, rtol=1e-6)


def test_label_smoothing_reaches_the_loss():
    task = tasks.make("label", "classification", ("a", "b"), label_smoothing=0.2)
    # target (.1, .9) against (1, 3) / 4
    assert_allclose(
        task.loss(jnp.array([[0.0, LN3]]), jnp.array([1])), 0.1 * np.log(4) + 0.9 * np.log(4 / 3), rtol=1e-6
    )


def test_binary_is_two_classes_on_one_output():
    task = tasks.make("label", "binary", ("no", "yes"))
    outputs, labels = np.array([[LN3], [0.0], [-LN2]], np.float32), np.array([1, 0, 1])
    assert task.outputs == 1
    # sigmoid = 3/4, 1/2, 1/3
    assert_allclose(task.probabilities(outputs), [[1 / 4, 3 / 4], [1 / 2, 1 / 2], [2 / 3, 1 / 3]], rtol=1e-6)
    loss = (np.log(4 / 3) + np.log(2) + np.log(3)) / 3
    assert_allclose(task.loss(jnp.asarray(outputs), jnp.asarray(labels)), loss, rtol=1e-6)
    values = task.metrics(outputs, labels)
    assert_allclose(values["loss"], loss, rtol=1e-6)
    assert_allclose(values["accuracy"], 2 / 3)  # the third is below a half


def test_multi_label_has_one_decision_a_class():
    task = tasks.make("label", "multi_label", ("a", "b", "c"))
    outputs, labels = np.array([[LN3, 0.0, -LN3]], np.float32), np.array([[1, 0, 1]])
    assert task.outputs == 3
    assert_allclose(task.probabilities(outputs), [[3 / 4, 1 / 2, 1 / 4]], rtol=1e-6)
    loss = (np.log(4 / 3) + np.log(2) + np.log(4)) / 3
    assert_allclose(task.loss(jnp.asarray(outputs), jnp.asarray(labels)), loss, rtol=1e-6)
    assert_allclose(task.metrics(outputs, labels)["loss"], loss, rtol=1e-6)


def test_regression_takes_flat_targets_as_one_column():
    task = tasks.make("label", "regression", ("age",))
    outputs, targets = np.array([[1.0], [5.0]], np.float32), np.array([2.0, 2.0], np.float32)
    assert task.outputs == 1
    for labels in (targets, targets[:, None]):
        assert_allclose(task.loss(jnp.asarray(outputs), jnp.asarray(labels)), (1 + 9) / 2)
        assert_allclose(task.metrics(outputs, labels)["mae"], (1 + 3) / 2)
    assert task.probabilities(outputs) is outputs


@pytest.mark.parametrize(
    ("kind", "outputs", "labels"),
    [
        ("classification", [[0.0, 1.0, -2.0], [3.0, 0.5, 0.0]], [1, 2]),
        ("binary", [[1.5], [-0.5]], [1, 1]),
        ("multi_label", [[1.5, -3.0], [-0.5, 0.2]], [[1, 0], [1, 1]]),
        ("regression", [[1.5], [-0.5]], [1.0, 0.0]),
    ],
)
def test_outputs_of_probabilities_give_the_same_metrics(kind, outputs, labels):
    task = tasks.make("label", kind, ("a", "b", "c")[: {"binary": 2}.get(kind, len(outputs[0]))])
    outputs, labels = np.array(outputs), np.array(labels)
    probabilities = task.probabilities(outputs)
    again = task.outputs_of(probabilities)
    assert again.shape == outputs.shape
    assert_allclose(task.probabilities(again), probabilities)
    assert_allclose(list(task.metrics(again, labels).values()), list(task.metrics(outputs, labels).values()))


def test_outputs_of_certainty_stay_finite():
    for kind, sure in (("classification", [[0.0, 1.0]]), ("binary", [[0.0, 1.0]]), ("multi_label", [[0.0, 1.0]])):
        again = tasks.make("label", kind, ("a", "b")).outputs_of(np.array(sure))
        assert np.isfinite(again).all()


@pytest.mark.parametrize(
    ("kind", "classes", "more", "words"),
    [
        ("clasification", ("a", "b"), {}, ["unknown task 'clasification'", "classification"]),
        ("binary", ("a", "b", "c"), {}, ["two classes", "3", "task=classification"]),
        ("classification", ("a", "b"), {"label_smoothing": 1.0}, ["label_smoothing", "1.0"]),
        ("classification", ("a", "b"), {"label_smoothing": -0.1}, ["label_smoothing", "-0.1"]),
        ("regression", ("a",), {"label_smoothing": 0.1}, ["'regression'", "remove"]),
        ("multi_label", ("a",), {"class_weights": np.ones(1)}, ["'multi_label'", "remove"]),
    ],
)
def test_bad_input_is_named(kind, classes, more, words):
    with pytest.raises(InputError) as error:
        tasks.make("label", kind, classes, **more)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_which_metrics_are_errors():
    labels = np.array([0, 1])
    found = {
        *metrics.classification(np.eye(2), labels),
        *metrics.multi_label(np.eye(2), np.eye(2)),
        *metrics.regression(np.eye(2), np.eye(2)),
    }
    assert {name for name in found if metrics.lower_is_better(f"val/{name}")} == {"loss", "ece", "mae"}
    assert metrics.lower_is_better("val/age/mae")
    assert not metrics.lower_is_better("loss/accuracy")


def test_losses_of_each_row_are_smoothed_and_weighed_as_their_mean():
    outputs, labels = jnp.array([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), jnp.array([0, 1, 1])
    weights = np.array([0.5, 1.5])
    plain = tasks.make("label", "classification", ("a", "b"), label_smoothing=0.1)
    np.testing.assert_allclose(plain.each(outputs, labels).mean(), plain.loss(outputs, labels), rtol=1e-6)
    weighed = tasks.make("label", "classification", ("a", "b"), label_smoothing=0.1, class_weights=weights)
    mean = weighed.each(outputs, labels).sum() / weights[np.asarray(labels)].sum()
    np.testing.assert_allclose(mean, weighed.loss(outputs, labels), rtol=1e-6)


def test_parts_that_not_all_tasks_go_through():
    two, three = ("a", "b"), ("a", "b", "c")
    assert tasks.own_parts(two, {}) == {"head_a", "head_b"}
    assert tasks.own_parts(two, {"a": "layer_x", "b": "layer_x"}) == {"head_a", "head_b"}
    assert tasks.own_parts(two, {"b": "layer_x"}) == {"head_a", "head_b", "layer_x"}
    heads = {"head_a", "head_b", "head_c"}
    assert tasks.own_parts(three, {"a": "layer_x", "b": "layer_x", "c": "layer_y"}) == {*heads, "layer_x", "layer_y"}
