"""`evenspike import`: bring a network of torch, SpikingJelly, snnTorch or NIR in as a Program."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from evenspike.cli import terminal

NAME = "import"


def options(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument(
        "source", help="FILE.py:CLASS, a torch module without arguments; or a NIR file (.nir, .h5)"
    )
    parser.add_argument(
        "--weights", help="of FILE.py:CLASS: a file of its state dict (.pt, .safetensors)"
    )
    parser.add_argument(
        "--example",
        help="a .npy file of examples, [B, C, H, W] or with frames, or a data set's name; the "
        "shipped images without one",
    )
    parser.add_argument("--timesteps", type=int, help="T, where the network does not say it")
    parser.add_argument(
        "--encoder", choices=("direct", "rate", "latency", "frames"), help="of the input's spikes"
    )
    parser.add_argument("--scale", type=float, help="what the network gets for a byte of 1")
    parser.add_argument("--time-axis", type=int, default=0, choices=(0, 1), help="of frames")
    parser.add_argument(
        "--readout", choices=("psum", "count", "membrane"), help="of the last layer"
    )
    parser.add_argument("--dt", type=float, help="seconds of a timestep of a NIR file")
    parser.add_argument("--seed", type=int, default=0, help="of rate coding")
    parser.add_argument(
        "--limit",
        type=float,
        help="percent of a layer's spikes that may differ (1); 100 takes anything",
    )
    parser.add_argument(
        "--weight-bits",
        type=int,
        default=16,
        choices=(8, 16),
        help="of the weight stream: 8 where a layer then still keeps the limit (16)",
    )
    parser.add_argument("--name", help="of the Program; the class's without one")
    parser.add_argument("--out", type=Path, default=Path("build/import"), help="folder or file")
    parser.set_defaults(extras="train")


def run(arguments: argparse.Namespace) -> int:
    """Import it."""
    from evenspike.flows.imports import import_network
    from evenspike_train.networks.source import names_a_source

    found = import_network(
        arguments.source,
        arguments.example,
        timesteps=arguments.timesteps,
        name=arguments.name,
        encoder=arguments.encoder,
        scale=arguments.scale,
        time_axis=arguments.time_axis,
        readout=arguments.readout,
        dt=arguments.dt,
        weights=arguments.weights,
        seed=arguments.seed,
        limit=None if arguments.limit is None else arguments.limit / 100,
        weight_bits=arguments.weight_bits,
    )
    file = found.save(arguments.out)
    console = terminal.console()
    console.print(str(found.proof), soft_wrap=True)
    if names_a_source(arguments.source) and arguments.weights is None:
        console.print(
            f"weights: as {arguments.source} makes them; --weights FILE loads a state dict",
            soft_wrap=True,
        )
    console.print(f"written: {file} (beside it: {file.stem}.md, {file.stem}.npy)", soft_wrap=True)
    inputs = (
        [] if found.program.provenance["dataset"] else ["--data", str(file.with_suffix(".npy"))]
    )
    command = shlex.join(["evenspike", "sim", "--model", str(file), *inputs])
    console.print(f"next: {command}", soft_wrap=True)
    return 0
