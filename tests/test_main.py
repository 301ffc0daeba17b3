"""What a user can get wrong: one clear sentence, exit code 2, before any long work, and nothing written."""

from __future__ import annotations

import pathlib
import re

import numpy as np
import pytest
import toy
from PIL import Image

import main

FINETUNE = "configs/finetune.py"


def run(capsys, workdir: pathlib.Path, *flags: str, spec: str = FINETUNE) -> str:
    """The message of a command that must fail with 2 and leave no workdir."""
    code = main.main(["--config", spec, "--workdir", str(workdir), *flags])
    error = capsys.readouterr().err.strip()
    assert code == 2, error
    assert "\n" not in error, error
    assert "Traceback" not in error
    assert not workdir.exists()
    return error


def small(**changes: object) -> list[str]:
    return toy.arguments(**changes)


@pytest.fixture
def picture_folder(tmp_path) -> pathlib.Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 4)):
        for name in ("ant", "bee"):
            (tmp_path / "pictures" / split / name).mkdir(parents=True)
            for i in range(count):
                image = rng.integers(0, 256, (12, 12, 3), np.uint8)
                Image.fromarray(image).save(tmp_path / "pictures" / split / name / f"{i}.png")
    return tmp_path / "pictures"


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--config.stepz=3", "unknown config key 'stepz': did you mean steps"),
        ("--config.optim.momentun=0.9", "did you mean optim.momentum"),
        ("--config.steps=many", "'steps' takes a whole number"),
        ("--config.method=finetun", "unknown method 'finetun': did you mean finetune"),
        ("--config.method_args={'mixupp': 1}", "unknown argument of the method finetune 'mixupp': did you mean mixup"),
        ("--config.model=resnet51", "unknown model 'resnet51'"),
        ("--config.model_args={'widht': 4}", "did you mean width"),
        ("--config.data=digitz", "unknown data source 'digitz': did you mean digits"),
        ("--config.data=npz:/nowhere/x.npz", "/nowhere/x.npz"),
        ("--config.groups=(('haed', {}), ('.*', None))", "'haed'"),
        ("--config.groups=(('head', {}),)", "without a group"),
        ("--config.groups=(('head', {'rate': 1}), ('.*', None))", "'rate'"),
        ("--config.weights=file:/nowhere/w.safetensors", "/nowhere/w.safetensors"),
        ("--config.weights=run:/nowhere", "/nowhere"),
        ("--config.weights=hf:timm/resnet18.tv_in1k", "fetch them on a machine with a network"),
        ("--config.batch_size=12", "batch_size=12 is not divided by the 8 devices"),
        ("--config.accumulate=3", "accumulate=3"),
        ("--config.labels_per_class=5000", "5000"),
        ("--config.classes=5", "classes"),
        ("--config.task=clasification", "unknown"),
        ("--config.optim.name=sgdd", "unknown optimiser 'sgdd': did you mean sgd"),
        ("--config.schedule.name=triangle", "unknown schedule 'triangle'"),
        ("--config.frozen_stats=some", "auto, all or none"),
        ("--config.train_transforms=(('flipp', {}),)", "unknown transform 'flipp': did you mean flip"),
        ("--config.select=val/acuracy", "val/acuracy"),
        ("--config.folds=1", "k >= 2"),
        ("--confg.steps=1", "unknown argument '--confg.steps=1'"),
    ],
)
def test_bad_setting(capsys, tmp_path, flag, said):
    flags = [f for f in small(model="resnet20_cifar") if f.partition("=")[0] != flag.partition("=")[0]]
    if "model=" in flag:
        flags = [f for f in flags if not f.startswith("--config.model")]
    assert said in run(capsys, tmp_path / "w", *flags, flag)


def test_a_comma_in_a_path_is_told(capsys, tmp_path):
    said = run(capsys, tmp_path / "w", spec=f"{FINETUNE}:data=folder:/a,b")
    assert "'b'" in said
    assert "--config.KEY=VALUE" in said


def test_config_file_that_is_not_there(capsys, tmp_path):
    assert "did you mean configs/finetune.py" in run(capsys, tmp_path / "w", spec="configs/finetun.py")


def test_weights_of_another_architecture(capsys, tmp_path):
    from tl import weights

    file = tmp_path / "w.safetensors"
    weights.write(file, {"params/head/bias": np.zeros(3, np.float32)}, weights.metadata("resnet32_cifar"))
    said = run(capsys, tmp_path / "w", *small(weights=f"file:{file}"))
    assert "resnet32_cifar" in said
    assert "resnet20_cifar" in said


def test_a_width_that_the_weights_do_not_have(capsys, tmp_path, picture_folder):
    build_once = tmp_path / "once"
    assert main.main(["--config", FINETUNE, "--workdir", str(build_once), *small(steps=1)]) == 0
    capsys.readouterr()
    wider = {"width": 8, "blocks": (1, 1, 1)}
    said = run(capsys, tmp_path / "w", *small(weights=f"run:{build_once}", model_args=wider))
    assert "other shapes" in said
    assert "(4,) in the weights and (8,) here" in said


def test_broken_picture_is_named_or_skipped(capsys, tmp_path, picture_folder):
    broken = picture_folder / "train" / "ant" / "zz.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 no picture")
    settings = {"labels_per_class": 0, "data": f"folder:{picture_folder}", "steps": 12, "val_fraction": 0.2}
    code = main.main(["--config", FINETUNE, "--workdir", str(tmp_path / "w"), *small(**settings)])
    assert code == 2
    assert "train/ant/zz.jpg" in capsys.readouterr().err
    flags = small(**settings, skip_broken=True)
    assert main.main(["--config", FINETUNE, "--workdir", str(tmp_path / "v"), *flags]) == 0


def test_an_empty_folder_and_a_class_without_images(capsys, tmp_path, picture_folder):
    (tmp_path / "empty").mkdir()
    assert "empty" in run(capsys, tmp_path / "w", *small(data=f"folder:{tmp_path / 'empty'}"))
    (picture_folder / "train" / "wasp").mkdir()
    said = run(capsys, tmp_path / "w", *small(data=f"folder:{picture_folder}", labels_per_class=0))
    assert "wasp" in said


def test_a_workdir_that_cannot_be_written(capsys, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    code = main.main(["--config", FINETUNE, "--workdir", str(blocked / "w"), *small()])
    assert code == 2
    assert "--workdir" in capsys.readouterr().err
    assert blocked.read_text() == "in the way"


def test_divergence_stops_at_the_step_and_keeps_the_last_good_checkpoint(capsys, tmp_path):
    folder = tmp_path / "w"
    settings = {"schedule.lr": 1e18, "optim.clip": 0.0, "save_every": 1, "eval_every": 50, "steps": 50}
    code = main.main(["--config", FINETUNE, "--workdir", str(folder), *small(**settings)])
    error = capsys.readouterr().err
    assert code == 2
    assert re.search(r"diverged: train/\w+ is (nan|inf) at step \d+: ", error), error
    step = int(error.split("at step ")[1].split(":")[0])
    kept = [int(p.name) for p in (folder / "checkpoints").iterdir() if p.name.isdigit()]
    assert kept == [step - 1] or (step == 1 and not kept)
    assert not (folder / "summary.json").exists()
