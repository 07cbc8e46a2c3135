"""Every shape of layer becomes segments that compute the same, bit by bit."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor, nn

from evenspike_core.program import Coding, Readout
from evenspike_train.export.programs import to_program
from evenspike_train.lowering import import_network
from tests.helpers.lowered import Folded, exact, frames, imported, lif, pixels


class Body(nn.Module):
    """Neurons of 4 channels, the layers under test, neurons, and a linear read-out."""

    def __init__(self, *layers: nn.Module, side: tuple[int, int] = (8, 8)) -> None:
        super().__init__()
        self.first = Folded(nn.Conv2d(2, 4, 3, padding=1))
        self.lif = lif()
        self.body = Folded(*layers)
        self.last = lif(threshold=0.25)
        with torch.no_grad():
            flat = self.body(torch.zeros(1, 1, 4, *side)).flatten(2).shape[2]
        self.read = nn.Linear(flat, 3)

    def forward(self, x: Tensor) -> Tensor:
        spikes = self.last(self.body(self.lif(self.first(x))))
        return self.read(spikes.flatten(2)).sum(0)


LAYERS: dict[str, Callable[[], list[nn.Module]]] = {
    "stride": lambda: [nn.Conv2d(4, 6, 3, stride=2, padding=1)],
    "batch norm": lambda: [nn.Conv2d(4, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)],
    "plain batch norm": lambda: [nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6, affine=False)],
    "groups": lambda: [nn.Conv2d(4, 6, 3, padding=1, groups=2)],
    "depthwise": lambda: [nn.Conv2d(4, 8, 3, padding=1, groups=4)],
    "separable": lambda: [nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Conv2d(4, 6, 1)],
    "dilation": lambda: [nn.Conv2d(4, 6, 3, padding=2, dilation=2)],
    "dilation of rows": lambda: [nn.Conv2d(4, 6, 3, padding=(3, 1), dilation=(3, 1))],
    "row": lambda: [nn.Conv2d(4, 6, (1, 5), padding=(0, 2))],
    "column": lambda: [nn.Conv2d(4, 6, (3, 1), stride=2)],
    "even": lambda: [nn.Conv2d(4, 6, 4, padding=1)],
    "even and odd": lambda: [nn.Conv2d(4, 6, (2, 3), padding=(1, 0), stride=2)],
    "same": lambda: [nn.Conv2d(4, 6, (4, 5), padding="same")],
    "same with gaps": lambda: [nn.Conv2d(4, 6, 2, padding="same", dilation=3)],
    "valid": lambda: [nn.Conv2d(4, 6, 5, padding="valid")],
    "wide padding": lambda: [nn.Conv2d(4, 6, 1, padding=2)],
    "9x9": lambda: [nn.Conv2d(4, 3, 9, padding=4)],
    "1x8": lambda: [nn.Conv2d(4, 3, (1, 8), padding=(0, 3), stride=2)],
    "zeros around": lambda: [nn.ZeroPad2d((1, 0, 2, 1)), nn.Conv2d(4, 6, 3)],
    "average": lambda: [nn.AvgPool2d(2), nn.Conv2d(4, 6, 3, padding=1)],
    "average of four": lambda: [nn.AvgPool2d(4), nn.Conv2d(4, 6, 2)],
    "average twice": lambda: [nn.AvgPool2d(2), nn.AvgPool2d(2), nn.Conv2d(4, 6, 1)],
    "average behind": lambda: [nn.Conv2d(4, 6, 3, padding=1), nn.AvgPool2d(2)],
    "average alone": lambda: [nn.AvgPool2d(2)],
    "overlapping average": lambda: [nn.AvgPool2d(2, stride=1), nn.Conv2d(4, 6, 3)],
    "average with padding": lambda: [nn.AvgPool2d(4, stride=2, padding=1), nn.Conv2d(4, 6, 1)],
    "average and stride": lambda: [nn.AvgPool2d(2), nn.Conv2d(4, 6, 3, stride=2, padding=1)],
    "average to 2x2": lambda: [nn.AdaptiveAvgPool2d(2), nn.Conv2d(4, 6, 1)],
    "average to 2x2 behind": lambda: [nn.Conv2d(4, 6, 3, padding=1), nn.AdaptiveAvgPool2d(1)],
    "flat": lambda: [nn.Flatten(), nn.Linear(4 * 64, 7)],
    "flat twice": lambda: [nn.Flatten(), nn.Linear(4 * 64, 7), nn.Linear(7, 5)],
    "nothing": lambda: [nn.Identity(), nn.Dropout(0.5), nn.Conv2d(4, 6, 1), nn.Dropout2d(0.2)],
    "two without padding": lambda: [nn.Conv2d(4, 5, 3), nn.Conv2d(5, 6, 2)],
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str) -> None:
    torch.manual_seed(2)
    imported(exact(Body(*LAYERS[name]())), frames(4, 3, 2, 8, 8))


@pytest.mark.parametrize("side", [(5, 6), (7, 7), (9, 8), (15, 3)])
def test_flat_linear_layers_of_any_map(side: tuple[int, int]) -> None:
    model = exact(Body(nn.Flatten(), nn.Linear(4 * side[0] * side[1], 9), side=side))
    _, program = imported(model, frames(4, 3, 2, *side))
    layer = program.layers[2]
    assert len(layer.segments) == -(-side[0] // 7) * -(-side[1] // 7)
    assert sum(s.dense for s in layer.segments) == 4 * side[0] * side[1] * 9


@pytest.mark.parametrize("side", [(9, 7), (5, 8)])
def test_average_of_an_odd_map_leaves_its_rest_out(side: tuple[int, int]) -> None:
    model = Body(nn.AvgPool2d(2), nn.Conv2d(4, 6, 2), side=side)
    imported(exact(model), frames(4, 3, 2, *side))


class Pools(nn.Module):
    """A max-pool behind neurons, whose spikes another layer may read as they are."""

    def __init__(self, side: tuple[int, int], *, both: bool) -> None:
        super().__init__()
        self.first, self.one = Folded(nn.Conv2d(2, 4, 3, padding=1)), lif()
        self.second, self.two = Folded(nn.Conv2d(4, 5, 3, padding=1)), lif()
        self.pool = Folded(nn.MaxPool2d(2))
        self.read = nn.Linear(5 * (side[0] // 2) * (side[1] // 2), 3)
        self.beside = nn.Linear(5 * side[0] * side[1], 3) if both else None

    def forward(self, x: Tensor) -> Tensor:
        spikes = self.two(self.second(self.one(self.first(x))))
        read = self.read(self.pool(spikes).flatten(2))
        if self.beside is not None:
            read = read + self.beside(spikes.flatten(2))
        return read.mean(0)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("side", [(8, 8), (7, 5)])
def test_max_pool_is_behind_the_neurons(side: tuple[int, int], both: bool) -> None:
    _, program = imported(exact(Pools(side, both=both)), frames(4, 3, 2, *side))
    assert [layer.pool for layer in program.layers] == [1, 1, *([1] if both else []), 2, 1]
    assert program.layers[-2].output == (5, side[0] // 2, side[1] // 2)


class Paths(nn.Module):
    """Sums and concatenations of spikes and currents."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.first, self.one = Folded(nn.Conv2d(2, 4, 3, padding=1)), lif()
        self.second, self.two = Folded(nn.Conv2d(4, 4, 3, padding=1)), lif()
        wide = 8 if kind in ("concatenation", "channels") else 4
        self.third, self.three = Folded(nn.Conv2d(wide, 4, 3, padding=1)), lif()
        self.read = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        a = self.one(self.first(x))
        current = self.second(a)
        b = self.two(current + a if self.kind == "residual" else current)
        if self.kind == "sew":
            third = self.third(a + b)
        elif self.kind == "concatenation":
            third = self.third(torch.cat([a, b], 2))
        elif self.kind == "channels":
            left, right = torch.chunk(torch.cat((a, b), dim=2), 2, dim=2)
            third = self.third(torch.cat([right, left[:, :, :2], left[:, :, 2:]], 2))
        elif self.kind == "three":
            third = self.third(b) + 0.5 * a - b / 2 + 0.25
        else:
            third = self.third(b)
        return self.read(self.three(third).mean((3, 4))).sum(0)


@pytest.mark.parametrize(
    ("kind", "segments"),
    [
        ("plain", 1),
        ("residual", 1),
        ("sew", 2),
        ("concatenation", 2),
        ("channels", 4),
        ("three", 3),
    ],
)
def test_branches_are_segments_of_one_layer(kind: str, segments: int) -> None:
    _, program = imported(exact(Paths(kind)), frames(4, 3, 2, 8, 8))
    assert len(program.layers[2].segments) == (2 if kind == "residual" else 1)
    if kind != "channels":
        assert len(program.layers[3].segments) == segments


class Still(nn.Module):
    """An image at every timestep."""

    def __init__(self, *layers: nn.Module, steps: int, flat: int) -> None:
        super().__init__()
        self.layers, self.steps = nn.Sequential(*layers), steps
        self.lif, self.hidden, self.last = (
            lif(threshold=2.0),
            nn.Linear(flat, 5),
            lif(threshold=0.25),
        )
        self.read = nn.Linear(5, 3)

    def forward(self, images: Tensor) -> Tensor:
        current = self.layers(images.double() / 16).unsqueeze(0)
        spikes = self.lif(current.repeat(self.steps, *[1] * (current.dim() - 1)))
        return self.read(self.last(self.hidden(spikes.flatten(2))))


@pytest.mark.parametrize("steps", [1, 3, 11])
def test_an_image_is_direct_coded(steps: int) -> None:
    model = exact(Still(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), steps=steps, flat=4 * 36), 1)
    with torch.no_grad():
        model.get_parameter("hidden.weight").div_(16)
    network, program = imported(model, pixels(3, 1, 8, 8))
    first = program.layers[0]
    assert (first.coding, first.pool_first, program.timesteps) == (Coding.DIRECT, False, steps)
    assert network.inputs.shape == (3, 1, 8, 8)
    assert program.layers[-1].readout is Readout.PSUM


def test_the_encoder_may_pool_before_its_neurons() -> None:
    layers = [nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.BatchNorm2d(4)]
    model = exact(Still(*layers, steps=4, flat=4 * 9))
    _, program = imported(model, pixels(3, 1, 9, 8))
    first = program.layers[0]
    assert (first.pool_first, first.pool, first.size) == (True, 2, (6, 6))


def test_an_average_in_front_of_the_first_layer() -> None:
    layers = [nn.AvgPool2d(2), nn.Conv2d(1, 4, 3, padding=1)]
    _, program = imported(exact(Still(*layers, steps=4, flat=4 * 16), 1), pixels(3, 1, 8, 8))
    assert [s.average for s in program.layers[0].segments] == [1]


def test_a_linear_layer_may_read_the_pixels() -> None:
    model = Still(nn.Flatten(), nn.Linear(100, 6), steps=4, flat=6)
    _, program = imported(exact(model), pixels(3, 1, 10, 10))
    assert len(program.layers[0].segments) == 4


class Ends(nn.Module):
    """What a network may end in."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.first, self.one = Folded(nn.MaxPool2d(2), nn.Conv2d(2, 4, 3)), lif()
        self.second, self.two = nn.Linear(16, 6), lif(threshold=0.25)
        self.third = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        spikes = self.two(self.second(self.one(self.first(x)).flatten(2)))
        if self.kind == "spikes":
            return spikes
        if self.kind == "half of them":
            return 0.5 * spikes.mean(0)
        if self.kind == "spikes and currents":
            return (spikes + self.third(spikes)).sum(0)
        if self.kind == "linear of the mean":
            return self.third(spikes.mean(0))
        return torch.softmax(self.third(spikes).mean(0), 1)


@pytest.mark.parametrize(
    ("kind", "readout", "layers"),
    [
        ("spikes", Readout.COUNT, 4),
        ("half of them", Readout.COUNT, 4),
        ("spikes and currents", Readout.PSUM, 5),
        ("linear of the mean", Readout.PSUM, 5),
    ],
)
def test_ends(kind: str, readout: Readout, layers: int) -> None:
    """The frames are pooled first, by a layer that sends on what it gets."""
    _, program = imported(exact(Ends(kind), 3), frames(4, 3, 2, 8, 8))
    assert len(program.layers) == layers
    assert program.layers[-1].readout is readout
    assert (program.layers[1].name, program.layers[1].pool) == ("input.pool", 2)


def test_a_softmax_at_the_end_changes_no_decision() -> None:
    network = import_network(exact(Ends("softmax"), 3), frames(4, 3, 2, 8, 8))
    program, proof = to_program(network, limit=0.0)
    assert network.ranks
    assert program.layers[-1].readout is Readout.PSUM
    assert proof.changed == 0


def test_pools_behind_each_other() -> None:
    pools = [nn.MaxPool2d(2), nn.MaxPool2d(2), nn.Conv2d(4, 6, 2)]
    _, program = imported(exact(Body(*pools), 1), frames(4, 3, 2, 8, 8, rate=0.1))
    assert [layer.pool for layer in program.layers] == [1, 2, 2, 1, 1]
