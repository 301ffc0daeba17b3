"""python main.py [--config FILE[:key=value,...]] [--workdir W] [--config.key=value ...]

Without arguments: the demonstration of configs/default.py, in runs/default.
"""

from __future__ import annotations

import argparse
import pathlib
import sys


def parse(arguments: list[str]) -> tuple[str, str, dict[str, str]]:
    """-> (config spec, workdir or "", {dotted key: value})."""
    parser = argparse.ArgumentParser(usage=__doc__, allow_abbrev=False)
    parser.add_argument("--config", default="configs/default.py")
    parser.add_argument("--workdir", default="")
    flags, rest = parser.parse_known_args(arguments)
    overrides, rest = {}, list(rest)
    while rest:
        flag = rest.pop(0)
        key, equals, value = flag.partition("=")
        if not key.startswith("--config."):
            parser.error(f"unknown argument '{flag}': a config key is set by --config.KEY=VALUE")
        if not equals and not rest:
            parser.error(f"{flag} has no value: write {flag}=VALUE")
        overrides[key.removeprefix("--config.")] = value if equals else rest.pop(0)
    return flags.config, flags.workdir, overrides


def main(arguments: list[str]) -> int:
    spec, workdir, overrides = parse(arguments)
    from tl import build, config, errors, train  # after parsing: --help and typing errors need no jax
    from tl.runtime import prepare

    try:
        prepare()
        chosen = config.load(spec, overrides)
        build.run(chosen, pathlib.Path(workdir or f"runs/{config.run_name(spec, chosen)}"))
    except errors.InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except train.Diverged as error:
        print(f"diverged: {error}", file=sys.stderr)
        return 1
    except train.Stopped as error:
        print(error)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
