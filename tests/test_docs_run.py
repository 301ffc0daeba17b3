"""Every command of the documents runs, on tiny stand-ins for the data and the networks that it names.

CI alone does this (TL_TESTS=all): it takes minutes. test_docs.py holds at all times that the commands are understood.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import toy
from commands import commands, words_of
from PIL import Image

import main
from tl import config as configs
from tl import mistakes
from tl.evaluators import embedding

ROOT = pathlib.Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]
LOAD = configs.load
with socket.socket() as free:  # a port that nothing listens on
    free.bind(("127.0.0.1", 0))
    PORT = free.getsockname()[1]

# What .ci/run and other tests run, or what needs another machine, the network or minutes.
ELSEWHERE = {
    r"python3 -m venv|\S*pip install|\S*python -m (pytest|mkdocs)|\.venv/bin/python main\.py$": "setting up: .ci/run",
    r"python scripts/prepare_data\.py": "other packages and the network: test_prepare_data.py",
    r"python main\.py .*=tfds:": "what they prepare: test_data_input.py",
    r"python scripts/bench\.py": "torch and a quiet machine",
    r"python scripts/plan\.py": "the TPU compiler: test_plan.py",
    r"\S*scripts/launch_(slurm|tpu_pod)\.sh|sbatch|kubectl|TPU=": "other machines: test_hosts.py reads them",
    r"python scripts/convert_weights\.py --list": "test_convert.py",
    r"python -m mkdocs serve": "ends never: .ci/run builds the site",
}
# What a command names -> what stands there.
NAMES = {
    r"DIR(?=,task=multi_label)": "many",
    r"DIR(?=,task=regression)": "number",
    r"(?<=shot=5 --config.data=folder:)DIR": "kinds",
    r"DIR/": "domains/",
    r"DIR\b": "pictures",
    r"npz:FILE": "npz:arrays.npz",
    r"features:FILE": "features:vectors.npz",
    r"tar:FILE": "tar:pictures.tar",
    r"csv:FILE": "csv:reviews.csv",
    r"graph\.data=kg:FILE": f"graph.data=kg:{GOLDEN / 'hierarchy'}",
    r"kg:(FILE\.tar\.gz|FILE|FOLDER)": f"kg:{GOLDEN / 'graph'}",
    r"HEAD RELATION": "e00 next",
    r"TAIL RELATION": "e03 next",
    r"NAME_train": "reviews_train",
    r"IMAGES": "pictures/val/ants/0.png pictures/val/bees/1.png",
    r"--shots FOLDER": "--shots shots",
    r"--trials 20": "--trials 2",
    r"--check 500": "--check 4",
    r"--requests 1000 --together 16": "--requests 20 --together 4",
    r"--port 8000": f"--port {PORT}",
    r"127\.0\.0\.1:8000": f"127.0.0.1:{PORT}",
    r"@(picture\.jpg|one\.jpg|two\.png)": "@pictures/val/ants/0.png",
    r"Content-Type: image/jpeg": "Content-Type: image/png",
    r"\{'CLASS': 'ENTITY'\}": "{'ants': 'dog', 'bees': 'cat'}",
    r"mobilenet_v2_tf=file:F": "mobilenet_v2_tf=file:$TL_DATA/weights/imagenet_mobilenet_v2_tf.safetensors",
}
# Runs that commands go on from and no page makes: those of the placeholders W and F, and of pages about any run.
GOES_ON = {
    "W-finetune": "configs/finetune.py:model=resnet50,data=folder:pictures",
    "W-scratch": "configs/scratch.py:data=npz:arrays.npz",
    "finetune": "configs/finetune.py:model=resnet50,data=folder:pictures",
    "default/finetune/seed0": "configs/finetune.py:weights=bundled,data=digits,image_size=16,resize=16",
}
ANY_RUN = ("explain.md", "serving.md", "migrating.md", "pages.md")
# A network and sizes in place of what a config without a row of toy.METHODS asks for.
SHRUNK = {"steps": 2, "eval_every": 2, "batch_size": 8, "eval_batch_size": 8, "log_every": 1}


def pictures(folder: pathlib.Path, counts: dict[str, int]) -> None:
    rng = np.random.default_rng(0)
    for path, count in counts.items():
        (folder / path).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / path / f"{number}.png")


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder like the repository's, with data of all kinds, in which runs are left."""
    for name in ("configs", "scripts", "tl"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    pictures(tmp_path / "pictures", {"train/ants": 16, "train/bees": 16, "val/ants": 6, "val/bees": 6})
    pictures(tmp_path / "domains", {f"{d}/{c}": 16 for d in ("photos", "drawings", "a", "b", "c") for c in "xy"})
    pictures(tmp_path / "kinds", {f"{i}": 8 for i in range(12)})
    pictures(tmp_path / "shots", {"one": 2, "two": 2})
    for name, heading in (("many", "dark,old"), ("number", "age")):
        pictures(tmp_path / name, {"": 40})
        rows = [f"{i}.png,{f'{i % 2},{i % 3 // 2}' if name == 'many' else i / 8}" for i in range(40)]
        (tmp_path / name / "labels.csv").write_text("\n".join([f"file,{heading}", *rows]) + "\n")
    subprocess.run(["tar", "-cf", "pictures.tar", "pictures"], cwd=tmp_path, check=True)
    rng = np.random.default_rng(1)
    np.savez(tmp_path / "arrays.npz", x=rng.integers(0, 256, (80, 8, 8), np.uint8), y=np.arange(80) % 2)
    one, two = rng.normal(size=(2, 80, 4))
    np.savez(tmp_path / "vectors.npz", one_x=one, one_y=np.arange(80) % 2, two_x=two, two_y=np.arange(80) % 2)
    sentences = (GOLDEN / "texts" / "toy.tsv").read_text()
    (tmp_path / "reviews_train.tsv").write_text(sentences)
    rows = [line.split("\t", 1) for line in sentences.splitlines()]
    (tmp_path / "reviews.csv").write_text("label,text\n" + "".join(f'{label},"{text}"\n' for label, text in rows))
    shutil.copy(GOLDEN / "tagged.txt", tmp_path / "eng.train")
    paths = [path.relative_to(tmp_path / "pictures") for path in sorted(tmp_path.glob("pictures/*/*/*"))]
    people = [f"{path},{'left' if i % 2 else 'right'}" for i, path in enumerate(paths)]
    (tmp_path / "people.csv").write_text("\n".join(["file,hand", *people]) + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(configs, "load", small)
    monkeypatch.setattr(mistakes, "overlays", lambda *_: {})  # seconds of every page
    monkeypatch.setattr(embedding, "plane", lambda _: None)
    return tmp_path


def small(spec: str, changes: dict | None = None) -> Any:
    """The config is read as it stands, and then again, shrunk."""
    changes = dict(changes or {})
    whole = LOAD(spec, changes)
    if not spec.startswith("configs/"):
        return whole  # left by a run that was shrunk itself
    path, _, pairs = spec.partition(":")
    asked = {*re.findall(r"([\w.]+)=", pairs), *changes} - {"model", "weights", "image_size", "resize"}
    tiny = {**toy.SMALL, **SHRUNK, "labels_per_class": min(whole.labels_per_class, 4)}
    tiny |= kind(pathlib.Path(path).stem, whole)
    tiny = {key.replace("__", "."): value for key, value in tiny.items() if key not in ("falls", "stages")}
    if whole.episode.way:
        tiny["batch_size"] = tiny["eval_batch_size"] = 48  # episodes of one shot and of five
    if whole.steps == 0:
        tiny["steps"] = 0
    if "runs/" in whole.weights or bundled(whole):
        tiny.pop("weights", None)
    own = {*asked, *(key for key in tiny if key.startswith("teacher.") and "teacher.weights" in asked)}
    tiny = {key: value for key, value in tiny.items() if key not in own}
    found = LOAD(spec, {**changes, **tiny})
    return configs.merged(found, {"stages": tuple({**dict(stage), **later(stage)} for stage in found.stages)})


def bundled(whole: Any) -> bool:
    """These weights are at hand, and small."""
    return whole.weights == "bundled" or (whole.weights == "known" and whole.model == "resnet20_cifar")


def later(stage: dict) -> dict:
    return {key: value for key, value in SHRUNK.items() if key in stage}


def kind(name: str, whole: Any) -> dict:
    """What toy runs of this config set, or of one like it."""
    if whole.model == "vectors":
        return {"model_args": {}, "image_size": 0, "resize": 0}
    if bundled(whole):
        return {"model_args": {}}
    if whole.model == "lenet":
        return toy.LENET
    if re.fullmatch(r"resnet\d\d", whole.model):
        return {"model": "resnet18", "model_args": {"width": 4, "blocks": (1, 1, 1, 1)}, "image_size": 32, "resize": 32}
    if name in toy.METHODS:
        return toy.METHODS[name]
    if whole.task == "tags":
        return toy.TAGS
    if whole.text.length or whole.data.startswith(("tsv:", "csv:")):
        return toy.TEXT
    return {"model": "resnet20_cifar"}


# --- running them --------------------------------------------------------------------------------------------


def stood_in(command: str) -> str:
    for name, value in NAMES.items():
        command = re.sub(name, value.replace("\\", "\\\\"), command)
    made = "runs/W-scratch" if "npz:" in command else "runs/W-finetune"
    command = re.sub(r"\bfile:F\b", f"file:{made}/weights.safetensors", command)
    return re.sub(r"\brun:W\b", f"run:{made}", command).replace("quantise.py W", "quantise.py runs/W-finetune")


def prepared(command: str, page: pathlib.Path) -> str:
    """The command on what stands in for what it names; runs that it goes on from are made, if no page says how."""
    command = stood_in(command)
    for name, spec in GOES_ON.items():
        wanted = f"runs/{name}" in command and (name.startswith("W-") or page.name in ANY_RUN)
        if wanted and not pathlib.Path("runs", name).exists():
            run(f"python main.py --config {spec} --workdir runs/{name}")
    return command


def run(command: str) -> None:
    """Fails where the command does."""
    program, *arguments = words_of(command)
    if program == "main.py":
        assert main.main(arguments) == 0
    elif program == "curl":
        done = subprocess.run(["curl", "-sf", *arguments], capture_output=True, text=True)
        assert done.returncode == 0
        assert json.loads(done.stdout)["answers"]
    elif program == "scripts/table.py":
        table = importlib.import_module("scripts.table")
        kept = pathlib.Path("docs", "results", pathlib.Path(arguments[0]).stem + ".json")
        kept.unlink(missing_ok=True)
        assert table.main([*arguments, "--no-run"], root=pathlib.Path.cwd(), load=LOAD, digest=configs.digest) == 0
        assert json.loads(kept.read_text()) == json.loads((ROOT / kept).read_text()), "the table that stands is another"
    elif program == "scripts/launch_local.py":
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        arguments += [f"--config.{key}={value}" for key, value in {**toy.SMALL, "seeds": (), "variants": {}}.items()]
        subprocess.run([sys.executable, ROOT / program, *arguments], check=True, env=environment)
        assert pathlib.Path(arguments[arguments.index("--workdir") + 1], "summary.json").is_file()
    else:
        assert importlib.import_module(f"scripts.{pathlib.Path(program).stem}").main(arguments) == 0


@contextlib.contextmanager
def served(command: str) -> Iterator[None]:
    """While the server runs that the command starts."""
    program, *arguments = words_of(command)
    server = subprocess.Popen([sys.executable, program, *arguments])
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=1):
                break
            assert server.poll() is None, f"{command}: the server ended by itself"
            time.sleep(0.3)
        else:
            pytest.fail(f"{command}: the server gave no answer in a minute")
        yield
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    finally:
        server.kill()


def goes_on(command: str) -> bool:
    """From what another command leaves; a page may name them the other way round."""
    return "main.py" not in command or bool(re.search(r"run:|file:F|config runs/", command))


def todo() -> dict[pathlib.Path, list[str]]:
    """Page -> the commands that are run for it: each once, and not for the README what another page holds too."""
    found, seen = {}, set()
    for page in PAGES:
        here = [c for c in dict.fromkeys(commands(page)) if not any(re.match(known, c) for known in ELSEWHERE)]
        found[page] = sorted((command for command in here if command not in seen), key=goes_on)
        seen |= {command for command in here if "scripts/table.py" in command}
    return {page: here for page, here in found.items() if here}


@pytest.mark.skipif(os.environ.get("TL_TESTS") != "all", reason="TL_TESTS=all is not set: no command of the docs ran")
@pytest.mark.parametrize("page", todo(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_runs(page, desk, capsys, request):
    if any(name in stood_in(command) for command in todo()[page] for name in ("TL_DATA", "mobilenet_v2_tf")):
        request.getfixturevalue("tl_data")
    failed = []
    with contextlib.ExitStack() as stack:
        for command in todo()[page]:
            try:
                ready = prepared(command, page)
                if "scripts/serve.py" in command:
                    stack.enter_context(served(ready))
                else:
                    run(ready)
            except (Exception, SystemExit) as error:
                failed.append(f"{stood_in(command)}: {error!r}, {capsys.readouterr().err[-500:]}")
    assert not failed, "\n\n".join(failed)
