"""What has no integer form is refused by name, with the line of `forward` and what would do."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor, nn

from evenspike_core.errors import EvenspikeError
from evenspike_train.kernels.neuron import LIF, LIFParameters, Spike
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
    (
        lambda: [conv(stride=3)],
        r"body\.0: stride 3 of rows and 3 of columns; .* are possible \(lowered\.py:\d+\)",
    ),
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
        neuron = LIFParameters()
        fired: Tensor = Spike.apply(self.conv(spikes) - 1.0, neuron)  # type: ignore[no-untyped-call]
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
    "surrogate": r"Forward: Spike is a function with a derivative of its own",
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


class Looking(nn.Module):
    """A forward pass that goes two ways, by what a function says of its activations."""

    def __init__(self, look: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.look = look
        self.conv, self.one = Folded(nn.Conv2d(2, 2, 3, padding=1)), lif()
        self.read = nn.Linear(128, 3)

    def forward(self, x: Tensor) -> Tensor:
        spikes = self.one(self.conv(x))
        if self.look(spikes):
            spikes = spikes * 2
        found: Tensor = self.read(spikes.flatten(2))
        return found


LOOKS: dict[str, Callable[[Tensor], Any]] = {
    "equal": lambda y: torch.equal(y, torch.zeros_like(y)),
    "allclose": lambda y: torch.allclose(y, torch.zeros_like(y)),
    "is_nonzero": lambda y: torch.is_nonzero(y.sum()),
    "contains": lambda y: 1.0 in y,
    "nonzero": lambda y: torch.nonzero(y).shape[0] > 10,
    "getitem": lambda y: y[y > 0].numel() > 10,
    "unique": lambda y: torch.unique(y).numel() == 2,
    "masked_select": lambda y: y.masked_select(y.bool()).numel() > 10,
    "argwhere": lambda y: len(torch.argwhere(y)),
    "complex": lambda y: complex(y.sum()).real > 0,
    "format": lambda y: "1" in f"{y.sum()}",
    "repr": lambda y: "1" in repr(y),
    "dlpack": lambda y: np.from_dlpack(y.detach()).sum() > 0,
    "numpy": lambda y: y.detach().numpy().sum() > 0,
    "array": lambda y: np.asarray(y.detach()).sum() > 0,
    "tolist": lambda y: y.flatten().tolist()[0] > 0,
    "untyped_storage": lambda y: bytes(y.untyped_storage())[7],
    "to_sparse": lambda y: y.to_sparse()._nnz() > 10,
    "bool": lambda y: sum(1 for one in y.flatten() if one),
    "int": lambda y: int(torch.count_nonzero(y)),
}


@pytest.mark.parametrize("what", LOOKS)
def test_what_depends_on_the_numbers_of_an_activation(what: str) -> None:
    message = rf"Looking: forward takes the numbers of an activation \({what}\) at test_lowering_re"
    with pytest.raises(EvenspikeError, match=message):
        import_network(Looking(LOOKS[what]), frames(3, 2, 2, 8, 8).float())


def test_what_depends_on_them_is_refused_though_forward_catches_it() -> None:
    def look(y: Tensor) -> bool:
        try:
            return bool(y.any())
        except EvenspikeError:
            return False

    with pytest.raises(
        EvenspikeError, match=r"the numbers of an activation \(bool\) at test_lower"
    ):
        import_network(Looking(look), frames(3, 2, 2, 8, 8).float())


KINDS: list[Callable[[Tensor], Any]] = [
    lambda y: y.shape[0] > 2 and len(y) > 2 and y.size(1) and y.numel() and y.dim() and y.stride(),
    lambda y: y.is_floating_point() and y.is_contiguous() and y.dtype == torch.float32,
    lambda y: y.type() == "torch.FloatTensor" and {y: 1} and y.element_size() and y.data_ptr(),
    lambda y: torch.is_tensor(y) and torch.numel(y) and torch.result_type(y, y),
    lambda y: len(y.unbind(0)) + sum(1 for _ in y),
]


@pytest.mark.parametrize("look", KINDS)
def test_shapes_and_types_are_no_numbers(look: Callable[[Tensor], Any]) -> None:
    import_network(Looking(look), frames(3, 2, 2, 8, 8).float())


class Edited(nn.Module):
    """A forward pass that changes what it has in place, draws, or makes constants."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.one = Folded(nn.Conv2d(2, 4, 3, padding=1)), lif()
        self.next, self.two = Folded(nn.Conv2d(4, 4, 3, padding=1)), lif()
        self.read = nn.Linear(256, 3)
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        current = self.change(self.next(self.one(self.conv(x))))
        found: Tensor = self.read(self.two(current).flatten(2))
        return found


def _written(z: Tensor) -> Tensor:
    buffer = torch.zeros_like(z)
    buffer[:, :, 0].copy_(z[:, :, 0])
    return buffer


def _half_written(z: Tensor) -> Tensor:
    buffer = torch.zeros_like(z)
    buffer[0] = z[0]
    return buffer


EDITS: list[tuple[Callable[[Tensor], Tensor], str]] = [
    (lambda z: (z, z[:, :, :2].mul_(0))[0], "it was changed in place through another view"),
    (lambda z: (z, z.view(z.shape).mul_(3))[0], "it was changed in place through another view"),
    (lambda z: (z, z.data.mul_(3))[0], "it was changed in place through another view"),
    (lambda z: (z, z.detach().zero_())[0], "it was changed in place through another view"),
    (lambda z: (z.view(z.shape), z.mul_(3))[0], "it was changed in place through another view"),
    (_written, "a tensor of which a part was written"),
    (_half_written, "a tensor of which a part was written"),
]


@pytest.mark.parametrize(("change", "reason"), EDITS)
def test_what_is_changed_through_a_view(change: Callable[[Tensor], Tensor], reason: str) -> None:
    message = rf"two \(LIF\): {reason} \(test_lowering_refusals\.py:\d+\)"
    with pytest.raises(EvenspikeError, match=message):
        import_network(Edited(change), frames(3, 2, 2, 8, 8).float())


def test_spikes_are_kept_as_they_were_when_they_are_changed_in_place() -> None:
    class Doubled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.one = Folded(nn.Conv2d(2, 4, 3, padding=1)), lif()
            self.read = nn.Linear(256, 3)

        def forward(self, x: Tensor) -> Tensor:
            spikes = self.one(self.conv(x))
            spikes *= 0.5
            found: Tensor = self.read(spikes.flatten(2))
            return found

    imported(exact(Doubled()), frames(3, 2, 2, 8, 8))


GENERATOR = torch.Generator()
DRAWS: list[tuple[Callable[[Tensor], Tensor], str]] = [
    (lambda z: z + torch.randn(1), "randn"),
    (nn.functional.dropout, "dropout"),
    (lambda z: z + torch.rand_like(z), "rand_like"),
    (lambda z: z * float(np.random.rand()), "mul"),  # noqa: NPY002
    (lambda z: z * random.random(), "mul"),
    (lambda z: z + torch.rand(1, generator=GENERATOR), "rand"),
]


@pytest.mark.parametrize(("change", "name"), DRAWS)
def test_what_draws(change: Callable[[Tensor], Tensor], name: str) -> None:
    message = rf"Edited: forward draws random numbers \({name}\) at test_lowering_refusals\.py:\d+"
    with pytest.raises(EvenspikeError, match=message):
        import_network(Edited(change), frames(3, 2, 2, 8, 8).float())


CONSTANTS: list[Callable[[Tensor], Tensor]] = [
    lambda z: torch.zeros(z.shape).to(z),
    lambda z: torch.zeros(z.shape).type_as(z),
    lambda z: torch.zeros(1, dtype=z.dtype).expand_as(z).clone(),
    lambda z: z.new_zeros(z.shape),
    lambda z: torch.zeros(z.numel(), dtype=z.dtype).view_as(z),
]


@pytest.mark.parametrize("zeros", CONSTANTS)
def test_constants_of_an_activation_s_type_or_shape(zeros: Callable[[Tensor], Tensor]) -> None:
    def change(z: Tensor) -> Tensor:
        total = zeros(z)
        total += z
        return total + zeros(z)

    imported(exact(Edited(change)), frames(3, 2, 2, 8, 8))


def test_timesteps_written_into_a_tensor_of_an_activation_s_type() -> None:
    def change(z: Tensor) -> Tensor:
        buffer = torch.zeros(z.shape).to(z)
        for t in range(len(z)):
            buffer[t - len(z)] = z[t]
        return buffer

    imported(exact(Edited(change)), frames(3, 2, 2, 8, 8))


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


def unit_images() -> np.ndarray[Any, Any]:
    return pixels(3, 2, 8, 8).numpy() / 255


EXAMPLES: list[Callable[[], Any]] = [
    lambda: unit_images().astype(">f4"),
    lambda: unit_images().astype(np.longdouble),
    lambda: unit_images()[:, :, ::-1, ::-1],
    lambda: np.asfortranarray(unit_images()),
    lambda: unit_images().tolist(),
    lambda: torch.from_numpy(unit_images()).to_sparse(),
    lambda: torch.from_numpy(unit_images()).requires_grad_(),
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_in_any_memory(example: Callable[[], Any]) -> None:
    network = import_network(still(nn.Conv2d(2, 4, 3)), example())
    given = pixels(3, 2, 8, 8).numpy()
    assert np.array_equal(network.inputs, given) or np.array_equal(
        network.inputs, given[:, :, ::-1, ::-1]
    )


@pytest.mark.parametrize("kind", [">u2", "<u4", "<u8", ">i8", "<i2"])
def test_bytes_in_wider_integers(kind: str) -> None:
    class Floats(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = still(nn.Conv2d(2, 4, 3))

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.inner(x.float() / 255)
            return found

    given = pixels(3, 2, 8, 8).numpy()
    with pytest.raises(EvenspikeError, match="Floats: the example reaches from "):
        import_network(Floats(), given.astype(kind))
    network = import_network(Floats(), given.astype(kind), scale=1)
    np.testing.assert_array_equal(network.inputs, given)


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        (lambda: "abc", "Still: an example that is a str; a tensor or an array of numbers is nee"),
        (lambda: None, "Still: an example that is a NoneType; a tensor or an array of numbers"),
        (lambda: [[1, 2], [3]], "Still: an example that is a list; a tensor or an array of numb"),
        (lambda: ramp(0, 1).to("meta"), "Still: the example is on device meta, where it has no n"),
        (lambda: ramp(0, 1) * 1j, "Still: an example of torch.complex64, not of real numbers"),
        (lambda: ramp(0, 1).numpy() * 1j, "Still: an example of complex64, not of real numbers"),
        (lambda: ramp(0, 1).numpy().astype(object), "Still: an example of object, not of real n"),
        (lambda: np.array(3.0), r"Still: an example of \(\); "),
        (lambda: ramp(0, 1)[:0], "Still: the example is empty"),
    ],
)
def test_examples_that_hold_no_numbers(example: Callable[[], Any], reason: str) -> None:
    with pytest.raises(EvenspikeError, match=reason) as caught:
        import_network(still(nn.Conv2d(2, 4, 3)), example())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"encoder": "foo"}, "encoder: 'foo'; there are direct, rate, latency, frames"),
        ({"readout": "foo"}, "readout: 'foo'; there are psum, count, membrane"),
        ({"timesteps": 0}, "timesteps: 0; 1 to 32 are possible"),
        ({"timesteps": "4"}, "timesteps: '4' is no whole number"),
        ({"scale": -1.0}, "scale: -1.0; a number above 0 is needed"),
        ({"scale": "1"}, "scale: 1; a number above 0 is needed"),
        ({"time_axis": 2}, "time_axis: 2; 0 or 1"),
        ({"seed": -1}, "seed: -1; 0 or more"),
    ],
)
def test_options_that_cannot_be(options: Any, reason: str) -> None:
    with pytest.raises(EvenspikeError, match=reason):
        import_network(still(nn.Conv2d(2, 4, 3)), ramp(0, 1), **options)


@pytest.mark.parametrize(("module", "kind"), [(None, "NoneType"), (Looking, "Looking"), (3, "int")])
def test_what_is_no_module(module: Any, kind: str) -> None:
    with pytest.raises(EvenspikeError, match=f"{kind}: no torch.nn.Module that has been made"):
        import_network(module, ramp(0, 1))


class TwoReaders(nn.Module):
    """Two layers of neurons that read the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.one = nn.Conv2d(2, 4, 3), lif()
        self.right, self.two = nn.Conv2d(2, 4, 3), lif()
        self.read = nn.Linear(144, 3)

    def forward(self, x: Tensor) -> Tensor:
        left = self.one(self.left(x).expand(4, -1, -1, -1, -1))
        right = self.two(self.right(x).expand(4, -1, -1, -1, -1))
        found: Tensor = self.read((left + right).flatten(2))
        return found


def test_what_is_found_when_layers_are_assembled_has_its_line_too() -> None:
    message = r"two: a second layer reads the pixels .* \(test_lowering_refusals\.py:\d+\)"
    with pytest.raises(EvenspikeError, match=message) as caught:
        import_network(TwoReaders(), ramp(0, 1))
    line = int(str(caught.value).rpartition(":")[2].rstrip(")"))
    assert "self.two(" in Path(__file__).read_text(encoding="utf-8").splitlines()[line - 1]
