"""Program files that are damaged, or that lie under a right hash: EvenspikeError, nothing else."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from evenspike_core.errors import EvenspikeError
from evenspike_core.program import Program
from tests.helpers.networks import random_program
from tests.helpers.program_files import damaged, opened, sealed, survives
from tests.helpers.tiny import TINY, same


def test_sealed_is_the_format(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    program = survives(path, sealed(*opened(TINY, tmp_path)))
    assert program is not None
    assert same(program, TINY)


HEADER_LIES: list[tuple[str, str]] = [
    ("h['format'] = 3", "file format 3, this version reads 1 and 2"),
    ("h['format'] = 2.0", "file format 2.0, this version reads 1 and 2"),
    ("h['format'] = True", "file format True, this version reads 1 and 2"),
    ("h['format'] = 1", "file format 1 has no 'coding'"),
    ("h['surplus'] = 1", "holds something that this version would not write"),
    ("h['layers'][0]['surplus'] = 1", "holds something that this version would not write"),
    ("h['timesteps'] = 4.5", "holds something that this version would not write"),
    ("h['timesteps'] = '4'", "holds something that this version would not write"),
    ("h['layers'][1]['hard'] = 'no'", "holds something that this version would not write"),
    ("h['layers'][0]['pool_first'] = 0", "holds something that this version would not write"),
    ("h['layers'][1]['segments'][0]['dense'] = -1", "holds something that this version would"),
    ("h['layers'][1]['segments'][0]['offset'] = [-1]", "malformed Program: ValueError"),
    ("h['layers'][2]['readout'] = 'mean'", "malformed Program: ValueError"),
    ("h['layers'][0]['coding'] = 'phase'", "malformed Program: ValueError"),
    ("h['layers'][0]['coding'] = None", "layer first: exactly the first layer has a coding"),
    ("h['layers'][1]['filters'] = 3", "holds something that this version would not write"),
    ("h['layers'][1]['size'] = [2]", "malformed Program: ValueError"),
    ("del h['shape']", "malformed Program: KeyError('shape')"),
    ("h['layers'] = 7", "malformed Program: TypeError"),
    ("h['layers'][1]['leak'] = '1/4'", "malformed Program: ValueError"),
    ("h['layers'][1]['leak'] = 0.25", "holds something that this version would not write"),
    ("h['timesteps'] = float('inf')", "malformed Program: OverflowError"),
    ("h['layers'][1]['threshold'] = 0", "layer body: threshold 0 is outside 1 to 8388607"),
    (
        "h['layers'][1]['segments'][0]['shape'] = [10**6] * 4",
        "layer body: the mask does not have 1000000000000000000000000 bits",
    ),
    (
        "h['layers'][1]['segments'][0]['shape'] = [2, 27]",
        "layer body: weight shape (2, 27) is not [F, C, K, K]",
    ),
    (
        "h['shape'] = [1, 10**9, 10**9]",
        "tiny: input shape (1, 1000000000, 1000000000), sides reach 1024",
    ),
    ("t['surplus'] = t['body.bias']", "holds something that this version would not write"),
    ("del t['body.0.mask']", "malformed Program: KeyError('body.0.mask')"),
    ("t['body.0.values'][3] = 0", "holds something that this version would not write"),
    ("t['body.0.mask'][-1] |= 128", "holds something that this version would not write"),
    ("t['body.0.mask'][0] = 254", "layer body: (54,) int16 values for 53 weights"),
    (
        "t['body.0.values'] = t['body.0.values'].astype('int32')",
        "layer body: (54,) int32 values for 54 weights",
    ),
    (
        "t['body.bias'] = t['body.bias'].astype('float32')",
        "layer body: bias is float32 (2,), not int32 [F]",
    ),
    ("t['body.bias'] = t['body.bias'][0]", "layer body: bias is int32 (), not int32 [F]"),
]


@pytest.mark.parametrize(("edit", "message"), HEADER_LIES, ids=[edit for edit, _ in HEADER_LIES])
def test_sealed_lies(edit: str, message: str, tmp_path: Path) -> None:
    header, tensors = opened(TINY, tmp_path)
    exec(edit, {"h": header, "t": tensors})  # noqa: S102 (the edits are above)
    path = tmp_path / "p.safetensors"
    path.write_bytes(sealed(header, {k: np.asarray(v) for k, v in tensors.items()}))
    with pytest.raises(EvenspikeError) as caught:
        Program.load(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_unsealed_edit(tmp_path: Path) -> None:
    header, tensors = opened(TINY, tmp_path)
    tensors["body.0.values"][0] += 1
    path = tmp_path / "p.safetensors"
    path.write_bytes(save(tensors, metadata={"evenspike": json.dumps(header)}))
    with pytest.raises(EvenspikeError) as caught:
        Program.load(path)
    assert str(caught.value) == f"{path}: content does not match its SHA-256; file is damaged"


def test_deep_json(tmp_path: Path) -> None:
    """Nesting that the parser or the hash cannot recurse into."""
    _, tensors = opened(TINY, tmp_path)
    for depth in (10, 900, 990, 2000, 100_000):
        nested = "[" * depth + "]" * depth
        for version in (1, 2):
            text = f'{{"format": {version}, "provenance": {nested}, "sha256": ""}}'
            survives(tmp_path / "p", save(tensors, metadata={"evenspike": text}))


@pytest.mark.parametrize("seed", range(4))
def test_fuzzed_bytes(seed: int, tmp_path: Path) -> None:
    """Truncated, bit-flipped and spliced files: refused, or the very same Program."""
    chance = random.Random(seed)
    program = TINY if seed % 2 else random_program(seed, max_filters=3)
    path = tmp_path / "p.safetensors"
    program.save(path)
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    for _ in range(150):
        data = bytearray(content)
        kind = chance.randrange(5)
        if kind == 0:
            del data[chance.randrange(len(data)) :]
        elif kind == 1:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        elif kind == 2:  # most of the structure is in the header
            data[chance.randrange(8 + size)] = chance.choice(b'0129"{}[],:\\\x00\xff eE-.')
        elif kind == 3:
            at = chance.randrange(len(data))
            data[at:at] = chance.randbytes(chance.randrange(1, 20))
        else:
            types = (b'"I16"', b'"U8"', b'"I32"')
            other = (b'"BF16"', b'"F8_E4M3"', b'"BOOL"', b'"F64"', b'"I8"', b'"U16"', b'"C64"')
            data = bytearray(content.replace(chance.choice(types), chance.choice(other), 1))
        loaded = survives(path, bytes(data))
        assert loaded is None or same(loaded, program)


@pytest.mark.parametrize("seed", range(4))
def test_fuzzed_header(seed: int, tmp_path: Path) -> None:
    """Any value at any place of the header, under a right hash: refused, or read as written."""
    chance = random.Random(seed)
    program = TINY if seed % 2 else random_program(seed, max_filters=3)
    original, tensors = opened(program, tmp_path)
    for _ in range(150):
        header = damaged(original, chance)
        loaded = survives(tmp_path / "p.safetensors", sealed(header, tensors))
        if loaded is not None:
            rewritten, _ = opened(loaded, tmp_path)
            assert json.dumps(rewritten | {"sha256": ""}, sort_keys=True) == json.dumps(
                header | {"sha256": ""}, sort_keys=True
            )


@pytest.mark.parametrize("seed", range(2))
def test_fuzzed_tensors(seed: int, tmp_path: Path) -> None:
    """Tensors of any type, shape and content, under a right hash."""
    chance = random.Random(seed)
    rng = np.random.default_rng(seed)
    header, original = opened(TINY, tmp_path)
    types = ("u1", "i1", "i2", "u2", "i4", "i8", "f2", "f4", "f8", "?")
    for _ in range(150):
        tensors = dict(original)
        name = chance.choice(sorted(tensors))
        shape = chance.choice([tensors[name].shape, (), (0,), (1,), (3,), (2, 1), (1,) * 5])
        values = rng.integers(0, 256, (int(np.prod(shape)), 8)).astype(np.uint8)
        kind = chance.randrange(3)
        if kind == 0:
            del tensors[name]
        elif kind == 1:
            tensors[name] = tensors[name].astype(chance.choice(types))
        else:
            dtype = np.dtype(chance.choice(types))
            raw = (values & 1 if dtype.kind == "b" else values)[:, : dtype.itemsize]
            tensors[name] = np.frombuffer(raw.tobytes(), dtype).reshape(shape)
        survives(tmp_path / "p.safetensors", sealed(header, tensors))
