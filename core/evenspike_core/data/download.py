"""Files of a data set from its authors' address: with a progress bar, a checksum, whole or not."""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError
from urllib.request import urlopen

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from evenspike_core.data.spec import Download
from evenspike_core.errors import EvenspikeError

TIMEOUT_SECONDS = 30
CHUNK_BYTES = 1 << 18
BYTES_MAX = 1 << 30
"""The largest file that is downloaded or unpacked; the largest of the table has 182 MB."""


def fetch(wanted: Download, folder: Path) -> None:
    """Put a file, or what is in it if it is a `.tar.gz`, into `folder`, which is made if need be.

    Raises EvenspikeError, naming the address, if it cannot be reached, sends too much, or sends
    something else than the checksum says.  Nothing is left then.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as name:
            part = Path(name) / wanted.file
            _receive(wanted, part)
            if wanted.file.endswith(".tar.gz"):
                _unpack(part, Path(name) / "unpacked", folder)
            else:
                os.replace(part, folder / wanted.file)
    except (OSError, http.client.HTTPException, tarfile.TarError, EOFError) as error:
        if isinstance(error, HTTPError):
            error.close()  # it holds the connection
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise EvenspikeError(f"{wanted.url}: {str(reason).splitlines()[0]}") from error
    finally:
        if made:
            with suppress(OSError):  # it is not empty, or was never made
                folder.rmdir()


def _receive(wanted: Download, part: Path) -> None:
    md5 = hashlib.md5(usedforsecurity=False)  # against damage; the addresses name no better one
    columns = (TextColumn(wanted.file), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
    with (
        urlopen(wanted.url, timeout=TIMEOUT_SECONDS) as answer,  # noqa: S310 - of our own table
        part.open("wb") as file,
        progress,
    ):
        length = answer.headers.get("Content-Length")
        bar = progress.add_task("", total=int(length) if str(length).isdecimal() else None)
        while chunk := answer.read(CHUNK_BYTES):
            md5.update(chunk)
            file.write(chunk)
            if file.tell() > BYTES_MAX:
                raise EvenspikeError(f"{wanted.url}: sends more than {BYTES_MAX} bytes")
            progress.advance(bar, len(chunk))
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
