"""How alike a classifier treats groups: figures of each, the gaps between them, and bootstrap intervals of these.

Of several classes each is asked for by itself, one against the rest, and a gap is the largest of any class; of two,
where one is the other's opposite, that of the second. Demographic parity and equalised odds are differences, as in
Hardt et al. 2016 (arXiv:1610.02413) and Agarwal et al. 2018 (arXiv:1803.02453).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tl.metrics import confusion

Table = Mapping[str, np.ndarray]  # field -> (N,)


def rates(labels: np.ndarray, predicted: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    """(C,) true positive rate, false positive rate and share of the predictions of each class; NaN where undefined."""
    counts = confusion(labels, predicted, classes).astype(float)
    hit, own, chosen = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return {"tpr": hit / own, "fpr": (chosen - hit) / (len(labels) - own), "chosen": chosen / len(labels)}


def by_group(labels: np.ndarray, predicted: np.ndarray, groups: np.ndarray, classes: int) -> dict[str, dict]:
    """{group: {"n", "accuracy", and the (C,) `rates`}} of (N,) labels, predictions and names of groups."""
    found = {}
    for group in np.unique(groups):
        own = groups == group
        right = float(np.mean(labels[own] == predicted[own]))
        found[str(group)] = {"n": int(own.sum()), "accuracy": right, **rates(labels[own], predicted[own], classes)}
    return found


def gaps(labels: np.ndarray, predicted: np.ndarray, groups: np.ndarray, classes: int) -> dict[str, float]:
    """What sets the groups apart, 0 where nothing does, NaN where no class has the figure in two groups.

    `worst_group` is the lowest accuracy of any.
    """
    rows = list(by_group(labels, predicted, groups, classes).values())
    accuracy = [row["accuracy"] for row in rows]
    asked = slice(1, None) if classes == 2 else slice(None)
    apart = {name: _spread(np.array([row[name][asked] for row in rows])) for name in ("tpr", "fpr", "chosen")}
    return {
        "accuracy": float(np.mean(labels == predicted)),
        "worst_group": min(accuracy),
        "accuracy_gap": max(accuracy) - min(accuracy),
        "tpr_gap": apart["tpr"],
        "fpr_gap": apart["fpr"],
        "demographic_parity": apart["chosen"],
        "equalised_odds": float(np.maximum(apart["tpr"], apart["fpr"])),  # NaN where either is
    }


def _spread(values: np.ndarray) -> float:
    """(G, C) of each group -> the largest difference of any class; of a class, groups without a figure do not count.

    NaN where every class has the figure in one group alone, or in none.
    """
    values = values[:, np.isfinite(values).sum(axis=0) > 1]
    return float(np.max(np.nanmax(values, axis=0) - np.nanmin(values, axis=0))) if values.size else float("nan")


def intervals(
    of: Callable[..., Mapping[str, float]], table: Table, *, times: int = 1000, share: float = 0.95, seed: int = 0
) -> dict[str, tuple[float, float, float]]:
    """{figure: (low, high, known)} of `of(**table)` over samples with replacement from each of `groups` (percentiles).

    Each group keeps its size, so that a small one is in every sample (Efron and Tibshirani 1993, chapter 13). `known`
    is the share of the samples in which there is such a figure: the others, NaN, do not count.
    """
    members = [np.flatnonzero(table["groups"] == group) for group in np.unique(table["groups"])]
    drawn: dict[str, list[float]] = {}
    for number in range(times):
        rng = np.random.default_rng([seed, number])
        rows = np.concatenate([rng.choice(own, len(own)) for own in members])
        for name, value in of(**{field: values[rows] for field, values in table.items()}).items():
            drawn.setdefault(name, []).append(value)
    ends, found = [50 * (1 - share), 50 * (1 + share)], {}
    for name, values in drawn.items():
        there = [value for value in values if np.isfinite(value)]
        low, high = np.percentile(there, ends) if there else (np.nan, np.nan)
        found[name] = (float(low), float(high), len(there) / times)
    return found
