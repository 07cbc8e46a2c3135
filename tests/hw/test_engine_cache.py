"""The engine's cache: what is loaded is what was built, whatever happened to the files."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from evenspike_core.arch import Arch
from evenspike_core.errors import EvenspikeError
from evenspike_hw.engine import compiled

COMPILER = shutil.which("cc") or shutil.which("gcc")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="a library is built with a C compiler")

SOURCE = """
void *evenspike_new(void) { return 0; }
void evenspike_delete(void *machine) {}
int evenspike_run(void *machine, void *job) { return 7; }
"""
OTHER = "int evenspike_new(void) { return 0; }"


@pytest.fixture(autouse=True)
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Sources to build from, the last one again and again; nothing is built from the RTL."""
    sources = [SOURCE]

    def make(_: Arch, library: Path, *, trace: bool, watch: bool) -> None:
        assert not trace
        assert not watch
        source = library.with_name("source.c")
        source.write_text(sources[-1])
        subprocess.run(
            [str(COMPILER), "-shared", "-fPIC", "-o", str(library), str(source)], check=True
        )
        sources.append(sources[-1])

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(compiled, "_key", lambda *_: "key")
    monkeypatch.setattr(compiled, "_make", make)
    return sources


def works(built: compiled.Build) -> bool:
    return int(compiled.load(built.library).evenspike_run(None, None)) == 7


def test_a_library_is_built_once(made: list[str]) -> None:
    assert compiled.find(Arch()) is None
    built = compiled.build(Arch())
    assert works(built)
    assert compiled.find(Arch()) == compiled.build(Arch()) == built
    assert len(made) == 2
    left = sorted(path.name for path in built.library.parent.iterdir())
    assert left == ["accelerator.so", "build.json", "lock"]


def flip(library: Path) -> None:
    content = bytearray(library.read_bytes())
    content[len(content) // 2] ^= 1
    library.unlink()  # not into what this process may have loaded
    library.write_bytes(content)


def rewritten(content: bytes) -> Callable[[Path], object]:
    def write(library: Path) -> None:
        library.unlink()
        library.write_bytes(content)

    return write


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": rewritten(b""),
    "cut": lambda library: rewritten(library.read_bytes()[:4500])(library),
    "flipped": flip,
    "no library": rewritten(b"nonsense"),
    "no record": lambda library: library.with_name("build.json").unlink(),
    "empty record": lambda library: library.with_name("build.json").write_text(""),
    "no object": lambda library: library.with_name("build.json").write_text("[1]"),
    "deep record": lambda library: library.with_name("build.json").write_text("[" * 10**5),
    "no hash": lambda library: library.with_name("build.json").write_text('{"seconds": 1}'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_built_again(damage: str, made: list[str]) -> None:
    built = compiled.build(Arch())
    DAMAGES[damage](built.library)
    assert compiled.find(Arch()) is None
    assert works(compiled.build(Arch()))
    assert len(made) == 3
    assert compiled.find(Arch()) is not None


def test_a_folder_of_others_is_refused_by_name(made: list[str]) -> None:
    folder = compiled.build(Arch()).library.parent
    for open_one in (folder, folder.parent):
        open_one.chmod(0o777)
        for call in (compiled.find, compiled.build):
            with pytest.raises(EvenspikeError, match=rf"^{open_one} can be written to by others"):
                call(Arch())
        open_one.chmod(0o700)
    assert compiled.find(Arch()) is not None
    assert len(made) == 2


def test_a_build_that_fails_leaves_nothing(made: list[str]) -> None:
    made.append("no C")
    with pytest.raises(subprocess.CalledProcessError):
        compiled.build(Arch())
    assert [path.name for path in compiled.location(Arch()).parent.iterdir()] == ["lock"]


@pytest.mark.parametrize("source", [OTHER, None])
def test_what_cannot_be_loaded_is_one_line(source: str | None, made: list[str]) -> None:
    """A driver without its functions; a record of something that is no library."""
    made.append(source or SOURCE)
    built = compiled.build(Arch())
    if source is None:
        built.library.write_bytes(b"")
    with pytest.raises(compiled.EngineError) as caught:
        compiled.load(built.library)
    assert str(caught.value).startswith(f"{built.library}: the RTL simulator cannot be loaded: ")
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compiled, "_make", full)
    folder = compiled.location(Arch()).parent
    with pytest.raises(compiled.EngineError) as caught:
        compiled.build(Arch())
    assert str(caught.value) == (
        f"{folder}: the RTL simulator cannot be built here: No space left on device"
    )


def test_the_record_says_how_long_it_took() -> None:
    built = compiled.build(Arch())
    record = json.loads(built.library.with_name("build.json").read_text())
    assert record["seconds"] == built.seconds >= 0
