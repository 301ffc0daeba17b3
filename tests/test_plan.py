"""Training steps compiled for TPU chips that are not there, and the model that turns their figures into times."""

from __future__ import annotations

import functools
import importlib.util
import json
from typing import Any

import jax
import pytest
import toy

from scripts import plan as script
from tl import begin, build, plan, roofline
from tl.errors import InputError

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed: no step was compiled for a TPU"
)
TOPOLOGY = "v5e:2x2"
# Messages that a method's own mathematics needs beside sums over the batch: mixing takes partners from all of it, and
# kernels compare all pairs of its rows, as singular values need them all.
MIXING = {
    "finetune": {"all-gather", "all-to-all", "collective-permute"},
    "scratch": {"all-gather", "all-to-all"},
    "dan": {"all-gather"},
    "jan": {"all-gather"},
    "bsp": {"all-gather", "collective-permute"},
    "bi_tuning": {"all-gather"},
    "bss": {"all-gather", "collective-permute"},
    "dg_mixup": {"all-gather", "all-to-all", "collective-permute"},
    "mixmatch": {"all-gather"},
    "mixstyle": {"all-gather"},
    # A convolution with kernels of each episode's own is not cut by episodes: every chip has all of them.
    "maml": {"all-gather"},
    "reptile": {"all-gather"},
    "relational": {"all-gather"},
    "simclr": {"all-gather", "collective-permute"},
    # The entities' table is split over the chips, and its gradient comes from every row of the batch.
    "distmult": {"all-to-all", "collective-permute"},
    "complex": {"all-to-all", "collective-permute"},
    "fusion": {"all-gather", "collective-permute"},
}


@functools.cache
def compiled(name: str, **changes: Any) -> dict[str, Any]:
    plan.prepare()
    settings = {**toy.METHODS[name], **changes}
    return plan.figures(toy.toy_config(f"configs/{name}.py", **settings), TOPOLOGY, {})


@pytest.mark.parametrize("name", toy.WIDE)
@pytest.mark.parametrize("model", [0, 4])
def test_the_abstract_state_is_the_one_that_a_run_begins_with(name, model):
    config = toy.toy_config(f"configs/{name}.py", **toy.METHODS[name], mesh__model=model)
    experiment = build.experiment(config)
    state, optimizer = begin.init(experiment)
    wanted, planned = plan.abstract_state(experiment, plan.abstract_batch(config, experiment.mesh))
    assert planned.labels == optimizer.labels
    same = jax.tree.map(
        lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype) and a.sharding.is_equivalent_to(b.sharding, a.ndim),
        state,
        wanted,
    )
    assert all(jax.tree.leaves(same)), same


@pytest.mark.parametrize("name", ["finetune", "adamatch", "irm", "text_tags"])
def test_the_abstract_batch_is_the_one_that_a_run_reads(name):
    config = toy.toy_config(f"configs/{name}.py", **toy.METHODS[name])
    experiment = build.experiment(config)
    read = {stream: rows[0] for stream, rows in experiment.streams.items()}
    shapes = plan.abstract_batch(config, experiment.mesh)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), shapes) == jax.tree.map(lambda x: (x.shape, x.dtype), read)


@needs_libtpu
@pytest.mark.parametrize("name", toy.WIDE)
def test_a_method_compiles_and_only_sums_cross_the_chips(name):
    found = compiled(name)
    kinds = {message["kind"] for message in found["collectives"]}
    assert "all-reduce" in kinds
    assert kinds <= {"all-reduce"} | MIXING.get(name, set())
    # All chips take part in every message but in permutations, which go in pairs.
    wide = [message for message in found["collectives"] if message["kind"] != "collective-permute"]
    assert all(message["group"] == found["chips"] == 4 for message in wide)
    assert found["per_image"]["flops"] > 0
    assert found["per_image"]["hbm"] > 0
    assert found["seconds"]["step"] >= max(found["seconds"]["compute"], found["seconds"]["memory"]) > 0


def bit(**changes: Any) -> Any:
    """Fine-tuning a small BiT: group norm, so no image's forward or backward pass needs another image."""
    small = {"model": "bit_resnet50x1", "model_args": {"width": 64, "blocks": (1, 1), "groups": 8}}
    return toy.toy_config(**small, batch_size=8, **changes)


@needs_libtpu
def test_group_norm_leaves_one_all_reduce_of_the_gradients_and_splitting_divides_what_a_chip_holds():
    plan.prepare()
    found = {n: plan.figures(bit(mesh__model=n), TOPOLOGY, {}) for n in (1, 2)}
    held = {n: plan.held(bit(mesh__model=n), TOPOLOGY) for n in found}
    (message,) = found[1]["collectives"]
    assert message["kind"] == "all-reduce"
    # The loss and the norms of gradient and parameters travel with the gradients; momentum is as large as they are.
    assert held[1] / 2 - 64 <= message["size"] <= held[1] / 2 + 64
    assert held[2] < 0.6 * held[1]
    # Tiles of 8 x 128 pad small leaves, so the compiler's figure is the larger one.
    for n, wanted in held.items():
        assert wanted <= found[n]["memory"]["arguments"] < 1.5 * wanted
    assert found[2]["memory"]["arguments"] < 0.65 * found[1]["memory"]["arguments"]
    assert "all-gather" in {message["kind"] for message in found[2]["collectives"]}


@needs_libtpu
def test_statistics_of_each_chips_rows_need_no_message_of_their_own():
    plan.prepare()
    counts = {}
    for groups in (0, 2, 4):
        config = toy.toy_config(norm_groups=groups, method_args={}, model_args={"width": 4, "blocks": (1,)})
        messages = plan.figures(config, TOPOLOGY, {})["collectives"]
        assert {message["kind"] for message in messages} == {"all-reduce"}
        counts[groups] = dict.fromkeys((2, 4), 0)
        for message in messages:
            counts[groups][message["group"]] += message["count"]
    # Three norms, there and back, and the gradients; two groups of two chips also take the mean of their statistics.
    assert counts == {0: {2: 0, 4: 7}, 2: {2: 7, 4: 1}, 4: {2: 0, 4: 1}}


@needs_libtpu
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--topology", "v5e:3x5x7"], "--topology v5e:3x5x7 is none that libtpu knows"),
        (["--topology", "h100:8"], "names no known chip: it must be one of v4, v5e, v5p, v6e"),
        (["--config.batch_size=6"], "config.batch_size=6 is not divided by the 4 devices"),
    ],
)
def test_bad_input_is_one_sentence(arguments, words, capsys):
    assert script.main(["--config", "configs/finetune.py", *toy.arguments(), *arguments]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert words in error


def test_a_missing_compiler_is_one_sentence(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "libtpu", None)
    with pytest.raises(InputError, match=r"is not installed: pip install -e '.\[plan\]'"):
        plan.devices(TOPOLOGY)


# A loop of three turns with one message in each, one message outside, and a fusion.
HLO = """HloModule jit_step

%fused (p0: f32[8,128]) -> f32[8,128] {
  %p0 = f32[8,128]{1,0:T(8,128)} parameter(0)
  ROOT %sum = f32[8,128]{1,0:T(8,128)} add(%p0, %p0)
}

%condition (c: (s32[], f32[4])) -> pred[] {
  %limit = s32[]{:T(128)} constant(3)
  ROOT %less = pred[]{:T(512)} compare(%counter, %limit), direction=LT
}

%body (b: (s32[], f32[4])) -> (s32[], f32[4]) {
  %part = f32[4]{0:T(128)S(1)} get-tuple-element(%b), index=1
  %inner = f32[4]{0:T(128)} all-reduce(%part), replica_groups=mesh['x'=4,'y'=2] {'y'}, to_apply=%add
}

ENTRY %main (a: f32[8,128]) -> f32[8,128] {
  %a = f32[8,128]{1,0:T(8,128)} parameter(0)
  %near = f32[8,128]{1,0:T(8,128)S(1)} fusion(%a), kind=kLoop, calls=%fused
  %loop = (s32[]{:T(128)}, f32[4]{0:T(128)}) while(%start), condition=%condition, body=%body
  %both = (f32[8,128]{1,0:T(8,128)}, bf16[6]{0:T(128)}) all-reduce(%near, %b), replica_groups=[1,8]<=[8], to_apply=%add
  %next = f32[8]{0:T(128)S(1)} collective-permute(%row), source_target_pairs={{0,1},{1,2},{2,3},{3,0}}, channel_id=3
  %copy = (f32[8,128]{1,0:T(8,128)S(1)}, f32[8,128]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%a)
}
"""


def test_messages_and_traffic_are_read_by_hand():
    assert roofline.collectives(HLO) == [
        roofline.Collective("all-reduce", 4096 + 12, 8, 1),
        roofline.Collective("all-reduce", 16, 2, 3),
        roofline.Collective("collective-permute", 32, 4, 1),
    ]
    # Fusion: 4,096 read, the result is near; loop: 16 bytes written at each of 3 turns; result and half of the last.
    assert roofline.memory_traffic(HLO) == 4096 + 3 * 16 + (4096 + 12) + 4096


def test_times_by_hand():
    """An all-reduce of 1 MB over v5e:16x16, both axes rings, and over 2x2, both axes lines of one link."""
    v5e = roofline.CHIPS["v5e"]
    pod = roofline.message_seconds(roofline.Collective("all-reduce", 10**6, 256, 1), v5e, (16, 16))
    assert pod == pytest.approx(2 * (1e6 * 255 / 256 / (4 * 50e9) + 16e-6))
    board = roofline.message_seconds(roofline.Collective("all-reduce", 10**6, 4, 1), v5e, (2, 2))
    assert board == pytest.approx(2 * (1e6 * 3 / 4 / (2 * 50e9) + 2e-6))
    assert roofline.message_seconds(roofline.Collective("all-reduce", 10**6, 1, 1), v5e, (2, 2)) == 0
    shift = roofline.message_seconds(roofline.Collective("collective-permute", 10**6, 4, 1), v5e, (2, 2))
    assert shift == pytest.approx(1e6 / 50e9 + 1e-6)
    times = roofline.seconds(197e9, 819e6, [roofline.Collective("all-gather", 10**6, 4, 3)], "v5e:2x2")
    assert times["compute"] == pytest.approx(1e-3)
    assert times["memory"] == pytest.approx(1e-3)
    assert times["step"] == pytest.approx(1e-3 + 3 * (1e6 * 3 / 4 / (2 * 50e9) + 2e-6))


def test_what_is_printed_comes_from_the_figures():
    found = json.loads(
        json.dumps(
            {
                "topology": "v5e:2x2",
                "chips": 4,
                "batch_size": 512,
                "compile_seconds": 9.0,
                "memory": {"arguments": 2e8, "temporaries": 3.2e9, "peak": 3.5e9, "chip": 16e9},
                "per_image": {"flops": 24e9, "bytes_accessed": 3e8, "hbm": 2e8},
                "collectives": [{"kind": "all-reduce", "size": 1e8, "group": 4, "count": 2}],
                "seconds": {"compute": 0.01, "memory": 0.02, "interconnect": 0.005, "step": 0.025},
                "images_per_s": 20480.0,
                "steps": 3600,
                "chip_hours": 0.1,
                "price": 0.12,
            }
        )
    )
    text = "\n".join(script.lines(found))
    for words in ("128 a chip", "3.2 GB temporaries", "24.00 GFLOP", "2 x all-reduce of 100 MB over 4 chips"):
        assert words in text
    for words in ("25.00 ms a step", "20,480 images/s", "3,600 steps, 0.10 chip-hours", "0.12 at least"):
        assert words in text
