"""In which order a training stream visits its rows: endless, and a function of (seed, place) alone."""

from __future__ import annotations

import functools
import hashlib
from typing import Any, Protocol

import grain
import numpy as np

ENDLESS = 2**48  # rows; grain's own endless length, 2**63 - 1, overflows once it is sliced for the hosts
STRONG = "_strong"  # how the name of a stream of strongly augmented images ends


class Order(Protocol):
    """Row numbers by their place in the endless order."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any) -> Any: ...

    def rows(self, start: int, stop: int) -> np.ndarray:
        """The row numbers at the places `start` to `stop`."""
        ...


def order(
    n: int,
    seed: int,
    name: str = "",
    *,
    shuffle: bool = True,
    views: int = 1,
    domain: np.ndarray | None = None,
    places: Order | None = None,
) -> grain.MapDataset:
    """The endless row numbers of a training stream over `n` rows, and the seed of what is drawn for each."""
    if places is None:
        places = endless(n, seed, name, shuffle=shuffle, views=views, domain=domain)
    return grain.MapDataset.source(places).seed(stream_seed(seed, name))


def endless(
    n: int, seed: int, name: str = "", *, shuffle: bool = True, views: int = 1, domain: np.ndarray | None = None
) -> Order:
    """The order alone; row B of step s is number s * B of it. `domain` (N,) numbers make it `Balanced`.

    A stream NAME_strong goes with NAME: the same images, of which other views are drawn.
    """
    name = name.removesuffix(STRONG)
    if domain is None:
        return Endless(n, stream_seed(seed, name), shuffle, views)
    return Balanced(domain[:n], seed, name, shuffle, views)


class Endless:
    """0..n-1 again and again, every epoch in a new order that is a function of (seed, epoch).

    With `views`, n rows follow for each further view, and epoch e takes view e modulo `views` of all.

    The library's own shuffle walks a cycle of at least 65,536 places: over a millisecond an image for fifty images.
    """

    def __init__(self, n: int, seed: int, shuffle: bool, views: int = 1) -> None:
        self._n, self._seed, self._shuffle, self._views = n, seed, shuffle, views
        # A batch may span two epochs, and batches are made ahead, in threads.
        self._order = functools.lru_cache(maxsize=4)(self._permutation)

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: Any) -> Any:
        epoch, position = divmod(int(index), self._n)
        row = int(self._order(epoch)[position]) if self._shuffle else position
        return row + epoch % self._views * self._n

    def rows(self, start: int, stop: int) -> np.ndarray:
        """The row numbers at the places `start` to `stop` of the endless order."""
        places = np.arange(start, stop)
        views = places // self._n % self._views * self._n
        if not self._shuffle:
            return (places % self._n + views).astype(np.int32)
        epochs = range(start // self._n, (stop - 1) // self._n + 1)
        orders = np.concatenate([self._order(epoch) for epoch in epochs])
        return (orders[places - epochs.start * self._n] + views).astype(np.int32)

    def _permutation(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self._seed, epoch)).permutation(self._n)


class Balanced:
    """A row of each domain in turn, every domain in an endless order of its own, however large it is.

    `domain` (N,) says where each row belongs. A batch of B holds B / K rows of each of K domains, or one more.
    """

    def __init__(self, domain: np.ndarray, seed: int, name: str, shuffle: bool, views: int = 1) -> None:
        self._n = len(domain)
        self._members = [np.flatnonzero(domain == number) for number in np.unique(domain)]
        self._orders = [
            Endless(len(rows), stream_seed(seed, f"{name}/{number}"), shuffle, views)
            for number, rows in enumerate(self._members)
        ]

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: Any) -> Any:
        place, turn = divmod(int(index), len(self._members))
        return int(self._within(turn, np.asarray(self._orders[turn][place])))

    def rows(self, start: int, stop: int) -> np.ndarray:
        """The row numbers at the places `start` to `stop` of the endless order."""
        found, count = np.empty(stop - start, np.int32), len(self._members)
        for turn in range(count):
            first = start + (turn - start) % count  # this domain's first place from `start` on
            places = range(first, stop, count)
            if places:
                own = self._orders[turn].rows(first // count, first // count + len(places))
                found[first - start :: count] = self._within(turn, own)
        return found

    def _within(self, turn: int, own: np.ndarray) -> np.ndarray:
        """Rows of one domain and its views -> rows of all."""
        view, row = np.divmod(own, len(self._members[turn]))
        return self._members[turn][row] + view * self._n


def stream_seed(seed: int, name: str) -> int:
    """One seed gives streams of other names other numbers."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:4], "big")
