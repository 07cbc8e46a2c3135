"""SVHN's MATLAB files, written small by scipy: read, and refused."""

from __future__ import annotations

import contextlib
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from evenspike_core.data import load
from evenspike_core.errors import EvenspikeError

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (32, 32, 3, 5)).astype(np.uint8)
Y = np.array([[10], [1], [9], [2], [10]], np.uint8)


def write(path: Path, content: dict[str, Any], **options: Any) -> Path:
    scipy.io.savemat(path, content, **options)
    return path


def refused(folder: Path) -> str:
    with pytest.raises(EvenspikeError) as caught:
        load("svhn", folder, "test")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("compressed", [False, True])
def test_load(tmp_path: Path, split: str, compressed: bool) -> None:
    write(tmp_path / f"{split}_32x32.mat", {"X": X, "y": Y}, do_compression=compressed)
    images, labels = load("svhn", tmp_path, split)
    assert images.shape == (5, 3, 32, 32)
    assert images.flags.c_contiguous
    for image in range(5):
        assert (images[image] == np.moveaxis(X[..., image], 2, 0)).all()
    assert labels.tolist() == [0, 1, 9, 2, 0]


def with_nan() -> Any:
    pixels = X.astype(np.float64)
    pixels[3, 4, 1, 2] = np.nan
    return pixels


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"X": X}, "holds no array 'y'"),
        ({"y": Y}, "holds no array 'X'"),
        ({"X": X[0], "y": Y}, "X is uint8 (32, 3, 5), not 4 dimensions"),
        ({"X": X[:, :31], "y": Y}, "X (transposed) are uint8 (5, 3, 32, 31), not uint8 [N, 3, 32"),
        ({"X": X.astype(float), "y": Y}, "X (transposed) are float64 (5, 3, 32, 32), not uint8"),
        ({"X": with_nan(), "y": Y}, "X (transposed): image 2 holds NaN; pixels are 0 to 255"),
        ({"X": X, "y": Y[:4]}, "y are uint8 (4,) for 5 images"),
        ({"X": X, "y": Y + 1}, "y: image 0 has label 11; 1 to 10 are possible"),
        ({"X": X, "y": Y - 1}, "y: image 1 has label 0; 1 to 10 are possible"),
        ({"X": X, "y": Y + np.nan}, "y: image 0 has label nan; 1 to 10 are possible"),
        ({"X": X, "y": Y / 2}, "y: image 1 has label 0.5; 1 to 10 are possible"),
    ],
)
def test_wrong_content(tmp_path: Path, content: dict[str, Any], says: str) -> None:
    path = write(tmp_path / "test_32x32.mat", content)
    said = refused(tmp_path)
    assert said.startswith(f"{path}: ")
    assert says in said


def test_missing_and_truncated(tmp_path: Path) -> None:
    assert refused(tmp_path).startswith("data set svhn: test_32x32.mat not found; put them into")
    path = write(tmp_path / "test_32x32.mat", {"X": X, "y": Y})
    whole = path.read_bytes()
    for content in (b"", b"rubbish" * 99, whole[:100], whole[:-1], whole[: len(whole) // 2]):
        path.write_bytes(content)
        said = refused(tmp_path)
        assert said.startswith((f"{path}: not a readable MATLAB", f"{path}: holds no array"))


def test_compressed_data_that_end_early(tmp_path: Path) -> None:
    """The checksum behind the last number is missing, and the element says so many bytes fewer."""
    path = write(tmp_path / "test_32x32.mat", {"X": X, "y": Y}, do_compression=True)
    whole = path.read_bytes()
    (size,) = struct.unpack_from("<I", whole, 132)
    torn = struct.pack("<2I", 15, size - 4) + whole[136 : 136 + size - 4]
    path.write_bytes(whole[:128] + torn + whole[136 + size :])
    assert refused(tmp_path).startswith(
        f"{path}: not a readable MATLAB file: truncated within compressed data"
    )


def test_fuzzed(tmp_path: Path) -> None:
    """Damaged in any way, it is read or refused with EvenspikeError: nothing else comes out."""
    chance = random.Random(0)
    path = write(tmp_path / "test_32x32.mat", {"X": X, "y": Y})
    whole = path.read_bytes()
    for _ in range(600):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 1, 2, 5))):
            at = chance.choice((chance.randrange(200), -chance.randrange(1, 80)))
            data[at] = chance.choice((chance.randrange(256), data[at] ^ 1 << chance.randrange(8)))
        path.write_bytes(bytes(data))
        with contextlib.suppress(EvenspikeError):
            load("svhn", tmp_path, "test")
