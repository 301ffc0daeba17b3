"""What a classifier is worth beyond its accuracy: each figure by hand, and a finished run judged."""

from __future__ import annotations

import json
import re
import types
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from numpy.testing import assert_allclose
from PIL import Image

from scripts import assess
from tl import assessment, attacks, build, config, fairness, metrics
from tl.errors import InputError

# Two groups of a question of two answers: of "a" 2 of 3 are found and 1 of 2 is wrongly, of "b" 1 of 2 and 0 of 1.
LABELS = np.array([1, 1, 1, 0, 0, 1, 1, 0])
SAID = np.array([1, 1, 0, 1, 0, 1, 0, 0])
GROUPS = np.array(list("aaaaabbb"))


def test_gaps_between_groups_by_hand():
    found = fairness.gaps(LABELS, SAID, GROUPS, 2)
    assert_allclose(found["accuracy"], 5 / 8)
    assert_allclose(found["worst_group"], 3 / 5)
    assert_allclose(found["accuracy_gap"], 2 / 3 - 3 / 5)
    assert_allclose(found["tpr_gap"], 2 / 3 - 1 / 2)
    assert_allclose(found["fpr_gap"], 1 / 2)
    assert_allclose(found["demographic_parity"], 3 / 5 - 1 / 3)
    assert_allclose(found["equalised_odds"], 1 / 2)
    of_a = fairness.by_group(LABELS, SAID, GROUPS, 2)["a"]
    assert of_a["n"] == 5
    assert_allclose(of_a["tpr"], [1 / 2, 2 / 3])


def test_of_several_classes_the_largest_gap_counts_and_a_group_without_a_class_does_not():
    labels, said, groups = np.array([0, 1, 2, 0, 1]), np.array([0, 1, 0, 1, 1]), np.array(list("xxxyy"))
    found = fairness.gaps(labels, said, groups, 3)
    assert_allclose(found["tpr_gap"], 1.0)  # of class 0; class 2 is in one group alone
    assert_allclose(found["fpr_gap"], 1.0)  # class 1: none of two in x, one of one in y
    same = fairness.gaps(labels, labels, np.array(list("xyxyx")), 3)
    assert (same["tpr_gap"], same["fpr_gap"], same["worst_group"]) == (0, 0, 1)


def test_a_gap_that_no_class_has_in_two_groups_is_none():
    labels = np.array([0, 0, 1, 1])
    apart = fairness.gaps(labels, np.array([0, 1, 1, 1]), np.array(list("xxyy")), 2)
    assert np.isnan([apart["tpr_gap"], apart["fpr_gap"], apart["equalised_odds"]]).all()
    assert_allclose([apart["accuracy_gap"], apart["demographic_parity"]], 1 / 2)


def test_samples_without_a_figure_do_not_pull_its_interval():
    """Of a small group two are positive and both are missed: where one of them is drawn the gap is 1, else unknown."""
    labels = np.r_[1, 1, np.zeros(10, int), np.tile([0, 1], 250)]
    said = np.r_[np.zeros(12, int), labels[12:]]
    table = {"labels": labels, "predicted": said, "groups": np.repeat(["x", "y"], [12, 500])}
    low, high, known = fairness.intervals(partial(fairness.gaps, classes=2), table, times=300)["tpr_gap"]
    assert (low, high) == (1, 1)
    assert_allclose(known, 1 - (10 / 12) ** 12, atol=0.05)


def test_intervals_are_percentiles_of_samples_that_keep_the_groups():
    rng = np.random.default_rng(0)
    table = {"right": rng.uniform(size=400) < 0.7, "groups": np.repeat(["x", "y"], [390, 10])}
    sizes = set()

    def of(right, groups):
        sizes.add((groups == "y").sum())
        return {"accuracy": right.mean()}

    low, high, known = fairness.intervals(of, table, times=400)["accuracy"]
    assert known == 1
    half = 1.96 * np.sqrt(0.7 * 0.3 / 400)
    assert sizes == {10}
    assert_allclose([low, high], table["right"].mean() + np.array([-half, half]), atol=0.012)
    assert fairness.intervals(of, table, times=50) == fairness.intervals(of, table, times=50)


def test_attacks_on_a_linear_loss():
    slope = jnp.array([1.0, -2.0, 0.5]).reshape(1, 1, 1, 3)
    loss = lambda x: (x * slope).sum(axis=(1, 2, 3))  # noqa: E731
    image = jnp.array([100.0, 2.0, 254.0]).reshape(1, 1, 1, 3)
    worst = np.array([104.0, 0.0, 255.0]).reshape(1, 1, 1, 3)  # the ball's corner, where pixels end
    assert_allclose(attacks.fgsm(loss, image, 4.0), worst)
    assert_allclose(attacks.pgd(loss, image, 4.0, jax.random.key(0), steps=25), worst)
    bent = lambda x: -jnp.square(x - image - 1.0).sum(axis=(1, 2, 3))  # noqa: E731
    near = attacks.pgd(bent, image, 4.0, jax.random.key(1), steps=40)  # the best is inside: steps jump over it
    assert bent(near) > bent(attacks.fgsm(bent, image, 4.0))
    assert bent(near) > -3 * 0.4**2


def test_the_temperature_undoes_what_scaled_the_logits():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 3))
    labels = np.array([rng.choice(3, p=row) for row in metrics.softmax(logits)])
    assert_allclose(metrics.temperature(2.5 * logits, labels) / metrics.temperature(logits, labels), 2.5, rtol=1e-3)
    assert_allclose(metrics.temperature(logits, labels), 1, atol=0.05)
    assert_allclose(metrics.temperature(300 * logits, labels), 300, rtol=0.05)
    assert np.isnan(metrics.temperature(logits, logits.argmax(axis=1))), "the colder the better, without end"


def test_membership():
    assert metrics.membership(np.array([0.1, 0.2]), np.array([1.0, 2.0])) == {"auc": 1.0, "advantage": 1.0}
    found = metrics.membership(np.array([0.1, 3.0]), np.array([1.0, 2.0]))
    assert found == {"auc": 0.5, "advantage": 0.5}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    learns = {**toy.LENET, "labels_per_class": 0, "steps": 300, "optim__name": "adam", "schedule__lr": 1e-2}
    chosen = toy.toy_config("configs/scratch.py", **{**learns, "data": "digits", "eval_every": 300, "select": ""})
    return folder, build.run(chosen, folder, quiet=True, report=False)


def test_a_finished_run_is_judged(workdir, tmp_path, capsys):
    folder, summary = workdir
    of = assessment.opened(folder)
    rows = [f"{name},{'first' if i % 3 else 'second'}" for i, name in enumerate(of.split.names)]
    (tmp_path / "who.csv").write_text("\n".join(["file,hand", *rows]))
    asked = ["--groups", f"{tmp_path / 'who.csv'}#hand", "--corruptions", "contrast", "--attacks", "1e-3", "32"]
    written = tmp_path / "found.json"
    assert assess.main(["--workdir", str(folder), *asked, "--privacy", "--json", str(written)]) == 0
    found = json.loads(written.read_text())
    exact = summary["test/accuracy"]
    assert_allclose(found["calibration"]["as it is/accuracy"], exact)
    assert_allclose(found["calibration"]["calibrated/accuracy"], exact)
    assert found["calibration"]["as it is/ece"] == pytest.approx(summary["test/ece"], abs=1e-4)
    assert found["fairness"]["groups"]["second"]["n"] == -(-len(of.split) // 3)
    low, high, _ = found["fairness"]["intervals"]["accuracy"]
    assert low < exact < high
    low, high, _ = found["fairness"]["intervals"]["group/second"]
    assert low < found["fairness"]["groups"]["second"]["accuracy"] < high
    assert len(found["corruptions"]["contrast"]) == 5
    for attack in ("FGSM", "PGD"):
        assert found["attacks"][attack]["0.001"] == pytest.approx(exact, abs=0.01)
        assert found["attacks"][attack]["32"] < exact - 0.1
    assert 0.3 < found["membership"]["auc"] < 1
    printed = capsys.readouterr().out
    assert "equalised_odds" in printed
    assert "groups, rates are means over classes" in printed
    mean = np.mean(found["fairness"]["groups"]["second"]["tpr"])
    assert re.search(rf"second .* {mean:.4f} ", printed)
    assert "accuracy under attacks" in printed
    assert assess.main(["--workdir", str(folder), "--on", "val"]) == 0  # without a temperature of its own
    assert "temperature" not in capsys.readouterr().out
    few = assessment.opened(folder, most=20)
    assert len(few.split) == 20


def test_a_binary_run_by_folders_and_under_attack(tmp_path, capsys):
    for part, light in (("train", 0), ("test", 5)):
        for number in range(24):
            name, value = ("dark", 60 + light) if number % 2 else ("bright", 180 + light)
            (tmp_path / part / name).mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(number).integers(-20, 20, (8, 8, 3))
            Image.fromarray((value + noise).astype(np.uint8)).save(tmp_path / part / name / f"{number}.png")
    learns = {**toy.LENET, "labels_per_class": 0, "steps": 40, "optim__name": "adam", "schedule__lr": 1e-2}
    chosen = toy.toy_config("configs/scratch.py", **{**learns, "data": f"folder:{tmp_path}", "task": "binary"})
    build.run(config.merged(chosen, {"eval_every": 40, "select": ""}), tmp_path / "w", quiet=True, report=False)
    arguments = ["--workdir", str(tmp_path / "w"), "--groups", "folder:1", "--attacks", "1e-3", "255"]
    assert assess.main([*arguments, "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert {name: row["n"] for name, row in found["fairness"]["groups"].items()} == {"bright": 12, "dark": 12}
    right = found["calibration"]["as it is/accuracy"]
    assert right > 0.9
    assert found["attacks"]["PGD"]["0.001"] == right
    assert found["attacks"]["PGD"]["255"] < 0.5  # any image may become any other
    assert "groups, rates are those of the second class" in capsys.readouterr().out


def test_domains_are_groups():
    split = types.SimpleNamespace(labels={"domain": np.array([0, 1, 1])}, names=["a", "b", "c"])
    of: Any = types.SimpleNamespace(split=split, dataset=types.SimpleNamespace(domains=("old", "new")))
    assert assessment.group_names(of, "domain").tolist() == ["old", "new", "new"]


def test_an_end_of_a_name_that_fits_two_files_is_no_group(tmp_path):
    """`1.png` alone would give both the group of one: the nearer ends decide, and say which files they leave open."""
    names = ["a/1.png", "b/1.png", "b/2.png"]
    of: Any = types.SimpleNamespace(split=types.SimpleNamespace(names=names), name="test")

    def groups(*rows):
        (tmp_path / "who.csv").write_text("\n".join(["file,hand", *rows]))
        return assessment.group_names(of, f"{tmp_path / 'who.csv'}#hand").tolist()

    assert groups("a/1.png,left", "1.png,right", "2.png,left") == ["left", "right", "left"]
    with pytest.raises(
        InputError, match=r"a row for '1\.png', in which 'a/1\.png' and 'b/1\.png' both end: write more"
    ):
        groups("1.png,left", "2.png,right")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--groups", "domain"], "this run's data are of one domain"),
        (["--groups", "folder:0"], "must be folder:N, with N=1"),
        (["--groups", "folder:9"], "lies in no so deep a folder"),
        (["--groups", "folder:1"], "all images are of the group"),
        (["--groups", "none.csv#a"], "there is no file 'none.csv'"),
        (["--groups", "FILE#sex"], "unknown column of"),
        (["--groups", "FILE#hand"], "has no row for"),
        (["--groups", "OLD#hand"], "is no text in UTF-8"),
        (["--corruptions", "rain"], "unknown corruption 'rain'"),
        (["--attacks", "0"], "a pixel changes by more than 0"),
        (["--on", "target"], "unknown set of images 'target'"),
        (["--images", "-1"], "must not be negative"),
        (["--privacy", "--on", "train"], "compares the training images with others"),
        (["--json", "main.py/found.json"], "--json main.py/found.json: its folder cannot be made"),
    ],
)
def test_what_cannot_be_judged(arguments, said, workdir, tmp_path, capsys):
    (tmp_path / "who.csv").write_text("file,hand\nnobody.png,left\n")
    (tmp_path / "old.csv").write_bytes("file,hand,grün\n".encode("latin-1"))
    files = {"FILE": tmp_path / "who.csv", "OLD": tmp_path / "old.csv"}
    for name, path in files.items():
        arguments = [argument.replace(name, str(path)) for argument in arguments]
    assert assess.main(["--workdir", str(workdir[0]), *arguments]) == 2
    assert said in capsys.readouterr().err
