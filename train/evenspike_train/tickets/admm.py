"""ADMM: connections pruned and weights quantised by alternating direction (ADMM, Algorithms 1-4).

*Comprehensive SNN Compression Using ADMM Optimization and Activity Regularization*. In a phase of
ADMM the loss has a further term, rho / 2 * |W - Z + Y|^2 (Y the scaled multipliers, the paper's
with a tilde): Z is the nearest matrix to W + Y that is as sparse, or of as few levels, as wanted,
and Y sums up how far W is still from it. Then the weights are made so (`hard`), and trained on.

    s            dense -> ADMM for pruning -> mask -> final
    b            dense -> ADMM for quantisation -> levels -> final
    s and b      dense -> ADMM for pruning -> mask -> ADMM for quantisation -> levels -> final

All is done layer by layer; the first and the last layer are left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from evenspike_core.errors import EvenspikeError
from evenspike_train.tickets import masks as weight_masks
from evenspike_train.tickets.base import (
    Method,
    Place,
    Probe,
    RoundReport,
    WeightMasks,
    Weights,
)
from evenspike_train.tickets.compression import memory_left, residual
from evenspike_train.tickets.config import MethodConfig
from evenspike_train.tickets.quan import BITS_MAX, quan

PROJECTIONS = ("latent", "step", "epoch")
"""How weights are kept quantised while they are trained (`HardCompression.projection`)."""

Parts = tuple[str, ...]


class HardCompression(Method):
    """Compression without ADMM: the mask and the levels of the dense weights, and training on.

    The baseline of Table VII. It has the rounds that ADMM has, so that both pass as many images.

    Options of its own
    ------------------
    bits : b, 1 to 8; 0 leaves the weights as they are.
    iterations : I of `quan`.
    layers : names of what is compressed, with commas; all but the first and the last without one.
    projection : of quantised weights in training. ``"latent"``: weights that are not quantised are
        kept beside them, and take the steps that the gradient at the quantised ones says.
        ``"step"``: they are quantised anew behind every step, as the paper writes it; ``"epoch"``:
        behind every epoch.
    """

    name = "hard"
    place = 75
    options = frozenset({"sparsity"})
    own_options: ClassVar[Mapping[str, Any]] = {
        "bits": 0,
        "iterations": 3,
        "layers": "",
        "projection": "latent",
    }
    rewinds = False
    needs_dense = True

    def __init__(self, config: MethodConfig) -> None:
        super().__init__(config)
        own = config.own
        self.bits, self.iterations = int(own["bits"]), int(own["iterations"])
        self.projection = str(own["projection"])
        if not 0 <= self.bits <= BITS_MAX:
            raise ValueError(
                f"method: bits must be 0, for none, or lie between 1 and {BITS_MAX}, not "
                f"{self.bits}"
            )
        if self.iterations < 1:
            raise ValueError(f"method: iterations must be at least 1, not {self.iterations}")
        if self.projection not in PROJECTIONS:
            raise ValueError(
                f"method: projection must be one of {PROJECTIONS}, not {self.projection!r}"
            )
        if not self.bits and not config.sparsity:
            raise ValueError(
                f"method: {config.name} compresses nothing; give it a sparsity, or bits"
            )
        #: What is still to come, or has been: a round of ADMM for each.
        parts = (("prune", config.sparsity), ("quantise", self.bits))
        self.parts: Parts = tuple(part for part, wanted in parts if wanted)
        self.layers: tuple[str, ...] = ()
        self.updates_done = 0
        self.latent: dict[str, Tensor] = {}
        self.given: dict[str, Tensor] = {}  # the quantised weights that the last step began with
        self.alphas: dict[str, float] = {}

    @property
    def acts_in_steps(self) -> bool:
        """Not in the dense phase: it is that of every other method."""
        return False

    @property
    def rounds(self) -> int:
        return len(self.parts) + 1

    def check_layers(self, sizes: Mapping[str, int]) -> None:
        names = list(sizes)
        given = str(self.config.own["layers"]).split(",")
        wanted = list(dict.fromkeys(name.strip() for name in given))
        inner = names[1:-1]
        for name in wanted if wanted != [""] else ():
            if name in (names[0], names[-1]):
                which = "first" if name == names[0] else "last"
                raise EvenspikeError(
                    f"method: layers: {name} is the {which} layer, which is not compressed"
                )
            if name not in inner:
                raise EvenspikeError(
                    f"method: layers: there is no {name!r}; there are {', '.join(inner)}"
                )
        self.layers = tuple(inner if wanted == [""] else wanted)
        if not self.layers:
            raise EvenspikeError(
                f"method: {self.config.name}: the network has no layer between its first and its "
                "last"
            )
        for name in self.layers:
            if kept(sizes[name], self.config.sparsity) == 0:
                raise EvenspikeError(
                    f"method: sparsity {self.config.sparsity} leaves none of the {sizes[name]} "
                    f"weights of {name}, as each layer is pruned by itself"
                )

    def update(
        self,
        weights: Weights,
        masks: WeightMasks,
        carried: WeightMasks,
        generator: torch.Generator,
        last: bool,
        probe: Probe,
    ) -> RoundReport:
        self.updates_done += 1
        if self.updates_done == 1:
            masks = self._pruned(weights, masks) if "prune" in self.parts else masks
            self._begin_levels(weights, masks)
        return RoundReport(masks, masks, {})

    def _begin_levels(self, weights: Weights, masks: WeightMasks) -> None:
        """From now on what lives is kept quantised, if that is asked for."""
        if "quantise" in self.parts:
            for name in self.layers:
                self.latent[name] = (weights[name] * masks[name]).clone()
                self._quantise(name, weights[name])

    def _pruned(self, weights: Weights, masks: WeightMasks) -> WeightMasks:
        """Masks with the largest weights of each layer."""
        found = dict(masks)
        for name in self.layers:
            found[name] = largest(weights[name], self.config.sparsity)
        return found

    def _quantise(self, name: str, weight: Tensor) -> None:
        """Set a weight to the levels that its latent one is nearest to."""
        latent = self.latent[name]
        found = quan(latent, self.bits, self.iterations, self.alphas.get(name, 0.0))
        self.alphas[name] = found.alpha
        self.given[name] = found.weights
        weight.copy_(found.weights)

    def after_step(self, model: nn.Module) -> None:
        if not self.latent or self.projection == "epoch":
            return
        masks = weight_masks.read(model)
        for name, weight in weight_masks.originals(model).items():
            if name not in self.latent:
                continue
            if self.projection == "latent":
                # What the step has added to the quantised weight, the latent one gets.
                self.latent[name] += (weight - self.given[name]) * masks[name]
            else:
                self.latent[name] = weight * masks[name]
            self._quantise(name, weight)

    @torch.no_grad()
    def progressed(self, model: nn.Module, at: Place) -> dict[str, Any]:
        if self.latent and self.projection == "epoch" and (at.epoch_ended or at.step == at.steps):
            masks = weight_masks.read(model)
            for name, weight in weight_masks.originals(model).items():
                if name in self.latent:
                    self.latent[name] = weight * masks[name]
                    self._quantise(name, weight)
        return {}

    def finish(self, weights: Weights, masks: WeightMasks) -> WeightMasks:
        """A weight that is quantised to 0 is a connection less."""
        if "quantise" not in self.parts:
            return masks
        return {
            name: mask & (weights[name] != 0) if name in self.layers else mask
            for name, mask in masks.items()
        }

    def memory(self, masks: WeightMasks) -> float:
        kept = memory_left(self.config.sparsity, self.bits)
        inner = {name: mask.numel() for name, mask in list(masks.items())[1:-1]}
        left = sum(kept * n if name in self.layers else n for name, n in inner.items())
        return left / max(1, sum(inner.values()))

    def residual(self, masks: WeightMasks, rate: float, dense_rate: float) -> dict[str, float]:
        """R_mem, R_s and R_ops; none where the dense network does not spike."""
        if dense_rate <= 0:
            return {}
        return residual(masks, self.layers, self.memory(masks), rate, dense_rate).figures()

    # --- to be resumed -----------------------------------------------------------

    def state(self) -> dict[str, Any]:
        return {
            "updates": self.updates_done,
            "latent": self.latent,
            "given": self.given,
            "alphas": self.alphas,
        }

    def load_state(self, state: Mapping[str, Any], masks: WeightMasks) -> None:
        wanted = self.state()
        if state.keys() != wanted.keys():
            raise ValueError(f"{self.config.name} keeps {sorted(wanted)}, not {sorted(state)}")
        if type(state["updates"]) is not int or not 0 <= state["updates"] <= self.rounds:
            raise ValueError(f"{state['updates']!r} updates of {self.rounds}")
        for key in wanted.keys() - {"updates", "alphas"}:
            _check_tensors(key, state[key], masks, self.layers)
        alphas = state["alphas"]
        if not isinstance(alphas, dict) or not all(type(one) is float for one in alphas.values()):
            raise ValueError("alphas are not numbers by layer")
        self.updates_done, self.alphas = state["updates"], dict(alphas)
        for key in wanted.keys() - {"updates", "alphas"}:
            setattr(self, key, dict(state[key]))


class Admm(HardCompression):
    """Compression by ADMM, then hard.

    Options of its own, besides those of `HardCompression`
    ------------------------------------------------------
    rho : the penalty's coefficient.
    updates : of Z and Y in each phase of ADMM, evenly spread; 0 means one behind every epoch.
    """

    name = "admm"
    place = 76
    needs_rounds = True
    own_options: ClassVar[Mapping[str, Any]] = {
        **HardCompression.own_options,
        "rho": 5e-4,
        "updates": 0,
    }

    def __init__(self, config: MethodConfig) -> None:
        super().__init__(config)
        self.rho, self.updates = float(config.own["rho"]), int(config.own["updates"])
        for key in ("rho", "updates"):
            if getattr(self, key) < 0:
                raise ValueError(f"method: {key} must not be negative: {getattr(self, key)}")
        self.z: dict[str, Tensor] = {}
        self.y: dict[str, Tensor] = {}

    @property
    def part(self) -> str:
        """What the phase in training works on, "prune" or "quantise"; "" in other phases."""
        return self.parts[self.updates_done - 1] if 0 < self.updates_done < self.rounds else ""

    def update(
        self,
        weights: Weights,
        masks: WeightMasks,
        carried: WeightMasks,
        generator: torch.Generator,
        last: bool,
        probe: Probe,
    ) -> RoundReport:
        before, self.z, self.y = self.part, {}, {}
        self.updates_done += 1
        found = dict(masks)
        if before == "prune":  # the mask stays, whatever the weights become behind it
            found = self._pruned(weights, masks)
        if last:
            self._begin_levels(weights, found)
        if self.part:
            for name in self.layers:
                weight = weights[name] * found[name]
                self.z[name], self.y[name] = self._projected(weight), torch.zeros_like(weight)
        return RoundReport(found, found, {})

    def _projected(self, v: Tensor) -> Tensor:
        """The nearest matrix that is as sparse, or of as few levels, as wanted (Eqs. 11 and 13)."""
        if self.part == "prune":
            return v * largest(v, self.config.sparsity)
        return quan(v, self.bits, self.iterations).weights

    def loss_term(self, model: nn.Module, spikes: list[Tensor]) -> Tensor | None:
        if not self.z:
            return None
        masks = weight_masks.read(model)
        originals = weight_masks.originals(model)
        terms = [
            (originals[name] * masks[name] - self.z[name] + self.y[name]).square().sum()
            for name in self.layers
        ]
        return torch.stack(terms).sum() * (self.rho / 2)

    @torch.no_grad()
    def progressed(self, model: nn.Module, at: Place) -> dict[str, Any]:
        if not self.z:
            return super().progressed(model, at)
        due = at.epoch_ended or at.step == at.steps
        if self.updates:
            due = at.step * self.updates // at.steps > (at.step - 1) * self.updates // at.steps
        if not due:
            return {}
        masks, originals = weight_masks.read(model), weight_masks.originals(model)
        apart: dict[str, float] = {}
        shapes: dict[str, Any] = {}
        for name in self.layers:
            weight = originals[name] * masks[name]
            self.z[name] = self._projected(weight + self.y[name])
            self.y[name] = self.y[name] + weight - self.z[name]
            apart[name] = float((weight - self.z[name]).norm() / weight.norm().clamp_min(1e-30))
            shapes[name] = histograms(weight, self.z[name], self.y[name], masks[name])
        return {"part": self.part, "apart": apart, "histograms": shapes}

    def state(self) -> dict[str, Any]:
        return {**super().state(), "z": self.z, "y": self.y}


def kept(count: int, sparsity: float) -> int:
    """Weights of so many that are left at a sparsity; none too many."""
    return int(count * (1 - sparsity) + 1e-6)


def largest(v: Tensor, sparsity: float) -> Tensor:
    """Mask, of the shape of `v`, of its entries that are largest in size; the first of equals."""
    order = v.abs().flatten().sort(descending=True, stable=True).indices
    mask = torch.zeros(v.numel(), dtype=torch.bool, device=v.device)
    mask[order[: kept(v.numel(), sparsity)]] = True
    return mask.view(v.shape)


BINS = 61


def histograms(w: Tensor, z: Tensor, y: Tensor, mask: Tensor) -> dict[str, Any]:
    """How the living entries of W, Z and Y are distributed (Figure 4), in `BINS` equal bins.

    `reach` is the largest |W|, and the bins go from -reach to reach; what is beyond, of Y or Z,
    is counted in the last ones.
    """
    reach = float((w * mask).abs().max())
    found: dict[str, Any] = {"reach": reach}
    for name, values in (("w", w), ("z", z), ("y", y)):
        inside = values[mask].float().clamp(-reach, reach).cpu()
        found[name] = torch.histc(inside, BINS, -reach, reach or 1.0).int().tolist()
    return found


def _check_tensors(key: str, given: Any, masks: WeightMasks, layers: Parts) -> None:
    """Raise ValueError unless these are tensors of the compressed layers, or none."""
    if not isinstance(given, dict) or (given and given.keys() != set(layers)):
        raise ValueError(f"{key} is of other layers")
    for name, tensor in given.items():
        if (
            not isinstance(tensor, Tensor)
            or tensor.shape != masks[name].shape
            or not tensor.is_floating_point()
            or not bool(tensor.isfinite().all())
        ):
            raise ValueError(f"{key} of {name} does not fit it")
