"""Recordings as the event data sets have them, of any size: for tests."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable
from pathlib import Path

import pytest

from evenspike_core.data import DATA_SETS

Event = tuple[int, int, int, int]
"""t, x, y, polarity."""

OVERFLOW = 240
"""The y that stands for "the clock has run over": 2^13 microseconds more."""

INFO = """<dv version="2.0"><node name="outInfo" path="/mainloop/Recorder/outInfo/">
<node name="0" path="/mainloop/Recorder/outInfo/0/">
<attr key="compression" type="string">NONE</attr>
<attr key="originalModuleName" type="string">capture</attr>
<attr key="originalOutputName" type="string">events</attr>
<attr key="typeDescription" type="string">Array of events (polarity ON/OFF).</attr>
<attr key="typeIdentifier" type="string">EVTS</attr>
<node name="info" path="/mainloop/Recorder/outInfo/0/info/">
<attr key="sizeX" type="int">128</attr><attr key="sizeY" type="int">128</attr>
<attr key="source" type="string">DVS128</attr></node></node></node></dv>"""


def bin_file(events: Iterable[Event]) -> bytes:
    """N-MNIST and N-Caltech101: five bytes an event, with 23 bits for polarity and time."""
    content = bytearray()
    past = 0
    for t, x, y, polarity in events:
        while t - past >= 1 << 13:
            past += 1 << 13
            content += bytes([0, OVERFLOW, 0, 0, 0])
        low = t - past
        content += bytes([x, y, polarity << 7 | low >> 16, low >> 8 & 255, low & 255])
    return bytes(content)


def aedat4_file(events: Iterable[Event], packet: int = 7) -> bytes:
    """AEDAT 4 without compression: a header with the streams as XML, and packets of events.

    Both are FlatBuffers with a size in front: root, identifier, a table of offsets, the table.
    """
    info = INFO.encode()
    names = struct.pack("<I", len(info)) + info + b"\0"
    header = struct.pack("<I4s5H2xiI", 20, b"IOHE", 10, 8, 0, 0, 4, 12, 4) + names
    content = b"#!AER-DAT4.0\r\n" + struct.pack("<I", len(header)) + header
    listed = list(events)
    for start in range(0, len(listed), packet):
        part = listed[start : start + packet]
        body = struct.pack("<I4s3H2xiII", 16, b"EVTS", 6, 8, 4, 8, 4, len(part))
        body += b"".join(struct.pack("<qhh?3x", t, x, y, bool(p)) for t, x, y, p in part)
        content += struct.pack("<2i", 0, len(body) + 4) + struct.pack("<I", len(body)) + body
    return content


def drawn(seed: object, count: int, width: int, height: int) -> list[Event]:
    chance = random.Random(str(seed))
    times = sorted(chance.randrange(300_000) for _ in range(count))
    return [
        (t, chance.randrange(width), chance.randrange(height), chance.randrange(2)) for t in times
    ]


def write_recordings(folder: Path, name: str) -> dict[str, list[tuple[int, list[Event]]]]:
    """A small data set at the place where Tonic puts it; (label, events) of each split."""
    pytest.importorskip("tonic")
    made: dict[str, list[tuple[int, list[Event]]]] = {"train": [], "test": []}

    def recording(path: Path, split: str, label: int, sensor: tuple[int, int]) -> None:
        events = drawn(path.name + path.parent.name + split, 30 + label, *sensor)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((aedat4_file if path.suffix == ".aedat4" else bin_file)(events))
        made[split].append((label, events))

    if name == "nmnist":
        for split, count in (("train", 2), ("test", 1)):
            for label in range(10):
                for number in range(count):
                    file = folder / "NMNIST" / split.title() / str(label) / f"{number:05}.bin"
                    recording(file, split, label, (34, 34))
    elif name == "cifar10-dvs":
        pytest.importorskip("aedat")
        for label, title in enumerate(DATA_SETS[name].class_names):
            for number in range(11):
                file = folder / "CIFAR10DVS" / title / f"cifar10_{title}_{number}.aedat4"
                recording(file, "train" if number % 10 else "test", label, (128, 128))
    else:
        for label in range(101):
            title = f"class{label:03}"
            for number in range(2):
                root = folder / "Caltech101" / title
                file = root / f"image_{number + 1:04}.bin"
                recording(file, "train" if number else "test", label, (240, 180))
    return made
