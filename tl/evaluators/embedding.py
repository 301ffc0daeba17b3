"""Maps of features in the plane by t-SNE (van der Maaten and Hinton 2008), for the eye alone."""

from __future__ import annotations

import numpy as np

from tl.evaluators.collect import Collected

MOST = 250  # images of each domain: more take seconds and cover each other
STEPS = 500


def both_domains(source: Collected, target: Collected, task: str) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """-> (N, 2) points, (N,) 0 source or 1 target, (N,) labels; None where there is no map."""
    rng = np.random.default_rng(0)
    chosen = [rng.permutation(len(table["features"]))[:MOST] for table in (source, target)]
    pairs = list(zip((source, target), chosen, strict=True))
    points = plane(np.concatenate([table["features"][own] for table, own in pairs]))
    if points is None or min(map(len, chosen)) < 10:
        return None
    domain = np.repeat([0, 1], [len(own) for own in chosen])
    return points, domain, np.concatenate([table[task][own] for table, own in pairs])


def one_domain(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, None, np.ndarray] | None:
    """The same of (N, D) features of one."""
    points = plane(features)
    return None if points is None else (points, None, labels)


def plane(features: np.ndarray) -> np.ndarray | None:
    """(N, D) -> (N, 2); None where there are too few or of one number each, or one is not finite."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    rows = features.astype(np.float64)
    if len(rows) < 10 or rows.shape[1] < 2 or not np.isfinite(rows).all():
        return None
    rows = (rows - rows.mean(axis=0)) / (rows.std(axis=0) + 1e-6)
    made = TSNE(perplexity=min(30.0, len(rows) / 4), init="pca", random_state=0, max_iter=STEPS)
    with threadpool_limits(1):  # so few points are done before threads have met: six times as fast on a busy machine
        return made.fit_transform(rows)
