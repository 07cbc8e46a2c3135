"""The arrays of an `.npz` file, all of them or none.

numpy and zipfile believe an archive's end record: where it is damaged they pass over arrays in
silence, and a checksum counts only once the last byte of its array was read. Here every byte of
the file belongs to an array that is listed, and is read.
"""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from evenspike_core.errors import EvenspikeError

HEADER = struct.Struct("<4s5H3I2H")
"""What a member begins with; at the end the lengths of its name and of a field for extras."""

STREAMED, DESCRIPTOR_BYTES = 1 << 3, (12, 16, 20, 24)
"""A flag: checksum and sizes follow the member, as what cannot seek back writes it."""


def read_arrays(path: Path, what: str, bytes_max: int) -> dict[str, npt.NDArray[Any]]:
    """The arrays by name, in the file's order; no pickles.

    Parameters
    ----------
    what : the file is meant to be, for the message.
    bytes_max : of all arrays together, unpacked.

    Raises EvenspikeError, naming the file, for one that cannot be read, is damaged anywhere, holds
    a name twice, something that is no array, or too much.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            _check_whole(file, archive)
            size = sum(member.file_size for member in archive.infolist())
            if size > bytes_max:
                raise ValueError(f"{size} bytes of arrays, at most {bytes_max} are read")
            arrays: dict[str, npt.NDArray[Any]] = {}
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if name in arrays:
                    raise ValueError(f"it holds {name!r} twice")
                content = io.BytesIO(archive.read(member))
                arrays[name] = np.lib.format.read_array(content, allow_pickle=False)
                if content.read(1):
                    raise ValueError(f"array {name!r} goes on behind its {arrays[name].shape}")
    except Exception as error:  # damaged bytes make zipfile and numpy raise anything
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise EvenspikeError(f"{path}: not a readable {what}: {reason}") from error
    return arrays


def _check_whole(file: IO[bytes], archive: zipfile.ZipFile) -> None:
    """Raise ValueError unless the listed members lie one behind the other up to their list."""
    end, streamed = 0, False
    members = sorted(archive.infolist(), key=lambda one: one.header_offset)
    for member in [*members, None]:
        start = archive.start_dir if member is None else member.header_offset
        if start != end and not (streamed and start - end in DESCRIPTOR_BYTES):
            raise ValueError(f"its list of arrays leaves out what lies at byte {end}")
        if member is not None:
            file.seek(start)
            fields = HEADER.unpack(file.read(HEADER.size))
            end = start + HEADER.size + sum(fields[-2:]) + member.compress_size
            streamed = bool(member.flag_bits & STREAMED)
