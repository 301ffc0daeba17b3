"""Lenses, weather and warping of images (H, W, 3) in 0..1, as in ImageNet-C (Hendrycks and Dietterich 2019).

Lengths are pixels. What lies beyond an edge is the image in a mirror. Results may leave 0..1: the caller clips.
"""

from __future__ import annotations

import numpy as np

Random = np.random.Generator


def mirrored(places: np.ndarray, size: int) -> np.ndarray:
    """Whole numbers -> 0..size-1: behind the last pixel comes the last again, then the one before it."""
    turn = places % (2 * size)
    return np.minimum(turn, 2 * size - 1 - turn)


def blurred(x: np.ndarray, sigma: float, reach: float = 4.0) -> np.ndarray:
    """A Gaussian over the first two axes, cut at `reach` deviations."""
    if not sigma:
        return x

    def matrix(size: int) -> np.ndarray:
        steps = np.arange(-int(reach * sigma + 0.5), int(reach * sigma + 0.5) + 1)
        taps = np.exp(-0.5 * (steps / sigma) ** 2)
        rows, found = np.arange(size)[:, None], np.zeros((size, size))
        np.add.at(found, (rows, mirrored(rows + steps[None], size)), (taps / taps.sum())[None])
        return found

    return np.einsum("hi,wj,ij...->hw...", matrix(x.shape[0]), matrix(x.shape[1]), x, optimize=True)


def sampled(x: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Values between the pixels, bilinear: (H, W, ...) at (h, w) places -> (h, w, ...)."""
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    shape = (*rows.shape, *[1] * (x.ndim - 2))
    down, right = (rows - top).reshape(shape), (columns - left).reshape(shape)

    def at(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        return x[mirrored(i, x.shape[0]), mirrored(j, x.shape[1])]

    above = at(top, left) * (1 - right) + at(top, left + 1) * right
    below = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right
    return above * (1 - down) + below * down


def zoomed(x: np.ndarray, factor: float) -> np.ndarray:
    """The middle, enlarged to the whole."""
    middle = [(size - 1) / 2 for size in x.shape[:2]]
    rows, columns = (m + (np.arange(size) - m) / factor for m, size in zip(middle, x.shape[:2], strict=True))
    return sampled(x, *np.meshgrid(rows, columns, indexing="ij"))


def defocus(x: np.ndarray, radius: float, edge: float) -> np.ndarray:
    """A disk, whose edge is softened by a Gaussian of deviation `edge` over 3, of large ones 5, pixels."""
    size, half = max(8, int(radius)), 1 if radius <= 8 else 2
    steps = np.arange(-size, size + 1)
    disk = (steps[:, None] ** 2 + steps**2 <= radius**2) / 1.0
    taps = np.exp(-0.5 * (np.arange(-half, half + 1) / edge) ** 2)
    for _ in range(2):
        disk = np.stack([np.convolve(row, taps / taps.sum(), "same") for row in disk]).T
    disk /= disk.sum()
    rows, columns = (np.arange(-size, n + size) for n in x.shape[:2])
    wide = x[mirrored(rows, x.shape[0])][:, mirrored(columns, x.shape[1])]
    height, width = x.shape[:2]
    taken = [(disk[i, j], wide[i : i + height, j : j + width]) for i, j in zip(*np.nonzero(disk), strict=True)]
    return sum((weight * part for weight, part in taken), np.zeros_like(x))


def glass(x: np.ndarray, sigma: float, most: int, times: int, rng: Random) -> np.ndarray:
    """Pixels change places with near ones, one after the other from the last to the first, between two blurs."""
    height, width = x.shape[:2]
    order = list(range(height * width))
    for _ in range(times):
        moves = rng.integers(-most, most, (height, width, 2))
        for row in range(height - most, most, -1):
            for column in range(width - most, most, -1):
                down, right = moves[row, column].tolist()
                here, there = row * width + column, (row + down) * width + column + right
                order[here], order[there] = order[there], order[here]
    return blurred(blurred(x, sigma).reshape(-1, 3)[order].reshape(x.shape), sigma)


def motion(x: np.ndarray, radius: int, sigma: float, degrees: float) -> np.ndarray:
    """A trail in one direction, half a Gaussian of 2 radius + 1 pixels."""
    steps = np.arange(2 * radius + 1)
    taps = np.exp(-0.5 * (steps / sigma) ** 2)
    turn, found = np.deg2rad(degrees), np.zeros_like(x)
    for weight, step in zip(taps / taps.sum(), steps, strict=True):
        rows, columns = (
            mirrored(np.arange(size) + round(step * share), size)
            for size, share in zip(x.shape[:2], (np.sin(turn), np.cos(turn)), strict=True)
        )
        found += weight * x[rows][:, columns]
    return found


def zoom_blur(x: np.ndarray, most: float, step: float) -> np.ndarray:
    """The mean of the image and of itself, enlarged by 1, 1 + step, ... below `most`."""
    factors = np.arange(1, most, step)
    return (x + sum(zoomed(x, factor) for factor in factors)) / (len(factors) + 1)


def plasma(size: int, decay: float, rng: Random) -> np.ndarray:
    """(size, size) in 0..1, a power of two: a fractal landscape by diamonds and squares (Fournier et al. 1982)."""
    field, step, rough = np.zeros((size, size)), size, 100.0

    def mean(total: np.ndarray) -> np.ndarray:
        return total / 4 + rough * rng.uniform(-rough, rough, total.shape)

    while step >= 2:
        half = step // 2
        corners = field[::step, ::step]
        total = corners + np.roll(corners, -1, axis=0)
        middles = mean(total + np.roll(total, -1, axis=1))
        field[half::step, half::step] = middles
        field[::step, half::step] = mean(middles + np.roll(middles, 1, 0) + corners + np.roll(corners, -1, 1))
        field[half::step, ::step] = mean(middles + np.roll(middles, 1, 1) + corners + np.roll(corners, -1, 0))
        step, rough = half, rough / decay
    return (field - field.min()) / (field.max() - field.min())


def _plasma_for(x: np.ndarray, decay: float, rng: Random) -> np.ndarray:
    height, width = x.shape[:2]
    return plasma(1 << (max(height, width) - 1).bit_length(), decay, rng)[:height, :width, None]


def fog(x: np.ndarray, much: float, decay: float, rng: Random) -> np.ndarray:
    most = x.max()
    return (x + much * _plasma_for(x, decay, rng)) * most / (most + much)


def snow(x: np.ndarray, by: tuple[float, ...], rng: Random) -> np.ndarray:
    """Flakes in flight over a paler image; `by`: mean, deviation, zoom, least, radius, sigma, share of the image."""
    mean, deviation, zoom, least, radius, sigma, share = by
    flakes = zoomed(rng.normal(mean, deviation, x.shape[:2]), zoom)
    flakes = np.clip(np.where(flakes < least, 0, flakes), 0, 1)
    flakes = motion(flakes, int(radius), sigma, rng.uniform(-135, -45))[..., None]
    grey = (x @ [0.299, 0.587, 0.114])[..., None]
    return share * x + (1 - share) * np.maximum(x, 1.5 * grey + 0.5) + flakes + flakes[::-1, ::-1]


def frost(x: np.ndarray, image: float, ice: float, rng: Random) -> np.ndarray:
    """Drawn ice over the image: pale plates, with bright needles where either of two landscapes crosses its middle."""
    plates, *ridges = (_plasma_for(x, decay, rng) for decay in (1.7, 1.5, 1.5))
    needles = sum((1 - np.abs(2 * ridge - 1)) ** 6 for ridge in ridges)
    return image * x + ice * np.clip(0.5 * plates + 0.7 * needles, 0, 1) * [0.9, 0.96, 1.0]


def elastic(x: np.ndarray, strength: float, sigma: float, shift: float, rng: Random) -> np.ndarray:
    """An affine map that moves three points by at most `shift`, then displacements smoothed over `sigma`."""
    size = np.array(x.shape[:2])
    square, middle = min(x.shape[:2]) // 3, size // 2
    points = np.array([middle + square, middle + square * np.array([1, -1]), middle - square], float)
    moved = points + rng.uniform(-shift, shift, points.shape)
    # Where in the image lies what is at a place of the result: the map from `moved` to `points`.
    back = np.linalg.solve(np.c_[moved, np.ones(3)], points)
    rows, columns = np.meshgrid(*(np.arange(n) for n in size), indexing="ij")
    places = np.stack([rows, columns, np.ones_like(rows)], axis=-1) @ back
    bent = sampled(x, places[..., 0], places[..., 1])
    down, right = (strength * blurred(rng.uniform(-1, 1, x.shape[:2]), sigma, 3.0) for _ in range(2))
    return sampled(bent, rows + down, columns + right)
