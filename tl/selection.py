"""Ways to choose among the evaluations of one run, side by side: what each would have had of the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tl.evaluators import validators
from tl.watch import Choice

# Name of a rule -> its metric. Only the oracle sees labels of the target: it says what there was to choose from.
RULES = {
    "source": "val/accuracy",
    **{name: f"score/{name}" for name in validators.NAMES if name != "balance"},
    "oracle": "target/accuracy",
}


def compared(rows: Sequence[Mapping[str, Any]], chosen: Mapping[str, float]) -> dict[str, float]:
    """`rows` of metrics.jsonl and the figures of the run's own choice -> entries of the summary.

    For `last` and each of RULES `selected/RULE/step` and `selected/RULE/target`, the accuracy on the target's test
    images; `target/accuracy_oracle`; `source/accuracy`, on test images of the source where it has any, else on val.
    """
    evaluations = [row for row in rows if "target/accuracy" in row]
    found: dict[str, float] = {}
    picked = {"last": evaluations[-1]} if evaluations else {}
    for rule, metric in RULES.items():
        if any(metric in row for row in evaluations):  # where none is fit to be chosen, the run ends with the last one
            picked[rule] = Choice(metric, evaluations).row or evaluations[-1]
    for rule, row in picked.items():
        found |= {f"selected/{rule}/step": row["step"], f"selected/{rule}/target": row["target/accuracy"]}
    oracle = found.get("selected/oracle/target")
    source = next((chosen[f"{name}/accuracy"] for name in ("test", "val") if f"{name}/accuracy" in chosen), None)
    named = {"target/accuracy_oracle": oracle, "source/accuracy": source}
    return found | {name: value for name, value in named.items() if value is not None}
