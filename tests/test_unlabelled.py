"""Learning without labels: each loss worked by hand, answers by the nearest mean, and what the stages leave."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from tl import build, contrast, losses, predictor
from tl.errors import InputError
from tl.methods import autoencoder, barlow, base, rotnet, simclr, vae
from tl.models.decoders import Decoder
from tl.net import Net
from tl.preprocess import Preprocess, normalise, unnormalise
from tl.tasks import make as make_task

TASKS = {"label": make_task("label", "classification", ("a", "b"))}
RNG = np.random.default_rng(0)


class Plain:
    """Features are the first two numbers of an image over 255, which is also how it is normalised."""

    def __init__(self):
        self.params = self.stats = {}

    def pixels(self, inputs):
        return inputs["image"] / 255

    def pictured(self, pixels):
        return pixels * 255

    def features(self, inputs):
        return self.pixels(inputs).reshape(len(inputs["image"]), -1)[:, :2]

    def decoder(self, features, size):
        return jnp.full((len(features), *size, 3), 0.5) * features[:, :1, None, None]

    def classify(self, features, part):
        return {"posterior": jnp.concatenate([features, -features], axis=1)}[part]

    def call(self, part, features):
        return {"projector": 3 * features}[part]

    def elsewhere(self, params, stats):
        return self


def loss_of(method, net=None, **streams):
    batch = {name: {"image": jnp.asarray(image), "index": jnp.arange(len(image))} for name, image in streams.items()}
    return method.steps[0][0](net or Plain(), batch, (), jax.random.key(0), jnp.zeros(()))


def images(n=3):
    return RNG.uniform(0, 255, (n, 2, 2, 3)).astype(np.float32)


def by_hand_nt_xent(first, second, temperature):
    rows = np.concatenate([first, second]).astype(float)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    n, found = len(first), []
    for i in range(2 * n):
        others = [np.exp(rows[i] @ rows[k] / temperature) for k in range(2 * n) if k != i]
        found.append(-np.log(np.exp(rows[i] @ rows[(i + n) % (2 * n)] / temperature) / np.sum(others)))
    return found


def by_hand_correlation(first, second):
    found = np.empty((first.shape[1], second.shape[1]))
    for i in range(first.shape[1]):
        for j in range(second.shape[1]):
            a, b = first[:, i].astype(float), second[:, j].astype(float)
            a, b = ((x - x.mean()) / np.sqrt(x.var() + 1e-5) for x in (a, b))
            found[i, j] = np.mean(a * b)
    return found


def test_two_views_are_found_among_all_others():
    first, second = RNG.normal(size=(2, 4, 3))
    value = contrast.nt_xent(jnp.asarray(first), jnp.asarray(second), 0.3)
    wanted = by_hand_nt_xent(first, second, 0.3)
    np.testing.assert_allclose(value, np.stack([wanted[:4], wanted[4:]], axis=1).reshape(-1), rtol=1e-5)


def test_simclr_by_hand():
    one, other = images(), images()
    value, _ = loss_of(simclr.make(TASKS, temperature=0.5), target=one, target_strong=other)
    first, second = (image.reshape(3, -1)[:, :2] for image in (one, other))
    np.testing.assert_allclose(value, np.mean(by_hand_nt_xent(first, second, 0.5)), rtol=1e-5)


def test_barlow_twins_by_hand():
    one, other = images(5), images(5)
    value, aux = loss_of(barlow.make(TASKS, width=2, weight=0.1), target=one, target_strong=other)
    first, second = (3 * image.reshape(5, -1)[:, :2] / 255 for image in (one, other))
    matrix = by_hand_correlation(first, second)
    differ = np.sum((1 - np.diag(matrix)) ** 2)
    redundant = matrix[0, 1] ** 2 + matrix[1, 0] ** 2
    np.testing.assert_allclose([aux["differ"], aux["redundant"]], [differ, redundant], rtol=1e-4)
    np.testing.assert_allclose(value, differ + 0.1 * redundant, rtol=1e-4)


def test_the_bound_by_hand():
    image = images()
    value, aux = loss_of(vae.make(TASKS, latent=2, deviation=0.7), target=image)
    pixels = image.reshape(3, -1).astype(float) / 255
    mean, log_variance = pixels[:, :2], -pixels[:, :2]
    drawn = np.asarray(jax.random.normal(jax.random.key(0), (3, 2)), float)
    sample = mean + np.exp(log_variance) ** 0.5 * drawn
    apart = pixels - 0.5 * sample[:, :1]
    surprise = -np.log(np.exp(-((apart / 0.7) ** 2) / 2) / (0.7 * np.sqrt(2 * np.pi))).sum(axis=1).mean()
    # For each number: the integral of q log(q / p) over a fine grid.
    grid = np.linspace(-12, 12, 20001)[:, None, None]
    log_q = -((grid - mean) ** 2) / np.exp(log_variance) / 2 - log_variance / 2
    divergence = (np.exp(log_q) * (log_q + grid**2 / 2)).sum(axis=0) * 24 / 20000 / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(aux["surprise"], surprise, rtol=1e-5)
    np.testing.assert_allclose(aux["divergence"], divergence.sum(axis=1).mean(), rtol=1e-4)
    np.testing.assert_allclose(value, aux["surprise"] + aux["divergence"], rtol=1e-6)
    assert losses.divergence_from_normal(jnp.zeros((1, 4)), jnp.zeros((1, 4))).tolist() == [0.0]


def test_autoencoders_by_hand():
    image = images()
    pixels = image.reshape(3, -1).astype(float) / 255
    value, _ = loss_of(autoencoder.make(TASKS), target=image)
    np.testing.assert_allclose(value, np.mean((pixels - 0.5 * pixels[:, :1]) ** 2), rtol=1e-5)
    value, _ = loss_of(autoencoder.make(TASKS, noise=0.3), target=image)
    noise = np.asarray(jax.random.normal(jax.random.key(0), image.shape), float).reshape(3, -1)
    drawn = 0.5 * (pixels + 0.3 * noise)[:, :1]
    np.testing.assert_allclose(value, np.mean((pixels - drawn) ** 2), rtol=1e-5)


def test_pictures_stand_in_order():
    inputs = {"image": jnp.asarray(images())}
    for method, rows in (
        (autoencoder.make(TASKS), ["drawn again"]),
        (autoencoder.make(TASKS, noise=0.1), ["with noise", "drawn again"]),
        (vae.make(TASKS, latent=2), ["drawn again", "drawn of nothing"]),
    ):
        assert method.pictures is not None
        drawn = jax.jit(lambda inputs, draw=method.pictures: draw(Plain(), inputs, ()))(inputs)
        assert list(drawn) == rows
    wanted = 0.5 * inputs["image"].reshape(3, -1)[:, 0]
    np.testing.assert_allclose(drawn["drawn again"][:, 1, 1, 2], wanted, rtol=1e-6)


def test_turns_go_against_the_clock():
    corner = np.zeros((2, 2, 2, 3), np.uint8)
    corner[:, 0, 1] = [[1], [2]]  # upper right
    turned = np.asarray(rotnet.turned(jnp.asarray(corner)))[..., 0]
    places = [tuple(map(int, np.argwhere(image)[0])) for image in turned]
    assert places == [(0, 1), (0, 0), (1, 0), (1, 1)] * 2
    assert turned.max(axis=(1, 2)).tolist() == [1] * 4 + [2] * 4


def test_a_turn_is_told_by_hand():
    class Told(Plain):
        """The first pixel says turn 1, and nothing any other."""

        def classify(self, features, part):
            assert part == "turns"
            return features[:, :1] * jnp.asarray([[0.0, 1.0, 0.0, 0.0]])

    image = images(2)
    value, _ = loss_of(rotnet.make(TASKS), Told(), target=image)
    first = np.stack([np.rot90(image, turn, axes=(1, 2))[:, 0, 0, 0] for turn in range(4)], axis=1) / 255.0
    logits = first[..., None] * np.array([0.0, 1.0, 0.0, 0.0])
    wanted = np.log(np.exp(logits).sum(axis=2)) - logits[:, range(4), range(4)]
    np.testing.assert_allclose(value, wanted.mean(), rtol=1e-5)


@pytest.mark.parametrize("size", [(8, 8), (16, 16), (28, 28), (32, 32), (17, 10)])
def test_a_decoder_draws_at_any_size(size):
    shape = jax.eval_shape(
        lambda: Decoder(width=2).init_with_output(jax.random.key(0), jnp.zeros((3, 5)), size=size)[0]
    )
    assert shape.shape == (3, *size, 3)


def test_what_is_normalised_comes_back():
    chosen = Preprocess(2, 2, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    image = images()
    np.testing.assert_allclose(unnormalise(normalise(jnp.asarray(image), chosen), chosen), image, rtol=1e-5, atol=1e-4)


def test_the_nearest_mean_answers():
    means = contrast.unit(jnp.asarray([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]))
    found = contrast.to_means(jnp.asarray([[3.0, 4.0]]), means)
    np.testing.assert_allclose(found, [[-(0.16 + 0.64), -(0.36 + 0.04), -8.0]], rtol=1e-6)
    image = np.zeros((4, 2, 2, 3), np.float32)
    image[:, 0, 0, :2] = [[3, 4], [1, 0], [0, 5], [9, 9]]
    rows = {"image": jnp.asarray(image), "label": jnp.array([0, 0, 1, 1]), "mask": jnp.array([True, True, True, False])}
    wanted = np.array([[1.6, 0.8], [0, 1]])
    wanted[0] /= np.linalg.norm(wanted[0])
    np.testing.assert_allclose(base.class_means(Plain(), [rows], TASKS["label"]), wanted, rtol=1e-6)


def config(name, **changes):
    return toy.toy_config(f"configs/{name}.py", **{**toy.METHODS[name], **changes})


def test_no_batch_holds_a_label():
    made = build.experiment(config("simclr"))
    assert set(made.streams) == {"target", "target_strong"}
    assert all("label" not in stream[0] for stream in made.streams.values())
    assert made.passes["train"].size == 40


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("simclr", {"strong_transforms": ()}, "set config.strong_transforms"),
        (
            "barlow",
            {"strong_transforms": (("resize", {"size": 8}),)},
            "compares two views of an image, and nothing draws",
        ),
        ("fixmatch", {"strong_transforms": (("rotation", {"degrees": 0.0}),)}, "nothing draws the second at random"),
        ("autoencoder", {"unlabelled": False}, "or config.unlabelled=True"),
        ("autoencoder", {"method_args": {"noise": -1.0}}, r"method_args.noise=-1.0 must lie in"),
        ("vae", {"method_args": {"deviation": 0.0}}, r"method_args.deviation=0.0 must lie in"),
        ("simclr", {"method_args": {"temperature": 0.0}}, r"method_args.temperature=0.0 must lie in"),
        ("barlow", {"method_args": {"width": 1}}, r"method_args.width=1 must lie in"),
    ],
)
def test_what_cannot_be_learnt_is_said(name, changes, said):
    with pytest.raises(InputError, match=said):
        build.experiment(config(name, **changes))


def test_answers_need_classes():
    with pytest.raises(InputError, match="the method 'rotnet' needs one task of kind classification, not regression"):
        rotnet.make({"label": make_task("label", "regression", ("size",))})


def test_what_only_a_batch_shows_is_said_before_the_first_step():
    oblong = (("resize", {"size": (8, 12)}),)
    with pytest.raises(InputError, match="and these are 8 x 12 pixels"):
        toy.Steps(config("rotnet", train_transforms=oblong), devices=1)
    with pytest.raises(InputError, match="compared with each other, and it holds one"):
        toy.Steps(config("simclr", batch_size=1), devices=1)


def test_two_stages_and_what_they_leave(tmp_path):
    """Decoder and means stay behind, the backbone goes on; the first stage predicts by itself, too."""
    stage = {"method": "finetune", "method_args": {}, "steps": 2, "eval_every": 2}
    chosen = config("autoencoder", stages=({}, stage), train_transforms=())
    summary = build.run(chosen, tmp_path, quiet=True)
    first, second = (toy.leaves_of(tmp_path / "stages" / str(number)) for number in range(2))
    assert {name.split("/")[1] for name in first} == {"backbone", "decoder", "means"}
    assert {name.split("/")[1] for name in second} == {"backbone", "head"}
    assert "stage0/test/accuracy" in summary
    page = (tmp_path / "stages" / "0" / "report.html").read_text()
    assert "from the top: images, drawn again." in page
    assert 'id="pictures"' not in (tmp_path / "report.html").read_text()
    held = np.load(tmp_path / "stages" / "0" / "predictions.npz")
    alone = predictor.load(tmp_path / "stages" / "0")
    split = build.experiment(chosen).evals["test"].split
    assert split is not None
    few = split.take(np.arange(5))
    np.testing.assert_allclose(alone.outputs(few)["label"], held["test/outputs/label"][:5], atol=1e-5)


def test_a_probe_may_follow(tmp_path):
    finetuned, probed = (toy.toy_config(f"configs/vae.py{then}") for then in ("", ":then=probe"))
    assert "groups" not in finetuned.stages[1]
    assert probed.stages[1]["groups"] == (("head.*", {}), (".*", None))
    with pytest.raises(InputError, match=r"config.then='prob' must be probe"):
        build.experiment(toy.toy_config("configs/vae.py:then=prob"))
    late = toy.toy_config("configs/vae.py", variants={"late": {"then": "probe"}})
    with pytest.raises(InputError, match=r"write it behind the file's name"):
        build.run(late, tmp_path, quiet=True)
    with pytest.raises(InputError, match=r"write it behind the file's name"):
        build.experiment(toy.toy_config("configs/scratch.py:then=probe"))


def test_images_are_needed():
    vectors = np.ones((4, 6), np.float32)
    for method, name in ((rotnet.make(TASKS), "the method 'rotnet'"), (autoencoder.make(TASKS), "an autoencoder")):
        with pytest.raises(InputError, match=f"{name} wants images or maps of pixels, not vectors of 6 numbers"):
            loss_of(method, target=vectors)


def test_the_net_draws_what_it_takes_in():
    chosen = Preprocess(2, 2, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    backbone = type("Backbone", (), {"dtype": "bfloat16"})()
    net = Net({"backbone": backbone}, ("label",), {"backbone": chosen}, {}, {})
    pixels = net.pixels({"image": jnp.full((1, 2, 2, 3), 255, jnp.uint8)})
    assert (pixels.dtype, float(pixels[0, 0, 0, 0])) == (jnp.float32, 2.0)
    np.testing.assert_allclose(net.pictured(pixels), 255.0)
