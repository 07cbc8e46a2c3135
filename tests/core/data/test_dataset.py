"""idx files, generated and damaged; look-up; the shipped images."""

from __future__ import annotations

import gzip
import random
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evenspike_core.data import (
    DATA_SETS,
    cache,
    first_of_each_class,
    load,
    pad_to_32,
    read_idx,
    shipped,
    shipped_files,
    shipped_images,
    shipped_indices,
    write_shipped,
)
from evenspike_core.data.idx import FIRST_LABELS, IDX_TYPES
from evenspike_core.data.spec import Package
from evenspike_core.errors import EvenspikeError


def idx(array: Any, code: int = 0x08, shape: tuple[int, ...] | None = None) -> bytes:
    dims = array.shape if shape is None else shape
    data = np.asarray(array).astype(IDX_TYPES.get(code, "u1")).tobytes()
    return bytes([0, 0, code, len(dims)]) + struct.pack(f">{len(dims)}I", *dims) + data


def message(path: Path, content: bytes) -> str:
    """What reading such a file says, without the file's name."""
    path.write_bytes(content)
    with pytest.raises(EvenspikeError) as caught:
        read_idx(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("code", list(IDX_TYPES))
@pytest.mark.parametrize("packed", [False, True])
def test_read_idx(tmp_path: Path, code: int, packed: bool) -> None:
    array = np.arange(24).reshape(2, 3, 4)
    content = idx(array, code)
    (tmp_path / "a").write_bytes(gzip.compress(content, mtime=0) if packed else content)
    result = read_idx(tmp_path / "a")
    assert result.tolist() == array.tolist()
    assert result.dtype == np.dtype(IDX_TYPES[code]).newbyteorder("=")
    assert result.dtype.isnative


BYTES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
LIMITS = "at most 8 dimensions and 1 to 1073741824 bytes are read"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "begins with '', which is no idx file"),
        (b"\0\0\x08", "begins with '00 00 08', which is no idx file"),
        (b"PNG\x01" + bytes(99), "begins with '50 4e 47 01', which is no idx file"),
        (b"\0\0\x07\x01" + bytes(99), "begins with '00 00 07 01', which is no idx file"),
        (b"\0\0\x08\0" + bytes(99), "begins with '00 00 08 00', which is no idx file"),
        (idx(BYTES)[:15], "ends within its 3 dimensions"),
        (idx(BYTES)[:-1], "truncated: 23 bytes of 24 for (2, 3, 4)"),
        (idx(BYTES)[:16], "truncated: 0 bytes of 24 for (2, 3, 4)"),
        (idx(BYTES) + b"\0", "goes on after the 24 bytes for (2, 3, 4)"),
        (idx(BYTES, shape=(0, 3)), f"dimensions (0, 3) of 1 bytes; {LIMITS}"),
        (idx(BYTES, shape=(2**32 - 1,)), f"dimensions (4294967295,) of 1 bytes; {LIMITS}"),
        (idx(BYTES, 0x0C, (2**28 + 1,)), f"dimensions (268435457,) of 4 bytes; {LIMITS}"),
        (idx(BYTES, shape=(1,) * 9), f"dimensions {(1,) * 9} of 1 bytes; {LIMITS}"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_damaged_idx(tmp_path: Path, content: bytes, says: str, packed: bool) -> None:
    assert message(
        tmp_path / "a", gzip.compress(content, mtime=0) if packed else content
    ).startswith(says)


@pytest.mark.parametrize("content", [gzip.compress(idx(BYTES), mtime=0)[:-9], b"\x1f\x8b"])
def test_truncated_gzip(tmp_path: Path, content: bytes) -> None:
    assert message(tmp_path / "a", content) == (
        "cannot be read: Compressed file ended before the end-of-stream marker was reached"
    )


def test_missing_file(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "a", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(EvenspikeError) as caught:
            read_idx(path)
        assert str(caught.value) == f"{path}: cannot be read: {reason}"


def test_wrong_checksum(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(idx(BYTES), mtime=0))
    content[-6] ^= 1
    assert "cannot be read: CRC check failed" in message(tmp_path / "a", bytes(content))


@pytest.mark.parametrize("seed", range(6))
def test_fuzzed_idx(seed: int, tmp_path: Path) -> None:
    """Files damaged in any way are read, or refused with EvenspikeError: nothing else comes out."""
    chance = random.Random(seed)
    content = idx(np.arange(60).reshape(3, 4, 5), chance.choice(list(IDX_TYPES)))
    if seed % 2:
        content = gzip.compress(content, mtime=0)
    path = tmp_path / "a"
    for _ in range(200):
        data = bytearray(content)
        for _ in range(chance.choice((1, 1, 2, 5))):
            kind = chance.randrange(4)
            at = chance.randrange(min(len(data), 20) if kind < 2 else len(data)) if data else 0
            if kind == 0 and data:
                data[at] = chance.choice((0, 1, 2, 8, 9, 11, 12, 13, 14, 127, 128, 255))
            elif kind == 1 and data:
                data[at] ^= 1 << chance.randrange(8)
            elif kind == 2:
                del data[at:]
            else:
                data[at:at] = chance.randbytes(chance.randrange(1, 9))
        path.write_bytes(bytes(data))
        try:
            read_idx(path)
        except EvenspikeError as error:
            if not str(error).startswith(f"{path}: "):
                raise


def test_pad_to_32() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 3, 28, 28)).astype(np.uint8)
    padded = pad_to_32(images)
    assert padded.shape == (2, 3, 32, 32)
    assert padded.dtype == np.uint8
    assert (padded[..., 2:30, 2:30] == images).all()
    assert padded.sum(dtype=np.int64) == images.sum(dtype=np.int64)
    with pytest.raises(EvenspikeError) as caught:
        pad_to_32(images[..., :27])
    assert str(caught.value) == "images are (2, 3, 28, 27), not [..., 28, 28]"


def write(folder: Path, images: Any, labels: Any, suffix: str = "", split: str = "train") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pack = gzip.compress if suffix else bytes
    (folder / f"{split}-images-idx3-ubyte{suffix}").write_bytes(pack(idx(images)))
    (folder / f"{split}-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(labels)))


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("sub", ["", "mnist", "MNIST/raw"])
@pytest.mark.parametrize(("split", "prefix"), [("train", "train"), ("test", "t10k")])
def test_load(tmp_path: Path, suffix: str, sub: str, split: str, prefix: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 28, 28)).astype(np.uint8)
    labels = np.array([3, 0, 9, 1])
    write(tmp_path / sub, images, labels, suffix, prefix)
    loaded, classes = load("mnist", tmp_path, split)
    assert loaded.shape == (4, 1, 32, 32)
    assert loaded.dtype == np.uint8
    assert (loaded[:, 0] == pad_to_32(images)).all()
    assert classes.dtype == np.int64
    assert classes.tolist() == labels.tolist()


def put_fmnist(monkeypatch: pytest.MonkeyPatch, package: Package) -> None:
    """Fashion-MNIST as if the system's package were another."""
    spec = replace(DATA_SETS["fmnist"], package=package)
    monkeypatch.setitem(DATA_SETS, "fmnist", spec)


def test_a_folder_is_the_only_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blank = np.zeros((1, 28, 28))
    put_fmnist(monkeypatch, Package("package", tmp_path / "system"))
    write(tmp_path / "system", blank, np.array([1]))
    assert load("fmnist", None, "train")[1].tolist() == [1]
    with pytest.raises(EvenspikeError, match=r"install the package package \(Debian\) and give no"):
        load("fmnist", tmp_path / "user", "train")
    write(tmp_path / "user", blank, np.array([2]))
    assert load("fmnist", tmp_path / "user", "train")[1].tolist() == [2]
    write(tmp_path / "user/fmnist", blank, np.array([3]))
    assert load("fmnist", tmp_path / "user", "train")[1].tolist() == [3]


def test_load_finds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "cache")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    keras = tmp_path / "keras" / "datasets"
    address = DATA_SETS["mnist"].downloads["train"][0].url
    with pytest.raises(EvenspikeError) as caught:
        load("mnist", None, "train")
    assert str(caught.value) == (
        "data set mnist: train-images-idx3-ubyte and train-labels-idx1-ubyte (or the same with "
        ".gz); or mnist.npz not found; put them into the data folder; it cannot be downloaded: "
        f"{address}: no network in tests; looked in data/mnist, data/MNIST/raw, data, "
        f"{keras / 'mnist'}, {keras / 'MNIST/raw'}, {keras}, {tmp_path / 'cache' / 'mnist'}"
    )
    put_fmnist(monkeypatch, Package("dataset-fashion-mnist", Path("/nowhere")))
    (tmp_path / "t10k-images-idx3-ubyte").touch()  # one of two is not enough
    address = DATA_SETS["fmnist"].downloads["test"][0].url
    with pytest.raises(EvenspikeError) as caught:
        load("fmnist", tmp_path, "test")
    assert str(caught.value) == (
        "data set fmnist: t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte (or the same with "
        ".gz) not found; put them into the data folder, or install the package "
        "dataset-fashion-mnist (Debian) and give no folder; it cannot be downloaded: "
        f"{address}: no network in tests; looked in {tmp_path / 'fmnist'}, "
        f"{tmp_path / 'FashionMNIST/raw'}, {tmp_path / 'fashion-mnist'}, {tmp_path}"
    )
    with pytest.raises(EvenspikeError) as caught:
        load("fmnist", tmp_path / "missing", "test")  # a folder that is not there is not made
    assert "and give no folder; looked in " in str(caught.value)
    assert not (tmp_path / "missing").exists()
    with pytest.raises(EvenspikeError) as caught:
        load("fmnist", None, "test")
    assert "; looked in /nowhere, data/fmnist, data/FashionMNIST/raw, " in str(caught.value)


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("mnist", ["mnist", "MNIST/raw", "{keras}/mnist", "{cache}/mnist"]),
        ("fmnist", ["fmnist", "FashionMNIST/raw", "{keras}/fashion-mnist", "{cache}/fmnist"]),
    ],
)
def test_usual_places_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, places: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "cache")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setitem(DATA_SETS, name, replace(DATA_SETS[name], package=None))
    for number, place in reversed(list(enumerate(places))):
        known = place.format(keras=tmp_path / "keras" / "datasets", cache=tmp_path / "cache")
        write(tmp_path / "data" / known, np.zeros((1, 28, 28)), np.array([number]))
        assert load(name, None, "train")[1].tolist() == [number]


def test_kerass_own_file(tmp_path: Path) -> None:
    path = tmp_path / "mnist.npz"
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28)).astype(np.uint8)
    arrays = {"x_train": images, "y_train": np.array([3, 0, 9], np.uint8)}
    np.savez(path, **arrays)  # type: ignore[arg-type] # savez's third argument is a bool
    loaded, labels = load("mnist", tmp_path, "train")
    assert (loaded[:, 0] == pad_to_32(images)).all()
    assert labels.tolist() == [3, 0, 9]
    for damage, says in (
        (lambda: path.write_bytes(path.read_bytes()[:-40]), "not a readable file of Keras"),
        (lambda: path.write_bytes(b""), "not a readable file of Keras"),
        (lambda: np.savez(path, x_train=images), "not a readable file of Keras.*y_train"),
        (lambda: np.savez(path, x_train=images[:2], y_train=labels), "labels are .* for 2 images"),
        (
            lambda: np.savez(path, x_train=np.array([None]), y_train=labels),
            "not a readable file of Keras: Object arrays cannot be loaded",
        ),
    ):
        damage()
        with pytest.raises(EvenspikeError, match=f"^{tmp_path}.*{says}") as caught:
            load("mnist", tmp_path, "train")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(("name", "other"), [("mnist", "fmnist"), ("fmnist", "mnist")])
def test_one_mnist_is_not_the_other(tmp_path: Path, name: str, other: str, split: str) -> None:
    labels = np.array([*FIRST_LABELS[other][split], 1])
    write(tmp_path, np.zeros((11, 28, 28)), labels, split={"test": "t10k"}.get(split, split))
    assert load(other, tmp_path, split)[1].tolist() == labels.tolist()
    with pytest.raises(EvenspikeError, match=f"{tmp_path}: holds {other}, not {name}, by its lab"):
        load(name, tmp_path, split)


@pytest.mark.parametrize(("name", "split"), [("cifar", "test"), ("mnist", "validation")])
def test_unknown_name_or_split(name: str, split: str) -> None:
    with pytest.raises(EvenspikeError) as caught:
        load(name, None, split)
    assert str(caught.value) == (
        f"no split {split!r} of data set {name!r}; there are train, test of {', '.join(DATA_SETS)}"
    )


@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        (np.zeros((2, 28, 27)), np.zeros(2), "images are uint8 (2, 28, 27), not uint8 [N, 28, 28]"),
        (np.zeros((2, 784)), np.zeros(2), "images are uint8 (2, 784), not uint8 [N, 28, 28]"),
        (np.zeros((2, 28, 28)), np.zeros(3), "labels are uint8 (3,) for 2 images"),
        (np.zeros((2, 28, 28)), np.zeros((2, 1)), "labels are uint8 (2, 1) for 2 images"),
        (
            np.zeros((2, 28, 28)),
            np.array([9, 10]),
            "labels: image 1 has label 10; 0 to 9 are possible",
        ),
    ],
)
def test_files_that_do_not_match(tmp_path: Path, images: Any, labels: Any, says: str) -> None:
    write(tmp_path, images, labels)
    with pytest.raises(EvenspikeError) as caught:
        load("mnist", tmp_path, "train")
    assert str(caught.value) == f"{tmp_path}: {says}"


def test_nan_is_named(tmp_path: Path) -> None:
    images = np.zeros((3, 28, 28))
    images[1, 4, 5] = np.nan
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(images, 0x0D))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(3)))
    with pytest.raises(EvenspikeError) as caught:
        load("mnist", tmp_path, "train")
    assert str(caught.value) == f"{tmp_path}: images: image 1 holds NaN; pixels are 0 to 255"


MNIST = Path(__file__).parents[4] / "shared" / "data" / "mnist"


@pytest.mark.skipif(not MNIST.is_dir(), reason="needs shared/data/mnist beside the checkout")
def test_real_mnist() -> None:
    images, labels = load("mnist", MNIST, "train")
    assert images.shape == (60000, 1, 32, 32)
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]  # known of the data set
    assert np.bincount(labels).tolist() == counts
    test, digits = load("mnist", MNIST, "test")
    assert len(test) == 10000
    assert labels[:10].tolist() == FIRST_LABELS["mnist"]["train"]
    assert digits[:10].tolist() == FIRST_LABELS["mnist"]["test"]


def test_first_of_each_class() -> None:
    labels = np.array([2, 0, 2, 1, 2, 0, 0], dtype=np.int64)
    assert first_of_each_class(labels, 2).tolist() == [0, 1, 2, 3, 5]


def test_shipped() -> None:
    images, labels = shipped()
    assert images.shape == (100, 1, 32, 32)
    assert images.dtype == np.uint8
    assert np.bincount(labels).tolist() == [10] * 10
    indices = shipped_indices()
    assert (np.diff(indices) > 0).all()
    assert indices[0] == 0
    known = labels[indices < 10].tolist()
    assert known == [FIRST_LABELS["fmnist"]["test"][index] for index in indices[indices < 10]]
    assert images.max() == 255
    assert all(image.any() for image in images)


installed = pytest.mark.skipif(
    not Path("/usr/share/datasets/fashion-mnist").is_dir(),
    reason="needs the package dataset-fashion-mnist",
)


@installed
def test_shipped_are_of_the_test_set(tmp_path: Path) -> None:
    images, labels = load("fmnist", None, "test")
    assert images.shape == (10000, 1, 32, 32)
    indices = shipped_indices()
    assert (images[indices] == shipped()[0]).all()
    assert (labels[indices] == shipped()[1]).all()
    write_shipped(tmp_path)
    for made, kept in zip(shipped_files(tmp_path), shipped_files(), strict=True):
        assert gzip.decompress(made.read_bytes()) == gzip.decompress(kept.read_bytes())


def test_write_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written is what is read, and the same bytes each time."""
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (300, 28, 28)).astype(np.uint8)
    labels = rng.permutation(np.arange(300) % 10)
    write(tmp_path / "data", images, labels, split="t10k")
    write_shipped(tmp_path, tmp_path / "data")
    before = [path.read_bytes() for path in shipped_files(tmp_path)]
    write_shipped(tmp_path, tmp_path / "data")
    assert [path.read_bytes() for path in shipped_files(tmp_path)] == before
    monkeypatch.setattr(shipped_images, "shipped_files", lambda: shipped_files(tmp_path))
    assert (shipped()[0][:, 0] == pad_to_32(images[shipped_indices()])).all()
    assert (shipped()[1] == labels[shipped_indices()]).all()
