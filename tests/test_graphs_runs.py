"""Knowledge graphs: runs of the methods that learn them, and what a finished one answers."""

from __future__ import annotations

import json
import pathlib
import re

import jax
import numpy as np
import pytest
import toy

from scripts import predict
from tl import build
from tl.data import streams
from tl.errors import InputError

GRAPH = pathlib.Path(__file__).parent / "golden" / "graph"


def graph_config(name="complex", **changes):
    return toy.toy_config(f"configs/{name}.py", **{**toy.METHODS[name], **changes})


def test_a_split_table_changes_no_number():
    """Ten steps in float64 on one device, and on eight with the entities' table split over four."""
    with jax.enable_x64(True):
        wide = {"dtype": "float64", "method_args": {"rank": 32, "n3": 0.01}}
        one = toy.Steps(graph_config(**wide), devices=1)
        split = toy.Steps(graph_config(**wide, mesh={"model": 4}))
        one.run(10)
        split.run(10)
        toy.same_leaves(one.host(), split.host(), 1e-9)
        batch = next(iter(streams.batches(split.experiment.streams, split.mesh, 10, threads=0)))
        program = split.step.lower(split.state, batch).compile().as_text()  # pyright: ignore[reportFunctionMemberAccess]
        # Of two tables of one shape the relations' is fetched; the entities' and its gradient stay where they lie.
        assert len(re.findall(r"= f64\[64,64\]\S* all-gather\(", program)) == 1
        for tree in (split.state.params, split.state.opt):
            leaves = [leaf for leaf in jax.tree.leaves(tree["entities"]) if leaf.ndim]
            assert leaves
            assert all(leaf.addressable_shards[0].data.size * 4 == leaf.size for leaf in leaves)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of ComplEx that has learnt the circle."""
    folder = tmp_path_factory.mktemp("runs") / "circle"
    changes = {"method_args": {"rank": 16, "n3": 0.003}, "steps": 200, "eval_every": 50, "save_every": 100}
    return folder, build.run(graph_config(**changes), folder, quiet=True)


def test_a_run_learns_the_circle_and_says_so(finished):
    folder, summary = finished
    assert summary["test/mrr"] > 0.8
    assert summary["val/hits10"] == 1
    with np.load(folder / "predictions.npz") as kept:
        ranks = kept["test/outputs/label"]
        assert "test/known" not in kept
        assert "test/triple" not in kept
        assert summary["test/mrr"] == pytest.approx(np.mean(1 / ranks))
    page = (folder / "report.html").read_text()
    assert "--triples" in page
    assert "mrr" in page
    assert "ranking" in page


def test_a_finished_run_answers_questions(finished, capsys):
    folder, _ = finished
    assert predict.main(["--workdir", str(folder), "--format", "json", "--triples", "e03 opposite", "e03 next^-1"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 20
    assert rows[0].keys() == {"question", "place", "entity", "score"}
    assert [row["entity"] for row in rows if row["place"] == 1] == ["e11", "e02"]
    for asked, said in (
        (["e3 next"], "unknown entity of the graph 'e3'"),
        (["e03"], "is no question"),
        (["e03 nxt"], "did you mean"),
    ):
        assert predict.main(["--workdir", str(folder), "--triples", *asked]) == 2
        assert said in capsys.readouterr().err
    picture = folder / "a.png"
    picture.write_bytes(b"")
    assert predict.main(["--workdir", str(folder), str(picture)]) == 2
    assert "ask it by --triples" in capsys.readouterr().err
    assert predict.main(["--workdir", str(folder)]) == 2


def test_weights_go_on_where_a_run_ended(finished, tmp_path):
    folder, summary = finished
    args = {"method_args": {"rank": 16, "n3": 0.003}, "weights": f"run:{folder}", "steps": 0}
    again = build.run(graph_config(**args), tmp_path / "w", quiet=True)
    assert again["test/mrr"] == summary["test/mrr"]
    for text in GRAPH.glob("*.txt"):
        (tmp_path / text.name).write_text(text.read_text().replace("e07", "other"))
    with pytest.raises(InputError, match=r"are of other entities or relations than config.data='kg:"):
        build.experiment(graph_config(**{**args, "data": f"kg:{tmp_path}"}))
    both = {**args, "weights": f"run:{folder}+run:{folder}"}
    assert build.experiment(graph_config(**both)).dataset.relations
    with pytest.raises(InputError, match="joins predictions, and ranks are none"):
        build.run(graph_config(**both, combine="ensemble"), tmp_path / "e", quiet=True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "finetune", "method_args": {}}, "the method 'finetune' do not go together"),
        (
            {"task": "classification", "select": ""},
            "config.task='classification' and the method 'complex' do not go together",
        ),
        ({"data": "digits"}, "config.model='triples' does not go with config.data, which holds images"),
        ({"data": "digits", "model": "lenet"}, "config.data='digits', config.task='ranking'"),
        ({"model": "lenet"}, "config.model='lenet' does not go with config.data, which holds triples"),
        ({"labels_per_class": 2}, "need a task with classes"),
        ({"folds": 3, "fold": 0}, "does not go with a knowledge graph"),
        ({"method_args": {"rank": 0}}, "method_args.rank=0"),
        ({"method_args": {"n3": -1.0}}, "method_args.n3=-1.0"),
        ({"select": "val/accuracy"}, "unknown metric in config.select 'val/accuracy'"),
    ],
)
def test_what_does_not_go_with_a_graph_is_said(changes, said):
    with pytest.raises(InputError, match=said):
        build.experiment(graph_config(**changes))


def test_transe_knows_two_norms():
    with pytest.raises(InputError, match=r"method_args.norm=3 must be 1 or 2"):
        build.experiment(graph_config("transe", method_args={"norm": 3}))
