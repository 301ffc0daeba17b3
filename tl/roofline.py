"""What a compiled TPU program costs: its text read, and a roofline model of chips in a torus. No time is measured."""

from __future__ import annotations

import collections
import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f32": 4, "s32": 4, "u32": 4, "f64": 8}
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
HOP = 1e-6  # seconds for a message to the next chip ("about 1 us": How to Scale Your Model, chapter on sharding)


@dataclasses.dataclass(frozen=True)
class Chip:
    """Peaks of one chip: FLOP/s in bfloat16, bytes of memory, bytes/s of memory and of one link in one direction."""

    flops: float
    memory: float
    bandwidth: float
    link: float
    ring: int  # chips along an axis from which on its ends are joined, at multiples of it


# docs.cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e}: peak compute, HBM capacity and bandwidth. Links: the ICI bandwidth
# per chip there (v4 2,400, v5e 1,600, v5p 4,800, v6e 3,584 Gbit/s in each direction) over its 6, 4, 6 and 4 links.
CHIPS = {
    "v4": Chip(275e12, 32e9, 1228e9, 50e9, 4),
    "v5e": Chip(197e12, 16e9, 819e9, 50e9, 16),
    "v5p": Chip(459e12, 95e9, 2765e9, 100e9, 4),
    "v6e": Chip(918e12, 32e9, 1640e9, 112e9, 16),
}


@dataclasses.dataclass(frozen=True)
class Collective:
    """Messages of one kind and size: `size` bytes of the whole array on each of `group` chips, `count` times a step."""

    kind: str
    size: int
    group: int
    count: int


def collectives(text: str) -> list[Collective]:
    """Every collective of a compiled program's text, a loop's as often as the loop turns; the largest first."""
    found: collections.Counter[tuple[str, int, int]] = collections.Counter()
    pattern = re.compile(rf" = (.*?) ({'|'.join(COLLECTIVES)})(-start)?\(")
    for line, times in _lines(text):
        match = pattern.search(line)
        if match is None:
            continue
        kind, group = match[2], _group(line)
        sizes = [size for size, _ in _arrays(match[1])]
        # The type of a started message names operand, result and context; that of a gather is the largest of them.
        size = max(sizes) if match[3] else sum(sizes)
        found[kind, size * group if kind == "reduce-scatter" and not match[3] else size, group] += times
    return sorted((Collective(*key, count) for key, count in found.items()), key=lambda c: -c.size * c.count)


def memory_traffic(text: str) -> int:
    """Bytes that the program's instructions read and write in HBM, what lies in the chip's own memory left out."""
    where: dict[str, list[tuple[int, bool]]] = {}
    total = 0
    for line, times in _lines(text, fused=False):
        match = re.match(r"\s+(?:ROOT )?%(\S+) = (.*?) ([a-z][a-z0-9\-]*)\((.*)", line)
        if match is None:
            continue
        name, kind, op, rest = match.groups()
        arrays = where[name] = _arrays(kind)
        if op in ("copy-start", "slice-start") and len(arrays) > 1:
            moved = min(size for size, _ in arrays[:2])
            total += times * moved * sum(in_memory for _, in_memory in arrays[:2])
        elif op not in _FREE and not op.endswith(("-start", "-done")):
            operands = re.findall(r"%([\w.\-]+)", rest.split(")", 1)[0])
            touched = [*arrays, *(array for operand in operands for array in where.get(operand, ()))]
            total += times * sum(size for size, in_memory in touched if in_memory)
    return total


_FREE = ("parameter", "get-tuple-element", "tuple", "bitcast", "constant", "while", "conditional", "call", "after-all")


def _arrays(kind: str) -> list[tuple[int, bool]]:
    """[(bytes, whether it lies in HBM)] of an instruction's type; S(1) is the chip's vector memory."""
    found = []
    for dtype, shape, layout in re.findall(r"\b([a-z]+\d*)\[([\d,]*)\](\{[^}]*\})?", kind):
        if dtype in BYTES:
            found.append((BYTES[dtype] * math.prod(int(n) for n in shape.split(",") if n), "S(" not in layout))
    return found


def _group(line: str) -> int:
    """Chips that take part in one collective.

    Written as replica_groups=mesh['a'=4,'b'=2] {'a'} (or {'a':(1)2}, a part of an axis), [groups,chips]<=... or
    {{0,1},...}; of a permutation as source_target_pairs={{0,1},...}.
    """
    pairs = re.search(r"source_target_pairs=\{((?:\{\d+,\d+\},?)*)\}", line)
    if pairs:
        return len(set(re.findall(r"\d+", pairs[1])))
    named = re.search(r"replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}", line)
    if named:
        lengths = dict(re.findall(r"'(\w+)'=(\d+)", named[1]))
        axes = re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", named[2])
        return math.prod(int(part or lengths[axis]) for axis, part in axes)
    iota = re.search(r"replica_groups=\[\d+,(\d+)\]", line)
    if iota:
        return int(iota[1])
    listed = re.search(r"replica_groups=\{\{([\d,]*)\}", line)
    return len(listed[1].split(",")) if listed else 1


def _turns(line: str, bodies: Mapping[str, Sequence[str]]) -> int:
    """How often a loop turns: the limit that its condition compares the counter with; 1 where none is written."""
    condition = re.search(r"condition=%?([\w.\-]+)", line)
    limits = [int(n) for row in bodies.get(condition[1] if condition else "", ()) for n in _LIMIT.findall(row)]
    return max(limits, default=1)


_LIMIT = re.compile(r"= s32\[\]\S* constant\((\d+)\)")


def _lines(text: str, *, fused: bool = True) -> Iterator[tuple[str, int]]:
    """The instructions that run and how often; `fused`: those inside fusions too."""
    bodies: dict[str, list[str]] = {}
    entry = name = ""
    for line in text.splitlines():
        header = re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{$", line)
        if header:
            name = header[2]
            bodies[name], entry = [], name if header[1] else entry
        elif name:
            bodies[name].append(line)

    def walk(name: str, times: int) -> Iterator[tuple[str, int]]:
        for line in bodies.get(name, ()):
            yield line, times
            loop = " while(" in line
            if fused or loop:
                turns = _turns(line, bodies) if loop else 1
                for called in re.findall(r"(?:body|calls)=%?([\w.\-]+)", line):
                    yield from walk(called, times * turns)

    return walk(entry, 1)


def message_seconds(message: Collective, chip: Chip, shape: Sequence[int]) -> float:
    """Seconds of one collective on a torus of `shape`: bytes over the links of all axes, and a hop per chip passed.

    A ring is passed in both directions at once, so half its length; an axis whose ends are not joined takes all of
    it, at half the rate. An all-reduce passes twice, a permutation goes to a neighbour over one link. Groups smaller
    than the torus are taken as its first axes.
    """
    if message.kind == "collective-permute":
        return message.size / chip.link + HOP if message.group > 1 else 0.0
    axes, left = [], message.group
    for length in shape:
        if left > 1 and length > 1:
            axes.append(min(length, left))
            left = math.ceil(left / length)
    joined = [length % chip.ring == 0 for length in axes]
    links = sum(2 if ring else 1 for ring in joined)
    hops = sum(length // 2 if ring else length - 1 for length, ring in zip(axes, joined, strict=True))
    rounds = 2 if message.kind == "all-reduce" else 1
    share = (message.group - 1) / message.group
    return rounds * (message.size * share / (links * chip.link) + hops * HOP) if axes else 0.0


def topology(name: str) -> tuple[str, tuple[int, ...]]:
    """`v5e:16x16` -> ("v5e", (16, 16))."""
    kind, _, lengths = name.partition(":")
    return kind, tuple(int(n) for n in lengths.split("x"))


def seconds(flops: float, traffic: float, messages: Sequence[Collective], name: str) -> dict[str, float]:
    """Seconds of one step by each bound, of one chip: FLOPs, HBM bytes and messages, over the peaks of the chip."""
    kind, shape = topology(name)
    chip = CHIPS[kind]
    found: dict[str, Any] = {
        "compute": flops / chip.flops,
        "memory": traffic / chip.bandwidth,
        "interconnect": sum(m.count * message_seconds(m, chip, shape) for m in messages),
    }
    # Computing and fetching overlap; a message is waited for, as most of them are on the way from layer to layer.
    found["step"] = max(found["compute"], found["memory"]) + found["interconnect"]
    return found
