"""A run with a target domain: what it reports, how it chooses, what it leaves, and back from target to source."""

from __future__ import annotations

import dataclasses
import json

import jax
import numpy as np
import pytest
import toy

from tl import build, inputs, predictor
from tl import mesh as meshes
from tl.data import streams
from tl.errors import InputError
from tl.evaluators import validators
from tl.report.files import read_lines
from tl.watch import Choice

SETTINGS = {**toy.METHODS["mcc"], "target_labels": 0, "train_transforms": (), "labels_per_class": 20}
SETTINGS |= {"steps": 8, "eval_every": 2, "schedule__lr": 2e-2}


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """A run with all that a target brings, and back."""
    folder = tmp_path_factory.mktemp("adapted")
    config = toy.toy_config("configs/mcc.py", **SETTINGS | {"select": "score/information", "reverse_validation": True})
    return folder, build.run(config, folder, quiet=True)


def test_every_evaluation_is_a_row_with_all_scores(adapted):
    folder, summary = adapted
    rows = [row for row in read_lines(folder / "forward" / "metrics.jsonl") if "val/accuracy" in row]
    assert [row["step"] for row in rows] == [2, 4, 6, 8]
    wanted = {f"score/{name}" for name in validators.NAMES} | {"target/accuracy", "val/accuracy"}
    assert all(wanted <= row.keys() for row in rows)
    assert not any(key.startswith("test/") for row in rows for key in row)
    chosen = Choice("score/information", rows).row
    if chosen:
        assert summary["selected/step"] == chosen["step"]
        assert summary["target/accuracy"] == pytest.approx(chosen["target/accuracy"])
    assert summary["target/accuracy_oracle"] == max(row["target/accuracy"] for row in rows)
    assert summary["selected/oracle/target"] == summary["target/accuracy_oracle"]
    assert summary["source/accuracy"] == summary["test/accuracy"]
    assert 0 <= summary["target/a_distance"] <= 2


def test_the_report_shows_both_domains(adapted):
    page = (adapted[0] / "report.html").read_text()
    assert "sees target labels" in page
    assert page.count("<svg") >= 3
    assert "features by domain" in page


def test_back_to_the_source(adapted):
    """The labels of the way back are the predictions of the way there, and it is scored on the source's val."""
    folder, summary = adapted
    predicted = np.load(folder / "predictions.npz")
    assert len(predicted["pool/index"]) == 3200
    assert "pool/label" not in predicted
    back = json.loads((folder / "reverse" / "summary.json").read_text())
    assert summary["score/reverse"] == back["target/accuracy"]
    assert len(np.load(folder / "reverse" / "predictions.npz")["target/label"]) == len(predicted["val/label"])
    again = build.run(
        toy.toy_config("configs/mcc.py", **SETTINGS | {"select": "score/information", "reverse_validation": True}),
        folder,
        quiet=True,
    )
    assert again["score/reverse"] == summary["score/reverse"]


def test_the_choice_may_not_see_the_target():
    with pytest.raises(InputError, match=r"unknown metric in config.select 'target/accuracy'"):
        build.experiment(toy.toy_config("configs/mcc.py", **SETTINGS | {"select": "target/accuracy"}))
    with pytest.raises(InputError, match="needs a target"):
        build.run(toy.toy_config(reverse_validation=True), "not/made", quiet=True)


def test_mixstyle_says_where_it_cannot_mix():
    settings = {**toy.METHODS["mixstyle"], "method_args": {"maps": ("stage1", "layer9")}}
    with pytest.raises(InputError, match="mixstyle is to mix behind 'layer9', which the network does not compute"):
        toy.Steps(toy.toy_config("configs/mixstyle.py", **settings))


def test_methods_for_classes_refuse_other_tasks():
    with pytest.raises(InputError, match="the method 'dann' needs one task of kind classification, not binary"):
        build.find_method("dann").make(
            {"label": build.tasks.make("label", "binary", ("a", "b"))}, domains=1, target=True
        )


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("source_only", {}, "and config.method reads none together"),
        ("adamatch", {}, "and config.method reads none together"),
        ("mcc", {"bottleneck__norm": False}, "about batch norm that learns, and none does here"),
        ("mcc", {"norm_groups": 2}, "domain_norm and norm_groups both cut"),
    ],
)
def test_batch_norm_by_domain_says_where_it_cannot_be(name, settings, message, tmp_path):
    own = {**toy.METHODS["mcc" if name == "source_only" else name], "target_labels": 0, "domain_norm": True, **settings}
    with pytest.raises(InputError, match=message):
        build.run(toy.toy_config(f"configs/{name}.py", **own), tmp_path / "made", quiet=True)
    assert not (tmp_path / "made").exists()


def test_the_target_is_told_by_its_own_statistics():
    """Batch norm by domain: what moves the source's statistics moves nothing the target is told by."""
    settings = {**toy.METHODS["mcc"], "target_labels": 0, "bottleneck__norm": True, "train_transforms": ()}
    means = {}
    for apart in (True, False):
        work = toy.Steps(toy.toy_config("configs/mcc.py", **settings, domain_norm=apart), devices=1)
        batch = next(iter(streams.batches(work.experiment.streams, work.mesh, threads=0)))
        for dark in (False, True):
            source = {**batch["train"], "image": batch["train"]["image"] // (2 if dark else 1)}
            after, _ = jax.jit(work.function)(work.state, {**batch, "train": source})
            means[apart, dark] = np.asarray(after.stats["bottleneck"]["bn"]["mean"])
    np.testing.assert_allclose(means[True, False], means[True, True], atol=1e-6)
    assert np.abs(means[False, False] - means[False, True]).max() > 1e-3


@pytest.mark.parametrize("name", ["mcd", "adda"])
def test_alternating_methods_do_without_a_bottleneck(name):
    work = toy.Steps(toy.toy_config(f"configs/{name}.py", **{**toy.METHODS[name], "bottleneck__width": 0}), devices=1)
    assert np.isfinite([*work.run(1)[0].values()]).all()


def test_numbers_that_make_no_sense_are_named():
    tasks = {"label": build.tasks.make("label", "classification", ("a", "b"))}
    with pytest.raises(InputError, match=r"begin=0\.5 must lie in"):
        build.find_method("pseudo_label").make(tasks, begin=0.5)
    regression = toy.toy_config("configs/mcc.py", **{**SETTINGS, "task": "regression", "reverse_validation": True})
    with pytest.raises(InputError, match="needs task=classification"):
        build.run(regression, "not/made", quiet=True)


def test_features_are_not_among_the_predictions(adapted):
    assert not [field for field in np.load(adapted[0] / "predictions.npz") if field.endswith("features")]


def test_predictions_are_the_methods_own(tmp_path):
    """Those of maximum classifier discrepancy are the mean of two heads, in evaluation as in prediction."""
    config = toy.toy_config("configs/mcd.py", **toy.METHODS["mcd"] | {"steps": 2, "train_transforms": ()})
    build.run(config, tmp_path, quiet=True, report=False)
    loaded = predictor.load(tmp_path)
    got = loaded.outputs(inputs.open_data(config).splits["test"])["label"]
    np.testing.assert_allclose(got, np.load(tmp_path / "predictions.npz")["test/outputs/label"], rtol=1e-5, atol=1e-5)
    one_head = dataclasses.replace(loaded, predict=lambda net, rows, memory: net.outputs(rows))
    assert np.abs(one_head.outputs(inputs.open_data(config).splits["test"])["label"] - got).max() > 1e-3


def test_what_cannot_be_compared_is_refused():
    one = {**toy.GENERALISE, "data": "glyphs:digits-sans"}
    for name in ("irm", "vrex", "group_dro", "dg_coral", "dg_dann"):
        with pytest.raises(InputError, match="compares labelled domains, and there is one: name several"):
            build.experiment(toy.toy_config(f"configs/{name}.py", **one))
    few = {**toy.GENERALISE, "data": "digits+glyphs:digits-sans+glyphs:digits-mono", "batch_size": 5}
    with pytest.raises(
        InputError, match="fewer than two images a step, too few for 'irm' to compare: make it at least 6"
    ):
        build.experiment(toy.toy_config("configs/irm.py", **few), mesh=meshes.make_mesh(jax.devices()[:1]))
    for value in (64, "high"):
        with pytest.raises(
            InputError, match=r"config.method_args.hidden=.* is of the wrong kind: it must be tuple\[int"
        ):
            build.experiment(toy.toy_config("configs/mcd.py", **toy.ADAPT, method_args={"hidden": value}))
    with pytest.raises(InputError, match=r"config.method_args.weight='high' is of the wrong kind: it must be float"):
        build.experiment(toy.toy_config("configs/mcc.py", **toy.ADAPT, method_args={"weight": "high"}))
    with pytest.raises(InputError, match="reads past bottleneck"):
        build.experiment(toy.toy_config("configs/mcc.py", **toy.ADAPT, head__pool="flatten"))
    with pytest.raises(InputError, match="Leave one of the two out"):
        build.run(toy.toy_config("configs/adda.py", reverse_validation=True), "not/made", quiet=True)
