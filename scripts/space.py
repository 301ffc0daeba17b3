"""What a sweep tries: KEY=LOW..HIGH, KEY=log:LOW..HIGH or KEY=A|B|C for each key of a config."""

from __future__ import annotations

import ast
import dataclasses
import itertools
import math
import pprint
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tl.errors import InputError
from tl.report.table import number

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
RANGE = re.compile(rf"(log:)?({NUMBER})\.\.({NUMBER})")


@dataclasses.dataclass(frozen=True)
class Axis:
    """Values of one key: `choices`, or all from `low` to `high`, whole numbers where both are."""

    key: str
    choices: tuple[Any, ...] = ()
    low: float = 0
    high: float = 0
    log: bool = False

    def like(self, value: Any) -> Axis:
        """The axis of a key that holds such a value: of numbers with a point where it does."""
        real = isinstance(value, float) and not self.choices
        return dataclasses.replace(self, low=float(self.low), high=float(self.high)) if real else self

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def suggest(self, trial: Any) -> Any:
        """The value that the trial has, or is given now."""
        if self.choices:
            return self.meant(trial.suggest_categorical(self.key, [_kept(value) for value in self.choices]))
        draw = trial.suggest_int if self.whole else trial.suggest_float
        return draw(self.key, self.low, self.high, log=self.log)

    def meant(self, kept: Any) -> Any:
        """The value that a trial keeps as `kept`."""
        return next((value for value in self.choices if _kept(value) == kept), kept)

    def draw(self, rng: np.random.Generator) -> Any:
        """One at random, of the scale's uniform distribution."""
        if self.choices:
            return self.choices[rng.integers(len(self.choices))]
        if self.whole and not self.log:
            return int(rng.integers(int(self.low), int(self.high) + 1))
        if not self.log:
            return float(rng.uniform(self.low, self.high))
        value = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        return round(value) if self.whole else value


def parse(texts: Sequence[str]) -> dict[str, Axis]:
    """{key: its axis}; InputError for a text that is none."""
    if not texts:
        raise InputError("a sweep needs keys to vary: give --space KEY=LOW..HIGH, KEY=log:LOW..HIGH or KEY=A|B.")
    axes = {}
    for text in texts:
        key, equals, values = text.partition("=")
        if not equals or not key or not values:
            raise InputError(
                f"--space {text} is no key with values: write KEY=LOW..HIGH, KEY=log:LOW..HIGH or KEY=A|B."
            )
        if key in axes:
            raise InputError(f"--space names {key} twice: give all its values at once.")
        axes[key] = _axis(key, values)
    return axes


def _axis(key: str, values: str) -> Axis:
    found = RANGE.fullmatch(values)
    if not found:
        return Axis(key, choices=tuple(_literal(value) for value in values.split("|")))
    log, low, high = bool(found[1]), _literal(found[2]), _literal(found[3])
    if not low < high or (log and low <= 0):
        raise InputError(
            f"--space {key}={values}: the first number must be the smaller one{', above 0' if log else ''}."
        )
    return Axis(key, low=low, high=high, log=log)


def _kept(value: Any) -> Any:
    """As a journal keeps a choice: text of what is neither number nor text, such as a tuple."""
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def listed(axes: Mapping[str, Axis], how: str, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """What a grid or a random search tries; nothing for one that goes by what it finds."""
    if how == "grid":
        for axis in axes.values():
            if not axis.choices:
                raise InputError(f"a grid has listed values, and {axis.key} is a range: write {axis.key}=A|B|C.")
        for values in itertools.product(*(axis.choices for axis in axes.values())):
            yield dict(zip(axes, map(_kept, values), strict=True))
    if how == "random":
        for number in range(count):
            rng = np.random.default_rng([seed, number])
            yield {key: _kept(axis.draw(rng)) for key, axis in axes.items()}


def shown(value: Any) -> str:
    """For people."""
    return number(value) if isinstance(value, int | float) else str(value)


def config_file(spec: str, flags: Mapping[str, Any], params: Mapping[str, Any]) -> str:
    """A config that is `spec` with the flags and the values set."""
    return (
        f'"""The best of a sweep over {", ".join(params)} of {spec}."""\n\n'
        "from tl import config\n\n"
        f"BEST = {pprint.pformat({**flags, **params}, sort_dicts=False)}\n\n\n"
        "def get_config(arg):\n"
        f"    return config.load({spec!r}, {{**BEST, **arg}})\n"
    )
