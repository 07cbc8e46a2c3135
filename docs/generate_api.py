"""Write the pages of the Python API from the docstrings, by pdoc: `make docs`.

    python docs/generate_api.py FOLDER [PACKAGE ...]

The pages need no network, and with PYTHONHASHSEED=0 two runs write the same bytes. A module that
cannot be imported is an error, but for the kernels that need a GPU's compiler.
"""

from __future__ import annotations

import re
import shutil
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pdoc
import pdoc.docstrings
import pdoc.render

import evenspike

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("evenspike", "evenspike_core", "evenspike_train", "evenspike_sim", "evenspike_hw")
TRITON = "evenspike_train.kernels.neuron_cuda"
LEFT_OUT = ("evenspike.cli", TRITON)  # a verb has its --help
FIELD = re.compile(r"(?:\A|(?<=\n\n)|(?<=[.;]\n))([a-z_]\w*(?:, [a-z_]\w*)*): ")
"""How the docstrings list fields and parameters: each on a line, behind the end of a sentence."""


def write(folder: Path, packages: Sequence[str]) -> None:
    """Put the pages of the packages, and of all below them, in the place of the folder."""
    for name in getattr(evenspike, "__all__", ()):
        setattr(evenspike, name, getattr(evenspike, name))  # a lazy name is made one of the module
    pdoc.render.configure(
        docformat="markdown", footer_text=f"evenspike {evenspike.__version__}", show_source=False
    )
    pdoc.docstrings.convert = partial(_convert, pdoc.docstrings.convert)
    shutil.rmtree(folder, ignore_errors=True)
    pdoc.pdoc(*packages, *(f"!{name}" for name in LEFT_OUT), output_directory=folder)
    for page in (path for path in folder.rglob("*") if path.is_file()):
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace(f"{ROOT}/", ""), encoding="utf-8")  # values that are paths


def _convert(convert: pdoc.docstrings.convert, docstring: str, *others: object) -> str:
    return convert(FIELD.sub(r"- `\1`: ", docstring), *others)


def main() -> None:
    warnings.simplefilter("error")
    for allowed in (f"Couldn't import {TRITON}", "Error parsing type annotation"):
        warnings.filterwarnings("ignore", message=allowed)
    write(Path(sys.argv[1]), sys.argv[2:] or PACKAGES)


if __name__ == "__main__":
    main()
