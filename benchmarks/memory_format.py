"""What channels-last filters save of a training step in float32: CPU milliseconds, one thread.

    python -m benchmarks.memory_format [RECIPE ...]

Both orders of a recipe's network take their steps in turn, on images of noise; its batch, forward,
loss, backward, and Adam.
"""

from __future__ import annotations

import sys
import time
from statistics import median

import torch
from torch.nn import functional

from evenspike_train import networks
from evenspike_train.recipes import recipe as recipes
from evenspike_train.recipes.recipe import Recipe
from evenspike_train.runs import command

RECIPES = ("vgg16", "vgg16-small", "resnet19-small", "lenet5-mnist-short", "compression")
STEPS = 5


def times(recipe: Recipe, steps: int) -> dict[bool, float]:
    """Median CPU milliseconds of a step, by whether the filters are channels-last."""
    batch, config = recipe.optimizer.batch, recipe.network
    models = {}
    for last in (False, True):
        torch.manual_seed(recipe.seed)
        model = networks.build(config).train()
        models[last] = networks.channels_last(model) if last else model
    optimizers = {last: torch.optim.Adam(model.parameters()) for last, model in models.items()}
    side = models[False].image_size
    images = torch.randint(0, 256, (batch, config.in_channels, side, side), dtype=torch.uint8)
    labels = torch.randint(0, config.classes, (batch,))
    took: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(1 + steps):  # the first compiles and allocates
        for last, model in models.items():
            start = time.process_time()
            loss: torch.Tensor = functional.cross_entropy(model(images).sum(0), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizers[last].step()
            optimizers[last].zero_grad()
            took[last].append(1e3 * (time.process_time() - start))
    return {last: median(each[1:]) for last, each in took.items()}


def main() -> int:
    command.prepare(1, "cpu")
    for name in sys.argv[1:] or RECIPES:
        found = times(recipes.load(name), STEPS)
        print(
            f"{name}: {found[False]:,.0f} ms in the usual order, {found[True]:,.0f} ms with "
            f"channels last, ratio {found[False] / found[True]:.2f}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
