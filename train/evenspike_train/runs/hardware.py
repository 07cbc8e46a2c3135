"""What a round's network costs on the accelerator: cycles, utilization by its counters, energy.

The network is made integers with the T it is to have in the end, mapped with the activity that
training images show, and run by a `Measure`, which the command line brings: this package does not
know the cycle model.  Nothing here draws a random number or changes the network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evenspike_core.arch import Arch
from evenspike_core.errors import EvenspikeError
from evenspike_core.program import Program
from evenspike_core.progress import Progress, silent
from evenspike_train import networks
from evenspike_train.data import Dataset
from evenspike_train.export.programs import activity, impossible, make_program
from evenspike_train.lowering.inputs import EXAMPLES
from evenspike_train.networks import twin
from evenspike_train.recipes.recipe import Recipe

Measure = Callable[[Program, npt.NDArray[np.uint8], Arch, str], Mapping[str, float]]
"""(program, images [N, C, H, W], arch, mapping) -> figures of an image: "cycles",
"hardware_utilization" (busy cycles of the PEs / all), "energy_pj", "words_loaded"."""

MAPPINGS = {"": "cost", "_natural": "natural"}
"""What is appended to a figure's name, and the assignment of filters to PEs that it is with: the
mapper's, or the filters in their own order."""

ROUND_ACTIVITY_IMAGES = 64
"""Training images that show the mapper the activity: fewer than at export, as it is every round."""


GATES_MAX = 8
"""Timesteps that a PE of an Arch can have gates for."""


def arch_for(pes: int, timesteps: int) -> Arch:
    """The default accelerator with so many PEs, as much memory, and gates for the timesteps; more
    of them than it can have run in groups.

    Raises EvenspikeError where there is none.
    """
    base = Arch()
    timesteps = timesteps if timesteps <= GATES_MAX else base.timesteps
    same = pes == base.pes and timesteps <= base.timesteps
    return dataclasses.replace(
        base,
        preset=base.preset if same else "custom",
        pes=pes,
        timesteps=max(timesteps, base.timesteps),
        spike_entries=base.spike_entries * base.pes // max(pes, 1),
    )


@dataclass(frozen=True)
class Hardware:
    """Measures the rounds of a run on `compute.round_cycles_images` validation images."""

    measure: Measure | None
    recipe: Recipe
    data: Dataset

    def figures(
        self,
        model: networks.SpikingNetwork,
        suffixes: Iterable[str] = ("",),
        progress: Progress = silent,
    ) -> dict[str, float]:
        """Figures of the network as it is, with these `MAPPINGS`; empty where none are asked for.

        Raises EvenspikeError that says why where it cannot be measured.
        """
        count = self.recipe.compute.round_cycles_images
        if self.measure is None or not count:
            return {}
        reason = impossible(self.recipe)
        if twin.is_twin(model):
            reason = "the search runs on the ReLU twin, which has no spikes"
        if reason:
            raise EvenspikeError(reason)
        arch = arch_for(self.recipe.method.pes, self.recipe.network.timesteps)
        examples = self.data.train.images[:EXAMPLES]
        program, _ = make_program(self.recipe, model, {}, examples)
        shares = activity(program, self.data.train.images[:ROUND_ACTIVITY_IMAGES], progress)
        program = dataclasses.replace(program, provenance={"activity": shares})
        images = self.data.validation.images[:count].cpu().numpy()
        found: dict[str, float] = {}
        for suffix in suffixes:
            progress(f"cycles of {count} images, mapping {MAPPINGS[suffix]}", 0, None)
            for name, value in self.measure(program, images, arch, MAPPINGS[suffix]).items():
                found[name + suffix] = value
        return found
