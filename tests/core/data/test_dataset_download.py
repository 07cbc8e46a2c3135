"""Downloads from a server of the test's own: whole and as the checksum says, or not at all."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest

from evenspike_core.data import DATA_SETS, cache, download, load
from evenspike_core.data.download import fetch
from evenspike_core.data.spec import Download
from evenspike_core.errors import EvenspikeError
from tests.helpers.cifar_files import TRAIN, pickled


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a server; `address` of it says where."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "urlopen", urlopen)
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "cache")
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        server.daemon_threads = False  # closing it waits for the answers under way
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        (folder / "port").write_text(str(server.server_port))
        yield folder
        server.shutdown()
        thread.join()


def put(served: Path, name: str, content: bytes) -> Download:
    (served / name).write_bytes(content)
    address = f"http://127.0.0.1:{(served / 'port').read_text()}/{name}"
    return Download(address, hashlib.md5(content, usedforsecurity=False).hexdigest())


def archive(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


@pytest.mark.parametrize("given", [True, False])
def test_an_archive_is_fetched_once(
    served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    images = np.arange(2 * 3072, dtype=np.uint32).reshape(2, 3072).astype(np.uint8)
    batches = {f"cifar-10-batches-py/{n}": pickled(images, [3, 9]) for n in (*TRAIN, "test_batch")}
    one = put(served, "cifar-10-python.tar.gz", archive(batches))
    spec = replace(DATA_SETS["cifar10"], downloads={"train": (one,), "test": (one,)})
    monkeypatch.setitem(DATA_SETS, "cifar10", spec)
    (tmp_path / "mine").mkdir()
    folder = tmp_path / "mine" if given else None
    found, labels = load("cifar10", folder, "train")
    assert (found.reshape(10, -1) == np.tile(images, (5, 1))).all()
    assert labels.tolist() == [3, 9] * 5
    home = (tmp_path / "mine" if given else tmp_path / "cache") / "cifar10"
    assert [path.name for path in home.iterdir()] == ["cifar-10-batches-py"]
    (served / "cifar-10-python.tar.gz").unlink()
    assert len(load("cifar10", folder, "test")[0]) == 2


def test_an_archive_that_is_there_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.zeros((2, 3072), np.uint8)
    content = archive({"cifar-10-batches-py/test_batch": pickled(images, [3, 9])})
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    one = Download("http://127.0.0.1:9/cifar-10-python.tar.gz", md5)
    monkeypatch.setitem(
        DATA_SETS, "cifar10", replace(DATA_SETS["cifar10"], downloads={"test": (one,)})
    )
    path = tmp_path / one.file
    path.write_bytes(content[:-1])
    with pytest.raises(EvenspikeError, match=f"cannot be unpacked: {path}: has MD5 .*, not {md5};"):
        load("cifar10", tmp_path, "test")
    path.write_bytes(content)
    assert load("cifar10", tmp_path, "test")[1].tolist() == [3, 9]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["cifar-10-batches-py", one.file]


def test_a_file_is_kept_as_it_is(served: Path, tmp_path: Path) -> None:
    content = gzip.compress(b"content")
    told: list[tuple[str, int, int | None]] = []
    one = put(served, "x.gz", content)
    fetch(one, tmp_path / "home", lambda *now: told.append(now))
    assert told == [(f"downloading {one.url}", len(content), len(content))]
    assert (tmp_path / "home" / "x.gz").read_bytes() == content


def refused(one: Download, home: Path) -> str:
    with pytest.raises(EvenspikeError) as caught:
        fetch(one, home)
    assert "\n" not in str(caught.value)
    assert not list(home.glob("*")) + list(home.glob(".*"))
    return str(caught.value)


def test_what_is_not_as_promised(
    served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    good = put(served, "x.gz", b"content")
    assert refused(replace(good, md5="0" * 32), home) == (
        f"{good.url}: has MD5 {good.md5}, not {'0' * 32}"
    )
    assert refused(replace(good, url=good.url + "z"), home) == f"{good.url}z: File not found"
    assert "Connection refused" in refused(Download("http://127.0.0.1:9/x", ""), home)
    torn = put(served, "torn.tar.gz", archive({"a/b": bytes(99999)})[:-20])
    assert refused(torn, home).startswith(f"{torn.url}: ")
    for name in ("../evil", "/evil", "a/../../evil"):
        evil = put(served, "evil.tar.gz", archive({name: b"1"}))
        assert refused(evil, home) == f"evil.tar.gz: {name!r} cannot be unpacked"
    monkeypatch.setattr(download, "BYTES_MAX", 6)
    assert refused(good, home) == f"{good.url}: sends more than 6 bytes"
    assert not (tmp_path / "evil").exists()


def test_a_folder_that_cannot_be_made(served: Path, tmp_path: Path) -> None:
    (tmp_path / "home").write_bytes(b"a file")
    good = put(served, "x.gz", b"content")
    with pytest.raises(EvenspikeError, match="File exists"):
        fetch(good, tmp_path / "home")
