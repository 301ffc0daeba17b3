"""Name tables and the strict merge, on small trees by hand and on real published weights."""

from __future__ import annotations

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import load_file

from tl import models, preprocess
from tl.errors import InputError
from tl.models.heads import Head
from tl.weights.convert import Flat, convert, merge

WANTED = {
    "params/backbone/stem/conv/kernel": (3, 3, 3, 4),
    "stats/backbone/stem/bn/mean": (4,),
    "params/head/kernel": (4, 5),
    "params/head/bias": (5,),
    "params/critic/kernel": (4, 1),
}


def loaded(classes: int = 5) -> Flat:
    return {
        "params/backbone/stem/conv/kernel": np.ones((3, 3, 3, 4), np.float32),
        "stats/backbone/stem/bn/mean": np.ones(4, np.float32),
        "params/head/kernel": np.ones((4, classes), np.float32),
        "params/head/bias": np.ones(classes, np.float32),
    }


def shapes_of(model: str, outputs: int) -> dict[str, tuple[int, ...]]:
    """Flat shapes of a backbone with a head, as training asks for them."""
    backbone, head = models.make(model), Head(outputs)
    image = jnp.zeros((1, 32, 32, 3))
    maps, variables = jax.eval_shape(backbone.init_with_output, jax.random.key(0), image)
    top = jax.eval_shape(head.init, jax.random.key(0), maps)
    tree = {
        "params": {"backbone": variables["params"], "head": top["params"]},
        "stats": {"backbone": variables["batch_stats"]},
    }
    leaves: Any = flatten_dict(tree, sep="/")
    return {key: leaf.shape for key, leaf in leaves.items()}


def test_merge_keeps_or_leaves_the_head() -> None:
    fitting, other = loaded(), loaded(classes=7)
    assert set(merge(WANTED, fitting)) == set(fitting)
    body = {key for key in fitting if "head" not in key}
    assert set(merge(WANTED, other)) == body
    assert set(merge(WANTED, fitting, head="replace")) == body
    assert set(merge(WANTED, {key: fitting[key] for key in body})) == body
    with pytest.raises(InputError, match=r"params/head/kernel is \(4, 7\) in the weights and \(4, 5\) here"):
        merge(WANTED, other, head="keep")
    with pytest.raises(InputError, match="not filled: params/head/bias"):
        merge(WANTED, {key: fitting[key] for key in body}, head="keep")
    with pytest.raises(InputError, match="treatment of the head 'drop'"):
        merge(WANTED, fitting, head="drop")


def test_merge_lists_both_sides() -> None:
    flat = loaded()
    flat["params/backbone/stem/convolution/kernel"] = flat.pop("params/backbone/stem/conv/kernel")
    flat["stats/backbone/stem/bn/mean"] = np.ones(3, np.float32)
    with pytest.raises(InputError) as error:
        merge(WANTED, flat)
    text = str(error.value)
    assert "not filled: params/backbone/stem/conv/kernel (3, 3, 3, 4)" in text
    assert "not used: params/backbone/stem/convolution/kernel (3, 3, 3, 4)" in text
    assert "stats/backbone/stem/bn/mean is (3,) in the weights and (4,) here" in text


def test_convert_lists_all_strangers_at_once() -> None:
    tensors = {
        "conv1.weight": np.zeros((16, 3, 3, 3)),
        "layer1.0.conv1.weights": np.zeros((16, 16, 3, 3)),
        "layer1.0.conv2.weight": np.zeros(3),
        "encoder.bias": np.zeros(2),
    }
    with pytest.raises(InputError) as error:
        convert(tensors, "resnet20_cifar")
    text = str(error.value)
    assert text.startswith("these weights are not those of resnet20_cifar")
    for name in ("layer1.0.conv1.weights (16, 16, 3, 3)", "layer1.0.conv2.weight (3,)", "encoder.bias (2,)"):
        assert name in text
    assert "conv1.weight (" not in text.split("known tensors")[0].replace("layer1.0.conv1", "")
    assert "linear.weight" in text or "more" in text


def test_convert_refuses_two_tensors_for_one_leaf() -> None:
    fc2 = np.zeros((8, 8))
    with pytest.raises(InputError, match=r"params/backbone/fc2/dense/kernel by classifier.3.weight and pre_logits.fc2"):
        convert({"classifier.3.weight": fc2, "pre_logits.fc2.weight": fc2[..., None, None]}, "vgg16")


def test_vgg_without_its_top_drops_the_dense_layers() -> None:
    tensors = {
        "features.0.bias": np.zeros(64),
        "classifier.0.weight": np.zeros((8, 49)),
        "classifier.6.bias": np.zeros(3),
    }
    assert set(convert(tensors, "vgg16", top=False)) == {"params/backbone/stage1/conv1/bias"}


def test_first_dense_layer_of_vgg_reads_channels_last() -> None:
    """(C, 7, 7) in torch's order becomes (7, 7, C): checked as a product with one map."""
    rng = np.random.default_rng(0)
    weight, image = rng.standard_normal((4, 3 * 49)), rng.standard_normal((7, 7, 3))
    flat = convert({"classifier.0.weight": weight}, "vgg16")
    got = image.reshape(-1) @ flat["params/backbone/fc1/dense/kernel"]
    np.testing.assert_allclose(got, weight @ image.transpose(2, 0, 1).reshape(-1), rtol=1e-5)


def test_counters_are_dropped_and_float16_is_widened() -> None:
    tensors = {"bn1.num_batches_tracked": np.array(7), "conv1.weight": np.ones((16, 3, 3, 3), np.float16)}
    flat = convert(tensors, "resnet20_cifar")
    assert set(flat) == {"params/backbone/stem/conv/kernel"}
    assert flat["params/backbone/stem/conv/kernel"].dtype == np.float32


def test_published_cifar_net_is_right(tl_data: pathlib.Path) -> None:
    """Real weights on 1,000 stratified test images: the published top-1 is 91.73 % on all 10,000."""
    name = "resnet20_cifar"
    tensors = load_file(tl_data / "weights" / "cifar10_resnet20.safetensors")
    flat = merge(shapes_of(name, 10), convert(tensors, name), head="keep")
    tree = unflatten_dict(flat, sep="/")
    backbone = models.make(name)
    head: Any = Head(10)

    @jax.jit
    def predict(tree: dict, images: jax.Array) -> jax.Array:
        x = preprocess.normalise(images, models.preprocess(name))
        variables = {"params": tree["params"]["backbone"], "batch_stats": tree["stats"]["backbone"]}
        return head.apply({"params": tree["params"]["head"]}, backbone.apply(variables, x)).argmax(-1)

    with np.load(tl_data / "cifar10.npz") as data:
        images, labels = data["x_test"][::10], data["y_test"][::10]  # sorted by class: 100 of each
    got = np.concatenate([predict(tree, images[i : i + 250]) for i in range(0, 1000, 250)])
    assert 0.90 <= (got == labels).mean() <= 0.93


def test_published_mobilenet_fills_every_leaf(tl_data: pathlib.Path) -> None:
    name = "mobilenet_v2_tf"
    tensors = load_file(tl_data / "weights" / "imagenet_mobilenet_v2_tf.safetensors")
    wanted = shapes_of(name, 1001)
    flat = merge(wanted, convert(tensors, name), head="keep")
    assert set(flat) == set(wanted)
