"""The three balances on one trained network and the same spikes: what the hardware counts.

    python -m benchmarks.balances [SEEDS]

Nothing is trained between them, so nothing but the masks differs: the shipped vgg16-small, pruned
by half by magnitude, layer by layer, then left so, or balanced by numbers of weights or by cycles.
The machine selects one weight a cycle, as the expected cost counts them.
"""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evenspike.flows import models
from evenspike_core import data as dataset
from evenspike_core import mapping, reference
from evenspike_core.arch import preset
from evenspike_core.pack import pack
from evenspike_core.program import Program
from evenspike_sim.accelerator import Accelerator
from evenspike_train.runs.probe import _reached, _window_work
from evenspike_train.tickets import MethodConfig, WeightWork
from evenspike_train.tickets.cycle_aware import CycleBalance
from evenspike_train.tickets.magnitude import count_alive, prune_round
from evenspike_train.tickets.u_ticket import WeightBalance

MODEL = "vgg16-small"
RATE = 0.5
SHOWN = 60
"""Images on which the activity is measured; three others are run."""

Spikes = list[npt.NDArray[np.uint8]]
Figures = dict[str, tuple[float, float]]
"""By method: utilization by the counters, cycles an image."""


class Network:
    """The shipped network, its spikes on images, and what its weights are expected to cost."""

    def __init__(self) -> None:
        self.program = models.load(MODEL)
        images = dataset.shipped()[0]
        shown = [reference.run(self.program, image).masks for image in images[:SHOWN]]
        self.run = [reference.run(self.program, image).masks for image in images[SHOWN : SHOWN + 3]]
        layers = self.program.layers
        self.weights: dict[str, Tensor] = {}
        self.work: dict[str, WeightWork] = {}
        self.activity: list[npt.NDArray[np.float64] | None] = []
        for index, layer in enumerate(layers):
            weights = torch.from_numpy(layer.segments[0].weights.astype(np.float32))
            self.weights[layer.name] = weights.flatten(1) if layer.last else weights
            if 0 < index < len(layers) - 1:
                active = torch.from_numpy(np.stack([s[index - 1] != 0 for s in shown])).double()
                module = torch.nn.Conv2d(active.shape[1], 1, 3, padding=1)
                self.work[layer.name] = WeightWork(
                    _reached(active.mean(0), module), _window_work(active, 0, module)
                )
            rates = None if layer.last else np.mean([s[index] != 0 for s in shown], axis=(0, 2, 3))
            self.activity.append(rates)

    def masked(self, masks: dict[str, Tensor]) -> Program:
        """The program with these weights alone; one that was pruned and is back gets a 1."""
        layers = []
        for layer in self.program.layers:
            (segment,) = layer.segments
            alive = masks[layer.name].numpy().reshape(segment.weights.shape)
            kept = np.where(segment.weights == 0, 1, segment.weights)
            weights = np.where(alive, kept, 0).astype(np.int16)
            layers.append(
                dataclasses.replace(
                    layer, segments=(dataclasses.replace(segment, weights=weights),)
                )
            )
        return dataclasses.replace(self.program, layers=tuple(layers))

    def measure(self, masks: dict[str, Tensor], *, natural: bool) -> tuple[float, float]:
        """Of the layers that read spikes, each fed what the network as shipped gave it."""
        arch, program = preset("packed,issue=1"), self.masked(masks)
        chosen = mapping.choose(program, arch, None, self.activity, natural=natural)
        accelerator = Accelerator(pack(program, chosen, arch))
        busy = cycles = 0
        for spikes in self.run:
            state = accelerator.fresh()
            for index in range(1, len(program.layers) - 1):
                run = accelerator.run_layer(index, [spikes[index - 1]], state)
                busy, cycles = busy + int(run.busy.sum()), cycles + run.cycles
        return busy / (arch.pes * cycles), cycles / len(self.run)

    def compare(self, seed: int, *, natural: bool) -> Figures:
        """The three, each drawn from this seed."""
        alive = {name: weights != 0 for name, weights in self.weights.items()}
        pruned = prune_round(self.weights, alive, RATE, "local")

        def drawn() -> torch.Generator:
            return torch.Generator().manual_seed(seed)

        floor = MethodConfig(level="floor")  # no more weights than without a balance
        masks = {
            "imp": pruned,
            "u-ticket": WeightBalance(floor).even(self.weights, pruned, drawn()),
            "cycle-aware": CycleBalance(MethodConfig(name="cycle-aware"), self.work).even(
                self.weights, pruned, drawn()
            ),
        }
        assert count_alive(masks["cycle-aware"]) <= 1.01 * count_alive(pruned)
        return {name: self.measure(each, natural=natural) for name, each in masks.items()}


def main(seeds: int) -> None:
    network = Network()
    for natural in (False, True):
        print("filters in their order" if natural else "the mapper's assignment")
        for seed in range(1, seeds + 1):
            found = network.compare(seed, natural=natural)
            print(seed, *(f"{name} {u:.4f} ({c:,.0f} cycles)" for name, (u, c) in found.items()))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
