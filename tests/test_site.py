"""The pages that are made from the code, what the site says of freezing, and the site itself."""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Iterator

import jax
import numpy as np
import pytest

from configs import common
from scripts import config_keys, pages
from tl import adapters, begin, models, optim
from tl import config as configs
from tl.models.heads import Head
from tl.models.layers import Mode

ROOT = pathlib.Path(__file__).parents[1]


def rows_about_statistics() -> list[list[str]]:
    text = (ROOT / "docs" / "frozen.md").read_text()
    rows = (line for line in text.splitlines() if line.startswith("| `configs/"))
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows]


@pytest.fixture(scope="module")
def shapes():
    """The parameters and statistics of a ResNet with a head, as shapes."""
    backbone, image = models.make("resnet20_cifar"), np.zeros((1, 8, 8, 3), np.float32)
    created = jax.eval_shape(lambda key: backbone.init(key, image, mode=Mode()), jax.random.key(0))
    pooled = {"pooled": np.zeros((1, 64), np.float32)}
    head = jax.eval_shape(lambda key: Head(3).init(key, pooled, mode=Mode()), jax.random.key(0))
    return {"backbone": created["params"], "head": head["params"]}, {"backbone": created["batch_stats"]}


def layers(paths: set[str], every: set[str]) -> str:
    """As the table says it: of the first names behind `backbone/`, or `head`."""
    short = lambda path: path.removeprefix("backbone/").split("/")[0]  # noqa: E731
    names, known = {short(path) for path in paths}, {short(path) for path in every}
    order = sorted(names, key=lambda name: (name != "head", name != "stem", name))
    return "all" if names == known else ", ".join(order) or "none"


@pytest.mark.parametrize("row", rows_about_statistics(), ids=lambda row: " ".join(row[:2]))
def test_what_is_frozen_when(row, shapes):
    spec, stage, moves, own = row
    config = configs.load(spec, {"model": "resnet20_cifar"})
    assert bool(stage) == bool(config.stages)
    config = configs.merged(config, dict(config.stages[int(stage) - 1])) if stage else config
    params, stats = shapes
    params = jax.eval_shape(lambda tree, key: adapters.added(tree, config, key), params, jax.random.key(0))
    made = optim.make(params, list(config.groups), lambda step: step, **config.optim.to_dict())
    policy = begin.statistics_policy(made, config.frozen_stats)
    paths = {path for path in optim.paths(params) if not adapters.own(path)}
    assert layers({path for path in paths if made.moves(path)}, paths) == moves
    norms = {path.rsplit("/", 1)[0] for path in optim.paths(stats)}
    assert layers({path for path in norms if policy(path)}, norms) == own


def test_every_method_says_its_equation_its_source_and_its_hyper_parameters():
    for name in pages.names():
        method = pages.described(pages.METHODS / f"{name}.py")
        assert re.search(r" (=|<-) |  min ", method.equation), f"{name}: the second paragraph is no equation"
        assert re.search(r"\(.*\b(19|20)\d\d\b", method.about), f"{name}: the first paragraph cites no paper"
        said = f"{method.about} {method.equation} {method.rest} {method.of_arguments}"
        for given in method.arguments:
            assert re.search(rf"\b{given.name}\b", said), f"{name}: nothing says what {given.name} is"


def test_every_method_has_a_page_with_its_defaults_its_command_and_its_figures():
    made = pages.made()
    assert {f"methods/{name}.md" for name in pages.names()} <= set(made)
    assert not [name for name in pages.names() if "## Results" not in made[f"methods/{name}.md"]], "no table"
    dan = made["methods/dan.md"]
    assert "exp(-|f(a) - f(b)|^2 / (2 c m))" in dan
    assert "| `scales` | `(0.125, 0.25, 0.5, 1.0, 2.0)` |" in dan
    assert "```sh\npython main.py --config configs/dan.py\n```" in dan
    rows = json.loads((ROOT / "docs" / "results" / "office_caltech10.json").read_text())
    wanted = {"method": "DAN", "setting": "amazon -> dslr", "metric": "target/accuracy"}
    (row,) = (row for row in rows if wanted.items() <= row.items())
    figure = f"{row['mean']:.4f} ± {row['std']:.4f} (3)"
    assert f"| DAN | amazon -> dslr | target, chosen without its labels | {figure} |" in dan
    assert "configs/source_only.py" not in dan
    # Of two stages, the first of which is plain, the config is about the second.
    assert "configs/adabn.py" in made["methods/adabn.md"]
    assert "configs/adabn.py" not in made["methods/finetune.md"]
    assert "| `teacher` |" not in made["methods/distill.md"]  # the run fills it in
    grouped = pages.grouped()
    assert sorted(name for members in grouped.values() for name in members) == list(pages.names())
    assert not grouped.get("More"), "the README does not name these"
    assert grouped["Knowledge graphs"] == ["complex", "dgp", "distmult", "fusion", "nearest_rows", "rotate", "transe"]


def test_every_key_stands_on_the_page_of_keys():
    table = config_keys.keys_page(ROOT / "configs" / "common.py")
    rows = dict(re.findall(r"^\| `([\w.]+)` \| (`.*?`) \|", table, re.MULTILINE))
    assert set(rows) == set(leaves(common.get_config().to_dict()))
    assert rows["optim.momentum"] == "`0.9`"
    assert rows["groups"] == "`(('.*', {}),)`"
    assert (
        "| several weights: soup, their mean \\| with configs/evaluate.py: ensemble, the mean of their predict" in table
    )
    assert "## From sentence to tokens\n" in table


def leaves(table: dict, prefix: str = "") -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def test_texts_of_the_repository_are_taken_over():
    assert pages.relinked("[a](docs/pods.md) [b](CONTRIBUTING.md) [c](https://x.y)") == (
        "[a](pods.md) [b](contributing.md) [c](https://x.y)"
    )
    assert pages.included("README.md", "Text").startswith("## Text\n")
    assert pages.included("README.md", "top").startswith("# tl\n")
    with pytest.raises(KeyError):
        pages.included("README.md", "No such heading")


def test_the_site_is_built_strictly_and_asks_the_network_for_nothing(tmp_path, monkeypatch):
    pytest.importorskip("material", reason="mkdocs-material is not installed: the site was not built")
    from mkdocs.commands.build import build as build_site
    from mkdocs.config import load_config

    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    config = load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(tmp_path / "site"))
    build_site(config)
    built = list((tmp_path / "site").rglob("*.html"))
    assert {f"{name}.html" for name in pages.names()} <= {path.name for path in built}
    for path in built:
        fetched = re.findall(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=[\"']?(?:https?:)?//", path.read_text())
        assert not fetched, f"{path.name} fetches {fetched}"
