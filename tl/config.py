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
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from tl.errors import InputError, unknown

# Free-form tables: their keys are checked by whoever reads them.
FREE = ("model_args", "method_args", "variants")


def load(spec: str, overrides: Mapping[str, Any] | None = None) -> ConfigDict:
    """`FILE[:key=value,...]` and overrides by dotted key (strings are parsed) -> a locked ConfigDict."""
    file, _, argument = spec.partition(".py:")
    path = pathlib.Path(file if spec == file else file + ".py")
    arguments = parse_argument(argument)
    config = _get_config(path)(arguments)
    for key, value in {**arguments, **(overrides or {})}.items():
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
        pairs[key.strip()] = value.strip()
    return pairs


def assign(config: ConfigDict, key: str, value: Any) -> None:
    """Set an existing dotted key; a string is read as a Python literal unless the key holds a string."""
    node, names = config, key.split(".")
    for depth, name in enumerate(names):
        here = ".".join(names[: depth + 1])
        free = depth > 0 and names[0] in FREE
        if not isinstance(node, ConfigDict) or (name not in node and not free):
            choices = [".".join([*names[:depth], k]) for k in node] if isinstance(node, ConfigDict) else []
            raise unknown("config key", here, choices)
        if depth < len(names) - 1:
            node = node[name]
    old = node.get(names[-1])
    new = _parse(value, old) if isinstance(value, str) else value
    if old is not None and not _fits(old, new):
        raise InputError(f"config key '{key}' takes {_kind(old)}, but was given {value!r}: e.g. --config.{key}={old!r}.")
    if isinstance(old, bool | str):
        node[names[-1]] = new
    elif isinstance(old, float) and new is not None:
        node[names[-1]] = float(new)
    else:
        with node.ignore_type():
            node[names[-1]] = ConfigDict(new) if isinstance(new, dict) else new


def merged(config: ConfigDict, changes: Mapping[str, Any]) -> ConfigDict:
    """A copy with nested `changes` ({"optim": {"lr": 1.0}}) applied, each key checked."""
    copy = ConfigDict(config.to_dict())
    for key, value in _flatten(changes, copy):
        assign(copy, key, value)
    return copy.lock()


def digest(config: ConfigDict) -> str:
    """sha256 of the config's canonical JSON."""
    return hashlib.sha256(to_json(config).encode()).hexdigest()


def to_json(config: ConfigDict) -> str:
    return json.dumps(config.to_dict(), sort_keys=True, indent=1, default=list)


def from_json(text: str) -> ConfigDict:
    return ConfigDict(json.loads(text)).lock()


def difference(old: ConfigDict, new: ConfigDict) -> list[str]:
    """Dotted keys in which two configs differ."""
    left, right = (dict(_leaves(json.loads(to_json(config)))) for config in (old, new))
    return sorted(key for key in {*left, *right} if left.get(key) != right.get(key))


def _leaves(tree: dict[str, Any], prefix: str = ""):
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def run_name(spec: str, config: ConfigDict) -> str:
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


def _flatten(changes: Mapping[str, Any], config: Any, prefix: str = ""):
    """Nested changes -> (dotted key, value); a table is entered only where the config has a fixed table too."""
    for key, value in changes.items():
        here = config.get(key) if isinstance(config, ConfigDict) else None
        if isinstance(value, Mapping | ConfigDict) and isinstance(here, ConfigDict) and key not in FREE:
            yield from _flatten(dict(value.items()), here, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


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
    kind = "a list" if isinstance(old, list | tuple) else names.get(type(old), "a table")
    return kind
