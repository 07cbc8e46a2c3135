"""Imports: a network of somebody else's as a Program, proved on examples before it is kept."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evenspike.flows.images import SHIPPED, Images, check_numbers, examples, images
from evenspike.flows.models import check_name
from evenspike_core import files
from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import WEIGHT_BITS
from evenspike_core.program import PIXEL_MAX, Coding, Program, Readout
from evenspike_train.export.card import import_card
from evenspike_train.export.programs import to_program
from evenspike_train.lowering import Network, import_nir
from evenspike_train.lowering import import_network as follow
from evenspike_train.lowering.inputs import EXAMPLES, check_options, chosen, plain
from evenspike_train.lowering.proof import LIMIT, Proof
from evenspike_train.lowering.states import load_state
from evenspike_train.networks.source import construct, names_a_source


@dataclass(frozen=True)
class Imported:
    """A network that came in.

    program: its integers. proof: what they were compared with, layer by layer; `print` shows it.
    images: the examples, as the Program takes them.
    """

    program: Program
    proof: Proof
    images: Images

    def __repr__(self) -> str:
        worst = max(one.different for one in self.proof.layers)
        return (
            f"<Imported {self.program.name}: {len(self.program.layers)} layers, "
            f"{self.program.timesteps} timesteps, at most {worst:.2%} of a layer's spikes differ>"
        )

    def save(self, path: Path | str) -> Path:
        """Write the Program, its card and its examples (.npy), or nothing where one of them cannot
        be written; returns the Program's file.
        """
        check_name(self.program)
        place = Path(path)
        if place.suffix != ".safetensors":
            place = place / f"{self.program.name}.safetensors"
        examples = io.BytesIO()
        np.save(examples, self.images.pixels)
        contents: dict[str, str | bytes] = {
            place.name: self.program.to_bytes(),
            place.with_suffix(".md").name: import_card(self.program, str(self.proof)),
            place.with_suffix(".npy").name: examples.getvalue(),
        }
        files.write_files(contents, place.parent)
        return place


def import_network(
    module: nn.Module | str | Path,
    example: Tensor | np.ndarray | Images | str | Path | None = None,
    *,
    timesteps: int | None = None,
    name: str | None = None,
    encoder: str | None = None,
    scale: float | None = None,
    time_axis: int = 0,
    readout: str | None = None,
    dt: float | None = None,
    weights: Mapping[str, Any] | str | Path | None = None,
    seed: int = 0,
    limit: float | None = None,
    weight_bits: int = WEIGHT_BITS,
    provenance: dict[str, Any] | None = None,
) -> Imported:
    """A feed-forward spiking network as a Program, compared with the network itself on the way.

    Parameters
    ----------
    module : a torch module of our, SpikingJelly's or snnTorch's neurons; FILE.py:CLASS, which makes
        one; or a NIR graph, or a file of one (.nir, .h5).
    example : images [B, C, H, W] or frames, as the module takes them; a .npy file of them, of which
        bytes become numbers from 0 to 1 where the module does not run on bytes; `Images`
        or the name of a data set, whose first test images are taken, and which the module gets as
        numbers from 0 to 1, frames with their time in `time_axis`; the shipped images without one.
    timesteps, encoder, scale, time_axis, readout, seed : as `evenspike_train.lowering` has them.
    name : of the Program; the class's name without one.
    dt : seconds of a timestep of a NIR graph.
    weights : of FILE.py:CLASS, a state dict or a file of one, however its training has left it.
    limit : share of a layer's spikes that may differ; 1 % unless given. With 1 anything is taken,
        a network that never spikes on the examples, too.
    weight_bits : 16, or 8 where the layer then still keeps the limit: the stream of its weights is
        shorter by a third or more. The proof says which layers have got them.

    Raises EvenspikeError for what has no integer form, naming the module's path and what would do,
    and where the integers differ by more than the limit, naming layer, filter and cause.
    """
    check_options(timesteps, scale, time_axis, seed)
    if limit is not None and not 0 <= limit <= 1:
        raise EvenspikeError(f"limit: {limit:.4g}; a share from 0 to 1 is possible")
    chosen("encoder", encoder, Coding)
    chosen("readout", readout, Readout)
    given = _example(example, time_axis, timesteps)
    said = str(module) if isinstance(module, (str, Path)) else type(module).__qualname__
    if weights is not None and (_is_nir(module) or not isinstance(module, (str, Path))):
        raise EvenspikeError(f"{said}: weights are for FILE.py:CLASS; this has its own")
    if _is_nir(module):
        network = import_nir(
            module,
            dt,
            given,
            timesteps=timesteps,
            name=name,
            encoder=encoder,
            scale=scale,
            seed=seed,
        )
    else:
        if dt is not None:
            raise EvenspikeError(f"{said}: dt is of NIR graphs; a module has no seconds")
        if isinstance(module, (str, Path)):
            if not str(module):
                raise EvenspikeError("nothing to import: give FILE.py:CLASS, or a NIR file")
            if not names_a_source(str(module)):
                raise EvenspikeError(f"{module}: neither FILE.py:CLASS nor a NIR file (.nir, .h5)")
            name = name or str(module).rpartition(":")[2]
            module = construct(str(module))
            if weights is not None:
                load_state(module, weights)
        if not isinstance(module, nn.Module):
            raise EvenspikeError(
                f"{said}: no torch.nn.Module, no FILE.py:CLASS and no graph of NIR"
            )
        options: dict[str, Any] = {
            "timesteps": timesteps,
            "name": name,
            "encoder": encoder,
            "time_axis": time_axis,
            "readout": readout,
            "seed": seed,
        }
        network = _followed(module, given, scale, options)
    if isinstance(weights, (str, Path)):
        said = f"{said}, {Path(weights).name}"
    origin = {"source": said, "dataset": _dataset(example), **(provenance or {})}
    program, proof = to_program(
        network, origin, limit=LIMIT if limit is None else limit, weight_bits=weight_bits
    )
    return Imported(program, proof, Images(network.inputs))


def import_checkpoint(
    path: Path | str,
    recipe: Path | str,
    *,
    data: Path | str | None = None,
    weight_bits: int = WEIGHT_BITS,
) -> Imported:
    """Weights in a file, of a network of ours or of a recipe's own, as a Program.

    Parameters
    ----------
    path : a state dict of torch or .safetensors, however its training has wrapped it.
    recipe : a shipped recipe's name or a .toml file; it says which network it is.
    data : folder of the recipe's data set, whose first images the two are compared on; noise where
        there is none.
    weight_bits : as in `import_network`.

    Raises EvenspikeError where the weights are not this network's, and as `import_network` does.
    """
    from evenspike_train.recipes.recipe import load  # noqa: PLC0415 - torch
    from evenspike_train.runs.export import from_checkpoint  # noqa: PLC0415

    made_by = load(recipe)
    try:
        given = images(EXAMPLES, made_by.data.name, data).pixels
    except EvenspikeError:
        if data is not None:
            raise
        given = None
    program, proof, inputs = from_checkpoint(Path(path), made_by, given, weight_bits)
    return Imported(program, proof, Images(inputs))


def _followed(
    module: nn.Module, given: Any, scale: float | None, options: dict[str, Any]
) -> Network:
    """The module followed on bytes as they are, or, where it takes none, on numbers up to 1.

    Few modules take bytes; of the others the reason for which they are refused is the one on
    numbers.
    """
    if given.dtype != torch.uint8 or scale is not None:
        return follow(module, given, scale=scale, **options)
    try:
        return follow(module, given, **options)
    except EvenspikeError:
        return follow(module, given.float() / PIXEL_MAX, **options)


def _is_nir(module: object) -> bool:
    if isinstance(module, (str, Path)):
        return Path(str(module)).suffix in (".nir", ".h5", ".hdf5")
    return type(module).__module__.partition(".")[0] == "nir"


def _dataset(example: object) -> str:
    if example is None:
        return SHIPPED
    if isinstance(example, Images):
        return example.dataset
    return example if isinstance(example, str) and not example.endswith(".npy") else ""


def _example(example: object, time_axis: int, timesteps: int | None) -> Any:
    """Examples as the module takes them; a data set's bytes, and truths, as numbers up to 1."""
    if isinstance(example, (str, Path)) and Path(example).suffix == ".npy":
        example = examples(Path(example))
    if example is None or isinstance(example, (str, Path)):
        example = images(EXAMPLES, SHIPPED if example is None else str(example))
    if isinstance(example, Images):
        numbers = example.pixels.astype(np.float32) / np.float32(PIXEL_MAX)
        return numbers if numbers.ndim == 4 else np.moveaxis(numbers[:, :timesteps], 1, time_axis)
    if isinstance(example, np.ndarray):
        check_numbers(example, "example")
    return plain(example, "example")
