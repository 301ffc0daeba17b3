"""Knowledge graphs: the files, and the scores and ranks by hand."""

from __future__ import annotations

import io
import math
import pathlib
import tarfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tl import build, metrics, optim, triples
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
    assert "learnt as wrong answers alone, so found worse than by chance" in caplog.text


def test_other_answers_of_all_files_are_known(tmp_path):
    found = opened(written(tmp_path)).splits
    # (dan, mother) has one answer; (cal, mother^-1) has dan, and ann from train.
    assert_array_equal(found["val"].labels["known"], [[-1], [0]])
    # (ann, likes) has cal alone; (cal, likes^-1) has ann, and bea from train.
    assert_array_equal(found["test"].labels["known"], [[-1], [1]])


def test_triples_that_are_held_twice_are_counted(tmp_path, caplog):
    opened(written(tmp_path, test=FAMILY["test"] + FAMILY["valid"] + FAMILY["train"]))
    assert "4 of the 5 triples of test.txt of " in caplog.text
    assert "are in train.txt or valid.txt, too, or there twice: figures are too good by them" in caplog.text
    assert "of valid.txt of" not in caplog.text


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
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as archive:
        archive.add(FOLDER, arcname="graph")
    damaged = bytearray(whole.getvalue())
    damaged[len(damaged) // 3 : len(damaged) // 3 + 40] = bytes(range(40))
    (tmp_path / "damaged.tar.gz").write_bytes(damaged)
    with pytest.raises(InputError, match=r"cannot be read as a tar file|has no"):
        opened(f"kg:{tmp_path / 'damaged.tar.gz'}")


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
        # Behind the entities lie rows that only fill the table up: their scores would be large ones.
        self.tables = jnp.asarray(np.concatenate([ENTITIES, 50 * ENTITIES[:3]])), jnp.asarray(between)
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


def test_the_slope_of_a_distance_is_a_direction_however_near_the_points():
    """From squares of lengths it would have no end here, where in float32 they differ by rounding alone."""
    table = jnp.full((1, 50), 0.8)
    for apart in (1e-1, 1e-3, 1e-5):
        near = table + apart
        slope = jax.grad(lambda x: triples.distances(x, table, 2).sum())(near)
        assert_allclose(jnp.linalg.norm(slope), 1, rtol=1e-3)
        assert_allclose(triples.distances(near, table, 2), [[apart * 50**0.5]], rtol=2e-2)


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
