"""Split and augmentation; reading is tested where `evenspike_core.data` is."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from evenspike_core.data import load
from evenspike_core.errors import EvenspikeError
from evenspike_train import data
from evenspike_train.data import Augmentation
from tests.helpers.training import write_set


def test_validation_is_held_out_of_training(tmp_path: Path) -> None:
    everything, _ = load("fmnist", write_set(tmp_path), "train")
    sets = data.load_dataset("fmnist", tmp_path, 8, torch.device("cpu"))
    assert (len(sets.train), len(sets.validation), len(sets.test)) == (32, 8, 10)
    seen = {bytes(i.numpy()) for i in sets.train.images}
    held = {bytes(i.numpy()) for i in sets.validation.images}
    assert not seen & held
    assert seen | held == {bytes(i) for i in everything}
    with pytest.raises(EvenspikeError, match="cannot hold out 40 of 40"):
        data.load_dataset("fmnist", tmp_path, 40, torch.device("cpu"))


def test_some_of_the_training_images(tmp_path: Path) -> None:
    write_set(tmp_path)
    device = torch.device("cpu")
    every = data.load_dataset("fmnist", tmp_path, 8, device)
    some = data.load_dataset("fmnist", tmp_path, 8, device, train=12)
    assert torch.equal(some.validation.images, every.validation.images)
    assert len(some.train) == 12
    assert {bytes(i.numpy()) for i in some.train.images} < {
        bytes(i.numpy()) for i in every.train.images
    }
    with pytest.raises(EvenspikeError, match=r"has 40 training images; 33 to train with and 8"):
        data.load_dataset("fmnist", tmp_path, 8, device, train=33)


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
    assert (cut == 0).sum((1, 2, 3)).max() == 64  # where none of the square is outside
    assert torch.equal(Augmentation(False, 0, 0)(batch, data.generator_for(0)), batch)


def test_frames_of_a_recording_are_moved_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (16, 1, 2, 48, 48), dtype=torch.uint8, generator=generator)
    frames = image.expand(-1, 10, -1, -1, -1)
    moved = Augmentation(flip=True, shift=5, cutout=9)(frames, data.generator_for(3))
    assert moved.shape == frames.shape
    assert (moved == moved[:, :1]).all()
    assert torch.equal(moved[:, 0], Augmentation(True, 5, 9)(image[:, 0], data.generator_for(3)))
    assert not torch.equal(moved, frames)


def test_colours_are_moved_alike() -> None:
    grey = torch.randint(1, 256, (16, 1, 32, 32), dtype=torch.uint8).expand(-1, 3, -1, -1)
    moved = Augmentation(flip=True, shift=4, cutout=8)(grey, data.generator_for(3))
    assert (moved == moved[:, :1]).all()
    assert not torch.equal(moved, grey)


def test_shift_does_not_wrap_around() -> None:
    edge = torch.full((32, 1, 32, 32), 7, dtype=torch.uint8)
    moved = Augmentation(flip=False, shift=3)(edge, data.generator_for(1))
    assert (moved == 0).any()
    assert (moved.sum((1, 2, 3)) <= 7 * 32 * 32).all()


def test_generators_depend_on_their_key_alone() -> None:
    draw = [torch.rand(3, generator=data.generator_for(*k)) for k in ((1, 2), (1, 2), (2, 1))]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
