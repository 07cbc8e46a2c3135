"""The parser: an argparse whose errors are one line, and that never takes the last of two."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

ARCH_HELP = "preset of the accelerator (packed, paper), and fields that differ: packed,pes=8"
DATA_HELP = "folder with the data set's files"
INPUTS_HELP = f"{DATA_HELP}, or a .npy file of inputs; default: shipped images"


class Parser(argparse.ArgumentParser):
    """Long options are written out, each is given once, and a mistake is one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)
        self.register("action", None, _Once)
        self.register("action", "store", _Once)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())}; see {self.prog} --help\n")


class _Once(argparse._StoreAction):  # noqa: SLF001 - argparse offers no other way to say it
    """An option that a second time is an error, not the value that counts."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        given = namespace.__dict__.setdefault("_given", set())
        if option_string is not None and self.dest in given:
            parser.error(f"argument {option_string}: given twice")
        given.add(self.dest)
        super().__call__(parser, namespace, values, option_string)


def machine_options(parser: argparse.ArgumentParser) -> None:
    """The options of every verb that runs a network: on what, and how it is laid out."""
    parser.add_argument("--arch", default="packed", help=ARCH_HELP)
    parser.add_argument("--mapping", default="cost", choices=("cost", "natural"))
    parser.add_argument("--data", type=Path, help=INPUTS_HELP)


def batch_option(parser: argparse.ArgumentParser) -> None:
    """The option of the verbs that can let images share a load of weights."""
    parser.add_argument(
        "--batch",
        type=int,
        help="images that go through the network together, a power of two (default: one for each "
        "of the Arch's clusters)",
    )


def parallel_options(parser: argparse.ArgumentParser, backend: str = "threading") -> None:
    """The options of every verb that does many things at a time."""
    parser.add_argument("--jobs", type=int, help="at a time (default: 0, one a core)")
    parser.add_argument(
        "--backend",
        help=f"threading, loky (processes), dask, ray (default: {backend})",
    )
