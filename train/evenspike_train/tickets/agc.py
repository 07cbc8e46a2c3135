"""Attention-guided compression: a sparse network from its first step on (AGC, Algorithm 1).

The network's twin with ReLU is trained with a random mask of the density asked for, which is
rewired behind every epoch (`rewiring`).  In the first epochs its attention maps are drawn to those
of a meta-model, an uncompressed network that was trained before (`attention`).  Then it is
converted (`networks.conversion`), and trained as a spiking network with its mask held: hybrid
sparse learning.  The first layer and the read-out are left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from evenspike_core.errors import EvenspikeError
from evenspike_train.networks import SpikingNetwork, twin
from evenspike_train.networks.conversion import Conversion, check_convertible
from evenspike_train.tickets import attention, rewiring
from evenspike_train.tickets import masks as weight_masks
from evenspike_train.tickets.base import Method, Probe, RoundReport, WeightMasks, Weights
from evenspike_train.tickets.config import MethodConfig


class AttentionGuided(Method):
    """AGC and hybrid sparse learning.

    Options of its own
    ------------------
    density : share of the weights of the compressed layers that live, in each layer at the start.
    granularity : ``"irregular"`` (single weights of convolutions and linear layers) or
        ``"channel"`` (input channels of convolutions).
    prune_rate : share that is given up; it falls linearly from that at the start to 0 at the end.
    layers : paths of the layers to be compressed, with commas; all but first and last without any.
    meta : folder of the meta-model's run, a network with ReLU; empty for none.
    alpha, guided_epochs, power : of the attention loss: its factor, for how many epochs it is there
        (the paper's epsilon), and the exponent of the maps.
    percentile, threshold_scale, threshold_images, threshold_timesteps : as in `Conversion`.
    """

    name = "agc"
    place = 80
    own_options: ClassVar[Mapping[str, Any]] = {
        "density": 0.1,
        "granularity": "irregular",
        "prune_rate": 0.5,
        "layers": "",
        "meta": "",
        "alpha": 100.0,
        "guided_epochs": 100,
        "power": 2.0,
        "percentile": 99.7,
        "threshold_scale": 0.4,
        "threshold_images": 512,
        "threshold_timesteps": 100,
    }
    on_twin = True
    needs_dense = True
    reads_spikes = True
    watches_epochs = True
    rewires = True
    rewinds = False
    dense_gradients = True

    def __init__(self, config: MethodConfig) -> None:
        super().__init__(config)
        own = {**self.own_options, **config.own}
        self.density: float = own["density"]
        self.granularity: str = own["granularity"]
        self.prune_rate: float = own["prune_rate"]
        self.layers = tuple(one.strip() for one in own["layers"].split(",") if one.strip())
        self.alpha: float = own["alpha"]
        self.guided_epochs: int = own["guided_epochs"]
        self.power: float = own["power"]
        self._own = own
        if not 0.0 < self.density <= 1.0:
            raise ValueError(f"method: density must lie in (0, 1], not {self.density}")
        if self.granularity not in rewiring.GRANULARITIES:
            raise ValueError(
                f"method: granularity must be one of {rewiring.GRANULARITIES}, not "
                f"{self.granularity!r}"
            )
        if not 0.0 <= self.prune_rate < 1.0:
            raise ValueError(f"method: prune_rate must lie in [0, 1), not {self.prune_rate}")
        if self.alpha < 0.0 or self.guided_epochs < 0:
            raise ValueError("method: alpha and guided_epochs must not be negative")
        if self.power < 1.0:
            raise ValueError(f"method: power must be at least 1, not {self.power}")
        try:
            self._conversion = Conversion(
                own["percentile"],
                own["threshold_scale"],
                own["threshold_images"],
                own["threshold_timesteps"],
            )
        except ValueError as error:
            raise ValueError(f"method: of the thresholds {error}") from error
        self._meta: SpikingNetwork | None = None
        self._digest = ""
        self._pairs: list[tuple[int, int]] = []
        self._theirs: list[Tensor] = []
        self._epochs = 0

    @property
    def rounds(self) -> int:
        return 1

    @property
    def conversion(self) -> Conversion:
        return self._conversion

    @property
    def companion(self) -> str:
        return cast("str", self._own["meta"])

    # --- before anything is trained ------------------------------------------------

    def compressed(self, weights: Weights) -> list[str]:
        """Names of the layers that are compressed; raises EvenspikeError for one that is not."""
        names = list(weights)
        fit = {
            name
            for name in names[1:-1]
            if self.granularity == "irregular" or weights[name].dim() == 4
        }
        for name in self.layers:
            if name in (names[0], names[-1]):
                raise EvenspikeError(
                    f"method: layers: {name} is the {'first' if name == names[0] else 'last'} "
                    "layer, which is left alone"
                )
            if name not in fit:
                raise EvenspikeError(
                    f"method: layers: {name} is no layer that can be compressed; there are "
                    f"{', '.join(one for one in names if one in fit)}"
                )
        return [name for name in names if name in (self.layers or fit)]

    def check(self, model: SpikingNetwork, images: Tensor) -> None:
        check_convertible(model)
        weights = weight_masks.originals(model)
        for name in self.compressed(weights):
            units = len(rewiring.as_units(weights[name], self.granularity))
            if not rewiring.living_units(self.density, units):
                what = "weights" if self.granularity == "irregular" else "channels"
                raise EvenspikeError(
                    f"method: density {self.density} leaves none of the {units} {what} of {name}"
                )

    def attend(
        self, companion: SpikingNetwork, digest: str, model: SpikingNetwork, images: Tensor
    ) -> None:
        if not twin.is_twin(companion):
            raise EvenspikeError(
                f"method: meta: {self.companion} holds a spiking network; its attention maps are "
                'those of one with ReLU (activation = "relu")'
            )
        maps: list[list[Tensor]] = [[], []]
        mode = model.training
        with torch.no_grad():
            model.eval()(images, record=maps[0])
            if companion.config.in_channels != images.shape[1]:
                raise EvenspikeError(
                    f"method: meta: {self.companion} takes images of "
                    f"{companion.config.in_channels} channels, not {images.shape[1]}"
                )
            companion.eval()(images, record=maps[1])
        model.train(mode)
        self._pairs = attention.pairs(maps[0], maps[1])
        if not self._pairs:
            sizes = [
                ", ".join(dict.fromkeys(f"{one.shape[2]}x{one.shape[3]}" for one in each))
                for each in maps
            ]
            raise EvenspikeError(
                f"method: meta: no maps of {self.companion} pair with the network's: they are "
                f"{sizes[1]}, its own {sizes[0]}"
            )
        self._meta, self._digest = companion, digest

    def begin(self, weights: Weights, generator: torch.Generator) -> WeightMasks:
        chosen = set(self.compressed(weights))
        masks = {}
        for name, weight in weights.items():
            masks[name] = torch.ones_like(weight, dtype=torch.bool)
            if name in chosen and self.density < 1.0:
                masks[name] = rewiring.draw(weight, self.density, self.granularity, generator)
                # Without a batch norm the currents of a sparse layer would be too small by this.
                weight.data.mul_(float(masks[name].float().mean()) ** -0.5)
        return masks

    # --- in training -------------------------------------------------------------------

    def _guided(self, model: nn.Module) -> bool:
        return self._meta is not None and self._epochs < self.guided_epochs and twin.is_twin(model)

    @torch.no_grad()
    def before_step(self, model: nn.Module, images: Tensor) -> None:
        self._theirs = []
        if self._guided(model):
            record: list[Tensor] = []
            cast("SpikingNetwork", self._meta)(images, record=record)
            self._theirs = [record[index] for _, index in self._pairs]

    def loss_term(self, model: nn.Module, spikes: list[Tensor]) -> Tensor | None:
        if not self._theirs:
            return None
        own = [spikes[index] for index, _ in self._pairs]
        return self.alpha / 2 * attention.distance(own, self._theirs, self.power)

    def after_step(self, model: nn.Module) -> None:
        weight_masks.zero_dead(model)

    def rewire(
        self, weights: Weights, masks: WeightMasks, momentum: Weights, progress: float
    ) -> tuple[WeightMasks, dict[str, float]]:
        self._epochs += 1
        names = self.compressed(weights)
        rate = self.prune_rate * (1 - progress)
        target = 0
        for name in names:
            units = rewiring.as_units(masks[name], self.granularity)
            target += rewiring.living_units(self.density, len(units)) * units.shape[1]
        before = {name: masks[name] for name in names}
        done = rewiring.rewire(weights, before, momentum, rate, self.granularity, target)
        figures = {"rate": rate, "moved": done.moved, "living": done.living}
        return {**masks, **done.masks}, figures

    def update(
        self,
        weights: Weights,
        masks: WeightMasks,
        carried: WeightMasks,
        generator: torch.Generator,
        last: bool,
        probe: Probe,
    ) -> RoundReport:
        names = self.compressed(weights)
        density = sum(int(masks[name].sum()) for name in names) / sum(
            masks[name].numel() for name in names
        )
        return RoundReport(masks, masks, {"density": density})

    def state(self) -> dict[str, Any]:
        return {"epochs": self._epochs, "meta": self._digest}

    def load_state(self, state: Mapping[str, Any], masks: WeightMasks) -> None:
        if state.keys() != {"epochs", "meta"} or type(state["epochs"]) is not int:
            raise ValueError("the number of epochs, or the meta-model's digest, is missing")
        if state["meta"] != self._digest:
            raise ValueError(f"{self.companion or 'no run'} is not the meta-model it began with")
        self._epochs = state["epochs"]
