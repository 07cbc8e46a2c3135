"""Traces: the spikes of one image of a network, in the formats of other simulators."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evenspike.flows.images import Images, Pixels, as_images, images
from evenspike.flows.models import load
from evenspike_core import exchange, reference
from evenspike_core.errors import EvenspikeError
from evenspike_core.exchange import FORMATS, Recorded
from evenspike_core.files import check_folder, write_files
from evenspike_core.program import Program
from evenspike_core.recording import read_trace


def record(model: Program | str, image: int = 0, given: Images | Pixels | None = None) -> Recorded:
    """The spikes of one image, by the integer reference, and the masks of the weights.

    image: its index. given: images, as `simulate` takes them; without, the shipped ones.

    Raises EvenspikeError for an image that there is not, and for a network that no trace describes.
    """
    program = load(model) if isinstance(model, str) else model
    known = images(None, program) if given is None else as_images(given, program)
    if not 0 <= image < len(known):
        raise EvenspikeError(f"image {image}: there are {len(known)}, counted from 0")
    found = reference.run(program, known.pixels[image])
    return exchange.record(program, found.masks)


def of_trace(
    source: Path | str, layers: Path | str | None = None, timesteps: int | None = None
) -> Recorded:
    """A trace as it is read by `evenspike sim --trace`; it has no weights."""
    return Recorded(Path(source).stem, read_trace(source, layers, timesteps))


@dataclass(frozen=True)
class Written:
    """files: what was written. layers: convolutions with weights. spikes: that come into them.
    left_out: layers that the format cannot have.
    """

    files: tuple[Path, ...]
    layers: int
    spikes: int
    left_out: tuple[str, ...] = ()


def write(given: Recorded, form: str, folder: Path | str) -> Written:
    """Write a trace in one of the formats of `exchange`.

    `npz` writes NAME-spikes.npz, and NAME-weights.npz where there are weights; `prosperity`
    NAME_loas.pkl, for which torch is needed; `sata` workload.yaml.

    Raises EvenspikeError for a format that there is not, a name that is no file's, and a folder
    that cannot be written to.
    """
    if form not in FORMATS:
        raise EvenspikeError(f"unknown format {form!r}; there are: {', '.join(FORMATS)}")
    if Path(given.name).name != given.name or not given.name:
        raise EvenspikeError(f"the name {given.name!r} is no name for a file")
    place = Path(folder)
    check_folder(place)
    contents: dict[str, str | bytes] = {}
    topology, left_out = given.trace.topology, list[str]()
    if form == "npz":
        contents[f"{given.name}-spikes.npz"] = _npz(exchange.arrays(given))
        if given.masks:
            contents[f"{given.name}-weights.npz"] = _npz(exchange.weights(given))
    elif form == "prosperity":
        left_out = exchange.averaged(topology)
        contents[f"{given.name}_loas.pkl"] = _pickled(exchange.prosperity(given))
    else:
        contents["workload.yaml"] = exchange.sata(given)
    taken = {name: one for name, _, one in exchange.convolutions(topology) if name not in left_out}
    spikes = (given.trace.spikes[one.source] for one in taken.values())
    count = sum(int(np.bitwise_count(masks).sum()) for masks in spikes)
    return Written(tuple(write_files(contents, place)), len(taken), count, tuple(left_out))


def _npz(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _pickled(lists: Mapping[str, list[npt.NDArray[Any]]]) -> bytes:
    """As torch tensors: what reads it asks them for their dimensions."""
    import torch  # noqa: PLC0415 - only this format needs it

    tensors = {key: [torch.from_numpy(one) for one in each] for key, each in lists.items()}
    return pickle.dumps(tensors, protocol=4)
