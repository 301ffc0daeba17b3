"""Tables of figures, for the terminal and for markdown, and the one way a mean with its spread is written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def mean_std(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (ddof=1) of at least one value, 0 for a single one."""
    numbers = np.asarray(values, np.float64)
    if not numbers.size:
        raise ValueError("the mean of no values")
    same = numbers.size == 1 or (numbers == numbers[0]).all()  # rounding would leave equal values a spread
    return float(numbers.mean()), 0.0 if same else float(numbers.std(ddof=1))


def spread(mean: float | None, std: float | None, n: int) -> str:
    """`0.9512 ± 0.0041 (3)`; one value has no spread: `0.9512 ± - (1)`, nor has a constant count: `64 (3)`."""
    if mean is not None and std == 0 and n > 1 and abs(mean) > 1 and float(mean).is_integer():
        return f"{int(mean):,} ({n})"
    return f"{number(mean)} ± {number(std) if n > 1 else '-'} ({n})"


def number(value: Any) -> str:
    """A figure for people: 4 decimals around 1, thousands separated, powers of ten at the ends."""
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return "nan"
    if isinstance(value, bool | np.bool_ | str):
        return str(value)
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    size = abs(value)
    if size and (size < 1e-3 or size >= 1e7):
        return f"{value:.2e}"
    return f"{value:.4f}" if size < 100 else f"{value:,.1f}"


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, console: Console | None = None
) -> None:
    """Print rows of strings and numbers; columns that hold numbers stand right."""
    table = Table(title=escape(title), title_justify="left")
    for index, column in enumerate(columns):
        text = all(isinstance(row[index], str) and "±" not in row[index] for row in rows)
        table.add_column(escape(column), justify="left" if text else "right")
    for row in rows:
        table.add_row(*(escape(number(cell)) for cell in row))
    (console or Console(highlight=False)).print(table)


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """The same as a markdown table; pipes and line breaks in cells are escaped."""
    lines = [list(columns), ["---"] * len(columns), *([number(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
