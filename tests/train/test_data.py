"""Readers, look-up, split and augmentation."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch")

import torch

from evenspike_train import data
from evenspike_train.data import Augmentation, DataError


def idx(array: npt.NDArray[Any], kind: int = 0x08) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_set(
    folder: Path, train: int = 40, test: int = 10, *, packed: bool = True, side: int = 28
) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("t10k", test)):
        images = rng.integers(0, 256, (count, side, side))
        labels = np.arange(count) % 10
        for stem, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = idx(array)
            name = f"{split}-{stem}-ubyte"
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("packed", [True, False])
def test_idx_is_read(tmp_path: Path, packed: bool) -> None:
    array = np.arange(24).reshape(2, 3, 4)
    content = idx(array)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(content) if packed else content)
    assert np.array_equal(data.read_idx(path), array)


GOOD = idx(np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an idx file"),
        (b"\x01" + GOOD[1:], "not an idx file"),
        (idx(np.zeros((2, 3)), kind=0x0D), "element type 0x0d"),
        (GOOD[:7], "header is cut off after 7 bytes"),
        (GOOD[:-1], r"shape \(2, 3\) needs 6 bytes, the file holds 5"),
        (GOOD + b"\0", r"shape \(2, 3\) needs 6 bytes, the file holds 7"),
        (gzip.compress(GOOD)[:-9], "cannot be read"),
        (b"\x1f\x8b" + b"rubbish rubbish", "cannot be read"),
    ],
)
def test_broken_idx_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        data.read_idx(path)
    assert str(path) in str(error.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        data.read_idx(tmp_path / "nothing")


def test_images_are_framed_not_resized(tmp_path: Path) -> None:
    images, labels = data.load("fmnist", write_set(tmp_path), "train")
    assert images.shape == (40, 32, 32)
    assert images.dtype == labels.dtype == np.uint8
    raw = data.read_idx(tmp_path / "train-images-idx3-ubyte.gz")
    assert np.array_equal(images[:, 2:30, 2:30], raw)
    assert images[:, :2].sum() == images[:, 30:].sum() == images[:, :, :2].sum() == 0


def test_large_images_are_refused() -> None:
    with pytest.raises(DataError, match="33x33 pixels do not fit"):
        data.pad_to_32(np.zeros((1, 33, 33), np.uint8))


def test_nothing_found_says_where_to_put_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--data") as error:
        data.load("mnist", tmp_path, "train")
    assert "train-images-idx3-ubyte[.gz]" in str(error.value)
    assert str(tmp_path) in str(error.value)
    with pytest.raises(DataError, match="not known"):
        data.find_folder("imagenet")


def test_half_a_data_set_is_named(tmp_path: Path) -> None:
    write_set(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="t10k-labels"):
        data.load("fmnist", tmp_path, "test")


def test_contradictions_are_named(tmp_path: Path) -> None:
    write_set(tmp_path, packed=False)
    path = tmp_path / "train-labels-idx1-ubyte"
    good = path.read_bytes()
    path.write_bytes(idx(np.zeros(39)))
    with pytest.raises(DataError, match="40 train images but 39 labels"):
        data.load("fmnist", tmp_path, "train")
    path.write_bytes(idx(np.full(40, 10)))
    with pytest.raises(DataError, match="label 10, but fmnist has 10 classes"):
        data.load("fmnist", tmp_path, "train")
    path.write_bytes(idx(np.zeros((40, 1))))
    with pytest.raises(DataError, match="2 dimensions, expected 1"):
        data.load("fmnist", tmp_path, "train")
    path.write_bytes(good)
    data.load("fmnist", tmp_path, "train")


def test_validation_is_held_out_of_training(tmp_path: Path) -> None:
    everything, _ = data.load("fmnist", write_set(tmp_path), "train")
    sets = data.load_dataset("fmnist", tmp_path, 8, torch.device("cpu"))
    assert (len(sets.train), len(sets.validation), len(sets.test)) == (32, 8, 10)
    seen = {bytes(i.numpy()) for i in sets.train.images}
    held = {bytes(i.numpy()) for i in sets.validation.images}
    assert not seen & held
    assert seen | held == {bytes(i) for i in everything}
    with pytest.raises(DataError, match="cannot hold out 40 of 40"):
        data.load_dataset("fmnist", tmp_path, 40, torch.device("cpu"))


def test_augmentation_moves_mirrors_and_blanks() -> None:
    image = torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
    image[0, 0, 10:20, 5:12] = torch.randint(1, 256, (10, 7), dtype=torch.uint8)
    batch = image.expand(64, -1, -1, -1)
    moved = Augmentation(flip=True, shift=2)(batch, data.generator_for(0))
    assert moved.shape == batch.shape
    assert moved.dtype == torch.uint8
    candidates = {
        bytes(torch.roll(m, (dy, dx), (1, 2)).contiguous().numpy())
        for m in (image[0], image[0].flip(2))
        for dy in range(-2, 3)
        for dx in range(-2, 3)
    }
    produced = {bytes(m.contiguous().numpy()) for m in moved}
    assert produced <= candidates
    assert len(produced) > 10
    white = torch.full_like(batch, 9)
    cut = Augmentation(flip=False, shift=0, cutout=8)(white, data.generator_for(0))
    assert 0 < (cut == 0).sum((1, 2, 3)).max() <= 81
    assert torch.equal(Augmentation(False, 0, 0)(batch, data.generator_for(0)), batch)


def test_shift_does_not_wrap_around() -> None:
    edge = torch.full((32, 1, 32, 32), 7, dtype=torch.uint8)
    moved = Augmentation(flip=False, shift=3)(edge, data.generator_for(1))
    assert (moved == 0).any()
    assert (moved.sum((1, 2, 3)) <= 7 * 32 * 32).all()


def test_generators_depend_on_their_key_alone() -> None:
    draw = [torch.rand(3, generator=data.generator_for(*k)) for k in ((1, 2), (1, 2), (2, 1))]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
