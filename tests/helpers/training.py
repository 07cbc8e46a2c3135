"""What tests of training share: small recipes, data of bright bars, and what a run leaves."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from evenspike_core.data.idx import idx_bytes
from evenspike_train import data
from evenspike_train.runs import command

SHORT = """
name = "tiny"
[data]
validation = 8
[network]
width = 2
timesteps = 2
[method]
scope = "local"
rounds = 1
rate = 0.5
rewind = "learning-rate"
pes = 2
[optimizer]
batch = 8
[dense]
images = 8
timesteps = 1
[round]
timesteps = 2
[final]
images = 16
timesteps = 2
ema = 0.9
[compute]
precision = "fp32"
round_validation = 8
"""
"""One pruning, three steps."""

LADDER = """
    name = "tiny"
    seed = 5
    [data]
    validation = 20
    [network]
    width = 2
    timesteps = 2
    [method]
    name = "u-ticket"
    scope = "local"
    rounds = 2
    rate = 0.5
    rewind = "learning-rate"
    snapshot = 80
    pes = 2
    [optimizer]
    name = "adam"
    batch = 16
    [dense]
    images = 160
    timesteps = 2
    lr = 0.01
    [round]
    images = 96
    timesteps = 2
    lr = 0.01
    [final]
    images = 96
    timesteps = 2
    lr = 0.01
    ema = 0.9
    [compute]
    precision = "fp32"
    checkpoint_seconds = 1e9
    round_validation = 10
"""
"""Two prunings, twenty-two steps, and a checkpoint at the end of each epoch alone."""


def bars(
    rng: np.random.Generator, count: int, side: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images [count, side, side] and labels: a class is a bright bar on noise."""
    labels = np.arange(count) % 10
    images = rng.integers(0, 64, (count, side, side))
    height = side // 10
    for image, label in zip(images, labels, strict=True):
        image[height * label : height * (label + 1)] += 160
    return images.astype(np.uint8), labels


def make_sets(train: int = 60, validation: int = 20, test: int = 20) -> data.Dataset:
    """A data set in memory."""
    rng, device = np.random.default_rng(0), torch.device("cpu")

    def split(count: int) -> data.Split:
        images, labels = bars(rng, count, 32)
        return data.to_split(images[:, None], labels, device)

    return data.Dataset(split(train), split(validation), split(test))


def write_set(folder: Path, train: int = 40, test: int = 10) -> Path:
    """A data set in the files of Fashion-MNIST; returns the folder."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("t10k", test)):
        images, labels = bars(rng, count, 28)
        for stem, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = gzip.compress(idx_bytes(8, array))
            (folder / f"{split}-{stem}-ubyte.gz").write_bytes(content)
    return folder


def alike() -> None:
    """What `command.prepare` sets, so that two processes, or two runs of one, compute alike."""
    command.set_threads(1)
    torch.set_flush_denormal(True)


def ticket(folder: Path) -> dict[str, Any]:
    """The result of a finished run."""
    content: dict[str, Any] = torch.load(folder / "ticket.pt", weights_only=True)
    return content


def lines(folder: Path, event: str = "") -> list[dict[str, Any]]:
    """The lines of a run's log, or those of one event."""
    every = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in every if event in ("", line["event"])]
