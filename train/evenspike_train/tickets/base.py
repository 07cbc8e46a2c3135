"""The interface of a pruning method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from evenspike_train.networks import SpikingNetwork
from evenspike_train.networks.conversion import Conversion
from evenspike_train.tickets.config import MethodConfig
from evenspike_train.tickets.registry import METHODS

LADDER = frozenset({"rounds", "rate", "scope", "snapshot", "sparsity"})
"""Options of a method that prunes in rounds."""

BALANCE = frozenset({"level", "remove", "recover"})
"""Options of a method that balances, whatever else it does."""

ANY_BALANCE = BALANCE | {"balance", "exchange"}
"""Options of a method for which a balance is one."""

EARLY_TIME = frozenset(
    {"early_time", "early_time_images", "early_time_logits", "early_timesteps", "divergence"}
)
"""Options of a method that may search with fewer timesteps."""

WeightMasks = dict[str, Tensor]
"""A boolean tensor for each prunable layer, of its weights' shape: True where a weight lives."""

Weights = Mapping[str, Tensor]
"""The weights of each prunable layer, in forward order."""


@dataclass(frozen=True)
class WeightWork:
    """Cycles that the weights of a convolution take where active neurons match them.

    expected : mean of an image, float64 [channels, K, K].
    windows : in each of many windows (one input row of one image each), whole numbers,
        float64 [windows, channels, K, K].
    """

    expected: Tensor
    windows: Tensor


class Probe(ABC):
    """The measurements that a method may make on the network as it is, on training images."""

    @abstractmethod
    def saliency(self, images: int) -> dict[str, Tensor]:
        """|dL/dw * w| of every prunable weight, by layer, over so many images."""

    @abstractmethod
    def weight_work(self) -> dict[str, WeightWork]:
        """Work of the weights of each convolution that reads spikes."""


@dataclass(frozen=True)
class RoundReport:
    """The result of one mask update: the new masks and what to log about them."""

    masks: WeightMasks
    #: Weights outside of these do not outlive the next update, whatever they become until then.
    carried: WeightMasks
    #: Numbers for the log, by name.
    figures: dict[str, float]


@dataclass(frozen=True)
class Place:
    """Where a run is, behind a step.

    phase : 0 for the dense phase, k for round k, the number of the last for the final phase.
    step, steps : of the phase that are done, and that it has.
    epoch_ended : whether the step was the last of an epoch.
    """

    phase: int
    step: int
    steps: int
    epoch_ended: bool


class Method(ABC):
    """Schedule of rounds x mask update x rewind.

    A method is one class: it carries its name, what the ``[method]`` table of a recipe may say to
    it, and what it does at each step, epoch and round. `registry` says how other packages add
    theirs.
    """

    #: As recipes have it; a class without one is no method, but what some have in common.
    name: ClassVar[str] = ""
    #: Keys of `MethodConfig` that it takes, besides `name` and `pes`.
    options: ClassVar[frozenset[str]] = frozenset()
    #: Further keys of the table, with their defaults; in `config.own`.
    own_options: ClassVar[Mapping[str, Any]] = {}
    #: What it always makes even, "weights" or "cycles"; empty where `balance` is an option.
    balances: ClassVar[str] = ""
    #: Where it stands in a comparison of methods, the lower the further in front.
    place: ClassVar[int] = 100
    #: Whether the time of its search is worth comparing.
    searches: ClassVar[bool] = False
    #: Whether `loss_term` reads the spikes of the layers.
    reads_spikes: ClassVar[bool] = False
    #: Prunes the network as it is initialised: there is no dense phase.
    at_initialisation: ClassVar[bool] = False
    #: Needs images in the dense phase: it searches there, or compresses what was trained.
    needs_dense: ClassVar[bool] = False
    #: Needs images in its rounds: what it does between two updates is in its loss.
    needs_rounds: ClassVar[bool] = False
    #: Prunes once, to the recipe's sparsity; the others climb a ladder of rounds.
    prunes_once: ClassVar[bool] = False
    #: Looks at the weights after every epoch of the dense phase.
    watches_epochs: ClassVar[bool] = False
    #: Searches on the network's twin with ReLU instead of spiking neurons.
    on_twin: ClassVar[bool] = False
    #: Moves weights behind every epoch of the dense phase (`rewire`), which it `watches_epochs`.
    rewires: ClassVar[bool] = False
    #: In front of the final phase dead weights have a gradient, and so a momentum, like others.
    dense_gradients: ClassVar[bool] = False
    #: Can go on from the masks of a finished ticket.
    from_start: ClassVar[bool] = False
    #: Whether the recipe's `rewind` is for it: others keep the weights at every update.
    rewinds: ClassVar[bool] = True

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "name" in cls.__dict__:
            METHODS[cls.name] = cls

    def __init__(self, config: MethodConfig) -> None:
        self.config = config

    @property
    def rounds(self) -> int:
        """Number of mask updates; the dense phase comes before the first."""
        return self.config.rounds

    @abstractmethod
    def update(
        self,
        weights: Weights,
        masks: WeightMasks,
        carried: WeightMasks,
        generator: torch.Generator,
        last: bool,
        probe: Probe,
    ) -> RoundReport:
        """Masks after one round.

        ``weights`` are the unmasked values after training, ``masks`` those that the round was
        trained with, ``carried`` what the previous report carried, all by layer in forward order;
        ``last`` says that no further round follows.  Every random choice comes from ``generator``.
        """

    @property
    def companion(self) -> str:
        """Folder of a finished run whose network it looks at in training; empty for none."""
        return ""

    @property
    def conversion(self) -> Conversion | None:
        """How the twin becomes a spiking network in front of the final phase; None: as it is."""
        return None

    def check(self, model: SpikingNetwork, images: Tensor) -> None:  # noqa: B027 - most take any
        """Raise EvenspikeError for a network that it cannot prune; images, uint8, are a few."""

    def attend(  # noqa: B027 - most have no companion
        self, companion: SpikingNetwork, digest: str, model: SpikingNetwork, images: Tensor
    ) -> None:
        """Take the companion's network, and the digest of what it was read from.

        Raises EvenspikeError for one that does not fit the run's own network, `model`.
        """

    def begin(self, weights: Weights, generator: torch.Generator) -> WeightMasks | None:
        """The masks with which a run begins, None for whole ones; may change weights in place."""
        return None

    def before_step(self, model: nn.Module, images: Tensor) -> None:  # noqa: B027 - most do nothing
        """Called in front of each step with its images, uint8."""

    @property
    def acts_in_steps(self) -> bool:
        """Whether it changes what a step does, so that even a dense phase is its own."""
        hooks = ("begin", "before_step", "loss_term", "after_step", "progressed")
        return any(getattr(type(self), hook) is not getattr(Method, hook) for hook in hooks)

    def rewire(
        self, weights: Weights, masks: WeightMasks, momentum: Weights, progress: float
    ) -> tuple[WeightMasks, dict[str, float]]:
        """New masks behind an epoch of the dense phase, and figures for the log, if it `rewires`.

        momentum : of every weight. progress : share of the phase that is done.
        """
        return masks, {}

    def loss_term(self, model: nn.Module, spikes: list[Tensor]) -> Tensor | None:
        """What a step adds to its loss, or None.

        spikes : as `SpikingNetwork.forward` records them, with gradients; empty unless
            `reads_spikes` is true.
        """
        return None

    def after_step(self, model: nn.Module) -> None:  # noqa: B027 - most do nothing
        """Called behind each step of the optimiser; may change weights in place."""

    def progressed(self, model: nn.Module, at: Place) -> dict[str, Any]:
        """Called behind each step, after `after_step`; figures for the log, if there are any."""
        return {}

    def finish(self, weights: Weights, masks: WeightMasks) -> WeightMasks:
        """Masks of the ticket, when all phases are over."""
        return masks

    def memory(self, masks: WeightMasks) -> float:
        """R_mem: the memory that weights keep, as a share (ADMM, Eq. 16).

        Of the layers between the first and the last; of a method that prunes only, what lives.
        """
        inner = list(masks.values())[1:-1]
        return sum(int(mask.sum()) for mask in inner) / max(1, sum(mask.numel() for mask in inner))

    def residual(self, masks: WeightMasks, rate: float, dense_rate: float) -> dict[str, float]:
        """Figures of the ticket beside the dense network, by the firing rates of both."""
        return {}

    def check_layers(self, sizes: Mapping[str, int]) -> None:
        """Raise EvenspikeError for options that do not fit the network.

        sizes : number of weights of each prunable layer, in forward order.
        """
        return

    def after_epoch(self, weights: Weights, masks: WeightMasks) -> dict[str, Any]:
        """Figures of an epoch of the dense phase; ``"stop"`` among them, true, ends the phase."""
        return {}

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs to go on: tensors, numbers, lists."""
        return {}

    def load_state(self, state: Mapping[str, Any], masks: WeightMasks) -> None:
        """Take back what `state` gave; ValueError for what does not fit `masks`."""
        if state:
            raise ValueError(f"{self.config.name} keeps no state, but there is {sorted(state)}")
