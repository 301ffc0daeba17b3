"""python main.py [--config FILE[:key=value,...]] [--workdir W] [--config.key=value ...]

On several machines, once on each: --coordinator HOST:PORT --processes N --process I; see docs/pods.md.
Without arguments: the demonstration of configs/default.py, in runs/default.
"""

from __future__ import annotations

import argparse
import pathlib
import sys


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(usage=__doc__, allow_abbrev=False)
    parser.add_argument("--config", default="configs/default.py")
    parser.add_argument("--workdir", default="")
    parser.add_argument("--coordinator", default="")
    parser.add_argument("--processes", type=int)
    parser.add_argument("--process", type=int)
    flags, rest = parser.parse_known_args(arguments)
    from tl import build, config, errors, hosts, train  # after parsing: --help needs no jax
    from tl.runtime import prepare

    try:
        chosen = config.load(flags.config, config.parse_flags(rest))
        hosts.join(flags.coordinator, flags.processes, flags.process)
        prepare()
        build.run(chosen, pathlib.Path(flags.workdir or f"runs/{config.run_name(flags.config, chosen)}"))
    except errors.InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except train.Diverged as error:
        print(f"diverged: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(stop if isinstance(stop, train.Stopped) else "interrupted: run the same command again to go on.")
        return 130
    except Exception as error:
        hosts.fail(error)
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    from tl import hosts

    hosts.leave(code)
