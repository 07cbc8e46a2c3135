"""Checks that a recipe can run its method, made before any data is read."""

from __future__ import annotations

from collections.abc import Mapping

from evenspike_core.errors import EvenspikeError
from evenspike_train.tickets import METHODS, Method, known
from evenspike_train.tickets.config import MethodConfig
from evenspike_train.tickets.cycle_aware import possible

ROUNDS_MAX = 100


def check(
    config: MethodConfig,
    dense_images: int,
    round_images: int,
    timesteps: dict[str, int],
    network_timesteps: int,
    start: float | None = None,
) -> None:
    """Raise ValueError for a method that does not fit the rest of its recipe.

    Parameters
    ----------
    dense_images, round_images : of the dense phase, and of each round.
    timesteps : of the phases "dense" and "round".
    network_timesteps : T of the network and of the final phase's evaluation.
    start : sparsity of the ticket that a fine-tuning begins with, not a number where it is not
        known yet; None for a run without one.
    """
    method = known(config.name)(config)
    if config.rounds > ROUNDS_MAX:
        raise ValueError(f"method: rounds must be at most {ROUNDS_MAX}, not {config.rounds}")
    if config.balancing == "cycles" and not possible(config.pes):
        raise ValueError(
            f"method: no accelerator has {config.pes} PEs, so cycles cannot be balanced on them; "
            "it has a power of two, at most 64"
        )
    if start is not None:
        _check_start(config, start)
    if method.rounds == 0:
        if config.name not in ("dense", "held"):
            raise ValueError(f"method: {config.name} needs rounds, at least 1")
        return
    _check_phases(method, 1 if start is not None else dense_images, round_images)
    if not method.at_initialisation:
        _check_search(config, dense_images)
    if method.prunes_once:
        if config.sparsity == 0:
            raise ValueError(f"method: {config.name} prunes once, to a sparsity that must be given")
    elif "rate" in method.options:
        reachable = 1 - (1 - (start or 0.0)) * (1 - config.rate) ** config.rounds
        if config.sparsity > reachable + 0.01:
            raise ValueError(
                f"method: sparsity {config.sparsity} is out of reach: {config.rounds} "
                f"rounds at rate {config.rate} end at {reachable:.4f}"
            )
    if config.early_time:
        _check_early_time(config, dense_images, timesteps, network_timesteps)


def _check_start(config: MethodConfig, sparsity: float) -> None:
    """Raise ValueError for a method that cannot go on from a ticket of this sparsity."""
    if not known(config.name).from_start:
        able = ", ".join(sorted(name for name, one in METHODS.items() if one.from_start))
        raise ValueError(f"method: {config.name} begins without masks; a fine-tuning has {able}")
    if config.sparsity:
        check_further(config.sparsity, sparsity)


def check_further(target: float, sparsity: float) -> None:
    """Raise ValueError for a target that a ticket of this sparsity has reached."""
    if target <= sparsity:
        raise ValueError(
            f"method: sparsity {target} is not above that of the ticket, {sparsity:.4f}; weights "
            "that are gone do not come back"
        )


def _check_phases(method: Method, dense_images: int, round_images: int) -> None:
    """Raise ValueError for a phase without images in which the method has something to do."""
    if method.needs_dense and not dense_images:
        raise ValueError(f"method: {method.name} needs the dense phase, which has no images")
    if method.needs_rounds and not round_images:
        raise ValueError(f"method: {method.name} needs its rounds, which have no images")


def _check_search(config: MethodConfig, dense_images: int) -> None:
    if config.rewind == "weights" and config.balancing != "none" and config.recover == "kept":
        raise ValueError(
            'method: recover = "kept" needs rewind = "learning-rate"; '
            '"weights" takes back every weight'
        )
    needs_snapshot = config.rewind == "weights" or config.recover == "snapshot"
    if needs_snapshot and config.snapshot > dense_images:
        raise ValueError(
            f"method: snapshot at {config.snapshot} images, but the dense phase has {dense_images}"
        )


def _check_early_time(
    config: MethodConfig, dense_images: int, timesteps: dict[str, int], network_timesteps: int
) -> None:
    if network_timesteps < 3:
        raise ValueError(
            "method: early_time chooses from 2 timesteps to one less than the network's, "
            f"which has {network_timesteps}"
        )
    if config.early_timesteps and not 2 <= config.early_timesteps < network_timesteps:
        raise ValueError(
            "method: early_timesteps must be 0 or lie between 2 and one less than the network's "
            f"{network_timesteps}, not {config.early_timesteps}"
        )
    if dense_images < max(config.early_time_images, 1):
        raise ValueError(
            f"method: early_time chooses after {config.early_time_images or 'two epochs of'} "
            f"images, but the dense phase has {dense_images}"
        )
    for phase, steps in timesteps.items():
        if steps != network_timesteps:
            raise ValueError(
                f"{phase}: timesteps {steps}, but with early_time they are chosen in the run; "
                f"give the network's {network_timesteps}"
            )


def check_data(config: MethodConfig, dense_images: int, train_images: int) -> None:
    """Raise EvenspikeError for a dense phase too short for a search that goes by epochs."""
    if known(config.name).watches_epochs and "window" in known(config.name).options:
        needed = (config.window + 1) * train_images
        if dense_images < needed:
            raise EvenspikeError(
                f"method: {config.name} compares the masks of {config.window + 1} epochs, which "
                f"are {needed} images; the dense phase has {dense_images}"
            )
    if config.early_time and dense_images < early_time_images(config, train_images):
        raise EvenspikeError(
            f"method: early_time chooses after {early_time_images(config, train_images)} images, "
            f"but the dense phase has {dense_images}"
        )


def check_layers(config: MethodConfig, weights: Mapping[str, int]) -> None:
    """Raise EvenspikeError for a sparsity at which a layer is certain to be left empty.

    weights : number of each layer's.
    """
    if not config.sparsity:
        return
    living = 1 - config.sparsity
    if config.scope == "local":
        for name, count in weights.items():
            if int(living * count) == 0:
                raise EvenspikeError(
                    f"method: sparsity {config.sparsity} leaves none of the {count} weights of "
                    f"{name}, as each layer is pruned by itself"
                )
    total = sum(weights.values())
    if int(living * total) < len(weights):
        raise EvenspikeError(
            f"method: sparsity {config.sparsity} leaves {int(living * total)} of {total} weights, "
            f"fewer than the network has layers ({len(weights)})"
        )


def early_time_images(config: MethodConfig, train_images: int) -> int:
    """Return how many images have been seen when the number of timesteps is chosen."""
    return config.early_time_images or 2 * train_images
