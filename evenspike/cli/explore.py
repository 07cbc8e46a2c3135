"""`evenspike sim --trace`: design exploration on spikes from a file or drawn."""

from __future__ import annotations

import argparse

from evenspike.cli import terminal
from evenspike.cli.bar import Bar
from evenspike.flows import explore as flow
from evenspike_core.arch import TIMESTEPS, preset
from evenspike_core.errors import EvenspikeError
from evenspike_core.files import check_folder
from evenspike_core.workload import Workload

OPTIONS = ("trace", "rate", "density", "layers", "timesteps", "balanced")
"""Of `sim`: each alone says that no model is meant."""


def asked(arguments: argparse.Namespace) -> bool:
    """Whether the options ask for a trace, not for a model."""
    return any(getattr(arguments, option) not in (None, False) for option in OPTIONS)


def from_arguments(arguments: argparse.Namespace) -> Workload:
    """The workload that the options describe."""
    if arguments.trace is None and arguments.rate is None:
        given = [o for o in OPTIONS if getattr(arguments, o) not in (None, False)]
        raise EvenspikeError(f"--{given[0]} needs --trace FILE, or --rate to draw the spikes")
    arch = preset(arguments.arch)
    # Gates that are weights are of one timestep, whatever the network has.
    drawn = arch.timesteps if arguments.trace is None and arch.gates == TIMESTEPS else None
    return flow.trace(
        arguments.trace,
        layers=arguments.layers,
        density=_density(arguments.density),
        rate=arguments.rate,
        balanced=arguments.balanced,
        pes=arch.pes,
        seed=0 if arguments.seed is None else arguments.seed,
        timesteps=drawn if arguments.timesteps is None else arguments.timesteps,
    )


def _density(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.replace("%", "").split(","))
    except ValueError as error:
        raise EvenspikeError(f"--density {text!r} is not numbers separated by commas") from error


def run(arguments: argparse.Namespace) -> int:
    """The `sim` verb for a trace; returns the exit status."""
    if arguments.model is not None:
        raise EvenspikeError("--model and a trace (--trace, --rate, --density) exclude each other")
    for option in ("images", "data", "rtl", "jobs", "backend", "batch"):
        if getattr(arguments, option) is not None:
            raise EvenspikeError(f"--{option} belongs to a model, not to a trace")
    arch = preset(arguments.arch)
    load = from_arguments(arguments)
    folder = arguments.out / "trace"
    check_folder(folder)
    with Bar() as progress:
        progress("mapping the layers and running the trace", 0, None)
        found = flow.explore(load, arch, mapping=arguments.mapping)
    return terminal.show_run(found, folder, json_only=arguments.json)
