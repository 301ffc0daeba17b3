"""The losses of adaptation methods on a network that says what it is told: numbers worked by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from tl import tasks
from tl.methods import adamatch, adda, fixmatch, group_dro, mcd, pseudo_label, rsc

LN2, LN3 = np.log(2.0), np.log(3.0)
TWO = {"label": tasks.make("label", "classification", ("a", "b"))}
KEY = jax.random.key(0)


class Said:
    """A net whose features are the field `logits` of its rows; a head multiplies them by its matrix, if it has one."""

    def __init__(self, **heads):
        self.heads = heads
        self.params, self.stats = {}, {}

    def features(self, rows, **flags):
        return rows["logits"]

    def classify(self, features, part="head", **flags):
        return features @ self.heads[part] if part in self.heads else features

    def outputs(self, rows, **flags):
        return {"label": self.classify(rows["logits"])}

    def both(self, rows, **flags):
        return rows["logits"], self.outputs(rows)

    def discriminator(self, features, **flags):
        return features

    def elsewhere(self, params, stats):
        return Said(**self.heads)


def rows(*logits, labels=None, **fields):
    found = {"logits": jnp.array(logits, jnp.float32), "index": jnp.arange(len(logits))}
    return {**found, **({"label": jnp.array(labels)} if labels else {}), **fields}


def loss_of(method, batch, net=None, memory=(), progress=1.0, step=0):
    return method.steps[step][0](net or Said(), batch, memory, KEY, jnp.asarray(progress))


# Probabilities (1/2, 1/2), (3/4, 1/4) and (1/4, 3/4).
EVEN, FIRST, SECOND = (0.0, 0.0), (LN3, 0.0), (0.0, LN3)


def test_fixmatch_learns_from_sure_views_alone():
    """Of two target images one is surely the first class (3/4 >= .7); its other view gives it 1/4: log 4, over two."""
    batch = {
        "train": rows(EVEN, EVEN, labels=[0, 1]),
        "target": rows(FIRST, EVEN),
        "target_strong": rows(SECOND, FIRST),
    }
    value, aux = loss_of(fixmatch.make(TWO, weight=3.0, threshold=0.7), batch)
    assert_allclose(aux["loss_target"], np.log(4) / 2, rtol=1e-6)
    assert_allclose(aux["sure"], 0.5)
    assert_allclose(value, LN2 + 3 * np.log(4) / 2, rtol=1e-6)


def test_pseudo_labels_count_by_the_ramp():
    """Sure is one of two, its own cross-entropy log(4/3); a quarter of the way from a tenth to half of the run."""
    batch = {"train": rows(EVEN, EVEN, labels=[0, 1]), "target": rows(FIRST, EVEN)}
    value, _ = loss_of(pseudo_label.make(TWO, weight=2.0, threshold=0.7), batch, progress=0.2)
    assert_allclose(value, LN2 + 2 * 0.25 * np.log(4 / 3) / 2, rtol=1e-5)


def test_adamatch_bends_predictions_to_the_source():
    """Source and target mean (5/8, 3/8): bent by nothing. The bar is .9 of the source's mean sureness (3/4 + 1/2) / 2.

    So .5625: the first target image is sure, the second is not. Its other view gives 1/2 to both: log 2, over two.
    """
    batch = {
        "train": rows(FIRST, EVEN, labels=[0, 1]),
        "train_strong": rows(FIRST, EVEN),
        "target": rows(FIRST, EVEN),
        "target_strong": rows(EVEN, EVEN),
    }
    value, aux = loss_of(adamatch.make(TWO, threshold=0.9), batch, progress=0.5)
    assert_allclose(aux["loss_source"], (np.log(4 / 3) + LN2) / 2, rtol=1e-6)
    assert_allclose(aux["sure"], 0.5)
    assert_allclose(value, aux["loss_source"] + LN2 / 2, rtol=1e-6)  # the ramp is 1 at half of the run
    assert_allclose(loss_of(adamatch.make(TWO), batch, progress=0.0)[0], aux["loss_source"], rtol=1e-6)


def test_adamatch_divides_by_the_targets_own_mean():
    """Source (1/2, 1/2), target (3/4, 1/4): the guess (3/4, 1/4) is bent to even, above the bar of .9 * 1/2.

    Its cross-entropy with a view that says (3/4, 1/4) is (log(4/3) + log 4) / 2.
    """
    batch = {"train": rows(EVEN, labels=[0]), "target": rows(FIRST)}
    value, aux = loss_of(adamatch.make(TWO, threshold=0.9, strong=False), batch, progress=0.5)
    assert_allclose(aux["loss_target"], (np.log(4 / 3) + np.log(4)) / 2, rtol=1e-5)
    assert_allclose(value, LN2 + aux["loss_target"], rtol=1e-6)


def test_the_worst_domain_gains_weight():
    """Risks log 2 and log 4: weights 1/2 each times e^risk to the rate 1 are 2 and 4, so 1/3 and 2/3."""
    method = group_dro.make(TWO, rate=1.0, domains=2)
    batch = {"train": rows(EVEN, SECOND, labels=[0, 0], domain=jnp.array([0, 1]))}
    value, aux = loss_of(method, batch, memory=jnp.array([0.5, 0.5]))
    assert_allclose(aux["carry"]["weights"], [1 / 3, 2 / 3], rtol=1e-6)
    assert_allclose(value, (LN2 + 2 * np.log(4)) / 3, rtol=1e-6)
    assert_allclose(method.after(None, None, aux["carry"]), [1 / 3, 2 / 3], rtol=1e-6)


def test_the_most_telling_features_are_muted():
    """Head: the identity on two of three features. Class 0 is told by the first alone: a third of them, so it is muted.

    All images take part (rows=1): the logits (log 3, 0) become (0, 0), the loss log 2.
    """
    net = Said(head=jnp.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    batch = {"train": rows((LN3, 0.0, 5.0), labels=[0])}
    assert_allclose(loss_of(rsc.make(TWO, features=1 / 3, rows=1.0), batch, net)[0], LN2, rtol=1e-6)


def test_the_images_that_it_hurts_most():
    """The second image's first feature is 0: muting it costs nothing, so only the first of both is changed."""
    net = Said(head=jnp.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    batch = {"train": rows((LN3, 0.0, 5.0), (0.0, LN3, 5.0), labels=[0, 0])}
    value, _ = loss_of(rsc.make(TWO, features=1 / 3, rows=0.5), batch, net)
    assert_allclose(value, (LN2 + np.log(4)) / 2, rtol=1e-6)


def test_two_heads_disagree_and_features_make_peace():
    """The second head turns both classes around: (3/4, 1/4) against (1/4, 3/4) is apart by 1/2 on the mean."""
    net = Said(head2=jnp.array([[0.0, 1.0], [1.0, 0.0]]))
    batch = {"train": rows(EVEN, labels=[0]), "target": rows(FIRST)}
    method = mcd.make(TWO, weight=3.0, repeats=2)
    assert [parts for _, parts in method.steps] == [None, ("head", "head2"), *[("backbone", "bottleneck")] * 2]
    learn, disagree, agree = (loss_of(method, batch, net, step=step)[0] for step in (0, 1, 2))
    assert_allclose([learn, disagree, agree], [2 * LN2, 2 * LN2 - 3 / 2, 3 / 2], rtol=1e-5)
    assert_allclose(method.predict(net, batch["target"], ())["label"], [[LN3 / 2, LN3 / 2]], rtol=1e-6)


@pytest.mark.parametrize(("step", "wanted"), [(0, (np.log(4 / 3) + LN2) / 2), (1, LN2)])
def test_an_encoder_that_deceives(step, wanted):
    """The discriminator says 3/4 source of source rows (class 0) and 1/2 of target rows: cross-entropies of both."""
    batch = {"train": rows(FIRST, labels=[0]), "target": rows(EVEN)}
    value, _ = loss_of(adda.make(TWO), batch, memory={"params": {}, "stats": {}}, step=step)
    assert_allclose(value, wanted, rtol=1e-6)
