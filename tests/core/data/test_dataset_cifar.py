"""CIFAR's two formats, on small files of each: read, damaged, and pickles that ask for more."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from evenspike_core.data import DATA_SETS, load
from evenspike_core.data import pickled as reading
from evenspike_core.errors import EvenspikeError
from tests.helpers.cifar_files import TRAIN, binary, pickled

Write = Callable[[npt.NDArray[Any], list[int]], bytes]


def as_pickle10(images: npt.NDArray[Any], labels: list[int]) -> bytes:
    return pickled(images.reshape(len(images), -1).astype(np.uint8), labels)


def as_pickle100(images: npt.NDArray[Any], labels: list[int]) -> bytes:
    return pickled(images.reshape(len(images), -1).astype(np.uint8), labels, "fine_labels")


def as_binary100(images: npt.NDArray[Any], labels: list[int]) -> bytes:
    return binary(images, labels, coarse=True)


FORMATS: dict[tuple[str, str], tuple[Write, dict[str, tuple[str, ...]]]] = {
    ("cifar10", "cifar-10-batches-py"): (as_pickle10, {"train": TRAIN, "test": ("test_batch",)}),
    ("cifar10", "cifar-10-batches-bin"): (
        binary,
        {"train": tuple(f"{name}.bin" for name in TRAIN), "test": ("test_batch.bin",)},
    ),
    ("cifar100", "cifar-100-python"): (as_pickle100, {"train": ("train",), "test": ("test",)}),
    ("cifar100", "cifar-100-binary"): (
        as_binary100,
        {"train": ("train.bin",), "test": ("test.bin",)},
    ),
}


def refused(name: str, folder: Path, split: str = "train") -> str:
    with pytest.raises(EvenspikeError) as caught:
        load(name, folder, split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("at", ["", "NAME", "FOLDER", "NAME/FOLDER", "KERAS/FOLDER"])
@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("which", FORMATS)
def test_load(tmp_path: Path, which: tuple[str, str], split: str, at: str) -> None:
    name, folder = which
    write, files = FORMATS[which]
    named = at.replace("KERAS", DATA_SETS[name].folders[0])
    place = tmp_path / named.replace("NAME", name).replace("FOLDER", folder)
    place.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    classes = DATA_SETS[name].classes
    count = 3 * len(files[split])
    images = rng.integers(0, 256, (count, 3, 32, 32))
    labels = [int(label) for label in rng.integers(0, classes, count)]
    labels[0] = classes - 1
    for index, file in enumerate(files[split]):
        part = slice(3 * index, 3 * index + 3)
        (place / file).write_bytes(write(images[part], labels[part]))
    loaded, found = load(name, tmp_path, split)
    assert loaded.dtype == np.uint8
    assert (loaded == images).all()
    assert found.dtype == np.int64
    assert found.tolist() == labels


def test_names_of_the_classes() -> None:
    assert sorted(DATA_SETS["cifar100"].class_names) == list(DATA_SETS["cifar100"].class_names)
    assert len(set(DATA_SETS["cifar100"].class_names)) == 100
    for spec in DATA_SETS.values():
        assert len(spec.class_names) in (0, spec.classes)


def test_nothing_there(tmp_path: Path) -> None:
    said = refused("cifar10", tmp_path)
    assert said.startswith(
        "data set cifar10: data_batch_1 to data_batch_5 in cifar-10-batches-py; or "
        "data_batch_1.bin to data_batch_5.bin in cifar-10-batches-bin not found; put them into "
        "the data folder; it cannot be downloaded: https://www.cs.toronto.edu/~kriz/cifar-10-"
    )
    kerass = tmp_path / "cifar-10-batches-py-target"
    assert said.endswith(f"looked in {tmp_path / 'cifar10'}, {kerass}, {tmp_path}")
    assert "test in cifar-100-python; or test.bin in cifar-100-binary not found" in refused(
        "cifar100", tmp_path, "test"
    )


IMAGES = np.arange(2 * 3072).reshape(2, 3, 32, 32) % 251


def test_a_missing_batch_is_named(tmp_path: Path) -> None:
    for name in (*TRAIN[:2], *TRAIN[3:]):
        (tmp_path / f"{name}.bin").write_bytes(binary(IMAGES, [1, 2]))
    assert refused("cifar10", tmp_path) == f"{tmp_path}: data_batch_3.bin is missing"
    path = tmp_path / "data_batch_3.bin"
    path.write_bytes(binary(IMAGES[:1], [1]))
    assert refused("cifar10", tmp_path) == (
        f"{path}: holds 1 images and data_batch_1.bin 2: all files of a split hold equally many"
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "0 bytes are no whole number of records of 3074"),
        (binary(IMAGES, [1, 2], coarse=True)[:-1], "6147 bytes are no whole number of records"),
        (binary(IMAGES, [1, 2]), "truncated, or not CIFAR-100: 6146 bytes are no whole number"),
        (
            binary(IMAGES, [99, 100], coarse=True),
            "labels: image 1 has label 100; 0 to 99 are possible",
        ),
    ],
)
def test_damaged_binary(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "train.bin"
    path.write_bytes(content)
    said = refused("cifar100", tmp_path)
    assert said.startswith(f"{path}: ")
    assert says in said


FLAT = IMAGES.reshape(2, 3072).astype(np.uint8)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a readable pickle: EOFError"),
        (pickled(FLAT, [1, 2])[:-1], "not a readable pickle: EOFError"),
        (pickled(FLAT, [1, 2])[:3000], "not a readable pickle: "),
        (pickle.dumps([1], 2), "holds a list, not a dictionary"),
        (pickle.dumps({}, 2), "holds no 'data'"),
        (pickled(FLAT, [1, 2], "labelz"), "holds no 'labels'"),
        (pickle.dumps({"data": 1, "labels": [1]}, 2), "data is no array of numpy"),
        (pickled(FLAT, [1, 2], dtype="f8"), "data is of type 'f8', not u1 (uint8)"),
        (pickled(FLAT[:, :-1], [1, 2]), "data are uint8 (2, 3071), not uint8 [N, 3072]"),
        (pickled(FLAT[:0], []), "data are uint8 (0, 3072), not uint8 [N, 3072]"),
        (pickled(FLAT, [1, 2]).replace(b"(M\2\0M", b"(M\3\0M"), "data has another number of bytes"),
        (pickled(FLAT, [1]), "labels are int64 (1,) for 2 images"),
        (pickled(FLAT, [1, 10]), "labels: image 1 has label 10; 0 to 9 are possible"),
        (
            pickled(FLAT, [1, 2]).replace(b"K\1K\2e", b"K\1G\x7f\xf8\0\0\0\0\0\0e"),
            "labels: image 1 has no whole number as its label",
        ),
    ],
)
def test_damaged_pickle(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "test_batch"
    path.write_bytes(content)
    said = refused("cifar10", tmp_path, "test")
    assert said.startswith(f"{path}: ")
    assert says in said


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_of_this_python(tmp_path: Path, protocol: int, order: Any) -> None:
    batch = {"data": np.array(FLAT, order=order), "labels": [1, 2]}
    (tmp_path / "test_batch").write_bytes(pickle.dumps(batch, protocol))
    images, labels = load("cifar10", tmp_path, "test")
    assert (images == IMAGES).all()
    assert labels.tolist() == [1, 2]


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_runs_nothing(tmp_path: Path, protocol: int) -> None:
    made = tmp_path / "made"
    pickle.loads(pickle.dumps(Evil(made), protocol))  # noqa: S301 - it does run, elsewhere
    made.rmdir()
    path = tmp_path / "test_batch"
    path.write_bytes(pickle.dumps({"data": Evil(made), "labels": []}, protocol))
    assert "asks for posix.mkdir, which is not run" in refused("cifar10", tmp_path, "test")
    assert not made.exists()


def nested(opcodes: bytes, key: bool) -> bytes:
    """A dictionary with what these make as a key, or as its data."""
    return b"\x80\2}" + (opcodes + b"N" if key else b"U\4data" + opcodes) + b"s."


TWICE = b")" + b"2\x86" * 64
"""A tuple of the tuple before, twice, sixty-four times over: 2^64 steps to hash."""


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (nested(TWICE, key=True), "a tuple is no key"),
        (nested(b")" + b"\x85" * 200_000, key=True), "a tuple is no key"),
        (b"\x80\2(" + TWICE + b"Nd.", "a tuple is no key"),
        (b"\x80\2}(" + TWICE + b"Nu.", "a tuple is no key"),
        (b"\x80\4\x8f(" + TWICE + b"\x90.", "it holds a set"),
        (b"\x80\4(" + TWICE + b"\x91.", "it holds a set"),
        (nested(TWICE, key=False), "holds no 'labels'"),
        (nested(b")" + b"\x85" * 200_000, key=False), "holds no 'labels'"),
        (b"\x80\2" + b"N0" * 1_500_000 + b".", "it has more than 2000000 opcodes"),
        (b"\x80\5\x96" + (1 << 62).to_bytes(8, "little"), "not a readable pickle: "),
    ],
)  # fmt: skip
def test_a_pickle_that_would_hang(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "test_batch").write_bytes(content)
    assert says in refused("cifar10", tmp_path, "test")


def test_an_array_of_endless_dimensions() -> None:
    """Their product alone would take minutes."""
    array = reading._Array()
    array.state = (1, (1 << 1_000_000,) * 5000, reading._DType("u1"), False, b"")
    with pytest.raises(EvenspikeError, match="another number of bytes than its shape says"):
        reading.pickled_bytes(Path("x"), "data", array)


@pytest.mark.parametrize("seed", range(4))
def test_fuzzed_pickle(seed: int, tmp_path: Path) -> None:
    """Damaged in any way, it is read or refused with EvenspikeError: nothing else comes out."""
    chance = random.Random(seed)
    whole = pickled(FLAT, [1, 2])
    at_pixels = whole.index(FLAT.tobytes())
    places = [*range(at_pixels), *range(at_pixels + FLAT.size, len(whole))]
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 1, 2, 5))):
            at = chance.choice(places)
            data[at] = chance.choice((chance.randrange(256), data[at] ^ 1 << chance.randrange(8)))
        (tmp_path / "test_batch").write_bytes(bytes(data))
        with contextlib.suppress(EvenspikeError):
            load("cifar10", tmp_path, "test")
