"""How well a backbone's features suit labelled data, without training it: scores of (N, D) features, higher is better.

`labels` are (N,) classes 0..C-1; `source` (N, S) are the probabilities of the classes of the weights' own classifier.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from sklearn.neighbors import NearestNeighbors

RIDGES = tuple(10.0**k for k in range(-3, 5))


def h_score(features: np.ndarray, labels: np.ndarray) -> float:
    """Trace of cov(f)^-1 cov(E[f | y]) (Bao et al. 2019)."""
    centred = features - features.mean(axis=0)
    means = np.stack([centred[labels == c].mean(axis=0) for c in np.unique(labels)])
    between = means[np.unique(labels, return_inverse=True)[1]]
    count = len(features)
    inverse = np.linalg.pinv(centred.T @ centred / count, rcond=1e-8, hermitian=True)
    return float(np.trace(inverse @ (between.T @ between / count)))


def leep(source: np.ndarray, labels: np.ndarray) -> float:
    """Mean log of sum_z p(y | z) p(z | x), p(y | z) from the data (Nguyen et al. 2020)."""
    joint = one_hot(labels).T @ source / len(labels)
    given = joint / np.maximum(joint.sum(axis=0, keepdims=True), 1e-300)
    return float(np.log(np.maximum((source @ given.T)[np.arange(len(labels)), labels], 1e-300)).mean())


def nce(source: np.ndarray, labels: np.ndarray) -> float:
    """Minus the conditional entropy of the labels, the source's best class being known (Tran et al. 2019)."""
    joint = one_hot(labels).T @ np.eye(source.shape[1])[source.argmax(axis=1)] / len(labels)
    total = np.broadcast_to(joint.sum(axis=0, keepdims=True), joint.shape)
    there = joint > 0
    return float(np.sum(joint[there] * np.log(joint[there] / total[there])))


def logme(features: np.ndarray, labels: np.ndarray, rounds: int = 100) -> float:
    """Largest log evidence of a linear model for each class, per image, their mean (You et al. 2021, algorithm 1)."""
    count, width = features.shape
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    eigen = np.square(singular)
    targets = one_hot(labels)
    inside = np.square(left.T @ targets)  # (R, C)
    outside = np.maximum(np.square(targets).sum(axis=0) - inside.sum(axis=0), 0)
    evidence = []
    for x2, rest in zip(inside.T, outside, strict=True):
        alpha = beta = 1.0
        for _ in range(rounds):
            ratio = alpha / beta
            gamma = np.sum(eigen / (eigen + ratio))
            size = np.sum(eigen * x2 / np.square(eigen + ratio))
            error = np.sum(x2 / np.square(1 + eigen / ratio)) + rest
            alpha, beta = gamma / max(size, 1e-12), (count - gamma) / max(error, 1e-12)
            if abs(alpha / beta - ratio) <= 1e-5 * ratio:
                break
        determinant = np.sum(np.log(alpha + beta * eigen)) + (width - len(eigen)) * np.log(alpha)
        value = width * np.log(alpha) + count * np.log(beta / (2 * np.pi)) - determinant - beta * error - alpha * size
        evidence.append(value / (2 * count))
    return float(np.mean(evidence))


def trans_rate(features: np.ndarray, labels: np.ndarray, distortion: float = 1e-4) -> float:
    """Coding rate of the features minus that of the classes' own, in nats (Huang et al. 2022)."""

    def rate(rows: np.ndarray) -> float:
        small = rows @ rows.T if rows.shape[0] < rows.shape[1] else rows.T @ rows
        identity = np.eye(len(small))
        return 0.5 * float(np.linalg.slogdet(identity + small / (len(rows) * distortion))[1])

    centred = features - features.mean(axis=0)
    parts = [centred[labels == c] for c in np.unique(labels)]
    return rate(centred) - sum(len(part) / len(centred) * rate(part) for part in parts)


def neighbours(features: np.ndarray, labels: np.ndarray, count: int = 5) -> float:
    """Share of images whose `count` nearest others, by cosine and weighed by it, name their class."""
    length = np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    count = min(count, len(features) - 1)
    distance, index = NearestNeighbors(n_neighbors=count + 1).fit(features / length).kneighbors(features / length)
    own = index == np.arange(len(features))[:, None]
    own[~own.any(axis=1), -1] = True  # among many equals an image may miss itself: the last goes
    others = index[~own].reshape(-1, count)
    weight = 1 - np.square(distance[~own].reshape(-1, count)) / 2
    votes = np.einsum("nk,nkc->nc", weight, one_hot(labels)[others])
    return float((votes.argmax(axis=1) == labels).mean())


def ridge(features: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy of ridge regression on the classes, each image left out in turn, at the best of RIDGES.

    Leaving out an image takes its residual times 1 / (1 - leverage), without another fit.
    """
    centred = features - features.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred / np.maximum(centred.std(axis=0), 1e-6), full_matrices=False)
    targets = one_hot(labels)
    mean, inside = targets.mean(axis=0, keepdims=True), left.T @ targets
    best = 0.0
    for penalty in RIDGES:
        shrunk = np.square(singular) / (np.square(singular) + penalty)
        leverage = 1 / len(labels) + np.square(left) @ shrunk
        residual = targets - mean - left @ (shrunk[:, None] * inside)
        left_out = targets - residual / np.maximum(1 - leverage, 1e-9)[:, None]
        best = max(best, float((left_out.argmax(axis=1) == labels).mean()))
    return best


def one_hot(labels: np.ndarray) -> np.ndarray:
    """(N,) -> (N, C)."""
    return np.eye(int(labels.max()) + 1)[labels]


OF_FEATURES: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "ridge": ridge,
    "knn": neighbours,
    "logme": logme,
    "h_score": h_score,
    "trans_rate": trans_rate,
}
OF_CLASSES: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = {"leep": leep, "nce": nce}


def scores(features: np.ndarray, labels: np.ndarray, source: np.ndarray | None = None) -> dict[str, float]:
    """Every score by name; those of the old classes only where there is a classifier."""
    features = np.asarray(features, np.float64)
    found = {name: score(features, labels) for name, score in OF_FEATURES.items()}
    if source is not None:
        found |= {name: score(np.asarray(source, np.float64), labels) for name, score in OF_CLASSES.items()}
    return found
