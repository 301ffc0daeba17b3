"""Mixup and cutmix: what is mixed with what, and in which share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tl import mixing
from tl.errors import InputError

IMAGES = jnp.asarray(np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8))


@pytest.fixture
def fixed(monkeypatch):
    """Set what is drawn: the share, the centre of cutmix's rectangle, and the partners, each row's next."""

    def fix(share, centre=(0.5, 0.5)):
        asked = []

        def beta(key, a, b, dtype):
            asked.append((a, b))
            return jnp.asarray(share, dtype)

        monkeypatch.setattr(jax.random, "beta", beta)
        monkeypatch.setattr(jax.random, "uniform", lambda key, shape, dtype: jnp.asarray(centre, dtype))
        monkeypatch.setattr(jax.random, "permutation", lambda key, n: jnp.roll(jnp.arange(n), -1))
        return asked

    return fix


def test_mixup_is_a_convex_mixture(fixed):
    asked = fixed(0.75)
    mixed = mixing.mixup(jax.random.key(0), IMAGES, 0.4)
    image = np.asarray(IMAGES, np.float32)
    assert_allclose(mixed.image, 0.75 * image + 0.25 * image[[1, 2, 3, 4, 5, 0]], rtol=1e-6)
    assert_array_equal(mixed.partner, [1, 2, 3, 4, 5, 0])
    assert mixed.share == 0.75
    assert asked == [(0.4, 0.4)]


@pytest.mark.parametrize(
    ("share", "centre", "rows", "columns"),
    [
        # The sides are sqrt(1 - .75) = 1/2 of the picture: within 1/4 of the centre lie the pixel centres
        # 5/16, 7/16, 9/16, 11/16 of rows 2 to 5
        (0.75, (0.5, 0.5), slice(2, 6), slice(2, 6)),
        # at a corner the border cuts: 1/16 and 3/16 above, 13/16 and 15/16 on the right
        (0.75, (0.0, 1.0), slice(0, 2), slice(6, 8)),
        # the mirrored corner loses as much
        (0.75, (1.0, 0.0), slice(6, 8), slice(0, 2)),
        (1.0, (0.5, 0.5), slice(0, 0), slice(0, 0)),
        (0.0, (0.5, 0.5), slice(0, 8), slice(0, 8)),
    ],
)
def test_cutmix_pastes_a_rectangle_and_says_what_is_left(fixed, share, centre, rows, columns):
    asked = fixed(share, centre)
    mixed = mixing.cutmix(jax.random.key(0), IMAGES, 1.5)
    expected = np.asarray(IMAGES, np.float32).copy()
    expected[:, rows, columns] = np.asarray(IMAGES)[[1, 2, 3, 4, 5, 0], rows, columns]
    assert_array_equal(mixed.image, expected)
    pasted = (rows.stop - rows.start) * (columns.stop - columns.start)
    assert_allclose(mixed.share, 1 - pasted / 64)
    assert asked == [(1.5, 1.5)]


@pytest.mark.parametrize("mix", [mixing.mixup, mixing.cutmix])
def test_low_precision_does_not_round_pixels_and_shares(fixed, mix):
    fixed(0.999, (0.123, 0.456))  # bfloat16 would make the share 1
    wide, narrow = (mix(jax.random.key(0), IMAGES, 1.0, dtype) for dtype in ("float32", "bfloat16"))
    assert narrow.image.dtype == narrow.share.dtype == jnp.float32
    assert_array_equal(wide.image, narrow.image)
    assert wide.share == narrow.share


def test_draws_follow_the_key():
    @jax.jit
    def draw(key):
        mixed = mixing.mixup(key, IMAGES, 1.0)
        return mixed.share, mixed.partner, mixed.image

    keys = [jax.random.key(n) for n in (1, 1, 2, 3, 4)]
    shares, partners, images = zip(*(jax.device_get(draw(key)) for key in keys), strict=True)
    assert_array_equal(images[0], images[1])
    assert len(set(map(float, shares))) == 4
    assert all(0 < share < 1 for share in shares)
    assert len({tuple(partner) for partner in partners}) > 1
    for share, partner, image in zip(shares, partners, images, strict=True):
        assert_array_equal(np.sort(partner), np.arange(6))
        original = np.asarray(IMAGES, np.float32)
        assert_allclose(image, share * original + (1 - share) * original[partner], rtol=1e-5, atol=1e-3)


def test_styles_are_mixed_and_content_stays():
    """Each image is a pattern times a deviation plus a mean; only the last two are mixed."""
    rng = np.random.default_rng(0)
    content = rng.standard_normal((4, 5, 5, 2))
    content = (content - content.mean((1, 2), keepdims=True)) / content.std((1, 2), keepdims=True)
    mean, deviation = rng.standard_normal((4, 1, 1, 2)), rng.uniform(0.5, 2, (4, 1, 1, 2))
    x = jnp.asarray(content * deviation + mean, jnp.float32)
    mixed = np.asarray(mixing.styles(jax.random.key(1), x, alpha=0.5, probability=1.0))
    new_mean, new_deviation = mixed.mean((1, 2), keepdims=True), mixed.std((1, 2), keepdims=True)
    np.testing.assert_allclose((mixed - new_mean) / new_deviation, content, atol=1e-4)
    assert (new_mean >= mean.min(0) - 1e-4).all()
    assert (new_mean <= mean.max(0) + 1e-4).all()
    assert not np.allclose(new_mean, mean)
    assert np.array_equal(mixing.styles(jax.random.key(1), x, alpha=0.5, probability=0.0), x)


def test_vectors_have_no_pixels_to_mix():
    vectors, key = jnp.ones((4, 7)), jax.random.key(0)
    with pytest.raises(
        InputError, match="cutmix wants images or maps of pixels, not vectors of 7 numbers: leave it out"
    ):
        mixing.cutmix(key, vectors, 1.0)
    with pytest.raises(InputError, match="mixing styles wants images"):
        mixing.styles(key, vectors, 0.1, 0.5)
