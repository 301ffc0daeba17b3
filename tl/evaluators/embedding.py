"""A map of the features of two domains in the plane, for the eye alone."""

from __future__ import annotations

import numpy as np

from tl.evaluators.collect import Collected

MOST = 250  # images of each domain: more take seconds and cover each other


def both_domains(source: Collected, target: Collected, task: str) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """t-SNE (van der Maaten and Hinton 2008) -> (N, 2) points, (N,) 0 source or 1 target, (N,) labels.

    None where there are too few images or a feature is not finite.
    """
    from sklearn.manifold import TSNE

    rng = np.random.default_rng(0)
    chosen = [rng.permutation(len(table["features"]))[:MOST] for table in (source, target)]
    pairs = list(zip((source, target), chosen, strict=True))
    rows = np.concatenate([table["features"][own] for table, own in pairs]).astype(np.float64)
    if min(map(len, chosen)) < 10 or not np.isfinite(rows).all():
        return None
    rows = (rows - rows.mean(axis=0)) / (rows.std(axis=0) + 1e-6)
    points = TSNE(perplexity=min(30.0, len(rows) / 4), init="pca", random_state=0, max_iter=500).fit_transform(rows)
    domain = np.repeat([0, 1], [len(own) for own in chosen])
    return points, domain, np.concatenate([table[task][own] for table, own in pairs])
