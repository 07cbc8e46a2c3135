"""What has no integer form is refused by name, with the line of `forward` and what would do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor, nn

from evenspike_core.errors import EvenspikeError
from evenspike_train.kernels.neuron import LIF, ArctanSpike, LIFParameters
from evenspike_train.lowering import NeuronModel, import_network, register
from tests.helpers.lowered import Folded, exact, frames, imported, lif, pixels


class Chain(nn.Module):
    """Neurons, layers of one timestep, neurons, a linear read-out."""

    def __init__(self, *layers: nn.Module, side: int = 8) -> None:
        super().__init__()
        self.first, self.one = Folded(nn.Conv2d(2, 4, 3, padding=1)), lif()
        self.body, self.two = Folded(*layers), lif()
        with torch.no_grad():
            flat = self.body(torch.zeros(1, 1, 4, side, side)).flatten(2).shape[2]
        self.read = nn.Linear(flat, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self.two(self.body(self.one(self.first(x)))).flatten(2))


def conv(**options: Any) -> nn.Conv2d:
    return nn.Conv2d(4, 4, 3, **options)


LAYERS: list[tuple[Callable[[], list[nn.Module]], str]] = [
    (lambda: [conv(stride=3)], r"body\.0: stride 3 of rows and 3 of columns; 1 and 2, the same"),
    (lambda: [conv(stride=(2, 1))], r"body\.0: stride 2 of rows and 1 of columns"),
    (
        lambda: [conv(padding=1, padding_mode="circular")],
        r"body\.0 \(Conv2d\): padding mode 'circular'; zeros are possible",
    ),
    (
        lambda: [nn.AvgPool2d(3), conv(padding=1)],
        r"body\.1 \(Conv2d\): a conv.* behind the average pool body\.0 over a map of 8x8, who",
    ),
    (
        lambda: [nn.AvgPool2d(3, 2, 1), conv(padding=1)],
        r"body\.1 \(Conv2d\): a convolution with padding behind the average pool body\.0",
    ),
    (
        lambda: [nn.AvgPool2d(3), nn.Conv2d(4, 4, 1)],
        r"body\.0, body\.1: stride 3 of rows and 3 of columns; .*of 2x2, 4x4, 8x8 that div",
    ),
    (
        lambda: [conv(padding=1, bias=False), nn.Conv2d(4, 4, 2, padding="same")],
        r"body\.1 \(Conv2d\): a convolution with padding behind another convolution",
    ),
    (lambda: [nn.ConvTranspose2d(4, 4, 3)], r"body\.0 \(ConvTranspose2d\): a transposed convolut"),
    (
        lambda: [conv(), nn.GroupNorm(2, 4)],
        r"body\.1 \(GroupNorm\): its statistics come from the a",
    ),
    (lambda: [conv(), nn.LayerNorm(6)], r"body\.1 \(LayerNorm\): .*; use BatchNorm2d"),
    (lambda: [conv(), nn.InstanceNorm2d(4)], r"body\.1 \(InstanceNorm2d\): .*; use BatchNorm2d"),
    (
        lambda: [conv(), nn.BatchNorm2d(4, track_running_stats=False)],
        r"body\.1 \(BatchNorm2d\): a batch norm without running statistics",
    ),
    (lambda: [conv(), nn.ReLU()], r"body\.1 \(ReLU\): a rectifier gives no spikes; put neurons"),
    (lambda: [conv(), nn.Hardtanh()], r"body\.1 \(Hardtanh\): hardtanh has no form as a conv"),
    (
        lambda: [nn.MaxPool2d(3, 2), conv()],
        r"body\.0 \(MaxPool2d\): a max-pool of \(3, 3\) with str",
    ),
    (lambda: [nn.MaxPool2d(4), nn.Conv2d(4, 4, 1)], r"max-pool of \(4, 4\) with stride \(4, 4\)"),
    (lambda: [conv(), nn.MaxPool2d(2)], r"body\.1 \(MaxPool2d\): a max-pool in front of the neuro"),
    (lambda: [conv(), conv(padding=1)], r"body\.1 \(Conv2d\): a convolution with padding behind a"),
    (
        lambda: [nn.AdaptiveAvgPool2d(3), conv()],
        r"body\.0 \(AdaptiveAvgPool2d\): an adaptive averag",
    ),
    (lambda: [nn.Upsample(scale_factor=2), conv()], r"body\.0 \(Upsample\): a larger map"),
    (lambda: [nn.Softmax(1), conv()], r"body\.0 \(Softmax\): a softmax of each timestep by itself"),
    (lambda: [nn.LPPool2d(2, 2), conv()], r"body\.0 \(LPPool2d\): "),
]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(("layers", "reason"), LAYERS)
def test_layers(layers: Callable[[], list[nn.Module]], reason: str) -> None:
    with pytest.raises(EvenspikeError, match=reason):
        import_network(Chain(*layers()), frames(3, 2, 2, 8, 8).float())


class Forward(nn.Module):
    """A forward pass that does something else."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.conv, self.one, self.two = Folded(nn.Conv2d(2, 2, 3, padding=1)), lif(), lif()
        self.gru, self.read = nn.GRU(128, 8), nn.Linear(128, 3)
        self.scale = nn.Parameter(torch.ones(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        spikes = self.one(self.conv(x))
        flat = spikes.flatten(2)
        change = getattr(self, f"_{self.what}")
        changed = change(spikes, flat)
        found: Tensor = self.read(changed.flatten(2)) if changed.shape[2] != 3 else changed
        return found

    def _branch(self, spikes: Tensor, flat: Tensor) -> Tensor:
        return spikes * 2 if spikes.mean() > 0.1 else spikes

    def _number(self, spikes: Tensor, flat: Tensor) -> Tensor:
        return spikes / (spikes.max().item() + 1)

    def _attention(self, spikes: Tensor, flat: Tensor) -> Tensor:
        return flat @ flat.transpose(1, 2) @ flat

    def _gate(self, spikes: Tensor, flat: Tensor) -> Tensor:
        return self.two(self.conv(spikes) * spikes)

    def _recurrent(self, spikes: Tensor, flat: Tensor) -> Tensor:
        return torch.cat([spikes[:1], spikes[1:] + spikes[:-1]])

    def _gru(self, spikes: Tensor, flat: Tensor) -> Tensor:
        return self.gru(flat)[0].repeat(1, 1, 16)

    def _written(self, spikes: Tensor, flat: Tensor) -> Tensor:
        current = self.conv(spikes)
        return (current > 1.0).float()

    def _surrogate(self, spikes: Tensor, flat: Tensor) -> Tensor:
        fired: Tensor = ArctanSpike.apply(self.conv(spikes) - 1.0, 2.0)  # type: ignore[no-untyped-call]
        return fired

    def _positions(self, spikes: Tensor, flat: Tensor) -> Tensor:
        return self.two(self.conv(spikes) + self.scale)

    def _twice(self, spikes: Tensor, flat: Tensor) -> Tensor:
        return self.one(self.conv(spikes))

    def _first(self, spikes: Tensor, flat: Tensor) -> Tensor:
        return self.read(flat)[0].unsqueeze(0)

    def _some(self, spikes: Tensor, flat: Tensor) -> Tensor:
        return self.read(flat[1:])

    def _shapes(self, spikes: Tensor, flat: Tensor) -> Tensor:
        return self.read(spikes)


FORWARDS = {
    "branch": r"Forward: forward takes the numbers of an activation \(bool\) at test_lowering_ref",
    "number": r"Forward: forward takes the numbers of an activation \(item\) at test_lowering_ref",
    "attention": r"Forward: a product of activations with each other, as in attention \(test_lower",
    "gate": r"Forward: a product of activations with each other, as in attention or a gate",
    "recurrent": r"Forward: some entries of T alone \(test_lowering_refusals\.py:\d+\)",
    "gru": r"gru \(GRU\): recurrent; feed-forward networks are possible",
    "written": r"Forward: a comparison: neurons that forward writes out itself have no form",
    "surrogate": r"Forward: ArctanSpike is a function with a derivative of its own",
    "positions": r"Forward: a constant of \(8, 8\); one number, or one for each channel",
    "twice": r"one \(LIF\): LIF runs twice; each layer of neurons needs a module",
    "first": r"Forward: the output is that of timestep 0 of 0 to 2; the sum or mean over all",
    "some": r"Forward: some entries of T alone",
    "shapes": r"Forward: does not run on the example: mat1 and mat2 shapes cannot be multiplied .* "
    r"\(test_lowering_refusals\.py:\d+\)",
}


@pytest.mark.parametrize("what", FORWARDS)
def test_forwards(what: str) -> None:
    with pytest.raises(EvenspikeError, match=FORWARDS[what]):
        import_network(Forward(what), frames(3, 2, 2, 8, 8).float())


def still(*layers: nn.Module, steps: int = 4) -> Any:
    class Still(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.front = nn.Sequential(*layers)
            self.lif = lif()
            self.read = nn.LazyLinear(3)

        def forward(self, x: Tensor) -> Tensor:
            current = self.front(x)
            spikes = self.lif(current.expand(steps, *current.shape))
            return self.read(spikes.flatten(2))

    return Still()


def ramp(low: float, high: float) -> Tensor:
    return torch.linspace(low, high, 2 * 64).reshape(1, 2, 8, 8)


@pytest.mark.parametrize(
    ("module", "example", "options", "reason"),
    [
        (
            still(nn.Conv2d(2, 4, 3)),
            ramp(-1, 1),
            {},
            "the example reaches from -1 to 1; a pixel is",
        ),
        (
            still(nn.Conv2d(2, 4, 3)),
            ramp(0, 255),
            {},
            "a pixel is a byte times 0.003922, so 0 to 1",
        ),
        (still(nn.Conv2d(2, 4, 3)), ramp(0, 1)[0, 0, 0], {}, r"an example of \(8,\)"),
        (still(nn.Conv2d(2, 4, 3)), ramp(0, 1) * torch.nan, {}, "numbers that are not finite"),
        (still(nn.Conv2d(3, 4, 3)), ramp(0, 1), {}, "Still: does not run on the example: Given gr"),
        (still(nn.Conv2d(2, 4, 3), steps=33), ramp(0, 1), {}, "33 timesteps; a Program holds 32"),
        (still(nn.Conv2d(2, 4, 3)), ramp(0, 1), {"timesteps": 5}, "4 timesteps here, 5 elsewhere"),
        (
            still(nn.Conv2d(2, 4, 3)),
            ramp(0, 1),
            {"encoder": "rate"},
            "give it images and timesteps=",
        ),
        (still(nn.Conv2d(2, 4, 3)), ramp(0, 1), {"encoder": "frames"}, "need an axis of timesteps"),
        (still(nn.Conv2d(2, 4, 3)), ramp(0, 1), {"readout": "membrane"}, "gives no membrane"),
        (still(nn.Conv2d(2, 4, 3)), ramp(0, 1), {"names": ["a"]}, "1 names for 2 layers"),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(128, 3)),
            ramp(0, 1),
            {},
            "has no neurons that are k",
        ),
    ],
)
def test_examples(module: nn.Module, example: Tensor, options: Any, reason: str) -> None:
    with pytest.raises(EvenspikeError, match=reason):
        import_network(module, example, **options)


def test_a_mean_taken_off_in_front_of_padding_is_refused() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = still(nn.Conv2d(2, 4, 3, padding=1))

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.inner((x - 0.5) / 0.25)
            return found

    with pytest.raises(
        EvenspikeError, match=r"front\.0 \(Conv2d\): a convolution with padding beh"
    ):
        import_network(Shifted(), ramp(0, 1))


def test_weights_that_are_not_finite_are_named() -> None:
    module = Chain(conv())
    with torch.no_grad():
        module.get_parameter("body.0.weight")[0, 0, 0, 0] = torch.nan
    with pytest.raises(
        EvenspikeError, match=r"body\.0\.weight: holds 1 values that are not finite"
    ):
        import_network(module, frames(3, 2, 2, 8, 8).float())


def test_a_map_at_the_end_is_refused() -> None:
    module = nn.Sequential(Folded(nn.Conv2d(2, 4, 3)), lif(), Folded(nn.Conv2d(4, 3, 3)))
    with pytest.raises(EvenspikeError, match=r"2\.0: the output is a map of \(4, 4\); the last la"):
        import_network(module, frames(3, 2, 2, 8, 8).float())


class Mine(nn.Module):
    """Neurons of somebody's own."""

    def forward(self, x: Tensor) -> Tensor:
        membrane, found = torch.zeros_like(x[0]), []
        for current in x:
            membrane = 0.5 * membrane + current
            found.append((membrane >= 1.0).to(x.dtype))
            membrane = membrane * (membrane < 1.0)
        return torch.stack(found)


class Derived(LIF):
    """Neurons that change what ours do."""

    def forward(self, current: Tensor) -> Tensor:
        return super().forward(2 * current)


def test_a_layer_of_neurons_can_be_registered() -> None:
    def model(neurons: nn.Module) -> nn.Module:
        layers = Folded(nn.Conv2d(2, 4, 3)), neurons, Folded(nn.Flatten(), nn.Linear(144, 3))
        return exact(nn.Sequential(*layers))

    given = frames(4, 2, 2, 8, 8)
    with pytest.raises(EvenspikeError, match=r"1 \(Mine\): a comparison: neurons that forward wri"):
        import_network(model(Mine()), given)
    register(Mine, lambda _module, _where: NeuronModel(0.5))
    mine, ours = (imported(model(one), given, name="net")[1] for one in (Mine(), lif()))
    assert mine == ours
    with pytest.raises(
        EvenspikeError, match=r"1 \(Derived\): it is derived from LIF and changes wh"
    ):
        import_network(model(Derived(LIFParameters(leak=0.5, gain=1.0))), given)


def test_the_module_is_left_as_it_was() -> None:
    module = Chain(conv(padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    import_network(module, frames(3, 2, 2, 8, 8).float())
    assert all(one.training for one in module.modules())
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    again = module(frames(3, 2, 2, 8, 8).float())
    assert again.requires_grad


def test_wrappers_around_a_network_are_looked_through() -> None:
    module = exact(Chain(conv(padding=1)))
    given = frames(3, 2, 2, 8, 8)
    plain = imported(module, given, name="net")[1]
    assert imported(nn.DataParallel(module), given, name="net")[1] == plain
    assert imported(module, given.transpose(0, 1)[:, :, 0].unsqueeze(2).repeat(1, 1, 2, 1, 1)
                    .transpose(0, 1), name="net")[1] == plain  # fmt: skip


def test_a_batch_of_one_image_is_enough() -> None:
    module = still(nn.Conv2d(2, 4, 3)).eval()
    module(torch.zeros(1, 2, 8, 8))  # its lazy layer looks at it
    exact(module)
    with pytest.raises(EvenspikeError, match="Still: does not run"):
        import_network(module, pixels(1, 2, 8, 8))  # bytes where the module wants numbers
    network = import_network(module, pixels(1, 2, 8, 8).double() / 256, scale=1 / 256)
    assert network.inputs.shape == (2, 2, 8, 8)
