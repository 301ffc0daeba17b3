"""What the documents say: their commands are understood, and the quick ones run, on the pages and in the notebook."""

from __future__ import annotations

import argparse
import importlib
import json
import pathlib
import re
import shlex
import tomllib
from collections.abc import Callable

import numpy as np
import pytest
import toy
from commands import blocks, commands, lines_of, spans, text_of, words_of
from ml_collections import ConfigDict
from PIL import Image

import main
import tl
from configs import common
from tl import build, checks, hosts, models
from tl import config as configs
from tl.errors import InputError

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md"))]
CONFIGS = sorted((ROOT / "configs").rglob("*.py"))
# Programs that are not of this repository.
OUTSIDE = ("pre-commit", "curl", "kubectl", "sbatch")
MODULES = ("pytest", "venv", "pip", "mkdocs")
# Configs that a command of the documents leaves, and what stands for any.
LEFT = ("runs/", "...", "FILE")


class Parsed(Exception):
    """A script has read its flags: what it was given need not be there."""


# --- understanding them --------------------------------------------------------------------------------------


@pytest.fixture
def nothing_runs(monkeypatch):
    """main.py ends where a run would begin, a script where it has read its flags."""
    depth = 0

    def ends(real: Callable) -> Callable:
        def parse(*args, **kwargs):
            nonlocal depth
            depth += 1
            try:
                found = real(*args, **kwargs)
            finally:
                depth -= 1
            if depth:
                return found
            raise Parsed(found)

        return parse

    def script(name: str, arguments: list[str]) -> argparse.Namespace:
        with monkeypatch.context() as patch:
            for method in ("parse_args", "parse_known_args"):
                patch.setattr(argparse.ArgumentParser, method, ends(getattr(argparse.ArgumentParser, method)))
            module = importlib.import_module(f"scripts.{name}")
            with pytest.raises(Parsed) as parsed:
                module.main(arguments)
        found = parsed.value.args[0]
        options, rest = found if isinstance(found, tuple) else (found, [])
        options.rest = rest
        return options

    monkeypatch.setattr(build, "run", valid)
    monkeypatch.setattr(hosts, "join", lambda *args: None)
    monkeypatch.setattr("tl.runtime.prepare", lambda: None)
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))  # as it is where a script is started
    return script


def valid(config: ConfigDict, folder: pathlib.Path) -> None:
    """In place of a run: the method and the network of each stage and variant take what they are given."""
    changes = [*map(dict, config.stages), *config.variants.to_dict().values()] or [{}]
    for one in (configs.merged(config, change) for change in changes):
        checks.numbers(one)
        checks.arguments(build.find_method(one.method), one.method_args)
        models.make(one.model, dtype=one.dtype, **one.model_args.to_dict())


def understood(command: str, script: Callable[..., argparse.Namespace]) -> None:
    """Fails where the command would not get as far as its work."""
    program, *arguments = words_of(command)
    if program == "main.py":
        runs_main(arguments)
    elif program == "-m":
        assert arguments[0] in MODULES, command
    elif pathlib.Path(program).name == "pip":
        known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        extras = [extra for word in arguments for extra in re.findall(r"\[(.+)\]", word)]
        assert set(extras) <= set(known), f"{command}: no such extra"
    elif re.fullmatch(r"scripts/\w+\.py", program):
        options = script(pathlib.Path(program).stem, arguments)
        config = getattr(options, "config", "configs/tables/")  # a table is no config
        if not config.startswith("configs/tables/"):
            runs_main(["--config", config, *options.rest])
        if "--" in arguments:
            runs_main(arguments[arguments.index("--") + 1 :])
    elif not (ROOT / program).is_file():
        assert pathlib.Path(program).name in OUTSIDE, f"{command}: what is {program}?"
    for word in arguments:
        if re.fullmatch(r"(configs|scripts)/[\w/]+\.\w+", word):
            assert (ROOT / word).is_file(), f"{command}: {word} is not there"


def runs_main(arguments: list[str]) -> None:
    """main.py accepts these; a config that a run leaves is taken for granted."""
    spec = arguments[arguments.index("--config") + 1] if "--config" in arguments else ""
    if not spec.startswith(LEFT):
        assert main.main(arguments) == 0, arguments


@pytest.mark.parametrize("path", [*PAGES, *CONFIGS], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_is_understood(path, nothing_runs):
    for command in commands(path):
        understood(command, nothing_runs)
    for span in spans(text_of(path)):
        mention(span)


def mention(span: str) -> None:
    """Inline code that is no command, but names a config, keys, flags or a file."""
    table = common.get_config()
    if re.fullmatch(r"configs/(?!tables/|NAME)[\w/]+\.py(:\S+)?", span):
        configs.load(span)
    elif re.fullmatch(r"(--config\.[a-z_\d.]+=('.*?'|\S+) ?)+", span):
        for key, value in configs.parse_flags(shlex.split(span)).items():
            configs.assign(table, key, value)
    elif (setting := re.fullmatch(r"([a-z_]+)((?:\.[a-z_0-9]+)*)=(?![A-Z]+$)(\S+)", span)) and setting[1] in table:
        configs.assign(table, setting[1] + setting[2], setting[3])
    elif found := re.fullmatch(r"(scripts/\w+\.py)((?: .*)?)", span):
        source = (ROOT / found[1]).read_text()
        for flag in re.findall(r"--[a-z]+", found[2]):
            assert f'"{flag}"' in source, f"{span}: there is no {flag}"
    elif re.fullmatch(r"(tl|configs|scripts|tests|docs)/[a-z_\d/.]+\.[a-z]+", span):
        assert (ROOT / span).exists(), f"{span} is not there"


@pytest.mark.parametrize(
    "command",
    [
        "python main.py --config configs/finetune.py:modle=resnet50",
        "python main.py --config configs/finetun.py",
        "python main.py --config configs/vat.py --config.method_args.sise=2",
        "python main.py --config configs/finetune.py:model=resnet51",
        "python main.py --config configs/finetune.py --config.optim.momentun=0.9",
        "python scripts/predict.py --workdri runs/finetune",
        "python scripts/show_batch.py --config configs/finetune.py:modle=resnet50 --out batch.png",
        "python scripts/table.py configs/tables/no_such.py",
        "pip install -e '.[exprot]'",
        "python -m pytset",
        "mian.py",
    ],
)
def test_a_command_with_a_slip_is_not_understood(command, nothing_runs, capsys):
    with pytest.raises((AssertionError, SystemExit)):
        understood(command, nothing_runs)


@pytest.mark.parametrize(
    "span", ["configs/finetun.py", "--config.epoch=3", "batch_size=many", "scripts/serve.py --prot 1", "tl/no_such.py"]
)
def test_a_mention_with_a_slip_is_found(span):
    with pytest.raises((AssertionError, InputError)):
        mention(span)


def test_commands_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("`A=b python main.py`, `c`\n```sh\n# no\npython one \\\n  two   # why\na && b\n```\n")
    assert commands(page) == ["python one    two", "a", "b", "A=b python main.py"]
    assert words_of("TL_DATA=x .venv/bin/python main.py [--a 'b c'] --d=[1]") == ["main.py", "--a", "b c", "--d=[1]"]


# --- running the quick ones ----------------------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder like the repository's, in which runs may be left."""
    for name in ("configs", "scripts"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@toy.SLOW
def test_the_commands_of_the_quick_start_run(desk, capsys):
    text = (ROOT / "docs" / "index.md").read_text()
    (block,) = re.findall(r"<!-- run -->\n```sh\n(.*?)```", text, re.DOTALL)
    for command in lines_of(block):
        program, *arguments = words_of(command)
        module = main if program == "main.py" else importlib.import_module(f"scripts.{pathlib.Path(program).stem}")
        assert module.main(arguments) == 0, capsys.readouterr().err
    for name in re.findall(r"^\| `(\S+?)`", text, re.MULTILINE):
        assert (desk / "runs" / "first" / name).exists(), name


def test_the_notebook_runs_and_its_floor_below(desk, monkeypatch, capsys):
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    monkeypatch.chdir(desk / "docs")
    cells = json.loads((ROOT / "docs" / "notebook.ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(re.findall(r"^.+$", "\n".join(code), re.MULTILINE)) == 10
    here: dict[str, object] = {}
    for source in [*code, *blocks((ROOT / "docs" / "library.md").read_text(), "python")]:
        exec(source, here)
    (line,) = plt.gca().get_lines()
    plt.close("all")
    steps, values = tl.curve("../runs/notebook", "val/accuracy")
    assert steps == list(range(10, 101, 10))
    assert np.asarray(line.get_ydata()).tolist() == values
    assert values[-1] > 0.8
    assert "with 650 of 269,722 parameters" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"unknown scalar of '\.\./runs/notebook' 'val/acuracy': did you mean val/acc"):
        tl.curve("../runs/notebook", "val/acuracy")


TINY = {
    "model": "resnet20_cifar",
    "model_args": {"width": 4, "blocks": (1,)},
    "weights": "none",
    "image_size": 8,
    "resize": 8,
    "batch_size": 8,
    "eval_batch_size": 8,
    "steps": 2,
    "schedule.warmup": 0,
}


@pytest.fixture
def pictures(desk):
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        for name in ("ants", "bees"):
            folder = desk / "pictures" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / f"{number}.png")
    return desk / "pictures"


def migrations() -> list[tuple[str, str]]:
    text = (ROOT / "docs" / "migrating.md").read_text()
    return list(zip(blocks(text, "py"), blocks(text, "python"), strict=True))


@pytest.mark.parametrize("number", range(len(migrations())), ids=("torch", "keras", "timm"))
def test_what_stands_beside_other_code_runs(number, pictures, monkeypatch, capsys):
    """The config as it stands is valid; a run of it, on a network and images that are tiny."""
    theirs, ours = migrations()[number]
    compile(theirs, "theirs", "exec")
    load = tl.load

    def small(spec: str, changes: dict) -> ConfigDict:
        load(spec, changes)
        return load(spec, {**changes, **TINY, "data": f"folder:{pictures}"})

    monkeypatch.setattr(tl, "load", small)
    exec(ours, {})
    assert 0 <= float(capsys.readouterr().out.split()[-1]) <= 1
    (run,) = (pathlib.Path("runs")).iterdir()
    assert (run / "summary.json").is_file()
