"""Numpy functions of what one evaluation pass collected: (N, C) outputs and (N, ...) labels -> named numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tl import spans


def softmax(logits: np.ndarray) -> np.ndarray:
    """(..., C) -> (..., C) probabilities, in float64."""
    shifted = np.asarray(logits, np.float64)
    shifted = np.exp(shifted - shifted.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """(...) -> (...) probabilities, in float64, without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(logits, np.float64)))


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """(N,) and (N,) -> (C, C) counts, rows true, columns predicted."""
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def class_report(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """(C, C) confusion matrix -> (C,) precision, recall, f1 and support; 0 where a ratio has no denominator."""
    hit, support, chosen = np.diag(matrix).astype(float), matrix.sum(axis=1), matrix.sum(axis=0)
    precision, recall = _ratio(hit, chosen), _ratio(hit, support)
    return {
        "precision": precision,
        "recall": recall,
        "f1": _ratio(2 * precision * recall, precision + recall),
        "support": support,
    }


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Gap of confidence and accuracy over equal-width bins, weighted by their size (Guo et al. 2017, eq. 3)."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_of, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def classification(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """(N, C) logits and (N,) labels -> accuracy, top5 (for C > 5), loss, macro precision, recall, f1, AUC and ECE.

    Macro figures are means over the classes that occur in `labels`; AUC is one class against the rest. All are NaN
    where a logit is not finite: a diverged network must not score by the accident of how NaN compares.
    """
    if not np.isfinite(logits).all():
        return dict.fromkeys(classification(np.zeros_like(logits), labels), float("nan"))
    probabilities = softmax(logits)
    classes = logits.shape[1]
    report = class_report(confusion(labels, logits.argmax(axis=1), classes))
    present = report["support"] > 0
    picked = probabilities[np.arange(len(labels)), labels]
    values = {
        "accuracy": float((logits.argmax(axis=1) == labels).mean()),
        "loss": float(-np.log(np.maximum(picked, 1e-300)).mean()),
        **{f"{name}_macro": float(report[name][present].mean()) for name in ("precision", "recall", "f1")},
        "auc": _mean_auc(np.eye(classes)[labels], probabilities),
        "ece": expected_calibration_error(probabilities, labels),
    }
    if classes > 5:
        own = np.take_along_axis(logits, labels[:, None], axis=1)
        # Of equal logits the first class is ahead, as for argmax: a constant network is no better than chance.
        ahead = (logits > own) | ((logits == own) & (np.arange(classes) < labels[:, None]))
        values["top5"] = float((ahead.sum(axis=1) < 5).mean())
    return values


def multi_label(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """(N, K) logits and labels in {0, 1} -> accuracy (of all decisions at .5), exact match, loss, macro F1, AUC.

    Macro figures are means over all K labels, 0 for one that neither occurs nor is chosen. NaN as in `classification`.
    """
    if not np.isfinite(logits).all():
        return dict.fromkeys(multi_label(np.zeros_like(logits), labels), float("nan"))
    probabilities, truth = sigmoid(logits), labels > 0.5
    chosen = probabilities > 0.5
    hit = (chosen & truth).sum(axis=0)
    return {
        "accuracy": float((chosen == truth).mean()),
        "exact_match": float((chosen == truth).all(axis=1).mean()),
        "loss": float(np.logaddexp(0, np.where(truth, -1.0, 1.0) * logits).mean()),
        "precision_macro": float(_ratio(hit, chosen.sum(axis=0)).mean()),
        "recall_macro": float(_ratio(hit, truth.sum(axis=0)).mean()),
        "f1_macro": float(_ratio(2 * hit, chosen.sum(axis=0) + truth.sum(axis=0)).mean()),
        "auc": _mean_auc(truth.astype(float), probabilities),
    }


def tagging(logits: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """(N, L, C) logits and (N, L) tags, NONE where none is asked for -> figures of entities and of tokens.

    Precision, recall and F1 are those of CoNLL's conlleval: an entity counts where type, first and last word are
    right, all sentences together; words that are not asked for, such as those behind config.text.length, are not there.
    `f1_TYPE` for each type. NaN as in `classification`.
    """
    if not np.isfinite(logits).all():
        return dict.fromkeys(tagging(np.zeros_like(logits), labels, names), float("nan"))
    asked, predicted = labels != spans.NONE, logits.argmax(axis=-1)
    picked = softmax(logits[asked])[np.arange(asked.sum()), labels[asked]]
    types, report, together = entities(labels, predicted, names)
    return {
        **{name: float(values[0]) for name, values in together.items() if name != "support"},
        "token_accuracy": float((predicted == labels)[asked].mean()),
        "loss": float(-np.log(np.maximum(picked, 1e-300)).mean()),
        **{f"f1_{kind}": float(value) for kind, value in zip(types, report["f1"], strict=True)},
    }


Report = dict[str, np.ndarray]


def entities(labels: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> tuple[tuple[str, ...], Report, Report]:
    """(N, L) tags, NONE where nothing is asked, and (N, L) -> the types, the report of each and that of all together.

    A report has precision, recall, f1 and support, 0 where a ratio has no denominator.
    """
    types = spans.types(names)
    place = {kind: number for number, kind in enumerate(types)}
    counts = np.zeros((3, len(types)))  # right, predicted, there
    for row, answer in zip(labels, predicted, strict=True):
        asked = row != spans.NONE
        there, found = (set(spans.spans([names[int(tag)] for tag in tags[asked]])) for tags in (row, answer))
        for count, held in zip(counts, (there & found, found, there), strict=True):
            for kind, _, _ in held:
                count[place[kind]] += 1
    return types, _entity_report(*counts), _entity_report(*counts.sum(axis=1, keepdims=True))


def _entity_report(hit: np.ndarray, chosen: np.ndarray, support: np.ndarray) -> Report:
    ratios = {"precision": _ratio(hit, chosen), "recall": _ratio(hit, support), "f1": _ratio(2 * hit, chosen + support)}
    return {**ratios, "support": support.astype(int)}


def regression(outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """(N, K) outputs and targets -> loss (mean squared error), MAE and R2 (mean over the K outputs that vary)."""
    targets = np.asarray(targets, np.float64)
    error = np.asarray(outputs, np.float64) - targets
    spread = np.square(targets - targets.mean(axis=0)).sum(axis=0)
    varies = np.ptp(targets, axis=0) > 0  # rounding of the mean would leave a constant target a spread of its own
    r2 = 1 - np.square(error).sum(axis=0)[varies] / spread[varies]
    return {
        "loss": float(np.square(error).mean()),
        "mae": float(np.abs(error).mean()),
        "r2": float(r2.mean()) if varies.any() else float("nan"),
    }


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """(N, C) logits and (N,) labels -> T for which the loss of logits / T is least (Guo et al. 2017, section 4.2).

    NaN where every label has the largest logit: the loss then falls without end as T goes to 0.
    """
    from scipy.optimize import minimize_scalar

    if (np.argmax(logits, axis=1) == labels).all():
        return float("nan")

    def loss(log: float) -> float:
        picked = softmax(np.asarray(logits, np.float64) / np.exp(log))[np.arange(len(labels)), labels]
        return -np.log(np.maximum(picked, 1e-300)).mean()

    found: Any = minimize_scalar(loss, bounds=(-10, 10), method="bounded", options={"xatol": 1e-5})
    return float(np.exp(found.x))


def membership(members: np.ndarray, others: np.ndarray) -> dict[str, float]:
    """Losses of images that were trained on and of others -> how well a threshold on the loss tells them apart.

    `auc` is .5 and `advantage`, the largest true minus false positive rate, 0 where it cannot (Yeom et al. 2018,
    arXiv:1709.01604, adversary 2 and definition 4).
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    truth = np.repeat([1, 0], [len(members), len(others)])
    scores = -np.concatenate([members, others])
    false, true, _ = roc_curve(truth, scores)
    return {"auc": float(roc_auc_score(truth, scores)), "advantage": float((true - false).max())}


def ranking(ranks: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """(N,) or (N, 1) places of the right answers, from 1 -> the mean of 1 / place, of the place, and shares at the top.

    Bordes et al. 2013, section 4.2; a place shared with others is a half one more. NaN as in `classification`.
    """
    places = np.asarray(ranks, np.float64).reshape(-1)
    if not np.isfinite(places).all():
        return dict.fromkeys(ranking(np.ones(1), labels), float("nan"))
    hits = {f"hits{most}": float((places <= most).mean()) for most in (1, 3, 10)}
    return {"mrr": float((1 / places).mean()), **hits, "mean_rank": float(places.mean())}


def retrieval(outputs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """(N, D) vectors and (N, D) right ones -> the place of the right one among all N, from 1, by the cosine.

    `hits` are shares of places up to that; of equal cosines half are ahead. NaN as in `classification`.
    """
    if not np.isfinite(outputs).all():
        return dict.fromkeys(retrieval(np.ones_like(labels), labels), float("nan"))
    one, other = (np.asarray(rows, np.float64) for rows in (outputs, labels))
    lengths = np.linalg.norm(one, axis=1)[:, None] * np.linalg.norm(other, axis=1)
    cosines = (one @ other.T) / np.maximum(lengths, 1e-12)
    own = np.diag(cosines)[:, None]
    places = 1 + (cosines > own).sum(axis=1) + ((cosines == own).sum(axis=1) - 1) / 2
    hits = {f"hits{most}": float((places <= most).mean()) for most in (1, 2, 5, 10)}
    rest = {"mean_rank": float(places.mean()), "median_rank": float(np.median(places)), "cosine": float(own.mean())}
    return {**hits, "mrr": float((1 / places).mean()), **rest}


def severity(outputs: np.ndarray, labels: np.ndarray, heights: np.ndarray, paths: np.ndarray) -> dict[str, float]:
    """How far off the answers are, by (C, C) heights of common ancestors and (C, C) steps between classes.

    `mistake_height` and `mistake_path` are means over the mistakes, 0 where there are none, and `height` is over all
    rows (Bertinetto et al. 2020, arXiv:1912.09393, section 2). NaN as in `classification`.
    """
    predicted = outputs.argmax(axis=1)
    wrong = predicted != labels
    if not np.isfinite(outputs).all():
        return dict.fromkeys(("mistake_height", "mistake_path", "height"), float("nan"))
    height, path = heights[labels, predicted], paths[labels, predicted]
    found = {"mistake_height": height, "mistake_path": path}
    of_mistakes = {name: float(values[wrong].mean()) if wrong.any() else 0.0 for name, values in found.items()}
    return {**of_mistakes, "height": float(height.mean())}


def forgetting(accuracy: np.ndarray) -> float:
    """(K, K) accuracy on group j after stage i >= j -> how far below its best each group but the last ends, the mean.

    Chaudhry et al. 2018, arXiv:1801.10112, the measure F_k.
    """
    return float(np.mean(np.nanmax(accuracy[:-1, :-1], axis=0) - accuracy[-1, :-1]))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros(len(above)), where=np.asarray(below) > 0)


def _mean_auc(truth: np.ndarray, scores: np.ndarray) -> float:
    """Mean over the columns that hold both kinds; NaN where none does."""
    mixed = (truth.min(axis=0) == 0) & (truth.max(axis=0) == 1)
    if not mixed.any():
        return float("nan")
    from sklearn.metrics import roc_auc_score  # two seconds of imports that no other metric needs

    return float(roc_auc_score(truth[:, mixed], scores[:, mixed], average="macro"))


def lower_is_better(metric: str) -> bool:
    """Whether a metric such as `val/loss` is an error, by its last name."""
    errors = {
        "loss",
        "mae",
        "mse",
        "rmse",
        "ece",
        "mean_rank",
        "median_rank",
        "height",
        "mistake_height",
        "mistake_path",
    }
    return metric.rpartition("/")[2] in errors
