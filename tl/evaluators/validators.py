"""How good a network is on the target domain, judged without its labels: numpy functions of what one pass collected.

Higher is better, all of them. None is safe by itself: each prefers some collapsed network to a good one, which is why
`balance` and the accuracy on the source stand beside them (see watch.Choice).
"""

from __future__ import annotations

import warnings

import numpy as np

from tl.evaluators.collect import Collected
from tl.metrics import softmax

NAMES = ("entropy", "information", "neighbourhood", "importance", "deep_embedded", "balance")


def scores(reference: Collected, val: Collected, unlabelled: Collected, task: str) -> dict[str, float]:
    """All of NAMES, from samples of the source's training images, its validation images and the target's.

    Each holds `features` (N, D) and `outputs/TASK` (N, C); `val` also holds the labels. NaN where an output is not
    finite.
    """
    outputs = f"outputs/{task}"
    arrays = [table[field] for table in (reference, val, unlabelled) for field in ("features", outputs)]
    if not all(np.isfinite(array).all() for array in arrays):
        return dict.fromkeys((f"score/{name}" for name in NAMES), float("nan"))
    probabilities = softmax(unlabelled[outputs])
    own = softmax(val[outputs])[np.arange(len(val[task])), val[task]]
    losses = -np.log(np.maximum(own, 1e-12))
    weights = importance(reference["features"], unlabelled["features"], val["features"])
    found = {
        "entropy": -entropy(probabilities).mean(),
        "information": entropy(probabilities.mean(axis=0)) - entropy(probabilities).mean(),
        "neighbourhood": neighbourhood_density(probabilities),
        "importance": -(weights * losses).sum() / max(weights.sum(), 1e-12),
        "deep_embedded": -controlled_risk(weights, losses),
        "balance": balance(probabilities, reference[task]),
    }
    return {f"score/{name}": float(value) for name, value in found.items()}


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """(..., C) -> (...), in nats."""
    return -(probabilities * np.log(np.maximum(probabilities, 1e-12))).sum(axis=-1)


def balance(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Number of classes that the target (N, C) seems to hold, over that of the source's (M,) labels: exp of entropies.

    Near 1 for a network that uses all classes, below a half for one that has collapsed onto a few.
    """
    shares = np.bincount(labels, minlength=probabilities.shape[1]) / len(labels)
    return float(np.exp(entropy(probabilities.mean(axis=0)) - entropy(shares)))


def neighbourhood_density(probabilities: np.ndarray, temperature: float = 0.05) -> float:
    """Mean entropy of each image's similarities to the others (Saito et al. 2021, arXiv:2108.10860, eq. 2 to 4).

    (N, C) predictions of length 1, their products over `temperature` as logits of the neighbours.
    """
    unit = probabilities / np.linalg.norm(probabilities, axis=1, keepdims=True)
    similar = unit @ unit.T / temperature
    np.fill_diagonal(similar, -np.inf)
    return float(entropy(softmax(similar)).mean())


def importance(source: np.ndarray, target: np.ndarray, at: np.ndarray, most: float = 50.0) -> np.ndarray:
    """p_T / p_S at the features `at`, at most `most`: the odds that a classifier of domains gives.

    A logistic regression tells (N, D) source from (M, D) target features (Bickel et al. 2007; You et al. 2019, eq. 6).
    """
    from sklearn.linear_model import LogisticRegression  # slow to import, and only runs with a target come here

    rows = np.concatenate([source, target]).astype(np.float64)
    centre, spread = rows.mean(axis=0), rows.std(axis=0) + 1e-6
    model = LogisticRegression(C=0.01, max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not converged is good enough: the weights are cut off anyhow
        model.fit((rows - centre) / spread, np.repeat([0, 1], [len(source), len(target)]))
    odds = np.exp(np.clip(model.decision_function((at - centre) / spread), -20, 20)) * len(source) / len(target)
    return np.minimum(odds, most)


def controlled_risk(weights: np.ndarray, losses: np.ndarray) -> float:
    """Deep embedded validation: the weighted risk, the weights' mean as control variate (You et al. 2019, eq. 8).

    The weights must be as estimated: scaled to mean 1 they would control nothing.
    """
    weighted = weights * losses
    spread = weights.var()
    factor = -((weighted - weighted.mean()) * (weights - weights.mean())).mean() / spread if spread > 0 else 0.0
    return float(weighted.mean() + factor * weights.mean() - factor)


def proxy_distance(source: np.ndarray, target: np.ndarray, seed: int = 0) -> float:
    """A-distance 2 (1 - 2 e) of (N, D) and (M, D) features, e a linear domain classifier's error on held-out halves.

    0 where it cannot tell the domains apart, 2 where it always can (Ben-David et al. 2007).
    """
    from sklearn.linear_model import LogisticRegression

    n = min(len(source), len(target))
    rng = np.random.default_rng(seed)
    rows = np.concatenate([x[rng.permutation(len(x))[:n]] for x in (source, target)]).astype(np.float64)
    rows = (rows - rows.mean(axis=0)) / (rows.std(axis=0) + 1e-6)
    domain = np.repeat([0, 1], n)
    half = np.arange(2 * n) % 2 == 0
    errors = []
    for train in (half, ~half):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = LogisticRegression(C=0.01, max_iter=200).fit(rows[train], domain[train])
        errors.append((model.predict(rows[~train]) != domain[~train]).mean())
    return float(max(0.0, 2 * (1 - 2 * np.mean(errors))))
