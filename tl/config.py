"""Configs: a Python file's `get_config(arg)`, changed key by key, checked, and digested.

`FILE.py:key=value,...` and `--config.key=value` are one mechanism: both set existing keys of what the file returns.
`get_config` also sees the `key=value` pairs (a dict of strings), so that a file can follow the model or `smoke`.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from tl.errors import InputError, unknown

# A locked ConfigDict. Only configs/common.py knows the types of its attributes, hence Any for the type checker.
Config = Any

# Free-form tables: their keys are checked by whoever reads them.
FREE = ("model_args", "method_args", "variants", "entities")
# What may change between two runs in one folder: the maths and its numbers, but for rounding, stay the same.
PLACES = ("mesh", "remat", "tracking")


def load(spec: str, overrides: Mapping[str, Any] | None = None) -> Config:
    """`FILE[:key=value,...]` and overrides by dotted key (strings are parsed) -> a locked ConfigDict."""
    file, _, argument = spec.partition(".py:")
    path = pathlib.Path(file if spec == file else file + ".py")
    # One mechanism: the file sees, and the result is changed by, both kinds of settings.
    settings = {**parse_argument(argument), **(overrides or {})}
    config = _get_config(path)({key: str(value) for key, value in settings.items()})
    for key, value in settings.items():
        assign(config, key, value)
    return config.lock()


def parse_argument(argument: str) -> dict[str, str]:
    """`a=1,b=x` -> {"a": "1", "b": "x"}."""
    pairs = {}
    for piece in filter(None, argument.split(",")):
        key, equals, value = piece.partition("=")
        if not equals:
            raise InputError(
                f"'{piece}' in the config's argument '{argument}' is no key=value: a value that holds a comma "
                "(a path, a list) must be given as --config.KEY=VALUE instead."
            )
        if key.strip() in pairs:
            raise InputError(f"the config's argument '{argument}' sets '{key.strip()}' twice: keep one of them.")
        pairs[key.strip()] = value.strip()
    return pairs


def parse_flags(flags: Sequence[str]) -> dict[str, str]:
    """`--config.KEY=VALUE` and `--config.KEY VALUE` -> {KEY: VALUE}; InputError for any other argument."""
    found, rest = {}, list(flags)
    while rest:
        flag = rest.pop(0)
        key, equals, value = flag.partition("=")
        if not key.startswith("--config."):
            raise InputError(f"unknown argument '{flag}': a config key is set by --config.KEY=VALUE.")
        if not equals and not rest:
            raise InputError(f"{flag} has no value: write {flag}=VALUE.")
        found[key.removeprefix("--config.")] = value if equals else rest.pop(0)
    return found


def assign(config: ConfigDict, key: str, value: Any) -> None:
    """Set an existing dotted key; a string is read as a Python literal unless the key holds a string."""
    node: Any = config
    names = key.split(".")
    for depth, name in enumerate(names):
        last = depth == len(names) - 1
        if not isinstance(node, ConfigDict):
            raise InputError(f"config key '{key}': '{'.'.join(names[:depth])}' holds {_kind(node)}, which has no keys.")
        if name not in node and not (last and set(names[:depth]) & set(FREE)):
            raise unknown("config key", ".".join(names[: depth + 1]), [".".join([*names[:depth], k]) for k in node])
        if not last:
            node = node[name]
    old = node.get(names[-1])
    new = _parse(value, old) if isinstance(value, str) else value
    if old is not None and not _fits(old, new):
        raise InputError(
            f"config key '{key}' takes {_kind(old)}, but was given {value!r}: e.g. --config.{key}={old!r}."
        )
    if isinstance(old, ConfigDict) and not set(names) & set(FREE):
        for name, inner in new.items():  # key by key: the others keep their values, and a misspelt one is found
            assign(config, f"{key}.{name}", inner)
    else:
        with node.ignore_type():  # `_fits` has checked; this still makes 1.0 of 1 where the key holds a float
            node[names[-1]] = ConfigDict(new, allow_dotted_keys=True) if isinstance(new, dict) else new


def merged(config: Config, changes: Mapping[str, Any]) -> Config:
    """A copy with nested `changes` ({"schedule": {"lr": 1.0}}) applied, each key checked."""
    copy = ConfigDict(config.to_dict(), allow_dotted_keys=True)
    for key, value in changes.items():
        assign(copy, key, value)
    return copy.lock()


def digest(config: Config) -> str:
    """sha256 of what the config switches on: its canonical JSON without what is empty, zero or off.

    A key that is added later, off by default, so leaves the digests of finished cells as they were.
    """
    text = json.dumps(_switched_on(json.loads(to_json(config))), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _switched_on(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: _switched_on(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item}
    return value


def to_json(config: Config) -> str:
    return json.dumps(config.to_dict(), sort_keys=True, indent=1)


def from_json(text: str) -> Config:
    return ConfigDict(json.loads(text), allow_dotted_keys=True).lock()


def difference(old: ConfigDict, new: Config) -> list[str]:
    """Dotted keys in which two configs differ, but for those that only say where and in which order to compute.

    A key that one of them does not know yet is off there.
    """
    left, right = (dict(_leaves(json.loads(to_json(config)))) for config in (old, new))
    differs = {key for key in {*left, *right} if (left.get(key) or None) != (right.get(key) or None)}
    return sorted(key for key in differs if key.split(".")[0] not in PLACES)


def _leaves(tree: dict[str, Any], prefix: str = ""):
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def run_name(spec: str, config: Config) -> str:
    """The config file's stem, with six digits of the digest where anything was changed."""
    path = pathlib.Path(spec.partition(".py:")[0])
    stem = path.name.removesuffix(".py")
    plain = digest(load(str(path.with_name(stem + ".py"))))
    return stem if digest(config) == plain else f"{stem}-{digest(config)[:6]}"


def _get_config(path: pathlib.Path):
    if not path.is_file():
        siblings = sorted(str(p) for p in pathlib.Path("configs").glob("*.py") if p.stem not in ("common", "__init__"))
        raise unknown("config file", str(path), siblings)
    module_spec = importlib.util.spec_from_file_location(f"tl_config_{path.stem}", path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise InputError(f"{path} defines no get_config(arg): a config file is a function that returns a ConfigDict.")
    get_config = module.get_config
    return get_config if inspect.signature(get_config).parameters else lambda _: get_config()


def _parse(text: str, old: Any) -> Any:
    if isinstance(old, str):
        return text
    if isinstance(old, bool) and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _fits(old: Any, new: Any) -> bool:
    if isinstance(old, bool) or isinstance(new, bool):
        return isinstance(old, bool) and isinstance(new, bool)
    if isinstance(old, float):
        return isinstance(new, int | float)
    if isinstance(old, list | tuple):
        return isinstance(new, list | tuple)
    if isinstance(old, ConfigDict):
        return isinstance(new, Mapping | ConfigDict)
    return isinstance(new, type(old))


def _kind(old: Any) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
    return "a list" if isinstance(old, list | tuple) else names.get(type(old), "a table")
