"""Knowledge graphs: the files, the scores and ranks by hand, and runs of the methods that learn them."""

from __future__ import annotations

import json
import math
import pathlib
import re
import tarfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from numpy.testing import assert_allclose, assert_array_equal

from scripts import predict
from tl import build, metrics, optim, triples
from tl.data import streams
from tl.data.sources import open_source
from tl.errors import InputError

FOLDER = pathlib.Path(__file__).parent / "golden" / "graph"
FAMILY = {"train": "ann\tmother\tbea\nann\tmother\tcal\nbea\tlikes\tcal\n", "valid": "dan\tmother\tcal\n"}
FAMILY["test"] = "ann\tlikes\tcal\n"


def written(folder: pathlib.Path, **changes: str | None) -> str:
    """FAMILY as a folder, but for the `changes`; None leaves a file out."""
    for name, text in {**FAMILY, **changes}.items():
        if text is not None:
            (folder / f"{name}.txt").write_text(text)
    return f"kg:{folder}"


def opened(spec: str):
    return open_source(spec, kind="ranking")


# --- files ---------------------------------------------------------------------------------------------------


def test_a_triple_is_a_question_each_way(tmp_path, caplog):
    found = opened(written(tmp_path))
    assert found.classes == ("ann", "bea", "cal", "dan")
    assert found.relations == ("likes", "mother", "likes^-1", "mother^-1")
    train = found.splits["train"]
    rows = [(*train.load(i).tolist(), int(train.labels["label"][i])) for i in range(len(train))]
    assert rows == [(0, 1, 1), (0, 1, 2), (1, 0, 2), (1, 3, 0), (2, 3, 0), (2, 2, 1)]
    assert (train.names[3], train.field, list(train.labels)) == ("bea mother^-1", "triple", ["label"])
    assert "1 entities" in caplog.text
    assert "in 1 triples" in caplog.text


def test_other_answers_of_all_files_are_known(tmp_path):
    found = opened(written(tmp_path)).splits
    # (dan, mother) has one answer; (cal, mother^-1) has dan, and ann from train.
    assert_array_equal(found["val"].labels["known"], [[-1], [0]])
    # (ann, likes) has cal alone; (cal, likes^-1) has ann, and bea from train.
    assert_array_equal(found["test"].labels["known"], [[-1], [1]])


def test_an_archive_is_its_folder(tmp_path):
    with tarfile.open(tmp_path / "graph.tar.gz", "w:gz") as archive:
        archive.add(FOLDER, arcname="somewhere/inside")
    one, other = opened(f"kg:{FOLDER}"), opened(f"kg:{tmp_path / 'graph.tar.gz'}")
    assert one.fingerprint == other.fingerprint
    assert [len(split) for split in one.splits.values()] == [144, 24, 24]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train": "a\tr\tb\nb r c\n"}, r"line 2 of train.txt of '.*' is not head, relation and tail .*: 'b r c'"),
        ({"test": "a\tr\t\n"}, "line 1 of test.txt"),
        ({"valid": "ann\tmother\tbea\n\nann\tmother\tcal\n"}, "line 2 of valid.txt"),
        ({"valid": ""}, "valid.txt of '.*' is empty"),
        ({"test": None}, "has no test.txt: a knowledge graph is train.txt, valid.txt, test.txt"),
        ({"test": "ann\thates\tcal\n"}, "1 relations of '.*' are not in train.txt, such as 'hates'"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, changes, said):
    with pytest.raises(InputError, match=said):
        opened(written(tmp_path, **changes))


def test_what_is_no_graph_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file or folder: '/nowhere'"):
        opened("kg:/nowhere")
    (tmp_path / "broken.tar.gz").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=r"cannot be read as a tar file"):
        opened(f"kg:{tmp_path / 'broken.tar.gz'}")


# --- scores and ranks by hand --------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
HEADS, BETWEEN, ENTITIES = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4)), RNG.normal(size=(5, 4))


def as_complex(x: np.ndarray) -> np.ndarray:
    return x[:, :2] + 1j * x[:, 2:]


def by_hand(score) -> np.ndarray:
    """`score(h, r, t)` of vectors, for each of three questions and five entities."""
    return np.array([[score(h, r, t) for t in ENTITIES] for h, r in zip(HEADS, BETWEEN, strict=True)])


def c(x: np.ndarray) -> np.ndarray:
    return as_complex(x[None])[0]


SCORES = {
    ("distmult", ()): lambda h, r, t: sum(h * r * t),
    ("complex", ()): lambda h, r, t: sum(c(h) * c(r) * c(t).conj()).real,
    ("transe", (("norm", 1),)): lambda h, r, t: -sum(abs(h + r - t)),
    ("transe", (("norm", 2),)): lambda h, r, t: -math.sqrt(sum((h + r - t) ** 2)),
    ("rotate", ()): lambda h, r, t: -sum(abs(c(h) * np.exp(1j * r[:2]) - c(t))),
}


class Tables:
    """Of a net what a loss and a prediction ask: the rows of two tables."""

    def __init__(self, between: np.ndarray):
        self.tables = jnp.asarray(ENTITIES), jnp.asarray(between)
        self.asked = jnp.asarray(HEADS)

    def entities(self, numbers=None):
        # The three questions are about vectors of their own.
        return self.tables[0] if numbers is None else self.asked[numbers]

    def relations(self, numbers):
        return self.tables[1][numbers]

    def columns(self, scores):
        return scores


@pytest.mark.parametrize(("name", "arguments"), SCORES)
def test_the_scores_by_hand(name, arguments):
    task = build.tasks.make("label", "ranking", tuple("abcde"))
    rank = {"complex": 2, "rotate": 2}.get(name, 4)
    method = build.find_method(name).make({"label": task}, rank=rank, relations=3, **dict(arguments))
    with jax.enable_x64(True):
        net = Tables(BETWEEN[:, :2] if name == "rotate" else BETWEEN)
        rows = {"triple": jnp.array([[0, 0], [1, 1], [2, 2]])}
        found = method.predict(net, rows, ())["label"]
        assert_allclose(found, by_hand(SCORES[name, arguments]), rtol=1e-12)


def test_the_loss_and_its_penalty_by_hand():
    """Cross-entropy over all entities, and N3: cubes of the moduli of head, relation and tail, a mean over the rows."""
    task = build.tasks.make("label", "ranking", tuple("abcde"))
    method = build.find_method("complex").make({"label": task}, rank=2, n3=0.3, relations=3)
    labels = np.array([2, 0, 1])  # of entities and, in `Tables`, of rows that are asked about: the tails of the penalty
    scores = by_hand(SCORES["complex", ()])
    cross = np.mean([math.log(sum(np.exp(row))) - row[label] for row, label in zip(scores, labels, strict=True)])
    cubes = np.mean(
        [sum((abs(as_complex(x)[i]) ** 3).sum() for x in (HEADS, BETWEEN, HEADS[labels])) for i in range(3)]
    )
    with jax.enable_x64(True):
        batch = {"train": {"triple": jnp.array([[0, 0], [1, 1], [2, 2]]), "label": jnp.asarray(labels)}}
        value, terms = method.steps[0][0](Tables(BETWEEN), batch, (), jax.random.key(0), jnp.zeros(()))
        assert_allclose(value, cross + 0.3 * cubes, rtol=1e-12)
        assert_allclose([terms["loss_task"], terms["loss_n3"]], [cross, 0.3 * cubes], rtol=1e-12)


def test_filtered_ranks_by_hand():
    scores = jnp.array([[3.0, 1, 2, 2, 0], [1, 1, 1, 1, 1], [5, 4, 3, 2, 1], [0, 0, jnp.nan, 0, 0]])
    answers = jnp.array([2, 0, 3, 0])
    none = jnp.full((4, 2), -1)
    # 3 is ahead of 2, one other 2 ties; all tie: 1 + 4 / 2; three are ahead; a diverged network has no rank.
    assert_allclose(triples.filtered_ranks(scores, answers, none), [2.5, 3, 4, np.nan])
    # The 3 is known, too; of the five two are; one that is ahead and one that is not.
    known = jnp.array([[0, -1], [1, 4], [0, 4], [1, 2]])
    assert_allclose(triples.filtered_ranks(scores, answers, known), [1.5, 2, 3, np.nan])


def test_distances_have_a_slope_where_points_coincide():
    points = jnp.ones((2, 4))
    for distance in (lambda x: triples.distances(x, points, 2), lambda x: triples.complex_distances(x, points)):
        assert_allclose(jax.grad(lambda x, far=distance: far(x).sum())(points), np.zeros((2, 4)))


def test_figures_of_ranks_by_hand():
    found = metrics.ranking(np.array([1, 2, 2.5, 20]), np.zeros(4))
    wanted = {"mrr": (1 + 0.5 + 0.4 + 0.05) / 4, "hits1": 0.25, "hits3": 0.75, "hits10": 0.75, "mean_rank": 25.5 / 4}
    assert found == pytest.approx(wanted)
    assert all(math.isnan(value) for value in metrics.ranking(np.array([1, np.nan]), np.zeros(2)).values())


def test_adagrad_by_hand():
    """Steps of rate * g / root of the sum of squares so far; no gradient yet, no step."""
    params = {"a": {"kernel": jnp.array([1.0, 1.0])}}
    made = optim.make(params, ((".*", {}),), optim.make_schedule("constant", 0.1, 2), name="adagrad", eps=1e-10)
    opt = made.init(params)
    for step, slope in enumerate(([3.0, 0.0], [4.0, 0.0])):
        params, opt, _ = made.update({"a": {"kernel": jnp.array(slope)}}, opt, params, jnp.array(step), None)
    assert_allclose(params["a"]["kernel"], [1 - 0.1 - 0.1 * 4 / 5, 1], rtol=1e-6)


# --- runs ----------------------------------------------------------------------------------------------------


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
    assert "ask it --triples" in capsys.readouterr().err
    assert predict.main(["--workdir", str(folder)]) == 2


def test_weights_go_on_where_a_run_ended(finished, tmp_path):
    folder, summary = finished
    args = {"method_args": {"rank": 16, "n3": 0.003}, "weights": f"run:{folder}", "steps": 0}
    again = build.run(graph_config(**args), tmp_path / "w", quiet=True)
    assert again["test/mrr"] == summary["test/mrr"]
    for text in FOLDER.glob("*.txt"):
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
        ({"data": "digits"}, "config.data='digits', config.task='ranking'"),
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
