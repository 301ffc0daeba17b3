"""Exit 1 unless the demonstration's summary reaches what the README says of it.

python scripts/check_demonstration.py runs/default
"""

from __future__ import annotations

import json
import pathlib
import sys


def main(argv: list[str]) -> int:
    summary = json.loads((pathlib.Path(argv[0]) / "summary.json").read_text())
    scratch, probe, finetune = (summary[f"{name}/test/accuracy"] for name in ("scratch", "probe", "finetune"))
    wall = summary["time/wall_s"]
    print(f"scratch {scratch:.4f}, probe {probe:.4f}, fine-tuned {finetune:.4f}, {wall:.0f} s")
    failed = [
        text
        for held, text in (
            (finetune >= 0.94, "fine-tuning is under .94"),
            (finetune - scratch >= 0.08, "fine-tuning is less than 8 points over scratch"),
        )
        if not held
    ]
    print("\n".join(failed) if failed else "as the README says")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
