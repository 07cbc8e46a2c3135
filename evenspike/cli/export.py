"""`evenspike export`: turn a trained run into a Program, or a Program into one of 8-bit weights."""

from __future__ import annotations

import argparse
from pathlib import Path

from evenspike.cli import terminal, train
from evenspike.cli.bar import Bar
from evenspike.cli.parser import DATA_HELP


def options(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("--run", type=Path, dest="folder", help="folder of the run")
    parser.add_argument("--checkpoint", type=Path, help="or a file of weights; with --recipe")
    parser.add_argument("--recipe", help="that says which network the weights are of")
    parser.add_argument(
        "--model", help="or a Program, which gets 8-bit weights where its spikes stay what they are"
    )
    parser.add_argument("--data", type=Path, help=DATA_HELP)
    parser.add_argument(
        "--out", type=Path, help="folder for the Program and its card; default: the run's"
    )
    parser.add_argument(
        "--weight-bits",
        type=int,
        choices=(8, 16),
        help="of --checkpoint and --model: 8 where a layer then keeps the limit (16, of --model 8)",
    )
    parser.add_argument("--images", type=int, help="of --model: how many it is compared on (20)")
    parser.add_argument("--notes", default="", help="a sentence for the card")
    parser.set_defaults(extras="train")


def run(arguments: argparse.Namespace) -> int:
    """Export it."""
    sources = (arguments.folder, arguments.checkpoint, arguments.model)
    if sum(one is not None for one in sources) != 1:
        arguments.parser.error("give --run, --model, or --checkpoint with --recipe")
    if (arguments.recipe is None) != (arguments.checkpoint is None):
        arguments.parser.error("--checkpoint and --recipe go together")
    if arguments.images is not None and arguments.model is None:
        arguments.parser.error("--images is of --model")
    if arguments.model is not None:
        return _narrowed(arguments)
    if arguments.checkpoint is not None:
        return _checkpoint(arguments)
    if arguments.weight_bits is not None:
        arguments.parser.error(
            "--weight-bits is of --checkpoint and --model; give --model the run's name once it is "
            "exported"
        )
    from evenspike.flows.train import export

    with Bar() as bar:
        found = export(
            arguments.folder,
            arguments.out,
            data=arguments.data,
            notes=arguments.notes,
            progress=bar,
        )
    train.tell(found, str(found.file), arguments.data)
    return 0


def _checkpoint(arguments: argparse.Namespace) -> int:
    """Weights of a file, proved on a few images like any network that is imported."""
    from evenspike.flows.imports import import_checkpoint

    found = import_checkpoint(
        arguments.checkpoint,
        arguments.recipe,
        data=arguments.data,
        weight_bits=arguments.weight_bits or 16,
    )
    console = terminal.console()
    console.print(str(found.proof), soft_wrap=True)
    file = found.save(arguments.out or Path("build/import"))
    console.print(f"wrote {file}", soft_wrap=True)
    return 0


def _narrowed(arguments: argparse.Namespace) -> int:
    """A Program with 8-bit weights in some layers, as a file of its own."""
    from evenspike.flows.models import check_name
    from evenspike.flows.narrow import narrow
    from evenspike_core.files import write_files

    if arguments.weight_bits == 16:
        arguments.parser.error("--weight-bits 16 with --model: a Program has no more than it has")
    with Bar() as bar:
        found = narrow(arguments.model, arguments.images, data=arguments.data, progress=bar)
    program = found.program
    check_name(program)
    folder = arguments.out or Path("build/narrow")
    name = f"{program.name}.safetensors"
    file = folder if folder.suffix == ".safetensors" else folder / name
    write_files({file.name: program.to_bytes()}, file.parent)
    console = terminal.console()
    console.print(str(found), soft_wrap=True)
    console.print(f"wrote {file}", soft_wrap=True)
    return 0
