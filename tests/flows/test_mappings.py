"""Prepare and the cache of mappings: found once, and never a reason for a run to fail."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from evenspike.flows import mappings
from evenspike.flows.prepare import pack
from evenspike_core import mapping
from evenspike_core.arch import Arch
from evenspike_core.errors import EvenspikeError
from evenspike_core.pack import Packed
from evenspike_core.program import Program
from tests.helpers.networks import random_program

ARCH = Arch(pes=4)


@pytest.fixture
def program() -> Program:
    return random_program(2, timesteps=4)


@pytest.fixture(autouse=True)
def chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Program]:
    """What was mapped, not taken from the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found: list[Program] = []
    real = mapping.choose

    def counted(program: Program, *arguments: Any, **options: Any) -> mapping.Mapping:
        found.append(program)
        return real(program, *arguments, **options)

    monkeypatch.setattr(mapping, "choose", counted)
    return found


def entries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "evenspike" / "mapping").iterdir())


def alike(one: Packed, other: Packed) -> bool:
    return np.array_equal(one.stream, other.stream) and all(
        np.array_equal(a.blocks, b.blocks) and (a.tile, a.chunks) == (b.tile, b.chunks)
        for a, b in zip(one.layers, other.layers, strict=True)
    )


def test_a_mapping_is_found_once(program: Program, chosen: list[Program]) -> None:
    first, again = pack(program, ARCH), pack(program, replace(ARCH, preset="by another name"))
    assert chosen == [program]
    assert alike(first, again)
    assert again.arch.preset == "by another name"


def test_all_that_decides_a_mapping_is_in_the_key(
    program: Program, chosen: list[Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    activity = {layer.name: [0.5] * layer.filters for layer in program.layers}
    rates: list[npt.NDArray[np.float64] | None] = [None]
    rates += [np.ones(layer.filters) for layer in program.layers[1:]]
    inputs = [np.ones(layer.output, dtype=np.uint8) for layer in program.layers]
    calls: list[Callable[[], object]] = [
        lambda: pack(program, ARCH),
        lambda: pack(program, ARCH, mapping="natural"),
        lambda: pack(program, replace(ARCH, fifo_depth=8)),
        lambda: pack(random_program(4, timesteps=4), ARCH),
        lambda: pack(replace(program, provenance={"activity": activity}), ARCH),
        lambda: mappings.choose(program, ARCH, inputs),
        lambda: mappings.choose(program, ARCH, [3 * one for one in inputs]),
        lambda: mappings.choose(program, ARCH, inputs, rates),
    ]
    for _ in range(2):
        for call in calls:
            call()
    assert len(chosen) == len(calls)
    monkeypatch.setattr(mappings, "_sources", lambda: "another version")
    pack(program, ARCH)
    assert len(chosen) == len(calls) + 1


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "no JSON": lambda path: path.write_bytes(b"\xff" * 100),
    "flipped in the seal": lambda path: flip(path, 3),
    "flipped in the content": lambda path: flip(path, 100),
    "written to by others": lambda path: path.chmod(0o666),
    "a link": lambda path: path.symlink_to(path.rename(path.with_name("elsewhere"))),
    "a pipe": lambda path: os.mkfifo(path.rename(path.with_name("elsewhere")) and path),
    "a folder": folder_instead,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_found_anew(
    damage: str, program: Program, chosen: list[Program], tmp_path: Path
) -> None:
    whole = pack(program, ARCH)
    (path,) = entries(tmp_path)
    DAMAGES[damage](path)
    assert alike(pack(program, ARCH), whole)
    assert len(chosen) == 2
    assert alike(pack(program, ARCH), whole)
    assert len(chosen) == (3 if damage == "a folder" else 2), "it was mended"


def test_another_entry_under_this_name_is_no_entry(
    program: Program, chosen: list[Program], tmp_path: Path
) -> None:
    pack(program, ARCH)
    (path,) = entries(tmp_path)
    whole = pack(program, ARCH, mapping="natural")
    (other,) = set(entries(tmp_path)) - {path}
    path.replace(other)
    assert alike(pack(program, ARCH, mapping="natural"), whole)
    assert len(chosen) == 3


def test_entries_of_another_user_are_not_read(
    program: Program, chosen: list[Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(program, ARCH)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    pack(program, ARCH)
    assert len(chosen) == 2


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("name", ["replace", "fdopen", "utime"])
def test_a_cache_that_cannot_be_written_fails_no_run(
    name: str, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, name, full)
        whole = pack(program, ARCH)
        assert alike(pack(program, ARCH), whole)
    assert all(path.suffix == ".json" for path in entries(tmp_path)), "nothing half-written"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert alike(pack(program, ARCH), whole)


@pytest.mark.parametrize("bound", ["ENTRIES", "BYTES"])
def test_what_was_used_longest_ago_goes_first(
    bound: str, chosen: list[Program], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths: list[Path] = []
    programs = [random_program(seed, timesteps=4) for seed in (2, 4, 5)]
    for program in programs:
        pack(program, ARCH)
        paths += set(entries(tmp_path)) - set(paths)
    sizes = [path.stat().st_size for path in paths]
    paths[2].unlink()
    for path in paths[:2]:
        os.utime(path, (0, 0) if path == paths[1] else (1, 1))
    pack(programs[1], ARCH)  # from the cache: now the last used
    monkeypatch.setattr(mappings, bound, 2 if bound == "ENTRIES" else sizes[1] + sizes[2])
    pack(programs[2], ARCH)
    assert entries(tmp_path) == sorted(paths[1:])
    assert len(chosen) == 4


def test_pack_says_what_it_did(program: Program) -> None:
    seen: list[tuple[str, int, int | None]] = []
    for _ in range(2):
        packed = pack(
            program, "packed,pes=4", mapping="natural", progress=lambda *n: seen.append(n)
        )
    assert (packed.program, packed.mapping, packed.arch) == (
        program,
        "natural",
        replace(ARCH, preset="packed,pes=4"),
    )
    layers = len(program.layers)
    steps = [("mapping", done, layers) for done in range(layers + 1)]
    assert seen == [*steps, steps[-1]], "mapped, then taken from the cache"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mapping": "best"}, "no mapping 'best'; there are cost, natural"),
        ({"arch": "large"}, "unknown Arch 'large'; there are: packed, paper"),
    ],
)
def test_unknown_names(options: dict[str, Any], says: str, program: Program) -> None:
    with pytest.raises(EvenspikeError) as caught:
        pack(program, **options)
    assert str(caught.value) == says


@pytest.mark.parametrize("batch", ["2", np.int64(2), 2.0, True])
def test_a_batch_that_is_none_is_refused_beside_a_cached_one(program: Program, batch: Any) -> None:
    pack(program, ARCH, batch=2)
    with pytest.raises(EvenspikeError, match=r"^batch is .*, possible are powers of two"):
        pack(program, ARCH, batch=batch)


@pytest.mark.parametrize("arch", [None, {"pes": 4}, 4])
def test_what_is_no_arch_is_said(program: Program, arch: Any) -> None:
    with pytest.raises(EvenspikeError, match=r"is no Arch, and no text that names one$"):
        pack(program, arch)
