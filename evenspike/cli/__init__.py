"""The command line: `evenspike sim`, `cosim`, `train`, `sweep`, `export`, `synth`, ...

The one place that reaches every package, and each only when its verb is called: `sim` never loads
torch. Exit status 0: done; 1: the model differs from the reference, or the RTL from the model, or a
run of a sweep has failed; 2: bad input, in one line.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from evenspike import __version__
from evenspike_core.errors import EvenspikeError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; the console script's entry point."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except (EvenspikeError, OSError) as error:
        # An OSError that no verb has named: a path too long or not to be read, a full disk.
        print("evenspike:", *str(error).splitlines(), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("evenspike: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="evenspike", description=__doc__)
    parser.add_argument("--version", action="version", version=f"evenspike {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    _sim(verbs.add_parser("sim", help="run a network, or a trace, on the cycle model"))
    _train(verbs.add_parser("train", help="train and prune by a recipe; resumes what is there"))
    _sweep(verbs.add_parser("sweep", help="train a recipe with many methods, seeds and sizes"))
    _results(verbs.add_parser("results", help="figures that compare the runs of sweeps"), parser)
    _export(verbs.add_parser("export", help="turn a trained run into a Program"))
    _cosim(verbs.add_parser("cosim", help="run a network on the RTL and on the cycle model"))
    _synth(verbs.add_parser("synth", help="area, longest path and clock of a part of the RTL"))
    _bitstream(verbs.add_parser("bitstream", help="build a board's bitstream"))
    _report(verbs.add_parser("report", help="write the pages of a report.json again"))
    return parser


def _sim(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help="a shipped ticket (default: vgg16), or a .safetensors file")
    parser.add_argument("--images", type=int, help="how many test images (default: 20)")
    parser.add_argument(
        "--data", type=Path, help="folder with the data set; default: shipped images"
    )
    parser.add_argument(
        "--arch",
        default="packed",
        help="preset of the accelerator (packed, paper), and fields that differ: packed,pes=8",
    )
    parser.add_argument("--mapping", default="cost", choices=("cost", "natural"))
    parser.add_argument("--out", type=Path, default=Path("build/sim"), help="folder of the reports")
    parser.add_argument("--threads", type=int, help="images at a time (default: cores)")
    parser.add_argument(
        "--rtl", type=int, help="images that the RTL runs, where built (default: 2)"
    )
    trace = parser.add_argument_group("design exploration, instead of a model")
    trace.add_argument("--trace", type=Path, help=".npz with the spikes that come into each layer")
    trace.add_argument("--density", help="percent of living weights: one number, or one a layer")
    trace.add_argument("--rate", type=float, help="draw the spikes too: percent of timesteps")
    trace.add_argument("--seed", type=int, help="of the drawn masks and spikes (default: 0)")

    def run(arguments: argparse.Namespace) -> int:
        if arguments.trace or arguments.rate is not None or arguments.density is not None:
            from evenspike.cli.explore import explore

            return explore(arguments)
        from evenspike.cli.simulate import simulate

        return simulate(arguments)

    parser.set_defaults(run=run)


def _train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", help="a shipped recipe, or a .toml file")
    parser.add_argument("--recipe", dest="file", help="the same, as an option")
    parser.add_argument("--method", help="instead of the recipe's: imp, early-bird+early-time, ...")
    parser.add_argument("--seed", type=int, help="instead of the recipe's")
    parser.add_argument("--rounds", type=int, help="of the ladder, instead of the recipe's")
    parser.add_argument("--sparsity", type=float, help="to reach, instead of the recipe's")
    parser.add_argument("--pes", type=int, help="filters balanced together, not the recipe's")
    parser.add_argument("--run", type=Path, dest="folder", help="folder of the run; default: runs/")
    parser.add_argument("--data", type=Path, help="folder with the data set's files")
    parser.add_argument("--device", help="torch device; default: a GPU if there is one")
    parser.add_argument(
        "--threads", type=int, default=0, help="CPU threads; default: torch's choice"
    )

    def run(arguments: argparse.Namespace) -> int:
        from evenspike.cli.training import train

        return train(arguments)

    parser.set_defaults(run=run)


def _sweep(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", required=True, help="a shipped recipe, or a .toml file")
    parser.add_argument("--methods", required=True, help="imp,u-ticket+early-time,...")
    parser.add_argument("--seeds", default="1", help="1-5, or 1,4,7 (default: 1)")
    parser.add_argument("--rounds", help="of the ladder: 4,8,13 (default: the recipe's)")
    parser.add_argument("--sparsities", help="to reach: 0.9,0.95 (default: the recipe's)")
    parser.add_argument("--pes", help="filters balanced together: 8,16 (default: the recipe's)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/sweep"),
        help="folder of the runs (default: runs/sweep)",
    )
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (default: 1)")
    parser.add_argument("--backend", default="loky", help="loky, threading, dask, ray")
    parser.add_argument("--data", type=Path, help="folder with the data set's files")
    parser.add_argument("--device", help="torch device; default: a GPU if there is one")

    def run(arguments: argparse.Namespace) -> int:
        from evenspike.cli.sweep import sweep

        return sweep(arguments)

    parser.set_defaults(run=run)


def _results(parser: argparse.ArgumentParser, whole: argparse.ArgumentParser) -> None:
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help="default: all, and an index")
    parser.add_argument(
        "--runs",
        type=Path,
        action="append",
        help="folder of a sweep, once for each (default: runs/sweep)",
    )
    parser.add_argument("--make", metavar="RECIPE", help="first run this recipe's sweeps there")
    parser.add_argument(
        "--out",
        type=Path,
        help="folder of the pages (default: build/results; --make: docs/results)",
    )
    parser.add_argument("--jobs", type=int, default=1, help="of --make: runs at a time")
    parser.add_argument("--data", type=Path, help="of --make: folder with the data set's files")
    parser.add_argument("--device", help="of --make: torch device")

    def run(arguments: argparse.Namespace) -> int:
        from evenspike.cli.results import results

        return results(arguments, whole)

    parser.set_defaults(run=run)


def _export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", type=Path, dest="folder", required=True, help="folder of the run")
    parser.add_argument("--data", type=Path, help="folder with the data set's files")
    parser.add_argument(
        "--out", type=Path, help="folder for the Program and its card; default: the run's"
    )
    parser.add_argument("--notes", default="", help="a sentence for the card")

    def run(arguments: argparse.Namespace) -> int:
        from evenspike.cli.training import export

        return export(arguments)

    parser.set_defaults(run=run)


def _cosim(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="vgg16", help="a ticket, or a .safetensors file")
    parser.add_argument("--images", type=int, help="how many test images (default: 10)")
    parser.add_argument("--data", type=Path, help="folder with the data set; default: shipped")
    parser.add_argument(
        "--arch",
        default="packed",
        help="preset of the accelerator (packed, paper), and fields that differ: packed,pes=8",
    )
    parser.add_argument("--mapping", default="cost", choices=("cost", "natural"))
    parser.add_argument("--out", type=Path, default=Path("build/cosim"))
    parser.add_argument("--threads", type=int, help="images at a time (default: cores)")
    parser.add_argument("--pysim", action="store_true", help="time Amaranth's simulator, too")

    def run(arguments: argparse.Namespace) -> int:
        with _needs("hw,cosim"):
            from evenspike.cli.cosim import cosim

            return cosim(arguments)

    parser.set_defaults(run=run)


def _synth(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--part", default="pe", help="pe, apu, array, top, or a block (default: pe)"
    )
    parser.add_argument(
        "--target", default="generic", help="generic, ecp5, ice40, xilinx, gowin (default: generic)"
    )
    parser.add_argument(
        "--arch", default="packed", help="a preset, and fields that differ: packed,pes=4"
    )
    parser.add_argument("--liberty", type=Path, help="standard cells, instead of generic gates")
    parser.add_argument(
        "--route",
        action=argparse.BooleanOptionalAction,
        help="place and route, for the clock (default: on ecp5, of parts that are quick)",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the placement (default: 1)")
    parser.add_argument("--study", action="store_true", help="what the design's choices cost")
    parser.add_argument("--docs", type=Path, help="Markdown file that the study is put into, too")
    parser.add_argument("--out", type=Path, default=Path("build/synth"))

    def run(arguments: argparse.Namespace) -> int:
        with _needs("hw"):
            if arguments.study:
                from evenspike.cli.area_study import study

                return study(arguments)
            from evenspike.cli.synthesis import synth

            return synth(arguments)

    parser.set_defaults(run=run)


def _bitstream(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--board", default="ulx3s-85f", help="(default: ulx3s-85f)")
    parser.add_argument("--arch", help="default: what fits the board")
    parser.add_argument("--words", type=int, help="64-bit words of the board's memory")
    parser.add_argument("--seeds", type=int, help="placements to try")
    parser.add_argument("--out", type=Path, default=Path("build/bitstream"))
    parser.add_argument(
        "--keep", type=Path, help="folder for the file and its entry in index.json: bitstreams"
    )

    def run(arguments: argparse.Namespace) -> int:
        with _needs("hw,boards"):
            from evenspike.cli.bitstream import bitstream

            return bitstream(arguments)

    parser.set_defaults(run=run)


@contextmanager
def _needs(extras: str) -> Iterator[None]:
    """An error that says how to install what a verb lacks."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise EvenspikeError(
            f"this needs {error.name}: pip install 'evenspike[{extras}]'"
        ) from error


def _report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("build/sim/vgg16"), help="its folder")

    def run(arguments: argparse.Namespace) -> int:
        from evenspike.cli.simulate import rewrite

        return rewrite(arguments.out)

    parser.set_defaults(run=run)
