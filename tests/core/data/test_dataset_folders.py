"""Folders of images, small and of the real layouts; the cache of what was decoded."""

from __future__ import annotations

import os
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evenspike_core.data import DATA_SETS, cache, load
from evenspike_core.data.cache import folder  # before a test puts another in its place
from evenspike_core.errors import EvenspikeError

NAMES = DATA_SETS["cifar10-jpeg"].class_names
SHARED = Path(__file__).parents[4] / "shared" / "data" / "cifar10-jpeg.tar.xz"


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def image(path: Path, colour: tuple[int, int, int] | int, side: int = 32) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if isinstance(colour, int) else "RGB", (side, side), colour).save(path)
    return path


@pytest.fixture
def jpeg(tmp_path: Path) -> Path:
    """Two images a class: red as the label, green as the number, blue 7."""
    for split in ("train", "test"):
        for label, name in enumerate(NAMES):
            for number in range(2):
                file = f"{number:04}.{('png', 'PNG')[number]}"
                image(tmp_path / "data" / split / name / file, (label, number, 7))
    (tmp_path / "data" / "train" / "notes").mkdir()
    (tmp_path / "data" / "train" / "cat" / "Thumbs.db").touch()
    return tmp_path / "data"


def tiny(folder: Path) -> Path:
    """Tiny ImageNet with one grey image a class, and three images to validate."""
    root = folder / "tiny-imagenet-200"
    names = [f"n{number:08}" for number in range(200)]
    for label, name in enumerate(names):
        image(root / "train" / name / "images" / f"{name}_0.JPEG", label, 64)
        (root / "train" / name / f"{name}_boxes.txt").touch()
    lines = []
    for number, label in enumerate((3, 199, 0)):
        image(root / "val" / "images" / f"val_{number}.JPEG", label, 64)
        lines.append(f"val_{number}.JPEG\t{names[label]}\t0\t32\t44\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    return root


def refused(name: str, folder: Path, split: str = "train") -> str:
    with pytest.raises(EvenspikeError) as caught:
        load(name, folder, split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("split", ["train", "test"])
def test_class_folders(jpeg: Path, split: str) -> None:
    images, labels = load("cifar10-jpeg", jpeg, split)
    assert images.shape == (20, 3, 32, 32)
    assert images.dtype == np.uint8
    assert labels.tolist() == [label for label in range(10) for _ in range(2)]
    for index in range(20):
        wanted = np.array([index // 2, index % 2, 7])[:, None, None]
        assert (images[index] == wanted).all()


def test_tiny_imagenet(tmp_path: Path) -> None:
    tiny(tmp_path)
    images, labels = load("tiny-imagenet", tmp_path, "train")
    assert images.shape == (200, 3, 64, 64)
    assert labels.tolist() == list(range(200))
    assert (images == labels[:, None, None, None]).all()
    images, labels = load("tiny-imagenet", tmp_path, "test")
    assert labels.tolist() == [3, 199, 0]
    assert (images == labels[:, None, None, None]).all()


def test_missing(tmp_path: Path) -> None:
    assert refused("cifar10-jpeg", tmp_path) == (
        "data set cifar10-jpeg: cifar10-jpeg/train with 10 folders of images not found; put them "
        f"into the data folder; looked in {tmp_path / 'cifar10-jpeg'}, {tmp_path}"
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda f: [p.unlink() for p in (f / "train/dog").iterdir()],
            "train/dog: holds no image (.jpeg, .jpg, .png)",
        ),
        (
            lambda f: image(f / "train/dog/0000.png", 1, 31),
            "train/dog/0000.png: has 31x31 pixels, not 32x32",
        ),
        (
            lambda f: (f / "train/dog/0000.png").write_bytes(b"rubbish"),
            "train/dog/0000.png: not a readable image: ",
        ),
        (
            lambda f: os.truncate(f / "train/dog/0000.png", 60),
            "train/dog/0000.png: not a readable image: ",
        ),
    ],
)
def test_damaged(jpeg: Path, kept: Path, change: Callable[[Path], object], says: str) -> None:
    change(jpeg)
    assert refused("cifar10-jpeg", jpeg).startswith(f"{jpeg}/{says}")
    assert not list(kept.glob("*"))
    assert not list(kept.glob(".*"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: (f / "train/n00000007").rename(f / "x"), "train: has 199 folders, but"),
        (
            lambda f: (f / "val/val_annotations.txt").write_text("val_0.JPEG\tn1\n"),
            "val/val_annotations.txt: line 1 names no class of the train split",
        ),
        (
            lambda f: (f / "val/images/val_1.JPEG").unlink(),
            "val/val_annotations.txt: line 2: val_1.JPEG is missing in images",
        ),
        (
            lambda f: (f / "val/val_annotations.txt").write_text(""),
            "val/val_annotations.txt: names no image",
        ),
    ],
)
def test_damaged_tiny_imagenet(tmp_path: Path, change: Callable[[Path], object], says: str) -> None:
    root = tiny(tmp_path)
    change(root)
    assert refused("tiny-imagenet", tmp_path, "test").startswith(f"{root}/{says}")


def test_cache_is_used_and_follows_the_files(
    jpeg: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = np.array(load("cifar10-jpeg", jpeg, "train")[0])
    (file,) = kept.iterdir()
    with monkeypatch.context() as patched:
        patched.setattr(cache, "_write", None)  # a second load must not need it
        again, _ = load("cifar10-jpeg", jpeg, "train")
    assert (again == first).all()
    assert not again.flags.writeable
    os.truncate(file, file.stat().st_size - 1)  # a damaged one is made anew
    assert (load("cifar10-jpeg", jpeg, "train")[0] == first).all()
    image(jpeg / "train" / NAMES[0] / "0000.png", (99, 98, 97))
    changed, _ = load("cifar10-jpeg", jpeg, "train")
    assert changed[0, :, 0, 0].tolist() == [99, 98, 97]
    assert (changed[1:] == first[1:]).all()


def test_cache_that_cannot_be_written(jpeg: Path, kept: Path) -> None:
    kept.write_bytes(b"a file")
    said = refused("cifar10-jpeg", jpeg)
    assert said.startswith(f"{kept}")
    assert "cannot be written: File exists; cifar10-jpeg-train is kept there" in said


def test_cache_lies_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder() == tmp_path / "evenspike" / "data"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder() == tmp_path / ".cache" / "evenspike" / "data"


def test_without_pillow(jpeg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert refused("cifar10-jpeg", jpeg).endswith(
        "decoding an image needs Pillow: pip install -e '.[data]'"
    )


@pytest.mark.skipif(not SHARED.is_file(), reason=f"needs {SHARED.name} beside the checkout")
def test_real_jpegs(tmp_path: Path) -> None:
    with tarfile.open(SHARED) as archive:
        chosen = [m for m in archive if m.name.startswith("test/") and m.name.endswith("00.jpg")]
        archive.extractall(tmp_path / "cifar10-jpeg", chosen, filter="data")
    images, labels = load("cifar10-jpeg", tmp_path, "test")
    assert images.shape == (100, 3, 32, 32)
    assert np.bincount(labels).tolist() == [10] * 10
    assert 20 < images.std(axis=(1, 2, 3)).mean() < 120
    assert len({one.tobytes() for one in images}) == 100
