"""The Program's checks, each message whole, and its round trip through a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from evenspike_core import program as programs
from evenspike_core.errors import EvenspikeError
from evenspike_core.program import PIXELS, Coding, Layer, Program, Readout, Segment
from tests.helpers.networks import random_program
from tests.helpers.tiny import BODY, FIRST, TINY, same, with_layer


def test_counts() -> None:
    weights = BODY.segments[0].weights.copy()
    weights[1] = 0
    program = replace(TINY, **with_layer(1, weights=weights))
    assert program.weights == 27 + 54 + 10
    assert program.nnz == 27 + 27 + 10
    assert program.sparsity == 1 - 64 / 91
    assert program.classes == 5
    assert program.layers[0].host
    assert not program.layers[1].host
    assert program.layers[0].output == (3, 2, 2)
    assert program.source_shape(FIRST.segments[0]) == (1, 4, 4)
    assert program.source_shape(BODY.segments[0]) == (3, 2, 2)


def test_an_identity_shortcut_has_no_weights() -> None:
    """A scaled diagonal behind the first segment; nothing else that looks like one."""
    eye = np.eye(3, dtype=np.int16)[:, :, None, None]
    uneven = np.diag([7, 7, 6]).astype(np.int16)[:, :, None, None]
    main = Segment(0, ones(3, 3, 3, 3), offset=(-1, -1))
    cases = {"eye": 7 * eye, "uneven": uneven, "empty": 0 * eye, "dense": ones(3, 3, 1, 1)}
    for name, weights in cases.items():
        shortcut = Segment(0, weights)
        layer = replace(BODY, segments=(main, shortcut), bias=np.zeros(3, dtype=np.int32))
        identity = name == "eye"
        assert layer.is_identity(1) == identity, name
        assert layer.weights == 81 + (0 if identity else 9)
        assert layer.nnz == 81 + (0 if identity else np.count_nonzero(weights))
        assert not replace(layer, segments=(shortcut,)).is_identity(0)
        assert [index for index, _ in layer.parameters] == ([0] if identity else [0, 1])


def test_weights_that_were_never_there() -> None:
    """A 2x2 kernel is a 3x3 one, of whose weights the network has four."""
    weights = np.zeros((2, 3, 3, 3), dtype=np.int16)
    weights[:, :, :2, :2] = 1
    program = replace(TINY, **with_layer(1, weights=weights, dense=24))
    assert program.layers[1].weights == program.layers[1].nnz == 24
    assert program.weights == 27 + 24 + 10
    nothing = [
        with_layer(n, weights=0 * one.segments[0].weights, dense=0)["layers"][n]
        for n, one in enumerate(TINY.layers)
    ]
    assert replace(TINY, layers=tuple(nothing)).sparsity == 1


def ones(*shape: int, value: int = 1, dtype: Any = np.int16) -> Any:
    return np.full(shape, value, dtype=dtype)


CHECKS: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "'' is not a name: empty or not printable"),
    ({"name": "a\ud800"}, "'a\\ud800' is not a name: empty or not printable"),
    (with_layer(1, name="a\n"), "'a\\n' is not a name: empty or not printable"),
    (
        {"provenance": {"path": Path("x")}},
        "tiny: provenance is not JSON: Object of type PosixPath is not JSON serializable",
    ),
    ({"timesteps": 0}, "tiny: 0 timesteps, 1 to 32 are possible"),
    ({"timesteps": 33}, "tiny: 33 timesteps, 1 to 32 are possible"),
    ({"shape": (4, 4)}, "tiny: input shape (4, 4) is not [C, H, W]"),
    ({"shape": (1, 0, 4)}, "tiny: input shape (1, 0, 4) is not [C, H, W]"),
    ({"shape": (1, 4, 1025)}, "tiny: input shape (1, 4, 1025), sides reach 1024"),
    ({"layers": ()}, "tiny: no layers"),
    (with_layer(1, name="last"), "tiny: two layers have the same name"),
    (with_layer(1, readout=Readout.COUNT), "layer body: exactly the final layer has a read-out"),
    (with_layer(2, readout=None), "layer last: exactly the final layer has a read-out"),
    (with_layer(0, coding=None), "layer first: exactly the first layer has a coding"),
    (with_layer(1, coding=Coding.RATE), "layer body: exactly the first layer has a coding"),
    (with_layer(0, source=0), "layer first: exactly the encoder takes the input"),
    (with_layer(1, source=PIXELS), "layer body: exactly the encoder takes the input"),
    (with_layer(1, pool=3), "layer body: pool 3 of a (2, 2) map; 1 or 2, dividing"),
    (with_layer(1, size=(3, 2)), "layer body: pool 2 of a (3, 2) map; 1 or 2, dividing"),
    (
        with_layer(2, size=(2, 2), pool=2),
        "layer last: the last layer has no pool and is not the first",
    ),
    (with_layer(2, size=(2, 2)), "layer last: map is (2, 2), the last layer's is (1, 1)"),
    (with_layer(1, size=(2, 0)), "layer body: map is (2, 0), sides are 1 to 1024"),
    (with_layer(1, size=(-2, 2)), "layer body: map is (-2, 2), sides are 1 to 1024"),
    (with_layer(1, size=(1026, 2)), "layer body: map is (1026, 2), sides are 1 to 1024"),
    (
        with_layer(1, pool_first=True),
        "layer body: only a direct encoder pools in front of its neurons",
    ),
    (with_layer(1, threshold=0), "layer body: threshold 0 is outside 1 to 8388607"),
    (with_layer(1, threshold=2**23), "layer body: threshold 8388608 is outside 1 to 8388607"),
    (
        with_layer(2, threshold=0, readout=Readout.COUNT),
        "layer last: threshold 0 is outside 1 to 8388607",
    ),
    (with_layer(1, leak=-1), "layer body: leak -1 is outside 0 to 4096, of 4096"),
    (with_layer(1, leak=4097), "layer body: leak 4097 is outside 0 to 4096, of 4096"),
    (
        with_layer(1, reset=2**23),
        "layer body: reset 8388608 is outside -8388607 to 8388607",
    ),
    (
        with_layer(1, reset=-(2**23)),
        "layer body: reset -8388608 is outside -8388607 to 8388607",
    ),
    (
        with_layer(1, bias=ones(2, dtype=np.int64)),
        "layer body: bias is int64 (2,), not int32 [F]",
    ),
    (
        with_layer(1, bias=ones(2, 1, dtype=np.int32)),
        "layer body: bias is int32 (2, 1), not int32 [F]",
    ),
    (with_layer(1, bias=ones(0, dtype=np.int32)), "layer body: bias is int32 (0,), not int32 [F]"),
    (with_layer(1, shift=1), "layer body: shift 1; 0 to 31, and 0 but for a direct encoder"),
    (with_layer(0, shift=32), "layer first: shift 32; 0 to 31, and 0 but for a direct encoder"),
    (with_layer(0, shift=-1), "layer first: shift -1; 0 to 31, and 0 but for a direct encoder"),
    (with_layer(0, seed=3), "layer first: seed 3; 0 or more, and 0 but for rate coding"),
    (with_layer(1, seed=3), "layer body: seed 3; 0 or more, and 0 but for rate coding"),
    (with_layer(0, seed=-3), "layer first: seed -3; 0 or more, and 0 but for rate coding"),
    (
        with_layer(0, coding=Coding.RATE, shift=0),
        "layer first: rate coding has no weights, bias or pool",
    ),
    (with_layer(2, segments=()), "layer last: no segments"),
    (
        with_layer(0, bias=np.array([0, 2**31 - 27 * 85, 2**31 - 1], dtype=np.int32)),
        "layer first: filter 2 can reach 2147485942, host sums have 32 bits",
    ),
    (
        with_layer(0, bias=np.array([0, 2**25, 0], dtype=np.int32)),
        (
            "layer first: range proof fails for filter 1: its membrane can reach 11141883, "
            "the limit is 8388608 (24 bit)"
        ),
    ),
    (
        with_layer(1, bias=np.array([0, -(2**21) + 27], dtype=np.int32), leak=4096),
        (
            "layer body: range proof fails for filter 1: its membrane can reach 8388608, "
            "the limit is 8388608 (24 bit)"
        ),
    ),
    (
        with_layer(1, bias=np.array([2**22 - 27, 0], dtype=np.int32), leak=2048, reset=2**23 - 1),
        (
            "layer body: range proof fails for filter 0: its membrane can reach 12582911, "
            "the limit is 8388608 (24 bit)"
        ),
    ),
    (
        with_layer(1, bias=np.array([2**23 - 27, 0], dtype=np.int32), leak=0),
        (
            "layer body: range proof fails for filter 0: its membrane can reach 8388608, "
            "the limit is 8388608 (24 bit)"
        ),
    ),
    (
        with_layer(
            2, bias=np.full(5, 2**21 - 2, dtype=np.int32), readout=Readout.MEMBRANE, leak=4096
        ),
        (
            "layer last: range proof fails for filter 0: its membrane can reach 8388608, "
            "the limit is 8388608 (24 bit)"
        ),
    ),
    (
        with_layer(2, bias=np.full(5, 2**23 - 2, dtype=np.int32)),
        (
            "layer last: range proof fails for filter 0: its membrane can reach 8388608, "
            "the limit is 8388608 (24 bit)"
        ),
    ),
    (with_layer(1, source=1), "layer body: source 1 is not an earlier layer"),
    (with_layer(1, source=-2), "layer body: source -2 is not an earlier layer"),
    (
        with_layer(1, weights=ones(2, 3, 3, 3, dtype=np.int32)),
        "layer body: weights are int32 (2, 3, 3, 3), not int16 [F, C, K, K]",
    ),
    (
        with_layer(1, weights=ones(2, 3, 3, 1)),
        "layer body: weights are int16 (2, 3, 3, 1), not int16 [F, C, K, K]",
    ),
    (
        with_layer(1, weights=ones(2, 3, 3)),
        "layer body: weights are int16 (2, 3, 3), not int16 [F, C, K, K]",
    ),
    (with_layer(1, weights=ones(4, 3, 3, 3)), "layer body: 4 filters of weights, 2 of bias"),
    (with_layer(1, dense=53), "layer body: 53 weights before pruning, 54 are left of 54"),
    (with_layer(1, dense=55), "layer body: 55 weights before pruning, 54 are left of 54"),
    (with_layer(1, weights=ones(2, 3, 2, 2)), "layer body: kernel 2, possible are (1, 3, 5, 7)"),
    (
        with_layer(1, stride=3),
        "layer body: stride 3 and average 1; possible are (1, 2) and (1, 2, 4, 8)",
    ),
    (
        with_layer(1, average=3),
        "layer body: stride 1 and average 3; possible are (1, 2) and (1, 2, 4, 8)",
    ),
    (with_layer(1, offset=(0, 256)), "layer body: offset (0, 256); two of -255 to 255"),
    (with_layer(1, offset=(-256, 0)), "layer body: offset (-256, 0); two of -255 to 255"),
    (with_layer(1, offset=(0, 0, 0)), "layer body: offset (0, 0, 0); two of -255 to 255"),
    (with_layer(1, weights=ones(2, 4, 3, 3)), "layer body: 4 channels, its source has 3"),
    (with_layer(1, average=4), "layer body: average 4 of a 2x2 map"),
    (with_layer(0, average=2), "layer first: average 2 of a 4x4 map"),
    (
        {
            "layers": (
                Layer("first", (), np.zeros(1, np.int32), (4, 2), 1, coding=Coding.FRAMES),
                *TINY.layers[1:],
            )
        },
        "layer first: frames coding gives the input's (1, 4, 4), not (1, 4, 2)",
    ),
    *(
        (
            {"layers": (FIRST, replace(BODY, weight_bits=bits), *TINY.layers[2:])},  # type: ignore[arg-type]
            f"layer body: weight_bits {bits!r}, possible are (4, 8, 16) and None",
        )
        for bits in (8.0, 12)
    ),
]


@pytest.mark.parametrize(("changes", "message"), CHECKS, ids=[message for _, message in CHECKS])
def test_checks(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(EvenspikeError) as caught:
        replace(TINY, **changes)
    assert str(caught.value) == message


def test_range_proof_is_tight() -> None:
    """One less than the values that CHECKS sees refused."""
    replace(TINY, **with_layer(1, bias=np.array([0, -(2**21) + 28], np.int32), leak=4096))
    replace(TINY, **with_layer(1, bias=np.array([2**23 - 28, 0], np.int32), leak=0))
    bias = np.full(5, 2**21 - 3, dtype=np.int32)
    replace(TINY, **with_layer(2, bias=bias, readout=Readout.MEMBRANE, leak=4096))
    replace(TINY, **with_layer(2, bias=4 * bias + 9))


def test_what_has_no_neurons_needs_no_threshold() -> None:
    replace(TINY, **with_layer(2, threshold=0))


def test_a_map_is_what_the_layer_states() -> None:
    """No padding, and no map that a convolution would give: outputs may read nothing at all."""
    for size, offset in (((2, 4), (-1, -1)), ((10, 2), (3, -7)), ((1024, 2), (255, -255))):
        program = replace(TINY, **with_layer(1, size=size, offset=offset))
        assert program.layers[1].output == (2, size[0] // 2, size[1] // 2)


@pytest.mark.parametrize("seed", range(40))
def test_round_trip(seed: int, tmp_path: Path) -> None:
    program = random_program(seed)
    path = tmp_path / "p.safetensors"
    program.save(path)
    loaded = Program.load(path)
    assert same(program, loaded)
    assert loaded.digest() == program.digest()
    first = path.read_bytes()
    loaded.save(path)
    assert path.read_bytes() == first
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.safetensors"]


def encoder(coding: Coding) -> Layer:
    """One of the three that hand the input on."""
    return Layer("first", (), np.zeros(3, dtype=np.int32), (2, 2), 1, coding=coding)


def test_every_field_changes_the_digest() -> None:
    weights = BODY.segments[0].weights.copy()
    weights[0, 0, 0, 0] = 2
    fewer = BODY.segments[0].weights.copy()
    fewer[0, 0, 0, 0] = 0
    changes: list[dict[str, Any]] = [
        {},
        {"name": "other"},
        {"timesteps": 3},
        {"provenance": {"seed": 2}},
        with_layer(1, name="other"),
        with_layer(1, weights=weights),
        with_layer(1, weights=fewer),
        with_layer(1, weights=fewer, dense=53),
        with_layer(1, bias=np.array([0, 1], dtype=np.int32)),
        with_layer(1, threshold=11),
        with_layer(1, leak=2048),
        with_layer(1, hard=False),
        with_layer(1, reset=-1),
        with_layer(1, stride=2),
        with_layer(1, offset=(-1, 0)),
        with_layer(1, offset=(0, -1)),
        with_layer(1, size=(2, 4)),
        with_layer(0, shift=3),
        with_layer(0, pool_first=True),
        with_layer(2, readout=Readout.COUNT),
        with_layer(2, readout=Readout.MEMBRANE),
        *(
            {"shape": (3, 2, 2), "layers": (encoder(coding), *TINY.layers[1:])}
            for coding in (Coding.RATE, Coding.LATENCY, Coding.FRAMES)
        ),
        {
            "shape": (3, 2, 2),
            "layers": (replace(encoder(Coding.RATE), seed=1), *TINY.layers[1:]),
        },
    ]
    digests = {replace(TINY, **change).digest() for change in changes}
    assert len(digests) == len(changes)


def test_the_format_is_in_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a mapping kept for a Program is never taken for one of another format."""
    before = replace(TINY).digest()
    monkeypatch.setattr(programs, "FORMAT", programs.FORMAT + 1)
    assert replace(TINY).digest() != before


def test_save_where_it_cannot(tmp_path: Path) -> None:
    with pytest.raises(EvenspikeError) as caught:
        TINY.save(tmp_path / "no" / "p.safetensors")
    assert str(caught.value) == (
        f"{tmp_path}/no/p.safetensors: cannot be written: No such file or directory"
    )
    (tmp_path / "folder").mkdir()
    with pytest.raises(EvenspikeError, match="cannot be written: Is a directory"):
        TINY.save(tmp_path / "folder")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_load_what_is_no_program(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    with pytest.raises(EvenspikeError) as caught:
        Program.load(path)
    assert str(caught.value) == f"{path}: no such Program file"
    path.write_bytes(b"")
    with pytest.raises(EvenspikeError, match=r"not a readable \.safetensors file"):
        Program.load(path)
    for metadata in (None, {"other": "x"}, {"evenspike": "x"}, {"evenspike": "[1]"}):
        path.write_bytes(save({"a": np.zeros(1)}, metadata=metadata))
        with pytest.raises(EvenspikeError) as caught:
            Program.load(path)
        assert str(caught.value) == f"{path}: holds no evenspike Program header"
