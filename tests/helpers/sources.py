"""A user's own file with a spiking network, and how to change it: for tests of what reads one."""

from __future__ import annotations

from pathlib import Path

OWN = '''"""A small spiking network."""

import torch
from torch import nn

from evenspike_train.kernels.neuron import LIF, LIFParameters

STEPS = 4


class Small(nn.Module):
    """Images [B, 1, 32, 32] -> logits [T, B, 10]."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv2d(1, 6, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.lif = LIF(LIFParameters())
        self.pool = nn.MaxPool2d(2)
        self.second = nn.Conv2d(6, 8, 3, padding=1)
        self.fire = LIF(LIFParameters(reset="soft"))
        self.head = nn.Linear(8 * 8 * 8, 10)
        with torch.no_grad():
            self.norm.bias += 1
            self.second.weight *= 3

    def forward(self, x):
        x = self.norm(self.conv(x)).expand(STEPS, *(-1,) * x.dim())
        x = self.pool(self.lif(x).flatten(0, 1))
        x = self.fire(self.second(x).unflatten(0, (STEPS, -1)))
        return self.head(x.flatten(2))
'''
"""T = 4, a direct encoder, hard and soft resets; its neurons fire on the shipped images."""


def line_of(text: str, within: str = OWN) -> int:
    """The number of the line on which a text stands."""
    return within[: within.index(text)].count("\n") + 1


def write(folder: Path, *changes: tuple[str, str], name: str = "own.py") -> Path:
    """The file with (old, new) texts; each old one must be there."""
    text = OWN
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path
