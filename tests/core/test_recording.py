"""Recordings: traces that are read or refused, never half read, and that belong to a network."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from evenspike_core import recording
from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import mask_type
from evenspike_core.recording import FORMS, read_trace
from evenspike_core.topology import INPUT
from evenspike_core.workload import draw

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


def refused(arrays: Arrays, **options: Any) -> str:
    with pytest.raises(EvenspikeError) as caught:
        read_trace(arrays, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix("trace: ")


def planes(masks: npt.NDArray[Any], timesteps: int) -> npt.NDArray[np.uint8]:
    return np.array([masks >> t & 1 for t in range(timesteps)], dtype=np.uint8)


# --- arrays ---------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [False, True])
def test_a_file_is_read_in_its_order(tmp_path: Path, compress: bool) -> None:
    path = tmp_path / "t.npz"
    path.write_bytes(packed(GOOD, compress=compress))
    trace = read_trace(path)
    assert trace.timesteps == 4
    assert [layer.name for layer in trace.topology.layers] == ["conv1", "conv2", "conv3", "fc"]
    assert list(trace.spikes) == [INPUT, "conv1", "conv2", "conv3"], "who makes them"
    for one, array in zip(trace.spikes.values(), GOOD.values(), strict=True):
        assert one.dtype == np.uint8
        assert one.ndim == 3
        assert np.array_equal(one.reshape(array.shape), array)
    assert trace.spikes["conv3"].shape == (5, 1, 1)


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int8, np.int64, np.float16, np.float32])
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("timesteps", [1, 2, 4, 8, 9, 16, 17, 32])
def test_planes_are_masks(kind: type, batch: bool, timesteps: int) -> None:
    """As SpikingJelly and snnTorch record them; the last of the timesteps may be silent."""
    wide = {name: array.astype(mask_type(timesteps)) for name, array in GOOD.items()}
    masks = {name: array % (1 << timesteps - 1) for name, array in wide.items()}
    if timesteps > 8:
        masks = {name: array << timesteps - 6 for name, array in masks.items()}
    given: Arrays = {name: planes(array, timesteps).astype(kind) for name, array in masks.items()}
    trace = read_trace({k: v[:, None] for k, v in given.items()} if batch else given)
    assert trace.timesteps == timesteps
    for one, array in zip(trace.spikes.values(), masks.values(), strict=True):
        assert one.dtype == mask_type(timesteps)
        assert np.array_equal(one.reshape(array.shape), array)


@pytest.mark.parametrize(
    ("kind", "timesteps"),
    [
        (kind, timesteps)
        for kind in (np.uint8, np.uint16, np.uint32, np.uint64)
        for timesteps in range(1, min(8 * kind().itemsize, 32) + 1)
    ],
)
def test_masks_of_any_unsigned_type(kind: type, timesteps: int) -> None:
    """What is handed out is of the type of their timesteps, whatever held them."""
    array = np.arange(2 * 4 * 4, dtype=kind).reshape(2, 4, 4) % kind(1 << min(timesteps, 5))
    array[1, 3, 3] = (1 << timesteps) - 1
    for given in (
        {"a_in": array},
        {"a_in": array.astype(">u8")},
        {"a_in": array, "b_in": array[:1]},
    ):
        trace = read_trace(given)
        assert trace.timesteps == timesteps
        found = trace.spikes[INPUT]
        assert found.dtype == mask_type(timesteps)
        assert found.tolist() == array.tolist()
        assert draw(trace, 50.0).outputs[0].dtype == mask_type(timesteps)
    assert read_trace({"a_in": array}, timesteps=32).spikes[INPUT].dtype == np.uint32


@pytest.mark.parametrize(
    ("highest", "stated", "option", "timesteps"),
    [
        (15, None, None, 4),
        (2, None, None, 2),
        (255, None, None, 8),
        (2, None, 9, 9),
        (2, 32, None, 32),
        (2, None, 4, 4),
        (2, 3, None, 3),
        (0, 3, 3, 3),
    ],
)
def test_timesteps_of_masks(
    highest: int, stated: int | None, option: int | None, timesteps: int
) -> None:
    arrays: Arrays = {"a_in": ones(2, 4, 4) * np.uint8(highest)}
    if stated is not None:
        arrays["timesteps"] = np.array(stated)
    assert read_trace(arrays, timesteps=option).timesteps == timesteps


FULL = ones(2, 4, 4)
NAN = np.full((4, 2, 4, 4), np.nan)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({}, "an empty trace"),
        ({"conv1": FULL}, "array 'conv1' is not named <layer>_in"),
        ({"a\n_in": FULL}, "array 'a\\n_in' is not named <layer>_in"),
        ({"_in": FULL}, "array '_in' is not named <layer>_in"),
        ({"a_in": np.float32(3)}, f"array a_in is float32 (), neither {FORMS}"),
        ({"a_in": np.uint8(3)}, f"array a_in is uint8 (), neither {FORMS}"),
        ({"a_in": ones(1, 1, 1, 1, 1, 1)}, "array a_in is uint8 (1, 1, 1, 1, 1, 1), neither masks"),
        ({"a_in": ones(2, 0, 4)}, "array a_in is uint8 (2, 0, 4), neither masks"),
        ({"a_in": ones(0, 2, 4, 4)}, "array a_in is uint8 (0, 2, 4, 4), neither masks"),
        ({"a_in": np.array(["x"])}, "array a_in is <U1 (1,), neither masks"),
        ({"a_in": FULL * 1j}, "array a_in is complex128 (2, 4, 4), neither masks"),
        ({"a_in": np.array([{}], dtype=object)}, "array a_in is object (1,), neither masks"),
        (
            {"a_in": FULL.astype(np.int8)},
            "array a_in is int8 (2, 4, 4): of planes [T, B, ...] the batch B is one image, not 4",
        ),
        ({"a_in": ones(4, 32, 2, 4, 4)}, "array a_in is uint8 (4, 32, 2, 4, 4): of planes [T, B"),
        ({"a_in": FULL[None], "b_in": FULL}, "array b_in is uint8 (2, 4, 4): of planes [T, B"),
        ({"a_in": FULL[None], "b_in": ones(2)}, f"array b_in is uint8 (2,), neither {FORMS}"),
        ({"a_in": ones(2, 5), "b_in": ones(4, 5)}, "array a_in has 2 timesteps, array b_in has 4"),
        ({"a_in": ones(33, 2, 4, 4)}, "array a_in has 33 timesteps, 1 to 32 are possible"),
        ({"a_in": ones(4, 2, 4, 4) * 3}, "array a_in holds 3, planes hold 0 and 1; a layer that"),
        ({"a_in": ones(4, 2, 4, 4) / 2}, "array a_in holds 0.5, planes hold 0 and 1"),
        ({"a_in": -ones(4, 2, 4, 4).astype(np.int8)}, "array a_in holds -1, planes hold 0 and 1"),
        ({"a_in": NAN}, "array a_in holds nan, planes hold 0 and 1"),
        ({"a_in": FULL * 0}, "masks without a spike: state their timesteps"),
        ({"a_in": FULL.astype(np.uint64) << 32}, "masks of 33 timesteps, 1 to 32 are possible"),
        ({"a_in": FULL.astype(np.uint64) << 63}, "masks of 64 timesteps, 1 to 32 are possible"),
        (
            {"a_in": FULL.astype(np.uint64) << 40, "timesteps": np.array(32)},
            "array a_in has a mask of 1099511627776, 32 timesteps reach 4294967295",
        ),
        ({"a_in": FULL, "timesteps": np.array(33)}, "the array `timesteps`: 33, 1 to 32 timesteps"),
        ({"a_in": FULL, "timesteps": np.array(0)}, "the array `timesteps`: 0, 1 to 32 timesteps"),
        ({"a_in": FULL, "timesteps": np.array(2.0)}, "timesteps is float64 (), not a number"),
        ({"a_in": FULL, "timesteps": ones(1)}, "timesteps is uint8 (1,), not a number"),
        (
            {"a_in": FULL * 16, "timesteps": np.array(4)},
            "array a_in has a mask of 16, 4 timesteps reach 15",
        ),
        (
            {"a_in": FULL[None], "timesteps": np.array(2)},
            "its planes: 1 timesteps, the array `timesteps`: 2",
        ),
    ],
)
def test_what_a_trace_may_not_hold(tmp_path: Path, arrays: Arrays, says: str) -> None:
    assert refused(arrays).startswith(says)
    if "object" not in says:
        assert message(tmp_path / "t.npz", packed(arrays)).startswith(says)


@pytest.mark.parametrize("timesteps", [0, -1, 33, 2])
def test_timesteps_that_are_stated_wrongly(timesteps: int) -> None:
    says = refused({"a_in": FULL[None].repeat(4, 0)}, timesteps=timesteps)
    if timesteps == 2:
        assert says == "its planes: 4 timesteps, the option `timesteps`: 2"
    else:
        assert says == f"the option `timesteps`: {timesteps}, 1 to 32 timesteps are possible"


# --- files ----------------------------------------------------------------------------------


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
    assert text.startswith("not a readable .npz trace: ")
    assert not text.endswith(": ")


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.npz", tmp_path, tmp_path / "x" / "y.npz"):
        with pytest.raises(EvenspikeError) as caught:
            read_trace(path)
        assert str(caught.value) == f"{path}: no such trace file"


def test_a_small_file_cannot_ask_for_much_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "TRACE_BYTES_MAX", 2**24)
    content = packed({"a_in": np.zeros(2**24, dtype=np.uint8)}, compress=True)
    assert len(content) < 2**16
    tracemalloc.start()
    try:
        says = message(tmp_path / "bomb.npz", content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert says == (
        f"not a readable .npz trace: {2**24 + 128} bytes of arrays, at most {2**24} are read"
    )
    assert peak < 2**20


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("hidden", ["first", "last", "skipped"])
def test_an_array_that_the_directory_does_not_list(
    tmp_path: Path, hidden: str, compress: bool
) -> None:
    """A directory without its first or last entry, or an end record that skips the first."""
    content = packed({"a_in": ones(5), "b_in": ones(5)}, compress=compress)
    end = content.rindex(b"PK\x05\x06")
    size, start = struct.unpack("<LL", content[end + 12 : end + 20])
    entry = size // 2
    first, last = content[start : start + entry], content[start + entry : end]
    directory = {"first": last, "last": first, "skipped": first + last}[hidden]
    begins = start + entry if hidden == "skipped" else start
    record = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, entry, begins, 0)
    edited = content[:start] + directory + record
    with np.load(io.BytesIO(edited)) as file:
        assert len(file.files) == 1, "the library does not notice"
    says = "not a readable .npz trace: its list of arrays leaves out what lies at byte "
    assert message(tmp_path / "t.npz", edited).startswith(says)


def test_two_arrays_of_one_name(tmp_path: Path) -> None:
    content = packed({"a_in": ones(5), "b_in": ones(5)}).replace(b"b_in.npy", b"a_in.npy")
    assert message(tmp_path / "t.npz", content) == (
        "not a readable .npz trace: it holds 'a_in' twice"
    )


def test_a_file_that_was_written_without_seeking_is_whole(tmp_path: Path) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: int) -> int:
            raise io.UnsupportedOperation

        tell = seek

    file = Pipe()
    np.savez(file, **GOOD)  # type: ignore[arg-type]
    path = tmp_path / "t.npz"
    path.write_bytes(file.getvalue())
    assert len(read_trace(path).spikes) == 4


# --- networks -------------------------------------------------------------------------------


def residual(**changes: Any) -> str:
    """A block of two convolutions with a shortcut, then a fully connected layer."""
    layers: list[dict[str, Any]] = [
        {"name": "stem", "filters": 4, "kernel": 5},
        {"name": "one", "filters": 6, "stride": 2},
        {"name": "two", "filters": 6, "shortcut": {"source": "stem", "stride": 2}},
        {"name": "fc", "filters": 3, "kernel": 7, "stride": 1, "padding": 1, "source": "two"},
    ]
    for key, value in changes.items():
        layers[3][key] = value
    return json.dumps(layers)


RESIDUAL: Arrays = {
    "stem_in": ones(2, 9, 9),
    "one_in": ones(4, 9, 9) * 2,
    "two_in": ones(6, 5, 5) * 3,
    "fc_in": ones(6, 5, 5),
    "layers": np.array(residual()),
}


def test_a_described_network(tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    path.write_bytes(packed(RESIDUAL))
    trace = read_trace(path)
    assert trace.topology.described
    assert trace.topology.shapes == {
        INPUT: (2, 9, 9),
        "stem": (4, 9, 9),
        "one": (6, 5, 5),
        "two": (6, 5, 5),
        "fc": (3, 1, 1),
    }
    assert {name: int(one.max()) for name, one in trace.spikes.items()} == {
        INPUT: 1,
        "stem": 2,
        "one": 3,
        "two": 1,
    }


def test_layers_in_a_file_beside_the_trace(tmp_path: Path) -> None:
    layers = tmp_path / "layers.toml"
    layers.write_text('[[layers]]\nname = "a"\nfilters = 7\nkernel = 1\n', encoding="utf-8")
    assert read_trace({"a_in": FULL}, layers).topology.shapes["a"] == (7, 4, 4)
    both = {"a_in": FULL, "layers": np.array(residual())}
    assert refused(both, layers=layers) == ("the layers are described twice, there and beside it")
    layers.write_text(f"input = [3, 4, 4]\n{layers.read_text()}", encoding="utf-8")
    assert refused({"a_in": FULL}, layers=layers) == (
        "array a_in is (2, 4, 4), the spikes of input are (3, 4, 4)"
    )


def test_a_flat_array_of_a_fully_connected_layer_is_the_map_before_it() -> None:
    flat = read_trace(RESIDUAL | {"fc_in": np.arange(150, dtype=np.uint8) % 4})
    assert flat.spikes["two"].shape == (6, 5, 5)
    assert flat.spikes["two"].reshape(-1).tolist() == [n % 4 for n in range(150)]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"two_in": None}, "layer two: no array has the spikes of one"),
        ({"one_in": None}, "layer one: no array has the spikes of stem"),
        ({"stem_in": None}, "no array stem_in"),
        ({"odd_in": FULL}, "array odd_in belongs to no layer"),
        ({"fc_in": ones(6, 4, 4)}, "array fc_in is (6, 4, 4), the spikes of two are (6, 5, 5)"),
        (
            {"layers": np.array(residual(source="one"))},
            "arrays two_in and fc_in differ, and both are the spikes of one",
        ),
        ({"layers": np.array(residual(source="three"))}, "layer fc: source 'three' is no earlier"),
        (
            {"layers": np.array(residual(size=3))},
            "layer fc has no 'size'; there are: name, filters",
        ),
        ({"layers": np.array("[")}, "layers are not JSON: "),
        ({"layers": np.array("[" * 100_000)}, "layers are not JSON: "),
        ({"layers": np.array('[{"name": "a", "name": "b"}]')}, "layers are not JSON: a key of"),
        ({"layers": np.array([residual()])}, "layers is <U"),
        ({"layers": np.array(3)}, "layers is int64 (), not a JSON text"),
    ],
)
def test_arrays_that_are_no_network(changes: dict[str, Any], says: str) -> None:
    arrays = {k: v for k, v in (RESIDUAL | changes).items() if v is not None}
    assert refused(arrays).startswith(says)


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
        trace = read_trace(path)
    except EvenspikeError:
        return
    assert set(trace.spikes) == set(trace.topology.sources)
    for name, one in trace.spikes.items():
        assert one.dtype == np.uint8
        assert one.shape == trace.topology.shapes[name]
        assert int(one.max()) >> trace.timesteps == 0
    assert draw(trace, 50.0).count == len(trace.topology.layers)
