"""Program files of evenspike 0.1: what they become, spike for spike, and which are refused.

The files are put together here from the first format's text, and their networks run here by its
arithmetic: leaks that are shifts, and a soft reset that takes the threshold off at once.
"""

from __future__ import annotations

import copy
import json
import random
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from evenspike_core import reference
from evenspike_core.errors import EvenspikeError
from evenspike_core.program import PIXELS, Coding, Program, Readout
from tests.helpers.program_files import Json, damaged, opened, sealed, survives
from tests.helpers.tiny import same

Tensors = dict[str, npt.NDArray[Any]]
SHIFTS = {"1/4": 2, "1/2": 1, "1": 0}
PROVENANCE = {"seed": 1, "command": "train"}


def segment(tensors: Tensors, name: str, weights: npt.NDArray[np.int64], **fields: int) -> Json:
    """An entry of a header, and its tensors."""
    flat = weights.astype(np.int16).reshape(-1)
    tensors[f"{name}.mask"] = np.packbits(flat != 0, bitorder="little")
    tensors[f"{name}.values"] = flat[flat != 0]
    defaults = {"source": PIXELS, "stride": 1, "padding": 0, "average": 1}
    return {"shape": list(weights.shape), **defaults, **fields}


def first_file(
    leaks: tuple[str, str] = ("1/4", "1/2"), reset: str = "hard", threshold: int = 60
) -> tuple[Json, Tensors]:
    """An encoder on a 2x8x8 image, a residual layer on its pooled map, and the last layer."""
    rng = np.random.default_rng(threshold)
    tensors: Tensors = {}

    def weights(*shape: int) -> npt.NDArray[np.int64]:
        return rng.integers(-20, 24, shape) * (rng.random(shape) < 0.6)

    def layer(name: str, filters: int, size: int, segments: list[Json], **fields: Any) -> Json:
        tensors[f"{name}.bias"] = rng.integers(-9, 20, filters).astype(np.int32)
        defaults = {"reset": reset, "pool": 1, "last": False, "shift": 0, "threshold": threshold}
        entry = {"name": name, "filters": filters, "size": [size, size], "segments": segments}
        return {**defaults, **entry, **fields}

    first = segment(tensors, "first.0", weights(3, 2, 3, 3), padding=1)
    body = [
        segment(tensors, "body.0", weights(12, 3, 5, 5), source=0, padding=2, stride=2),
        segment(tensors, "body.1", weights(12, 3, 1, 1), source=0, average=2),
    ]
    head = segment(tensors, "head.0", weights(5, 12, 1, 1), source=1, average=2)
    header = {
        "format": 1,
        "name": "old",
        "timesteps": 6,
        "shape": [2, 8, 8],
        "provenance": PROVENANCE,
        "layers": [
            layer("first", 3, 8, [first], leak=leaks[0], shift=6, pool=2),
            layer("body", 12, 2, body, leak=leaks[1]),
            layer("head", 5, 1, [head], leak="1/4", last=True, threshold=0),
        ],
    }
    return header, tensors


def old_run(header: Json, tensors: Tensors, image: Any) -> tuple[list[Any], list[int]]:
    """(masks of each layer but the last, logits), by the first format, one weight at a time."""
    time = header["timesteps"]
    maps: dict[int, Any] = {PIXELS: image.tolist()}
    logits: list[int] = []
    for index, entry in enumerate(header["layers"]):
        height, width = entry["size"]
        pool = entry["pool"]
        out = np.zeros((entry["filters"], height // pool, width // pool), dtype=np.uint8)
        for f, y, x in np.ndindex(entry["filters"], height, width):
            current = [int(tensors[f"{entry['name']}.bias"][f])] * time
            for number, one in enumerate(entry["segments"]):
                add(
                    current,
                    one,
                    old_weights(tensors, f"{entry['name']}.{number}", one)[f],
                    maps,
                    y,
                    x,
                )
            if entry["shift"]:
                current = [(c + 2 ** (entry["shift"] - 1)) >> entry["shift"] for c in current]
            if entry["last"]:
                logits.append(sum(current))
            else:
                out[f, y // pool, x // pool] |= old_neuron(entry, current)
        maps[index] = out.tolist()
    return [maps[index] for index in range(len(header["layers"]) - 1)], logits


def old_weights(tensors: Tensors, name: str, one: Json) -> Any:
    flat = np.zeros(int(np.prod(one["shape"])), dtype=np.int64)
    alive = np.unpackbits(tensors[f"{name}.mask"], count=flat.size, bitorder="little") == 1
    flat[alive] = tensors[f"{name}.values"]
    return flat.reshape(one["shape"])


def add(current: list[int], one: Json, weights: Any, maps: dict[int, Any], y: int, x: int) -> None:
    """One segment's part of a neuron's current."""
    source, side = maps[one["source"]], one["average"]
    for c, r, s in np.argwhere(weights).tolist():
        top = y * one["stride"] + r - one["padding"]
        left = x * one["stride"] + s - one["padding"]
        for i, j in product(range(side), repeat=2):
            row, column = top * side + i, left * side + j
            if 0 <= row < len(source[0]) and 0 <= column < len(source[0][0]):
                value = source[c][row][column]
                for t in range(len(current)):
                    bit = value if one["source"] == PIXELS else value >> t & 1
                    current[t] += int(weights[c, r, s]) * bit


def old_neuron(entry: Json, current: list[int]) -> int:
    u, mask = 0, 0
    for t, value in enumerate(current):
        u = (u >> SHIFTS[entry["leak"]]) + value
        if u >= entry["threshold"]:
            mask |= 1 << t
            u = 0 if entry["reset"] == "hard" else u - entry["threshold"]
    return mask


def restated(program: Program) -> Json:
    """The header that evenspike 0.1 would have written of a network that it could run."""
    names = {1024: "1/4", 2048: "1/2", 3072: "3/4", 4096: "1"}
    return {
        "format": 1,
        "name": program.name,
        "timesteps": program.timesteps,
        "shape": list(program.shape),
        "provenance": dict(program.provenance),
        "layers": [
            {
                "name": one.name,
                "filters": one.filters,
                "size": list(one.size),
                "threshold": one.threshold,
                "leak": names[one.leak],
                "reset": "hard" if one.hard else "soft",
                "pool": one.pool,
                "last": one.last,
                "shift": one.shift,
                "segments": [
                    {
                        "source": part.source,
                        "shape": list(part.weights.shape),
                        "stride": part.stride,
                        "padding": -part.offset[0],
                        "average": part.average,
                    }
                    for part in one.segments
                ],
            }
            for one in program.layers
        ],
    }


def loaded(folder: Path, header: Json, tensors: Tensors) -> Program:
    path = folder / "old.safetensors"
    path.write_bytes(sealed(header, tensors))
    return Program.load(path)


def refused(folder: Path, header: Json, tensors: Tensors) -> str:
    with pytest.raises(EvenspikeError) as caught:
        loaded(folder, header, tensors)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{folder}/old.safetensors: ")


@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("leaks", list(product(SHIFTS, repeat=2)))
def test_an_old_file_gives_the_old_spikes(
    leaks: tuple[str, str], reset: str, tmp_path: Path
) -> None:
    header, tensors = first_file(leaks, reset)
    program = loaded(tmp_path, header, tensors)
    rng = np.random.default_rng(3)
    fired: set[int] = set()
    for _ in range(2):
        image = rng.integers(0, 256, (2, 8, 8)).astype(np.uint8)
        masks, logits = old_run(header, tensors, image)
        activity = reference.run(program, image)
        assert [one.tolist() for one in activity.masks] == masks
        assert activity.logits.tolist() == logits
        fired |= {mask for plane in masks[1] for row in plane for mask in row}
    assert len(fired) > 4, "silence, or every neuron alike, proves nothing"


def test_what_an_old_file_becomes(tmp_path: Path) -> None:
    header, tensors = first_file(("1/4", "1/2"), "soft")
    program = loaded(tmp_path, header, tensors)
    first, body, head = program.layers
    assert (program.name, program.timesteps, program.shape) == ("old", 6, (2, 8, 8))
    assert dict(program.provenance) == PROVENANCE
    assert [one.coding for one in program.layers] == [Coding.DIRECT, None, None]
    assert [one.readout for one in program.layers] == [None, None, Readout.PSUM]
    assert [(one.leak, one.hard, one.reset) for one in (first, body)] == [
        (1024, False, 15),
        (2048, False, 30),
    ]
    assert [part.offset for part in body.segments] == [(-2, -2), (0, 0)]
    assert [part.dense for part in body.segments] == [900, 36]
    assert not any(one.pool_first or one.seed for one in program.layers)
    assert head.reset == 0, "it has no neurons"


def test_it_is_saved_in_the_second_format(tmp_path: Path) -> None:
    program = loaded(tmp_path, *first_file())
    header, _ = opened(program, tmp_path)
    assert header["format"] == 2
    again = Program.load(tmp_path / "original.safetensors")
    assert same(program, again)
    assert again.digest() == program.digest()


@pytest.mark.parametrize("leak", ["3/4", "1/4"])
@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_the_last_layer_has_no_neurons_to_refuse(leak: str, reset: str, tmp_path: Path) -> None:
    header, tensors = first_file()
    header["layers"][2] |= {"leak": leak, "reset": reset, "threshold": 7}
    program = loaded(tmp_path, header, tensors)
    image = np.full((2, 8, 8), 99, dtype=np.uint8)
    _, logits = old_run(header, tensors, image)
    assert reference.run(program, image).logits.tolist() == logits


ALONE = "; it runs on evenspike 0.1 alone, which wrote the file"


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_a_leak_that_rounds_up_is_refused(index: int, reset: str, tmp_path: Path) -> None:
    header, tensors = first_file(reset=reset)
    header["layers"][index]["leak"] = "3/4"
    name = header["layers"][index]["name"]
    assert refused(tmp_path, header, tensors) == (
        f"layer {name}: leak 3/4 of file format 1 rounds up{ALONE}"
    )


@pytest.mark.parametrize(("leak", "threshold"), [("1/4", 62), ("1/4", 61), ("1/2", 61)])
def test_a_soft_reset_by_a_fraction_is_refused(leak: str, threshold: int, tmp_path: Path) -> None:
    header, tensors = first_file((leak, leak), "soft", threshold)
    assert refused(tmp_path, header, tensors) == (
        f"layer first: a soft reset by {threshold} with leak {leak}, of file format 1, "
        f"leaves fractions{ALONE}"
    )
    header["layers"][0]["reset"] = "hard"
    assert refused(tmp_path, header, tensors).startswith(f"layer body: a soft reset by {threshold}")
    header["layers"][1]["leak"] = "1"
    assert loaded(tmp_path, header, tensors).layers[1].reset == threshold


LIES: list[tuple[str, str]] = [
    ("h['surplus'] = 1", "holds something that this version would not write"),
    ("h['layers'][1]['surplus'] = 1", "file format 1 has no 'surplus'"),
    ("h['layers'][1]['hard'] = True", "file format 1 has no 'hard'"),
    ("h['layers'][0]['coding'] = 'rate'", "file format 1 has no 'coding'"),
    ("h['layers'][2]['readout'] = 'count'", "file format 1 has no 'readout'"),
    ("h['layers'][1]['segments'][0]['offset'] = [0, 0]", "file format 1 has no 'offset'"),
    ("h['layers'][1]['segments'][0]['dense'] = 1", "file format 1 has no 'dense'"),
    ("h['layers'][1]['leak'] = '1/8'", "malformed Program: KeyError('1/8')"),
    ("h['layers'][1]['leak'] = 1024", "malformed Program: KeyError(1024)"),
    ("h['layers'][1]['leak'] = []", "malformed Program: TypeError"),
    ("h['layers'][1]['reset'] = 'none'", "malformed Program: KeyError('none')"),
    ("h['layers'][1]['last'] = 'no'", "malformed Program: TypeError"),
    ("h['layers'][1]['last'] = 0", "malformed Program: TypeError"),
    ("h['layers'][1]['threshold'] = 60.0", "malformed Program: TypeError"),
    ("h['layers'][1]['threshold'] = True", "malformed Program: TypeError"),
    ("h['layers'][1]['segments'][1]['padding'] = False", "malformed Program: TypeError"),
    ("h['layers'][1]['segments'][1]['padding'] = '0'", "malformed Program: TypeError"),
    ("h['layers'][1]['segments'][1]['shape'] = [10**9, 1, 1, 'a']", "malformed Program: TypeE"),
    ("h['layers'][1]['segments'][1]['shape'] = 7", "malformed Program: TypeError"),
    ("del h['layers'][1]['leak']", "malformed Program: KeyError('leak')"),
    ("del h['layers'][1]['segments'][1]['padding']", "malformed Program: KeyError('padding')"),
    ("h['layers'][1] = 7", "malformed Program: TypeError"),
    ("h['layers'][1]['size'] = [2]", "malformed Program: ValueError"),
    ("h['format'] = 1.0", "file format 1.0, this version reads 1 and 2"),
    ("h['format'] = True", "file format True, this version reads 1 and 2"),
    ("h['layers'][2]['last'] = False", "layer head: exactly the final layer has a read-out"),
    ("h['timesteps'] = 40", "old: 40 timesteps, 1 to 32 are possible"),
    ("t['surplus'] = t['body.bias']", "holds something that this version would not write"),
]


@pytest.mark.parametrize(("edit", "message"), LIES, ids=[edit for edit, _ in LIES])
def test_sealed_lies(edit: str, message: str, tmp_path: Path) -> None:
    header, tensors = first_file()
    exec(edit, {"h": header, "t": tensors})  # noqa: S102 (the edits are above)
    assert refused(tmp_path, header, tensors).startswith(message)


def test_unsealed_edit(tmp_path: Path) -> None:
    header, tensors = first_file()
    content = sealed(header, tensors)
    path = tmp_path / "old.safetensors"
    path.write_bytes(content.replace(b'\\"threshold\\": 60', b'\\"threshold\\": 64', 1))
    with pytest.raises(EvenspikeError) as caught:
        Program.load(path)
    assert str(caught.value) == f"{path}: content does not match its SHA-256; file is damaged"


@pytest.mark.parametrize("seed", range(4))
def test_fuzzed_header(seed: int, tmp_path: Path) -> None:
    """Any value at any place of the header, under a right hash: refused, or read as written."""
    chance = random.Random(seed)
    original, tensors = first_file(reset="soft")
    for number in range(150):
        header = damaged(original, chance) if number else copy.deepcopy(original)
        program = survives(tmp_path / "old.safetensors", sealed(header, tensors))
        if number == 0:
            assert program is not None
        if program is not None and header["format"] == 1:
            assert json.dumps(restated(program), sort_keys=True) == json.dumps(
                header, sort_keys=True
            )
