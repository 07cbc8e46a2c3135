"""Any input as a picture: images as they are, frames summed, events in two colours."""

from __future__ import annotations

import numpy as np
import pytest

from evenspike.flows.thumbnail import thumbnail
from evenspike.report.html import png


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_is_shown_as_it_is(channels: int) -> None:
    pixels = np.arange(channels * 20, dtype=np.uint8).reshape(channels, 4, 5)
    np.testing.assert_array_equal(thumbnail(pixels), pixels)


def test_frames_are_summed_and_stretched() -> None:
    frames = np.zeros((10, 1, 3, 4), np.uint8)
    frames[:, 0, 1, 1] = 200
    frames[::2, 0, 2, 3] = 200
    frames[0, 0, 0, 0] = 100
    shown = thumbnail(frames)
    assert shown.shape == (1, 3, 4)
    assert shown[0, 1, 1] == 255
    assert shown[0, 2, 3] == 127
    assert shown[0, 0, 0] == 12
    assert np.count_nonzero(shown) == 3


def test_polarities_are_red_and_blue() -> None:
    frames = np.zeros((2, 2, 3, 3), np.uint8)
    frames[0, 0, 0, 1] = 1
    frames[1, 1, 2, 2] = 1
    shown = thumbnail(frames)
    assert shown[:, 0, 1].tolist() == [0, 0, 255]
    assert shown[:, 2, 2].tolist() == [255, 0, 0]
    assert np.count_nonzero(shown) == 2


def test_other_channels_are_shown_as_their_mean() -> None:
    pixels = np.stack([np.full((2, 3), value, np.uint8) for value in (10, 20, 30, 60)])
    np.testing.assert_array_equal(thumbnail(pixels), np.full((1, 2, 3), 30, np.uint8))


@pytest.mark.parametrize(("count", "side"), [(1, 1), (2, 2), (4, 2), (5, 3), (784, 28)])
def test_features_become_a_square(count: int, side: int) -> None:
    features = (np.arange(count) % 200 + 1).astype(np.uint8).reshape(count, 1, 1)
    shown = thumbnail(features)
    assert shown.shape == (1, side, side)
    assert shown.reshape(-1)[:count].tolist() == features.reshape(-1).tolist()
    assert not shown.reshape(-1)[count:].any()


@pytest.mark.parametrize("shape", [(1, 1, 2, 2), (3, 2, 4, 4), (4, 5, 1, 1), (7, 1, 1), (6, 4, 4)])
def test_darkness_and_every_shape_are_pictures(shape: tuple[int, ...]) -> None:
    for fill in (0, 255):
        assert png(thumbnail(np.full(shape, fill, np.uint8))).startswith(b"\x89PNG")
