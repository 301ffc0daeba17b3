"""Host transforms: shapes, ranges, determinism, and the evaluation path."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tl.data import transforms as t
from tl.errors import InputError
from tl.preprocess import Preprocess

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
ARGUMENTS = {
    "random_resized_crop": {"size": 24},
    "random_crop": {"size": 32},
    "resize": {"size": 20},
    "centre_crop": {"size": 32},
    "colour_jitter": {"hue": 0.1},
}
SHAPES = {
    "random_resized_crop": (24, 24, 3),
    "random_crop": (32, 32, 3),
    "resize": (20, 30, 3),
    "centre_crop": (32, 32, 3),
}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", list(t.TRANSFORMS))
def test_shape_type_and_determinism(name):
    transform = t.compose([(name, ARGUMENTS.get(name, {}))])
    before = IMAGE.copy()
    results = [transform(IMAGE, rng(seed)) for seed in (1, 1, *range(2, 12))]
    assert np.array_equal(IMAGE, before)
    assert np.array_equal(results[0], results[1])
    assert all(r.dtype == np.uint8 and r.shape == SHAPES.get(name, IMAGE.shape) for r in results)
    varies = any(not np.array_equal(results[0], r) for r in results)
    assert varies == (name not in ("resize", "centre_crop"))


def test_resize_is_antialiased():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = t.resize(stripes, rng(), 16)
    assert abs(int(small.mean()) - 127) <= 2
    assert small.std() < 20  # every fourth column alone would be 0 or 255
    assert t.resize(IMAGE, rng(), (10, 50)).shape == (10, 50, 3)
    assert t.resize(IMAGE[:41, :59], rng(), 40).shape == (40, 59, 3)  # the short side already fits
    assert t.resize(IMAGE, rng(), 13).shape == (13, 19, 3)  # 13 * 60 / 40 = 19.5, rounded down


def test_centre_crop_places_and_pads():
    assert np.array_equal(t.centre_crop(IMAGE, rng(), 40), IMAGE[:, 10:50])
    padded = t.centre_crop(IMAGE, rng(), 50, fill=9)
    assert padded.shape == (50, 50, 3)
    assert (padded[:5] == 9).all()
    assert (padded[-5:] == 9).all()
    assert np.array_equal(padded[5:45], IMAGE[:, 5:55])


def test_flip_probability():
    assert np.array_equal(t.flip(IMAGE, rng(), 1.0), IMAGE[:, ::-1])
    assert np.array_equal(t.flip(IMAGE, rng(), 0.0), IMAGE)
    flipped = sum(not np.array_equal(t.flip(IMAGE, rng(i)), IMAGE) for i in range(200))
    assert 70 < flipped < 130


def test_shift_moves_whole_pixels_within_its_range():
    dot = np.zeros((20, 40, 3), np.uint8)
    dot[10, 20] = 255
    moves = set()
    for i in range(300):
        moved = t.shift(dot, rng(i), fraction=0.1)
        ((y, x),) = np.argwhere(moved[:, :, 0])
        moves.add((int(y) - 10, int(x) - 20))
    assert {y for y, _ in moves} == set(range(-2, 3))
    assert {x for _, x in moves} == set(range(-4, 5))
    full = np.full((10, 10, 3), 200, np.uint8)
    assert {int(v) for i in range(20) for v in np.unique(t.shift(full, rng(i), 0.3, fill=7))} == {7, 200}


def test_rotation_shear_and_zoom_keep_the_middle_and_fill_outside():
    disc = np.zeros((41, 41, 3), np.uint8)
    disc[18:23, 18:23] = 255
    for name in ("rotation", "shear", "zoom"):
        for i in range(5):
            assert (t.compose([(name, {})])(disc, rng(i))[20, 20] == 255).all(), name
    full = np.full((40, 40, 3), 200, np.uint8)
    turned = t.rotation(full, rng(3), degrees=45.0, fill=7)
    assert (turned[20, 20] == 200).all()
    assert (turned[0, 0] == 7).all()
    assert (t.zoom(disc, rng(), scale=(2.0, 2.0))[:, :, 0] > 127).sum() == pytest.approx(100, abs=20)
    assert np.array_equal(t.rotation(IMAGE, rng(), degrees=0.0), IMAGE)


def test_rotation_turns_by_the_angle():
    line = np.zeros((101, 101, 3), np.uint8)
    line[50, 50:] = 255  # from the middle to the right edge
    angles = []
    for i in range(60):
        ys, xs = np.nonzero(t.rotation(line, rng(i), degrees=30.0)[:, 80:, 0] > 100)
        angles.append(np.degrees(np.arctan2(ys - 50, xs + 30).mean()))
    assert max(np.abs(angles)) < 31
    assert max(angles) > 20
    assert min(angles) < -20


def test_random_resized_crop_ranges():
    ramp = np.zeros((100, 100, 3), np.uint8)
    ramp[:, :, 0], ramp[:, :, 1] = np.arange(100), np.arange(100)[:, None]
    shares, ratios = [], []
    for i in range(100):
        crop = t.random_resized_crop(ramp, rng(i), 50, scale=(0.2, 0.6)).astype(int)
        width, height = (
            (crop[:, -1, 0] - crop[:, 0, 0]).mean() + 1,
            (crop[-1, :, 1] - crop[0, :, 1]).mean() + 1,
        )
        shares.append(width * height / 1e4)
        ratios.append(width / height)
    assert 0.18 < min(shares) < 0.3
    assert 0.5 < max(shares) < 0.63
    assert 0.7 < min(ratios) < 0.85
    assert 1.15 < max(ratios) < 1.4
    narrow = np.zeros((100, 5, 3), np.uint8)  # no rectangle fits: the central one
    assert t.random_resized_crop(narrow, rng(), 8).shape == (8, 8, 3)


def test_colour_jitter_ranges():
    grey = np.full((4, 4, 3), 100, np.uint8)
    values = [int(t.colour_jitter(grey, rng(i), 0.4, 0.0, 0.0)[0, 0, 0]) for i in range(100)]
    assert 60 <= min(values) < 68
    assert 132 < max(values) <= 140
    assert (t.colour_jitter(grey, rng(), 0.0, 0.9, 0.9, 0.5) == 100).all()
    assert np.array_equal(t.colour_jitter(IMAGE, rng(), 0.0, 0.0, 0.0, 0.0), IMAGE)
    red = np.zeros((4, 4, 3), np.uint8)
    red[:, :, 0] = 255
    hues = {tuple(t.colour_jitter(red, rng(i), 0, 0, 0, 0.5)[0, 0].argsort()) for i in range(50)}
    assert len(hues) > 3
    # factor and place in the order are both drawn: two orders of the same strengths differ
    assert len({t.colour_jitter(IMAGE, rng(i)).tobytes() for i in range(5)}) == 5


def test_colour_jitter_equals_pillow():
    from PIL import ImageEnhance

    class Fixed(np.random.Generator):
        def __init__(self):
            super().__init__(np.random.PCG64(0))

        def uniform(self, *bounds):
            return 1.3

    picture = Image.fromarray(IMAGE)
    for name, kind in (("brightness", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast)):
        ours = t.colour_jitter(IMAGE, Fixed(), **{"brightness": 0, "contrast": 0, "saturation": 0, name: 0.4})
        assert np.abs(ours.astype(int) - np.asarray(kind(picture).enhance(1.3))).max() <= 1
    ours = t.colour_jitter(IMAGE, Fixed(), 0, 0, 0.4)
    assert np.abs(ours.astype(int) - np.asarray(ImageEnhance.Color(picture).enhance(1.3))).max() <= 1


def test_cutout():
    """A grey square of half the side, cut by the frame where its middle is near it; the rest as it was."""
    side, whole = round(min(IMAGE.shape[:2]) / 2), 0
    for seed in range(40):
        found = t.cutout(IMAGE, rng(seed))
        gone = (found != IMAGE).any(axis=2)
        assert (found[gone] == 127).all()
        down, across = gone.any(axis=1).sum(), gone.any(axis=0).sum()
        assert 0 < down <= side
        assert 0 < across <= side
        assert gone.sum() == down * across
        whole += down == across == side
    assert 0 < whole < 40
    assert np.array_equal(t.cutout(IMAGE, rng(), 0.0), IMAGE)


def test_greyscale():
    grey = t.greyscale(IMAGE, rng(), 1.0)
    assert (grey == grey[:, :, :1]).all()
    assert np.array_equal(grey[:, :, 0], np.asarray(Image.fromarray(IMAGE).convert("L")))
    assert np.array_equal(t.greyscale(IMAGE, rng(), 0.0), IMAGE)


def test_evaluation_is_resize_and_centre_crop():
    apply = t.compose(t.evaluation(Preprocess(size=24, resize=32)))
    expected = np.asarray(Image.fromarray(IMAGE).resize((48, 32), Image.Resampling.BILINEAR))[4:28, 12:36]
    assert np.array_equal(apply(IMAGE, rng()), expected)
    assert apply(np.zeros((8, 8, 3), np.uint8), rng()).shape == (24, 24, 3)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([("flipp", {})], "unknown transform 'flipp': did you mean flip"),
        ([("flip", {"p": 0.5})], "transform 'flip': .*'p'; it takes probability"),
        ([("random_crop", {})], "transform 'random_crop': .*'size'; it takes size, pad, fill"),
    ],
)
def test_bad_steps(steps, message):
    with pytest.raises(InputError, match=message):
        t.compose(steps)


def test_random_crop_larger_than_the_image():
    with pytest.raises(InputError, match="size=64 is larger than an image of 40 x 60 with pad=4"):
        t.random_crop(IMAGE, rng(), 64)


def test_elastic_with_no_strength_changes_nothing_and_keeps_the_middle_in_place():
    whole = IMAGE[:39]  # sides that three squares divide
    assert np.array_equal(t.elastic(whole, rng(), strength=0.0), whole)
    disc = np.zeros((40, 40, 3), np.uint8)
    disc[16:24, 16:24] = 255
    bent = t.elastic(disc, rng(), strength=0.05)
    centre = [float((bent[:, :, 0] * axis).sum() / bent[:, :, 0].sum()) for axis in np.mgrid[:40, :40]]
    assert not np.array_equal(bent, disc)
    assert np.allclose(centre, 19.5, atol=4)
