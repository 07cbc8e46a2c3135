"""Event recordings: what a frame counts, and small folders of the real layouts and formats."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from evenspike_core.data import aedat4, cache, load
from evenspike_core.data.aedat4 import Decoder
from evenspike_core.data.events import _bin_events, integrate
from evenspike_core.errors import EvenspikeError
from tests.helpers.damage import damaged, refusal
from tests.helpers.event_files import Event, aedat4_file, bin_file, drawn, write_recordings

EVENT = np.dtype([("t", np.int64), ("x", np.uint8), ("y", np.uint8), ("p", bool)])


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def counted(events: list[Event], width: int, height: int) -> npt.NDArray[np.int64]:
    """Frames by counting one event after the other."""
    frames = np.zeros((10, 2, 48, 48), np.int64)
    for index, (_, x, y, p) in enumerate(events):
        at = [v * 48 // size if size > 48 else v + (48 - size) // 2 for v, size in
              ((y, height), (x, width))]  # fmt: skip
        frames[index * 10 // len(events), p, at[0], at[1]] += 1
    return frames


@pytest.mark.parametrize("sensor", [(34, 34), (128, 128), (240, 180), (48, 48)])
@pytest.mark.parametrize("count", [1, 9, 10, 11, 1234])
def test_frames_count_events(sensor: tuple[int, int], count: int) -> None:
    events = drawn(sensor, count, *sensor)
    shuffled = list(events)
    if len({event[0] for event in events}) == count:  # equal times keep the file's order
        random.Random(0).shuffle(shuffled)
    frames = integrate(np.array(shuffled, EVENT), sensor)
    assert frames.dtype == np.uint8
    assert (frames == counted(events, *sensor)).all()
    assert frames.sum() == count


def test_events_of_one_time_keep_their_order() -> None:
    events = [(k // 500, k // 100, 0, 0) for k in range(1000)]
    frames = integrate(np.array(events, EVENT), (48, 48))
    assert frames[:, 0, 0, :10].tolist() == (100 * np.eye(10, dtype=int)).tolist()


def test_frames_saturate() -> None:
    frames = integrate(np.array([(t, 3, 4, 1) for t in range(3000)], EVENT), (48, 48))
    assert frames[:, 1, 4, 3].tolist() == [255] * 10


def test_frames_are_tonics() -> None:
    transforms = pytest.importorskip("tonic.transforms")
    events = np.array(drawn(5, 500, 48, 48), EVENT)
    expected = transforms.ToFrame((48, 48, 2), n_event_bins=10)(events)
    assert (integrate(events, (48, 48)) == expected).all()


SENSORS = {"nmnist": (34, 34), "cifar10-dvs": (128, 128), "ncaltech101": (240, 180)}


@pytest.mark.parametrize("name", SENSORS)
def test_load(tmp_path: Path, name: str) -> None:
    made = write_recordings(tmp_path, name)
    for split in ("train", "test"):
        frames, labels = load(name, tmp_path, split)
        assert frames.shape == (len(made[split]), 10, 2, 48, 48)
        assert labels.tolist() == [label for label, _ in made[split]]
        for index, (_, recorded) in enumerate(made[split]):
            assert (frames[index] == counted(recorded, *SENSORS[name])).all()


def refused(name: str, folder: Path) -> str:
    with pytest.raises(EvenspikeError) as caught:
        load(name, folder, "train")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("nmnist", "NMNIST/Train with 10 folders of .bin files"),
        ("cifar10-dvs", "CIFAR10DVS with 10 folders of .aedat4 files"),
        ("ncaltech101", "Caltech101 with 101 folders of .bin files"),
    ],
)
def test_missing(tmp_path: Path, name: str, files: str) -> None:
    said = refused(name, tmp_path)
    assert said.startswith(f"data set {name}: ")
    assert f"{files} not found; put them into the data folder; looked in" in said


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: os.truncate(f, 14), ": truncated: 14 bytes are no whole number of events of 5"),
        (lambda f: os.truncate(f, 0), ": truncated: 0 bytes"),
        (lambda f: f.write_bytes(bytes([0, 240, 0, 0, 0])), ": holds no event"),
        (
            lambda f: f.write_bytes(bytes([34, 0, 0, 0, 0])),
            ": has an event at x = 34; the sensor has 0 to 33",
        ),
        (
            lambda f: f.write_bytes(bytes([0, 99, 0, 0, 0])),
            ": has an event at y = 99; the sensor has 0 to 33",
        ),
    ],
)
def test_damaged_recording(
    tmp_path: Path, kept: Path, change: Callable[[Path], Any], says: str
) -> None:
    write_recordings(tmp_path, "nmnist")
    file = tmp_path / "NMNIST" / "Train" / "4" / "00001.bin"
    change(file)
    assert refused("nmnist", tmp_path).startswith(f"{file}{says}")
    assert not list(kept.iterdir())


@pytest.mark.parametrize("size", [0, 10, 100, 1500, -1])
def test_truncated_aedat4(tmp_path: Path, size: int) -> None:
    write_recordings(tmp_path, "cifar10-dvs")
    file = tmp_path / "CIFAR10DVS" / "frog" / "cifar10_frog_3.aedat4"
    os.truncate(file, size % file.stat().st_size)
    assert refused("cifar10-dvs", tmp_path).startswith(f"{file}: not a readable recording: ")


def test_missing_class(tmp_path: Path) -> None:
    write_recordings(tmp_path, "cifar10-dvs")
    (tmp_path / "CIFAR10DVS" / "frog").rename(tmp_path / "frog")
    assert refused("cifar10-dvs", tmp_path) == (
        f"{tmp_path}/CIFAR10DVS: has 9 folders of .aedat4 files, but cifar10-dvs has 10 classes; "
        "'frog' is missing"
    )
    write_recordings(tmp_path, "ncaltech101")
    (tmp_path / "Caltech101" / "class007" / "image_0001.bin").unlink()
    assert refused("ncaltech101", tmp_path) == (
        f"{tmp_path}/Caltech101/class007: holds 1 .bin file, too few for a train and a test split"
    )


def test_without_aedat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_recordings(tmp_path, "cifar10-dvs")
    monkeypatch.setitem(sys.modules, "aedat", None)
    assert refused("cifar10-dvs", tmp_path).endswith(
        "reading events needs aedat: pip install -e '.[events]'"
    )


def test_bin_events_are_tonics(tmp_path: Path) -> None:
    io = pytest.importorskip("tonic.io")
    path = tmp_path / "x.bin"
    path.write_bytes(bin_file(drawn(0, 999, 240, 180)))
    found = _bin_events(path)
    known = io.read_mnist_file(str(path), np.dtype([(axis, int) for axis in "xytp"]))
    assert len(found) == len(known) == 999
    assert all((found[axis] == known[axis]).all() for axis in "txyp")


def test_a_clock_that_runs_over_and_over_takes_no_time(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(bytes([0, 240, 0, 0, 0]) * 1_000_000 + bytes([1, 2, 0, 0, 3]))
    assert _bin_events(path)["t"].tolist() == [3 + (1_000_000 << 13)]


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    pytest.importorskip("aedat")
    path = tmp_path / "whole.aedat4"
    path.write_bytes(aedat4_file(drawn(1, 30, 128, 128)))
    return path


def test_a_file_that_ends_the_decoders_process(whole: Path, tmp_path: Path) -> None:
    """The next file is decoded again, by another."""
    deadly = tmp_path / "deadly.aedat4"
    deadly.write_bytes(whole.read_bytes().replace(b"</attr>", b"</\xe1ttr>"))
    with Decoder() as decoder:
        assert len(decoder.events(whole)) == 30
        first = decoder._child
        assert first is not None
        said = refusal(decoder.events, deadly)
        assert said == f"{deadly}: not a readable recording: its decoder ends with SIGABRT"
        assert decoder.events(whole)["p"].sum() == sum(p for *_, p in drawn(1, 30, 128, 128))
        second = decoder._child
        assert second is not None
        assert second.pid != first.pid
    assert second.poll() is not None, "it does not outlive what it was for"


def test_a_file_that_is_not_decoded_in_time(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "slow.aedat4"
    os.mkfifo(slow)  # nobody writes to it
    with Decoder() as decoder:
        decoder.events(whole)
        monkeypatch.setattr(aedat4, "SECONDS_MAX", 0.2)
        said = refusal(decoder.events, slow)
        assert said == f"{slow}: not a readable recording: it is not decoded within 0.2 s"
        monkeypatch.undo()
        assert len(decoder.events(whole)) == 30


def test_a_damaged_aedat4_is_one_line(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.aedat4"
    content = whole.read_bytes()
    with Decoder() as decoder:
        for data in damaged(content, "aedat4", 150):
            path.write_bytes(data)
            said = refusal(decoder.events, path)
            assert not said or said.startswith(f"{path}: not a readable recording: ")
            assert "\n" not in said
