"""Common corruptions: the optics by hand, and every kind at every level of drawn images."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tl.data import corruptions, optics
from tl.errors import InputError

FIFTEEN = {
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg"),
}


def drawn(size):
    """Slopes and waves, as of 32 pixels."""
    y, x = np.mgrid[:32, :32]
    image = np.stack([8 * x, 8 * y, 128 + 100 * np.sin(x / 2) * np.cos(y / 2)], axis=2).astype(np.uint8)
    return np.kron(image, np.ones((size // 32, size // 32, 1), np.uint8))


def damage(image, kind, level):
    """How much of an image's likeness, 1 for all of it, goes: the mean over three seeds."""
    found = [corruptions.corrupted(image, kind, level, np.random.default_rng(seed)) for seed in range(3)]
    return 1 - np.mean([np.corrcoef(image.reshape(-1), one.reshape(-1))[0, 1] for one in found])


# The paper's strengths do not rise at every level: elastic ones move the whole image first and tear it then, pixels
# behind glass are exchanged once at level 2 and twice at 1, snow falls denser, then finer; JPEG keeps or loses fine
# waves as a whole.
STEPS = {
    ("elastic_transform", 96): (3, 4, 5),
    ("elastic_transform", 32): (),
    ("glass_blur", 32): (3, 4),
    ("glass_blur", 96): (1, 3, 4, 5),
    ("snow", 96): (1, 3, 5),
    ("snow", 32): (1, 3, 5),
    ("jpeg", 32): (1, 5),
    ("jpeg", 96): (1, 5),
}


@pytest.mark.parametrize("size", [32, 96])
@pytest.mark.parametrize("kind", corruptions.STRENGTHS)
def test_damage_grows_with_the_level(kind, size):
    assert corruptions.STRENGTHS.keys() >= FIFTEEN
    image = drawn(size)
    levels = STEPS.get((kind, size), corruptions.LEVELS)
    found = [damage(image, kind, level) for level in levels]
    assert found == sorted(found)
    if kind not in ("brightness", "contrast"):  # which alone keep an image's likeness
        assert all(value > 1e-6 for value in found)
    if found:
        assert found[-1] > 1.1 * found[0]


@pytest.mark.parametrize("shape", [(24, 40), (80, 66)])
@pytest.mark.parametrize("kind", corruptions.STRENGTHS)
def test_the_same_seed_is_the_same_image_of_the_same_form(kind, shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    kept = image.copy()
    for level in (1, 5):
        one, same, other = (
            corruptions.corrupted(image, kind, level, np.random.default_rng(seed)) for seed in (1, 1, 2)
        )
        assert (one.shape, one.dtype) == (image.shape, np.uint8)
        assert (one == same).all()
        still = ("brightness", "contrast", "pixelate", "jpeg", "gaussian_blur", "defocus_blur", "zoom_blur")
        assert (one == other).all() == (kind in still)
    assert (image == kept).all()


def test_brightness_and_contrast_by_hand():
    grey = np.full((4, 4, 3), 100, np.uint8)
    assert (corruptions.corrupted(grey, "brightness", 1, np.random.default_rng(0)) == round(100 + 0.05 * 255)).all()
    two = np.array([[[0, 0, 0], [200, 200, 200]]], np.uint8)
    assert_allclose(corruptions.corrupted(two, "contrast", 3, np.random.default_rng(0))[0, :, 0], [60, 140])
    with pytest.raises(InputError, match="corruption 'rain'"):
        corruptions.corrupted(grey, "rain", 1, np.random.default_rng(0))
    with pytest.raises(InputError, match="level 6"):
        corruptions.corrupted(grey, "fog", 6, np.random.default_rng(0))


def point(size=31):
    image = np.zeros((size, size, 3))
    image[size // 2, size // 2] = 1
    return image


def test_blurs_of_a_point():
    place = np.arange(31) - 15
    taps = np.exp(-0.5 * (place / 1.5) ** 2) * (abs(place) <= 6)
    assert_allclose(optics.blurred(point(), 1.5)[..., 0], np.outer(taps, taps) / taps.sum() ** 2)
    disk = place[:, None] ** 2 + place**2 <= 9
    assert_allclose(optics.defocus(point(), 3, 1e-3)[..., 1], disk / disk.sum(), atol=1e-12)
    trail = np.exp(-0.5 * (np.arange(5) / 2.0) ** 2)
    found = optics.motion(point(), 2, 2.0, 0.0)[..., 2]
    assert_allclose(found[15, 11:16][::-1], trail / trail.sum())
    assert_allclose(found.sum(), 1)
    down = optics.motion(point(), 2, 2.0, 90.0)[..., 2]
    assert_allclose(down, found.T, atol=1e-12)
    for blur in (optics.blurred(np.ones((9, 7, 3)), 20.0), optics.defocus(np.ones((9, 7, 3)), 10, 0.5)):
        assert_allclose(blur, 1)


def test_places_between_pixels_and_beyond_the_edge():
    rows = np.array([[0.0, 1.0], [2.0, 3.0]])
    assert_allclose(optics.sampled(rows, np.array([[0.5]]), np.array([[0.25]])), [[1.25]])
    assert_allclose(optics.sampled(rows, np.array([[-1.0, 2.0]]), np.array([[0.0, 1.0]])), [[0, 3]])
    assert optics.mirrored(np.arange(-4, 6), 3).tolist() == [2, 2, 1, 0, 0, 1, 2, 2, 1, 0]
    image = np.random.default_rng(0).uniform(size=(9, 9, 3))
    assert_allclose(optics.zoomed(image, 1.0), image)
    assert_allclose(optics.zoomed(image, 2.0)[::2, ::2], image[2:7, 2:7])
    assert_allclose(optics.elastic(image, 0, 0, 0, np.random.default_rng(0)), image, atol=1e-12)


def test_glass_only_exchanges_and_fog_only_pales():
    rng = np.random.default_rng(0)
    image = rng.uniform(size=(12, 10, 3))
    mixed = optics.glass(image, 0, 2, 2, rng)
    assert_allclose(np.sort(mixed.reshape(-1, 3), axis=0), np.sort(image.reshape(-1, 3), axis=0))
    assert (mixed != image).any()
    field = optics.plasma(16, 2.0, np.random.default_rng(1))
    assert (field.min(), field.max()) == (0, 1)
    found = optics.fog(np.full((16, 16, 3), 0.5), 1.0, 2.0, np.random.default_rng(1))
    assert_allclose(found[..., 0], (0.5 + field) / 3)
    rough, smooth = (np.abs(np.diff(optics.plasma(64, d, np.random.default_rng(0)))).mean() for d in (1.4, 3.0))
    assert rough > 1.5 * smooth
