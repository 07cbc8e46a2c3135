"""What the spiking networks have in common: configuration, building blocks, conventions.

Pixels enter as integers 0...255 and are divided by 256, with no mean subtracted:
batch normalisation absorbs both, zero padding stays exactly zero, and the
exported network can be fed the bytes of the image.

Direct encoding: the first convolution and its batch norm are computed once and
the same current drives the first neurons at every timestep.  From there on time
is folded into the batch, [T*B, C, H, W], and unfolded only inside the neurons.
Batch norm is one ordinary layer shared by all timesteps.  In training its batch
statistics are taken over the timesteps together, or of each by itself as in the
authors' code (`NetworkConfig.batch_norm`); in evaluation there is no difference.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from evenspike_core.errors import EvenspikeError
from evenspike_train.kernels.neuron import LIF, LIFParameters
from evenspike_train.networks.pointwise import Pointwise
from evenspike_train.networks.source import names_a_source

IMAGE_SIZE = 32
PIXEL_SCALE = 256

BATCH_NORMS = ("pooled", "per-timestep")
"""Over what batch norm takes its statistics in training."""

INPUTS = ("direct", "bernoulli")
"""How pixels enter: as currents of the first neurons, or drawn as spikes."""

ACTIVATIONS = ("lif", "relu")
"""What stands behind the currents: spiking neurons, or the ReLU of the network's twin."""

LEARNS = ("both", "leak", "threshold", "none")
"""Parameters of its neurons that a network trains."""

LEARNED = "agc-"
"""How the names of the networks with learned neurons begin."""

NETWORKS: dict[str, type[SpikingNetwork]] = {}
"""The networks by name; the file of each adds its own."""


@dataclass(frozen=True)
class NetworkConfig:
    """What has to be known to build a network.

    Parameters
    ----------
    name : key of `NETWORKS`, or FILE.py:CLASS of a module of the user's (`own.OwnNetwork`).
    width : base width, the filters of the first convolution; 64 is the published network, 8 or
        16 train on a CPU in minutes.
    in_channels, classes : of the data set.
    timesteps : T, how often the neurons are stepped.
    batch_norm : in training over all timesteps together (``"pooled"``), or each by its own
        statistics (``"per-timestep"``), which enter the running ones in their order.
    neuron : of every layer; where neurons are learned, what they begin with.
    input : ``"direct"``, or ``"bernoulli"``: a pixel spikes at each timestep with the probability
        byte / 255, and the exported network has an encoder that does so.
    learns : which of their neurons' parameters the networks of attention-guided compression train:
        ``"both"``, ``"leak"``, ``"threshold"`` or ``"none"``. Others train none.
    dropout, conv_dropout : of the same networks, behind linear layers and behind convolutions that
        no pool follows; an image's silent neurons are silent at every timestep.
    activation : ``"lif"``, or ``"relu"`` for the network's twin, which does not spike: a teacher
        for `finetune`. It has one timestep, and no integer form.
    """

    name: str = "vgg16"
    width: int = 64
    in_channels: int = 1
    classes: int = 10
    timesteps: int = 4
    batch_norm: str = "pooled"
    neuron: LIFParameters = LIFParameters()
    activation: str = "lif"
    input: str = "direct"
    learns: str = "both"
    dropout: float = 0.0
    conv_dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in NETWORKS and not names_a_source(self.name):
            raise ValueError(
                f"network: name must be one of {sorted(NETWORKS)} or FILE.py:CLASS, not "
                f"{self.name!r}"
            )
        for field in ("width", "in_channels", "classes", "timesteps"):
            if getattr(self, field) < 1:
                raise ValueError(f"network: {field} must be at least 1, not {getattr(self, field)}")
        if self.batch_norm not in BATCH_NORMS:
            raise ValueError(
                f"network: batch_norm must be one of {BATCH_NORMS}, not {self.batch_norm!r}"
            )
        if names_a_source(self.name) and self.batch_norm != "pooled":
            raise ValueError(
                f'network: batch_norm must be "pooled" for {self.name}, whose batch norm is its '
                f"own, not {self.batch_norm!r}"
            )
        self._check_input()
        self._check_learned()
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"network: activation must be one of {ACTIVATIONS}, not {self.activation!r}"
            )
        self._check_twin()

    def _check_input(self) -> None:
        """Raise ValueError for an input that there is not, or that the network does not take."""
        if self.input not in INPUTS:
            raise ValueError(f"network: input must be one of {INPUTS}, not {self.input!r}")
        kind = NETWORKS.get(self.name)
        if self.input != "direct" and (kind is None or not kind.takes_spikes):
            raise ValueError(
                f'network: input must be "direct" for {self.name}, which has neurons behind the '
                f"pixels, not {self.input!r}"
            )

    def _check_twin(self) -> None:
        """Raise ValueError for a twin with ReLU that there is not."""
        if self.activation != "relu":
            return
        kind = NETWORKS.get(self.name)
        if kind is None or kind.answers_in_spikes:
            raise ValueError(f"network: {self.name} has no twin with ReLU")
        if self.timesteps != 1:
            raise ValueError(
                f"network: a twin with ReLU has one timestep, not {self.timesteps}: all were alike"
            )
        if self.input != "direct":
            raise ValueError(
                f'network: input must be "direct" for a twin with ReLU, not {self.input!r}: it '
                "takes no spikes"
            )

    def _check_learned(self) -> None:
        """Raise ValueError for what the networks with learned neurons alone have."""
        if self.learns not in LEARNS:
            raise ValueError(f"network: learns must be one of {LEARNS}, not {self.learns!r}")
        for field in ("dropout", "conv_dropout"):
            if not 0.0 <= getattr(self, field) < 1.0:
                raise ValueError(f"network: {field} must lie in [0, 1), not {getattr(self, field)}")
        given = self.learns != "both" or self.dropout or self.conv_dropout
        if given and not self.name.startswith(LEARNED):
            raise ValueError(
                f"network: {self.name} has no learned neurons and no dropout; the networks "
                f"{LEARNED}... have"
            )


class ConvNorm(nn.Module):
    """conv KxK (padded by K // 2) -> batch norm."""

    def __init__(
        self, channels: int, filters: int, kernel: int = 3, stride: int = 1, *, bias: bool = False
    ) -> None:
        super().__init__()
        self.conv = (
            Pointwise(channels, filters, stride, bias=bias)
            if kernel == 1
            else nn.Conv2d(channels, filters, kernel, stride, kernel // 2, bias=bias)
        )
        self.norm = nn.BatchNorm2d(filters)

    def current(self, x: Tensor, parts: int = 1) -> Tensor:
        """Input [N, C, H, W] -> current [N, F, H', W'], before the neuron's own gain.

        parts : of N, as many one after the other, that are normalised each by itself in training.
        """
        x = self.conv(x)
        if parts == 1 or not self.training:
            return self.norm(x)
        return torch.cat([self.norm(part) for part in x.chunk(parts)])


class SpikingConv(ConvNorm):
    """conv -> batch norm -> LIF -> optional 2x2 max-pool.

    Max-pooling spikes is an OR, which is what the accelerator's collector does.
    """

    def __init__(
        self,
        channels: int,
        filters: int,
        neuron: LIFParameters,
        *,
        stride: int = 1,
        bias: bool = False,
        pool: bool = False,
    ) -> None:
        super().__init__(channels, filters, stride=stride, bias=bias)
        self.lif = LIF(neuron)
        self.pool = nn.MaxPool2d(2) if pool else None

    def spikes(self, current: Tensor) -> Tensor:
        """Current [T, B, F, H, W] -> spikes [T*B, F, H, W], not yet pooled."""
        return self.lif(current).flatten(0, 1)

    def pooled(self, spikes: Tensor) -> Tensor:
        """Spikes [N, F, H, W] -> what the next layer sees."""
        return spikes if self.pool is None else self.pool(spikes)


class First(Protocol):
    """The layer that reads pixels, as `SpikingNetwork.encode` has to know it."""

    conv: nn.Conv2d

    def current(self, x: Tensor, parts: int = 1) -> Tensor:
        """As `ConvNorm.current`."""


class SpikingNetwork(nn.Module, ABC):
    """A network of LIF layers and a linear read-out, the `classifier`."""

    classifier: nn.Linear

    #: Side of the still images that it takes.
    image_size: ClassVar[int] = IMAGE_SIZE
    #: Whether recordings may have another side.
    any_recording: ClassVar[bool] = True
    #: Whether it looks at the middle of a larger image, whose margin holds nothing.
    crops: ClassVar[bool] = False
    #: Whether it may be given spikes in the place of pixels.
    takes_spikes: ClassVar[bool] = False
    #: Whether its output's neurons spike, and how often is its answer.
    answers_in_spikes: ClassVar[bool] = False

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        #: May be lowered while a ticket is searched (fewer timesteps, same weights).
        self.timesteps = config.timesteps
        #: What dropout draws from in training; torch's own unless a run sets it for each step.
        self.generator: torch.Generator | None = None

    @abstractmethod
    def forward(self, images: Tensor, record: list[Tensor] | None = None) -> Tensor:
        """Logits of each timestep, [T, B, classes]; their sum over T is the network's answer.

        images : uint8, [B, C, H, W], or frames [B, T, C, H, W], one for each timestep.
        record : collects the spikes of each layer but the last, with their gradients, before its
            pool, in the order of `layer_names`: [T*B, F, H, W], with a map of 1x1 behind a linear
            layer.
        """

    @property
    @abstractmethod
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers in the exported Program, in the order of the forward pass."""

    @property
    def norm_parts(self) -> int:
        """Parts of a batch of [T*B] that batch norm takes one after the other."""
        return self.timesteps if self.config.batch_norm == "per-timestep" else 1

    def encode(self, images: Tensor, first: First) -> Tensor:
        """Current [T, B, F, H, W] of the first layer; of an image it is computed once.

        Raises EvenspikeError for fewer frames than the network has timesteps.
        """
        current = self.drive(images, first)
        if current.dim() == 5:
            return current
        return current.unsqueeze(0).expand(self.timesteps, *current.shape)

    def drive(self, images: Tensor, first: First) -> Tensor:
        """Current of the first layer, [B, F, H, W] of images and [T, B, F, H, W] of frames.

        Raises EvenspikeError as `encode` does.
        """
        steps = self.timesteps
        frames = images.dim() == 5
        if frames:
            if images.shape[1] < steps:
                raise EvenspikeError(f"{images.shape[1]} frames for {steps} timesteps")
            images = images[:, :steps].transpose(0, 1).flatten(0, 1)
        x = images.to(next(self.parameters()).dtype)
        if not (frames and self.config.input == "bernoulli"):  # those are spikes
            x = x / PIXEL_SCALE
        # As the filters are, so that the convolution copies neither.
        last = first.conv.weight.is_contiguous(memory_format=torch.channels_last)
        order = torch.channels_last if last else torch.contiguous_format
        parts = self.norm_parts if frames else 1  # an image is seen once
        current = first.current(x.contiguous(memory_format=order), parts)
        return current.unflatten(0, (steps, -1)) if frames else current


def keep(record: list[Tensor] | None, spikes: Tensor) -> None:
    """Add a layer's spikes to what `SpikingNetwork.forward` was asked to record, if anything."""
    if record is not None:
        record.append(spikes)


def build(config: NetworkConfig) -> SpikingNetwork:
    """A freshly initialised network; the caller seeds torch."""
    if names_a_source(config.name):
        from evenspike_train.networks.own import OwnNetwork  # noqa: PLC0415 - it is one of these

        return OwnNetwork(config)
    model = NETWORKS[config.name](config)
    if config.activation == "relu":
        from evenspike_train.networks import twin  # noqa: PLC0415 - it knows OwnNetwork, too

        twin.to_relu(model)
    return model


def channels_last(model: SpikingNetwork) -> SpikingNetwork:
    """The same model with its filters in channels-last memory.

    What convolutions like best, on a CPU and on a GPU (docs/training-speed.md).
    """
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def prunable(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(name, module) of everything whose weight is pruned: convolutions and linear layers.

    The first convolution, shortcuts and the read-out are included, as in the authors' code;
    biases and batch norm are not.  In the order of the forward pass.
    """
    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            yield name, module
