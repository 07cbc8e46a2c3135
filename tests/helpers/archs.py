"""Random accelerators and mappings from a seed: any parameters, tiles and slots."""

from __future__ import annotations

from typing import Any

import numpy as np

from evenspike_core.arch import IMPLIED, WEIGHTS, Arch
from evenspike_core.mapping import (
    LayerMapping,
    Mapping,
    candidate,
    candidates,
    filter_cost,
    input_mapping,
)
from evenspike_core.program import Program


def random_arch(seed: int, clusters: int = 1, *, weights: bool = False) -> Arch:
    """An Arch of so many clusters that runs every `random_program`, in one to 32 groups of
    timesteps. weights: its gates are weights.
    """
    rng = np.random.default_rng((17, seed))
    scratchpad = int(rng.choice((256, 512, 1024, 2048)))
    choices: dict[str, tuple[int, ...]] = {
        "pes": (1, 2, 4, 8, 16, 32),
        "timesteps": tuple(range(1, 9)),
        "accumulators": (4, 16, 64, 256, 512),
        "chunk_blocks": (1, 2, 8, 32),
        "fifo_depth": (1, 2, 7, 64),
        "match_depth": (1, 2, 4, 8),
        "slots": (1, 2, 8, 64),
        "memory_latency": (1, 16, 40),
        "stream_depth": (1, 8, 32),
        "issue": (1, 2),
        "lane_depth": (8, 16, 32, 64),
    }
    fields: dict[str, Any] = {name: int(rng.choice(values)) for name, values in choices.items()}
    headers = int(rng.integers(8, scratchpad // 2 - 63))
    gates: dict[str, Any] = {}
    parallel = 0
    if weights:
        parallel = int(np.random.default_rng((43, seed)).integers(2))
        gates = {"gates": WEIGHTS, "lif_parallel": parallel}
        fields |= IMPLIED | {"accumulators": max(64, fields["accumulators"])}
    ports = [n for n in (64, 128, 256) if n // 64 <= fields["pes"]]
    return Arch(
        preset="random",
        scratchpad_words=scratchpad,
        header_words=headers,
        spike_entries=1 << 20,
        port_bits=int(rng.choice(ports)),
        lif_shared=int(np.random.default_rng((29, seed)).integers(2)) & (1 - parallel),
        row_entries=int(np.random.default_rng((37, seed)).choice((1, 2, 8, 16))),
        clusters=clusters,
        **gates,
        **fields,
    )


def random_mapping(program: Program, arch: Arch, seed: int, batch: int | None = None) -> Mapping:
    """Any tile and slots for each layer, in the natural order or balanced by random rates; of a
    batch, any number of a cluster's images that share a round.
    """
    batch = arch.clusters if batch is None else batch
    share = arch.share(batch)
    rng = np.random.default_rng((23, seed))
    rates = [rng.random(layer.filters) for layer in program.layers]
    mapping: list[LayerMapping] = []
    for layer in program.layers:
        if layer.host:
            mapping.append(input_mapping(layer, arch, batch))
            continue
        shared = [1 << n for n in range(share.bit_length()) if candidates(layer, arch, 1 << n)]
        images = shared[int(rng.integers(len(shared)))] if share > 1 else 1
        options = candidates(layer, arch, images)
        tile, slots = options[int(rng.integers(len(options)))]
        natural = bool(rng.random() < 0.3)
        work = filter_cost(program, layer, rates)
        found = None
        while found is None:
            found = candidate(
                layer, mapping, tile, slots, arch, work, natural=natural, images=images
            )
            slots //= 2
        mapping.append(found)
    return tuple(mapping)
