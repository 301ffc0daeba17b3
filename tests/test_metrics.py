"""Metrics against counts and sums that fit on a line."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tl import metrics

LN3 = np.log(3.0)


def test_softmax_and_sigmoid_at_known_points_and_far_out():
    assert_allclose(metrics.softmax(np.array([[0, LN3], [1e4, 0]], np.float32)), [[0.25, 0.75], [1, 0]], rtol=1e-6)
    assert_allclose(metrics.sigmoid(np.array([0, LN3, -1e4, 1e4])), [0.5, 0.75, 0, 1])


LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 0, 1])
MATRIX = [[2, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]  # class 2 is never chosen, class 3 never occurs


def test_confusion_counts_rows_true_columns_predicted():
    assert_array_equal(metrics.confusion(LABELS, PREDICTED, 4), MATRIX)


def test_class_report_by_hand():
    report = metrics.class_report(np.array(MATRIX))
    assert_allclose(report["precision"], [2 / 3, 1 / 3, 0, 0])  # hits / times chosen (3, 3, 0, 0)
    assert_allclose(report["recall"], [2 / 3, 1 / 2, 0, 0])  # hits / times there (3, 2, 1, 0)
    # 2pr / (p + r): class 1 is 2 x 1/3 x 1/2 / (5/6) = 2/5
    assert_allclose(report["f1"], [2 / 3, 2 / 5, 0, 0])
    assert_array_equal(report["support"], [3, 2, 1, 0])


def test_calibration_error_by_hand():
    first = np.array([0.9, 0.95, 0.35, 0.55, 1.0])
    labels = np.array([0, 1, 1, 1, 0])
    # five bins of width .2; confidence .9 right, .95 wrong and 1. right in the last: |2 - 2.85| = .85;
    # .65 right in [.6, .8): .35; .55 wrong in [.4, .6): .55; together 1.75 over 5 images
    error = metrics.expected_calibration_error(np.stack([first, 1 - first], axis=1), labels, bins=5)
    assert_allclose(error, 1.75 / 5)


def test_calibration_error_lets_gaps_of_one_bin_cancel():
    # one bin: confidences .75 and .75, one right and one wrong: |1 - 1.5| / 2 = .25
    probabilities = np.array([[0.75, 0.25], [0.75, 0.25]])
    assert_allclose(metrics.expected_calibration_error(probabilities, np.array([0, 1]), bins=1), 0.25)


def test_classification_by_hand():
    # probabilities (1, 3) / 4, (1, 1) / 2, (3, 1) / 4, (1, 3) / 4; the tie goes to class 0: predicted 1 0 0 1
    logits = np.array([[0, LN3], [0, 0], [LN3, 0], [0, LN3]], np.float32)
    values = metrics.classification(logits, np.array([1, 1, 0, 0]))
    assert values["accuracy"] == 0.5
    assert_allclose(values["loss"], -(2 * np.log(3 / 4) + np.log(1 / 2) + np.log(1 / 4)) / 4, rtol=1e-6)
    # confusion ((1, 1), (1, 1)): every ratio is a half
    assert [values[f"{name}_macro"] for name in ("precision", "recall", "f1")] == [0.5, 0.5, 0.5]
    # class 1 scored .75 and .5, class 0 .25 and .75: of four pairs 1 tie, 1 right (.75 > .25), (.5 > .25), 1 wrong
    assert_allclose(values["auc"], (0.5 + 1 + 1 + 0) / 4)
    # 15 bins: .75 in bin 11 holds three, two right: |2 - 2.25|; .5 in bin 7, wrong: .5
    assert_allclose(values["ece"], (0.25 + 0.5) / 4, rtol=1e-5)
    assert "top5" not in values


def test_macro_figures_leave_out_classes_that_do_not_occur():
    # classes 0 and 1 occur and are all found; class 2 does not occur and is not chosen
    values = metrics.classification(np.eye(3, dtype=np.float32)[[0, 1]], np.array([0, 1]))
    assert values["precision_macro"] == values["recall_macro"] == values["f1_macro"] == values["auc"] == 1


def test_auc_is_nan_where_only_one_class_occurs():
    assert np.isnan(metrics.classification(np.eye(2, dtype=np.float32), np.array([0, 0]))["auc"])


def test_top5_counts_the_classes_ahead():
    logits = np.tile(np.arange(7, dtype=np.float32)[::-1], (7, 1))  # class 0 leads, then 1, ...
    assert_allclose(metrics.classification(logits, np.arange(7))["top5"], 5 / 7)  # classes 0 to 4


def test_top5_of_a_constant_network_is_chance():
    # ties are broken as argmax breaks them: classes 0 to 4 are the first five, and class 0 the first
    values = metrics.classification(np.zeros((10, 10), np.float32), np.arange(10))
    assert (values["top5"], values["accuracy"]) == (0.5, 0.1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_diverged_network_has_no_figures(bad):
    logits = np.zeros((7, 7), np.float32)
    logits[3, 3] = bad
    values = metrics.classification(logits, np.arange(7))
    assert set(values) == set(metrics.classification(np.zeros((7, 7)), np.arange(7)))
    assert all(np.isnan(value) for value in values.values())
    assert all(np.isnan(value) for value in metrics.multi_label(logits, np.eye(7)).values())


def test_multi_label_by_hand():
    logits = np.array([[1, -1, 2], [1, 1, -2], [-1, 1, -3]], np.float32)  # chosen 100+001, 110, 010
    labels = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]])
    values = metrics.multi_label(logits, labels)
    assert_allclose(values["accuracy"], 7 / 9)  # wrong: row 0 label 2, row 2 label 1
    assert_allclose(values["exact_match"], 1 / 3)  # row 1
    # chosen (2, 2, 1), there (2, 1, 0), hits (2, 1, 0)
    assert_allclose(values["precision_macro"], (1 + 1 / 2 + 0) / 3)
    assert_allclose(values["recall_macro"], (1 + 1 + 0) / 3)
    assert_allclose(values["f1_macro"], (2 * 2 / 4 + 2 * 1 / 3 + 0) / 3)
    # ln(1 + e^-z) for a label that is there, ln(1 + e^z) for one that is not
    right = np.log1p(np.exp([-1.0, -1, -1, -1, -1, -2, -3])).sum()
    assert_allclose(values["loss"], (right + np.log1p(np.exp(2.0)) + np.log1p(np.exp(1.0))) / 9)
    # label 0: both positives above the negative, 1; label 1: 1 ties with 1 (.5) and beats -1 (1), .75; label 2: none
    assert_allclose(values["auc"], (1 + 0.75) / 2)


def test_multi_label_with_one_label():
    values = metrics.multi_label(np.array([[2.0], [-1], [1]]), np.array([[1], [0], [0]]))
    assert values["auc"] == 1
    assert_allclose(values["f1_macro"], 2 * 1 / (2 + 1))


def test_multi_label_loss_is_not_cut_off():
    assert_allclose(metrics.multi_label(np.array([[-1000.0]]), np.array([[1]]))["loss"], 1000)


def test_regression_by_hand():
    outputs = np.array([[1, 5], [2, 5], [6, 5]], np.float32)
    targets = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    values = metrics.regression(outputs, targets)
    assert_allclose(values["loss"], (0 + 1 + 1 + 9 + 1 + 1) / 6)
    assert_allclose(values["mae"], (0 + 1 + 1 + 3 + 1 + 1) / 6)
    # spread of both columns is 4 + 0 + 4 = 8, squared errors 2 and 11: R2 = 1 - 2/8 and 1 - 11/8
    assert_allclose(values["r2"], (0.75 - 0.375) / 2)


def test_r2_leaves_out_a_constant_target():
    # .1 is no binary fraction: the float32 mean of three of them is not .1, and would divide by almost nothing
    targets = np.stack([np.full(3, 0.1), [0.0, 1.0, 2.0]], axis=1).astype(np.float32)
    outputs = np.stack([np.full(3, 0.5), [0.0, 1.0, 2.0]], axis=1).astype(np.float32)
    assert metrics.regression(outputs, targets)["r2"] == 1
    assert np.isnan(metrics.regression(outputs[:, :1], targets[:, :1])["r2"])
