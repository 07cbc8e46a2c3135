"""Files of a data set from its authors' address: checked, and whole or not at all."""

from __future__ import annotations

import hashlib
import http.client
import os
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.error import HTTPError
from urllib.request import urlopen

from evenspike_core.data.spec import Download
from evenspike_core.errors import EvenspikeError
from evenspike_core.files import check_folder, replacing
from evenspike_core.progress import Progress, silent

TIMEOUT_SECONDS = 30
CHUNK_BYTES = 1 << 18
BYTES_MAX = 1 << 30
"""The largest file that is downloaded or unpacked; the largest of the table has 182 MB."""


def fetch(wanted: Download, folder: Path, progress: Progress = silent) -> None:
    """Put a file, or what is in it if it is a `.tar.gz`, into `folder`, which is made if need be.

    An archive that lies in `folder` already is not downloaded again.

    Raises EvenspikeError, naming the address, if it cannot be reached, sends too much, or sends
    something else than the checksum says, and naming the archive if that is something else.
    Nothing is left then.
    """
    kept = folder / wanted.file
    if kept.is_file() and wanted.packed and _md5(kept) != wanted.md5:
        raise EvenspikeError(f"{kept}: has MD5 {_md5(kept)}, not {wanted.md5}")
    made = not folder.exists()
    try:
        check_folder(folder)
        if not wanted.packed:
            with replacing(folder / wanted.file) as file:
                _receive(wanted, file, progress)
            return
        with (
            _named(wanted.url),
            tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as name,
        ):
            part = kept
            if not kept.is_file():
                part = Path(name) / wanted.file
                with part.open("wb") as file:
                    _receive(wanted, file, progress)
            progress(f"unpacking {wanted.file}", 0, None)
            _unpack(part, Path(name) / "unpacked", folder)
    finally:
        if made:
            with suppress(OSError):  # it is not empty, or was never made
                folder.rmdir()


@contextmanager
def _named(url: str) -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException, tarfile.TarError, EOFError) as error:
        if isinstance(error, HTTPError):
            error.close()  # it holds the connection
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise EvenspikeError(f"{url}: {str(reason).splitlines()[0]}") from error


def _md5(file: Path) -> str:
    """The checksum against damage; the addresses name no better one."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, partial(hashlib.md5, usedforsecurity=False)).hexdigest()


def _receive(wanted: Download, file: IO[bytes], progress: Progress) -> None:
    md5 = hashlib.md5(usedforsecurity=False)
    with (
        _named(wanted.url),
        urlopen(wanted.url, timeout=TIMEOUT_SECONDS) as answer,  # noqa: S310 - of our own table
    ):
        length = answer.headers.get("Content-Length")
        total = int(length) if str(length).isdecimal() else None
        while chunk := answer.read(CHUNK_BYTES):
            md5.update(chunk)
            file.write(chunk)
            if file.tell() > BYTES_MAX:
                raise EvenspikeError(f"{wanted.url}: sends more than {BYTES_MAX} bytes")
            progress(f"downloading {wanted.url}", file.tell(), total)
    if md5.hexdigest() != wanted.md5:
        raise EvenspikeError(f"{wanted.url}: has MD5 {md5.hexdigest()}, not {wanted.md5}")


def _unpack(archive: Path, unpacked: Path, folder: Path) -> None:
    """The files of an archive into `folder`: aside first, then each of its folders by renaming."""
    with tarfile.open(archive) as content:
        for member in content:
            name = PurePosixPath(member.name)
            if name.is_absolute() or ".." in name.parts or member.size > BYTES_MAX:
                raise EvenspikeError(f"{archive.name}: {member.name!r} cannot be unpacked")
            file = content.extractfile(member) if member.isfile() else None
            if file is not None:
                target = unpacked / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.read())
    for made in unpacked.iterdir():
        os.replace(made, folder / made.name)
