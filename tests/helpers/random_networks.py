"""Random networks on the RTL and on the cycle model; a failure shrinks to a small one.

    python -m tests.helpers.random_networks [N] [--seed S] [--arch NAME]
    python -m tests.helpers.random_networks --repeat FILE

Each case is a network of `networks` with a mapping of `archs` (both beside this file) on one of a
few Archs, each of which is built once. A third of them run with a memory that stalls: there the
cycles are the memory's, and the spikes, logits and overflow flags are compared, and the busy cycles
where one weight issues a cycle. Some run a batch of images, which go through it together.
"""

# ruff: noqa: T201 (what it prints is its result)

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evenspike.cli.parser import Parser
from evenspike_core import reference
from evenspike_core.arch import IMPLIED, WEIGHTS, Arch
from evenspike_core.errors import EvenspikeError
from evenspike_core.mapping import choose
from evenspike_core.pack import Packed, pack
from evenspike_core.program import TIMESTEPS_MAX, Program
from evenspike_core.reference import Masks
from evenspike_hw.engine.simulator import MemoryBehaviour, Simulator
from evenspike_sim.accelerator import Accelerator
from tests.helpers import differences
from tests.helpers.archs import random_mapping
from tests.helpers.networks import random_pixels, random_program, together

ARCHS = {
    "packed": Arch(),
    "small": Arch(
        pes=4,
        timesteps=8,
        accumulators=16,
        lane_depth=8,
        spike_entries=1 << 14,
        memory_latency=3,
    ),
    "tight": Arch(
        pes=8,
        timesteps=4,
        accumulators=64,
        scratchpad_words=256,
        header_words=41,
        chunk_blocks=1,
        fifo_depth=1,
        match_depth=1,
        issue=1,
        slots=4,
        memory_latency=1,
        stream_depth=8,
        spike_entries=1 << 13,
        table_words=4096,
    ),
    "single": Arch(
        pes=1,
        timesteps=2,
        accumulators=4,
        scratchpad_words=512,
        header_words=101,
        chunk_blocks=32,
        fifo_depth=7,
        match_depth=2,
        lane_depth=16,
        spike_entries=1 << 16,
        table_words=1 << 14,
        kernel_max=3,
    ),
    "wide": Arch(
        pes=8,
        timesteps=3,
        accumulators=32,
        chunk_blocks=2,
        slots=2,
        fifo_depth=16,
        match_depth=4,
        memory_latency=9,
        spike_entries=1 << 13,
        kernel_max=5,
        port_bits=128,
    ),
    "port256": Arch(
        pes=8,
        timesteps=5,
        accumulators=64,
        header_words=192,
        slots=8,
        stream_depth=24,
        spike_entries=1 << 14,
        port_bits=256,
    ),
    "narrow": Arch(
        pes=2,
        timesteps=5,
        accumulators=128,
        header_words=129,
        fifo_depth=2,
        match_depth=3,
        issue=1,
        slots=16,
        spike_entries=1 << 15,
        table_words=1 << 13,
        kernel_max=3,
    ),
}
ARCHS["many"] = replace(ARCHS["wide"], pes=32)
ARCHS |= {
    "shared": replace(ARCHS["narrow"], pes=4, timesteps=4, lif_shared=1),
    "shared1": replace(ARCHS["single"], timesteps=1, lif_shared=1),
    "shared3": replace(ARCHS["wide"], lif_shared=1),
    "shared8": replace(ARCHS["small"], lif_shared=1),
    "weights": Arch(
        pes=4,
        gates=WEIGHTS,
        accumulators=64,
        fifo_depth=4,
        memory_latency=3,
        spike_entries=1 << 17,
        table_words=1 << 14,
        **IMPLIED,
    ),
}
ARCHS["weights3"] = replace(
    ARCHS["weights"], pes=8, accumulators=256, header_words=131, kernel_max=3, lif_shared=1
)
ARCHS["parallel"] = replace(ARCHS["weights3"], pes=2, accumulators=64, lif_shared=0, lif_parallel=1)
"""Few, since each is compiled; what they do not vary, the models' own tests do."""

STALLS = (0.0, 0.0, 0.3)
BATCHES = (1, 1, 1, 2, 4, 8)
SEEDS = 1 << 30


@dataclass(frozen=True)
class Case:
    """What a random network is drawn from."""

    arch: str
    seed: int
    timesteps: int
    max_side: int = 10
    max_filters: int = 17
    stall: float = 0.0
    natural: bool = False
    batch: int = 1

    def program(self) -> Program:
        return random_program(
            self.seed,
            timesteps=self.timesteps,
            max_side=self.max_side,
            max_filters=self.max_filters,
            kernel_max=ARCHS[self.arch].kernel_max,
        )

    def pixels(self, program: Program) -> list[npt.NDArray[np.uint8]]:
        """An input for each image of the batch."""
        return [random_pixels(program, self.seed + at) for at in range(self.batch)]

    def spikes(self, program: Program) -> Masks:
        """What the host makes of the inputs, as models and RTL take it."""
        return together([reference.encode(program, one) for one in self.pixels(program)])


def cases(seed: int, arch: str | None = None) -> Iterator[Case]:
    """Endless."""
    rng = np.random.default_rng((31, seed))
    while True:
        name = arch or list(ARCHS)[int(rng.integers(len(ARCHS)))]
        group = ARCHS[name].timesteps
        more = int(rng.integers(group + 1, TIMESTEPS_MAX + 1))  # several groups
        yield Case(
            name,
            int(rng.integers(SEEDS)),
            int(rng.integers(1, group + 1)) if rng.random() < 0.6 else more,
            int(rng.choice((3, 6, 10, 20), p=(0.3, 0.3, 0.3, 0.1))),
            int(rng.choice((3, 8, 17, 40))),
            float(rng.choice(STALLS)),
            bool(rng.random() < 0.3),
            int(rng.choice(BATCHES)),
        )


def image_of(case: Case, program: Program) -> Packed | None:
    """The packed network, or None if it does not fit the Arch."""
    arch = ARCHS[case.arch]
    try:
        if case.natural and case.batch == 1:
            mapping = choose(program, arch, natural=True)
        else:
            # A random mapping is only looked for where there is one.
            choose(program, arch, batch=case.batch)
            mapping = random_mapping(program, arch, case.seed, case.batch)
        return pack(program, mapping, arch)
    except EvenspikeError:
        return None


def difference(case: Case, program: Program) -> str | None:
    """Why the RTL, the cycle model and the reference do not agree, or None."""
    packed = image_of(case, program)
    if packed is None:
        return None
    spikes = case.spikes(program)
    runs = Accelerator(packed).run(spikes)
    try:
        with Simulator(packed) as simulator:
            traces = simulator.run(spikes, MemoryBehaviour(case.stall, case.seed))
    except EvenspikeError as error:
        return str(error)
    expected = [reference.run(program, one) for one in case.pixels(program)]
    for masks, trace in zip(
        zip(*(one.masks for one in expected), strict=True), traces, strict=False
    ):
        if not np.array_equal(together(masks), trace.masks):
            return f"layer {trace.name}: spikes differ from the reference"
    logits = traces[-1].logits
    if logits is None or not np.array_equal(together([one.logits for one in expected]), logits):
        return f"layer {traces[-1].name}: logits differ from the reference"
    found = differences.difference(packed, runs, traces, stalls=case.stall > 0)
    return None if found is None else str(found)


def shrink(case: Case, program: Program) -> tuple[Case, Program]:
    """A smaller case that fails, too: first a smaller draw, then fewer weights in it."""
    for side in (1, 2, 3, 4, 6):
        for filters in (1, 2, 3, 5):
            smaller = replace(case, max_side=side, max_filters=filters)
            if side < case.max_side and filters < case.max_filters:
                candidate = smaller.program()
                if difference(smaller, candidate):
                    return smaller, fewer_weights(smaller, candidate)
    return case, fewer_weights(case, program)


def fewer_weights(case: Case, program: Program, limit: int = 300) -> Program:
    """Zero weights, in halves of what is left, as long as it fails."""
    tries = 0
    for index in range(len(program.layers)):
        for number in range(len(program.layers[index].segments)):
            size = np.count_nonzero(program.layers[index].segments[number].weights)
            step = int(size)
            while step and tries < limit:
                start = 0
                while tries < limit:
                    candidate = _without(program, index, number, start, step)
                    if candidate is None:
                        break
                    tries += 1
                    if difference(case, candidate):
                        program = candidate
                    else:
                        start += step
                step //= 2
    return program


def _without(program: Program, index: int, number: int, start: int, step: int) -> Program | None:
    """The network without some of a segment's weights; None if there are none from `start` on."""
    layer = program.layers[index]
    weights = layer.segments[number].weights.copy()
    alive = np.flatnonzero(weights)[start : start + step]
    if not alive.size:
        return None
    weights.reshape(-1)[alive] = 0
    segments = list(layer.segments)
    segments[number] = replace(segments[number], weights=weights)
    layers = list(program.layers)
    layers[index] = replace(layer, segments=tuple(segments))
    return replace(program, layers=tuple(layers))


def report(case: Case, program: Program, folder: Path) -> str:
    """Shrink a failing case, keep it, and say how to repeat it."""
    case, program = shrink(case, program)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{case.arch}-{case.seed}.safetensors"
    replace(program, provenance={"case": asdict(case)}).save(path)
    shapes = [
        f"{layer.name} {layer.filters}x{layer.size} {[s.weights.shape for s in layer.segments]}"
        for layer in program.layers
    ]
    return (
        f"{difference(case, program)}\n  {json.dumps(asdict(case))}\n  {'; '.join(shapes)}\n"
        f"  repeat: {sys.executable} -m tests.helpers.random_networks --repeat {path}"
    )


def main() -> int:
    parser = Parser(description=__doc__)
    parser.add_argument("number", nargs="?", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--arch", choices=ARCHS)
    parser.add_argument("--repeat", type=Path, help="a failure that an earlier run has kept")
    parser.add_argument("--out", type=Path, default=Path("build/cosim/random"))
    arguments = parser.parse_args()
    if arguments.number < 1:
        parser.error(f"{arguments.number} networks: 1 or more")
    if arguments.repeat:
        if not arguments.repeat.is_file():
            parser.error(f"{arguments.repeat}: no such file")
        program = Program.load(arguments.repeat)
        case = Case(**program.provenance["case"])
        found = difference(case, program)
        print(found or "no difference")
        return 1 if found else 0
    ran = 0
    for case in cases(arguments.seed, arguments.arch):
        if ran == arguments.number:
            break
        program = case.program()
        if image_of(case, program) is None:
            continue
        ran += 1
        if difference(case, program):
            print(f"case {ran}: {report(case, program, arguments.out)}")
            return 1
        if ran % 50 == 0:
            print(f"{ran} of {arguments.number} networks agree", flush=True)
    print(f"{ran} networks: RTL, cycle model and reference agree on all of them")
    return 0


if __name__ == "__main__":
    sys.exit(main())
