"""Workloads: traces that are read or refused, never half read; draws that follow from the seed."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from evenspike_core import reference, workload
from evenspike_core.arch import Arch
from evenspike_core.errors import EvenspikeError
from evenspike_core.mapping import choose
from evenspike_core.workload import (
    FITTED_DENSITY,
    TRACE_BYTES_MAX,
    VGG16_SHAPES,
    WEIGHTS_MAX,
    active,
    build,
    draw_spikes,
    read_trace,
)

Arrays = dict[str, npt.NDArray[Any]]


def ones(*shape: int) -> npt.NDArray[np.uint8]:
    return np.ones(shape, dtype=np.uint8)


GOOD: Arrays = {
    "conv1_in": (np.arange(4 * 8 * 8) % 16).astype(np.uint8).reshape(4, 8, 8),
    "conv2_in": ones(6, 4, 4),
    "conv3_in": ones(5, 2, 2),
    "fc_in": ones(5),
}


def packed(arrays: Arrays, *, compress: bool = False) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def message(path: Path, content: bytes) -> str:
    """What reading such a file says, without the file's name."""
    path.write_bytes(content)
    with pytest.raises(EvenspikeError) as caught:
        read_trace(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


# --- reading --------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [False, True])
def test_a_trace_is_read_in_the_order_of_the_file(tmp_path: Path, compress: bool) -> None:
    path = tmp_path / "t.npz"
    path.write_bytes(packed(GOOD, compress=compress))
    names, masks = read_trace(path)
    assert names == ("conv1", "conv2", "conv3", "fc")
    for one, array in zip(masks, GOOD.values(), strict=True):
        assert one.dtype == np.uint8
        assert one.ndim == 3
        assert np.array_equal(one.reshape(array.shape), array)
    assert masks[3].shape == (5, 1, 1)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"conv1": ones(2, 4, 4)}, "array 'conv1' is not named <layer>_in"),
        ({"_in": ones(2, 4, 4)}, "array '_in' is not named <layer>_in"),
        ({"a_in": ones(2, 4, 4).astype(np.int8)}, "array a_in is int8 (2, 4, 4), not uint8"),
        ({"a_in": ones(2, 4, 4) == 1}, "array a_in is bool (2, 4, 4), not uint8"),
        ({"a_in": ones(2, 4, 4) / 2}, "array a_in is float64 (2, 4, 4), not uint8"),
        ({"a_in": ones(4, 4)}, "array a_in is uint8 (4, 4), not uint8 [C, H, W] or [C]"),
        ({"a_in": ones(1, 2, 4, 4)}, "array a_in is uint8 (1, 2, 4, 4), not uint8"),
        ({"a_in": np.uint8(3)}, "array a_in is uint8 (), not uint8 [C, H, W] or [C]"),
        ({"a_in": ones(2, 0, 4)}, "array a_in is uint8 (2, 0, 4), not uint8"),
        ({"a_in": np.array(["x"])}, "array a_in is <U1 (1,), not uint8"),
        ({"a_in": ones(2, 4, 4) * 16}, "array a_in has a mask of 16, 4 timesteps reach 15"),
        ({"a_in": ones(2) * 255}, "array a_in has a mask of 255, 4 timesteps reach 15"),
        ({}, "an empty trace"),
    ],
)
def test_what_a_trace_may_not_hold(tmp_path: Path, arrays: Arrays, says: str) -> None:
    assert message(tmp_path / "t.npz", packed(arrays)).startswith(says)
    if arrays:  # the same behind a good array
        content = packed({"first_in": ones(2, 4, 4), **arrays})
        assert message(tmp_path / "t.npz", content).startswith(says)


def npy(header: str, data: bytes = b"") -> bytes:
    """A zip with one array whose header is anything."""
    text = header.encode() + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a_in.npy", content)
    return file.getvalue()


def array(shape: str, descr: str = "'|u1'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"


DAMAGED: dict[str, bytes] = {
    "empty": b"",
    "text": b"a,b\n1,2\n",
    "npy": packed(GOOD)[:128][30:],
    "an array alone": b"\x93NUMPY\x01\x00v\x00" + array("(4,)").encode(),
    "truncated": packed(GOOD)[:-30],
    "half": packed(GOOD)[: len(packed(GOOD)) // 2],
    "objects": packed({"a_in": np.array([{}], dtype=object)}),
    "short data": npy(array("(2, 4, 4)"), bytes(31)),
    "negative": npy(array("(-1, 4, 4)"), bytes(32)),
    "huge": npy(array("(4000000000, 1000, 1000)"), bytes(32)),
    "beyond 64 bits": npy(array(f"({10**30},)"), bytes(32)),
    "no shape": npy("{'descr': '|u1'}", bytes(32)),
    "a shape of text": npy(array("'abc'"), bytes(32)),
    "no dict": npy("1", bytes(32)),
    "no literal": npy("{'descr': [", bytes(32)),
    "deep": npy("(" * 5000, bytes(32)),
    "long": npy(" " * 20000, bytes(32)),
    "a type that is none": npy(array("(4,)", "'|u9'"), bytes(32)),
    "an object type": npy(array("(4,)", "'|O'"), bytes(32)),
    "no magic": packed({"a_in": ones(4)}).replace(b"\x93NUMPY", b"\x93NUMPX"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_is_no_trace(tmp_path: Path, kind: str) -> None:
    text = message(tmp_path / "t.npz", DAMAGED[kind])
    known = ("not a readable .npz trace: ", "array a_in is |S", "array a_in is <U")
    assert text.startswith(known)
    assert not text.endswith(": ")


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.npz", tmp_path, tmp_path / "x" / "y.npz"):
        with pytest.raises(EvenspikeError) as caught:
            read_trace(path)
        assert str(caught.value) == f"{path}: no such trace file"


def test_a_small_file_cannot_ask_for_much_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a_in.npy", "w", force_zip64=True) as member,
    ):
        for _ in range(TRACE_BYTES_MAX // 2**20 + 1):
            member.write(bytes(2**20))
    assert path.stat().st_size < 2**20
    tracemalloc.start()
    try:
        says = message(path, path.read_bytes())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert says == (
        "not a readable .npz trace: "
        f"{TRACE_BYTES_MAX + 2**20} bytes of arrays, at most {TRACE_BYTES_MAX} are read"
    )
    assert peak < 2**23


@pytest.mark.parametrize("seed", range(300))
def test_any_damage_is_an_error_or_a_valid_trace(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    small = {"a_in": GOOD["conv3_in"], "b_in": ones(3, 2, 2), "c_in": ones(3)}
    content = bytearray(packed(small, compress=seed % 2 == 1))
    for _ in range(int(rng.integers(1, 6))):
        at, kind = int(rng.integers(len(content))), int(rng.integers(5))
        if kind == 0:
            content[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            content[at] = int(rng.choice((0, 255, 40, 41, 48, 57)))
        elif kind == 2:
            del content[at : at + int(rng.integers(1, 40))]
        elif kind == 3:
            content[at:at] = rng.bytes(int(rng.integers(1, 8)))
        else:
            other = int(rng.integers(len(content)))
            content[at : at + 16] = content[other : other + 16]
    path = tmp_path / "t.npz"
    path.write_bytes(bytes(content))
    try:
        names, masks = read_trace(path)
        assert len(names) == len(masks) > 0
        assert all(one.dtype == np.uint8 and one.ndim == 3 and one.max() < 16 for one in masks)
        load = build(names, masks, [50.0], 0)
    except EvenspikeError:
        return
    assert len(load.inputs) == len(masks)


# --- layers that consume a trace ------------------------------------------------------------


def refused(names: list[str], inputs: list[Any], density: list[float]) -> str:
    with pytest.raises(EvenspikeError) as caught:
        build(names, inputs, density, 0)
    return str(caught.value)


def trace(tmp_path: Path) -> tuple[tuple[str, ...], tuple[npt.NDArray[np.uint8], ...]]:
    path = tmp_path / "t.npz"
    path.write_bytes(packed(GOOD))
    return read_trace(path)


def test_layers_follow_from_the_shapes(tmp_path: Path) -> None:
    load = build(*trace(tmp_path), [100.0], 0)
    layers = load.program.layers[1:5]
    assert [one.name for one in layers] == ["conv1", "conv2", "conv3", "fc"]
    assert [one.segments[0].kernel for one in layers] == [3, 3, 3, 1]
    assert [one.segments[0].padding for one in layers] == [1, 1, 1, 0]
    assert [(one.segments[0].channels, one.filters) for one in layers] == [
        (4, 6),
        (6, 5),
        (5, 5),
        (5, 10),
    ]
    assert [one.pool for one in layers] == [2, 2, 2, 1]
    assert [one.size for one in layers] == [(8, 8), (4, 4), (2, 2), (1, 1)]
    assert len(load.inputs) == 4
    assert [one.output for one in load.program.layers[:5]] == [
        (4, 8, 8),
        (6, 4, 4),
        (5, 2, 2),
        (5, 1, 1),
        (10, 1, 1),
    ]


def test_one_density_less_leaves_the_last_array_for_its_shape(tmp_path: Path) -> None:
    load = build(*trace(tmp_path), [10.0, 20.0, 30.0], 0)
    assert len(load.inputs) == 3
    assert load.program.layers[3].filters == 5
    assert load.program.layers[3].pool == 2


def test_what_stands_behind_the_last_layer_never_runs_but_checks(tmp_path: Path) -> None:
    """Any last map can be closed to a Program, and the Arch accepts it."""
    for shape in ((3, 8, 8), (2, 5, 7), (1, 1, 1), (20, 1, 9), (4, 3, 3)):
        load = build(["a"], [ones(*shape)], [50.0], 0)
        assert load.program.layers[1].output == (
            10 if shape[1:] == (1, 1) else shape[0],
            *shape[1:],
        )
        assert load.program.layers[-1].last
        assert [one.shape for one in load.outputs] == [one.output for one in load.program.layers]
        choose(load.program, Arch())
    _, masks = trace(tmp_path)
    load = build(["a", "b", "c", "d"], masks, [50.0], 0)
    for index, given in enumerate(load.inputs):
        assert np.array_equal(load.outputs[index], given)
        assert reference.run_layer(load.program, index + 1, {index: given}).masks is not None


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        (((2, 8, 8), (2, 3, 3)), "layer a: its map is 8x8 and the next layer's 3x3; equal or half"),
        (((2, 8, 8), (2, 2, 2)), "layer a: its map is 8x8 and the next layer's 2x2; equal or half"),
        (((2, 8, 8), (2, 4, 8)), "layer a: its map is 8x8 and the next layer's 4x8; equal or half"),
        (((2, 4, 4), (2, 8, 8)), "layer a: its map is 4x4 and the next layer's 8x8; equal or half"),
        (((2, 7, 7), (2, 3, 3)), "layer a: its map is 7x7 and the next layer's 3x3; equal or half"),
    ],
)
def test_maps_that_do_not_follow(shapes: tuple[tuple[int, ...], ...], says: str) -> None:
    names = ["a", "b"]
    assert refused(names, [ones(*s) for s in shapes], [10.0]) == f"{says} is possible"


@pytest.mark.parametrize("count", [2, 5, 12])
def test_densities_that_are_too_many_or_too_few(tmp_path: Path, count: int) -> None:
    names, masks = trace(tmp_path)
    message = f"{count} densities for 4 layers of the trace"
    assert refused(list(names), list(masks), [1.0] * count) == message


@pytest.mark.parametrize("density", [-0.1, 100.1, float("nan"), float("inf"), float("-inf")])
def test_densities_outside_their_range(density: float) -> None:
    message = f"density {density} is outside 0 to 100 percent"
    assert refused(["a"], [ones(2, 4, 4)], [density]) == message
    assert refused(["a", "b"], [ones(2, 4, 4)] * 2, [5.0, density]) == message


@pytest.mark.parametrize("rate", [-1.0, 101.0, float("nan"), float("inf")])
def test_rates_outside_their_range(rate: float) -> None:
    with pytest.raises(EvenspikeError) as caught:
        draw_spikes([(1, 2, 2)], rate, 0)
    assert str(caught.value) == f"--rate {rate} is outside 0 to 100 percent"


def test_a_trace_of_many_channels_cannot_ask_for_much_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    channels = 9000  # 81 million weights from 18 kB
    message = refused(["a", "b"], [ones(channels, 1, 1)] * 2, [1.0])
    assert message == (
        f"layer a: {channels} filters of {channels} channels, the limit is {WEIGHTS_MAX} weights"
    )
    monkeypatch.setattr(workload, "WEIGHTS_MAX", 350)
    message = refused(["a", "b", "c", "d"], [ones(10, 1, 1)] * 4, [1.0])
    assert message == "layer d: the limit of 350 weights is exceeded"


def test_names_that_a_program_cannot_have() -> None:
    masks = [ones(2, 2, 2)] * 2
    assert refused(["a", "a"], masks, [1.0]) == "trace: two layers have the same name"
    assert refused(["source", "a"], masks, [1.0]) == "trace: two layers have the same name"
    assert refused(["a", "b\n"], masks, [1.0]) == "'b\\n' is not a name: empty or not printable"


# --- draws ----------------------------------------------------------------------------------


def test_weights_follow_from_the_seed() -> None:
    masks = [ones(8, 8, 8)] * 2
    first, again, other = (build(["a", "b"], masks, [30.0], seed) for seed in (1, 1, 2))
    assert first.program.digest() == again.program.digest()
    a, b = (first.program.layers[n].segments[0].weights for n in (1, 2))
    assert not np.array_equal(a, b), "layers are drawn one after the other"
    assert not np.array_equal(a, other.program.layers[1].segments[0].weights)


def test_spikes_follow_from_the_seed() -> None:
    shapes = [(4, 8, 8), (4, 8, 8)]
    first, again, other = (draw_spikes(shapes, 30.0, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    assert not np.array_equal(first[0], first[1])
    assert [one.shape for one in draw_spikes(VGG16_SHAPES, 1.0, 0)] == list(VGG16_SHAPES)
    assert draw_spikes(shapes, 5.0, 10**40)[0].shape == (4, 8, 8), "a seed has no upper limit"


@pytest.mark.parametrize("density", [0.0, 1.0, 25.5, 60.0, 100.0])
def test_weights_have_the_density(density: float) -> None:
    weights = build(["a"], [ones(64, 4, 4)], [density], 3).program.layers[1].segments[0].weights
    share = np.count_nonzero(weights) / weights.size
    if density in (0, 100):
        assert share == density / 100
    sigma = (density / 100 * (1 - density / 100) / weights.size) ** 0.5
    assert abs(share - density / 100) <= 4 * sigma
    if density >= 25:
        living = weights[weights != 0]
        assert (np.abs(living).min(), np.abs(living).max()) == (1, 127)
        assert abs((living > 0).mean() - 0.5) < 0.03
        assert abs(np.abs(living).mean() - 64) < 2


@pytest.mark.parametrize("rate", [0.0, 5.0, 50.0, 100.0])
def test_spikes_have_the_rate_at_every_timestep(rate: float) -> None:
    (masks,) = draw_spikes([(32, 32, 32)], rate, 5)
    assert masks.dtype == np.uint8
    planes = np.array([(masks >> t & 1).mean() for t in range(4)])
    sigma = (rate / 100 * (1 - rate / 100) / masks.size) ** 0.5
    assert (np.abs(planes - rate / 100) <= 4.5 * sigma).all()
    both = ((masks & 3) == 3).mean()
    assert abs(both - (rate / 100) ** 2) < 0.01, "timesteps are independent"
    assert masks.any() == (rate > 0)


def test_active_is_the_share_of_neurons_with_a_spike() -> None:
    masks = np.zeros((3, 2, 2), dtype=np.uint8)
    masks[1, 0, 0], masks[2] = 8, 15
    assert active(masks).tolist() == [0.0, 0.25, 1.0]


def test_the_fitted_densities_are_those_of_vgg16() -> None:
    assert len(FITTED_DENSITY) == len(VGG16_SHAPES) == 12
    load = build(
        [f"conv{n}" for n in range(2, 14)],
        draw_spikes(VGG16_SHAPES, 0.0, 0),
        FITTED_DENSITY,
        0,
    )
    layers = load.program.layers[1:13]
    assert sum(one.weights for one in layers) == 14_710_464 - 1728, "all but conv1"
    assert 1 - sum(one.nnz for one in layers) / sum(one.weights for one in layers) == (
        pytest.approx(0.982, abs=0.001)
    )
