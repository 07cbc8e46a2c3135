"""Sizes: an Arch's widths, memories and flip-flops, of which the energy of an action follows."""

from __future__ import annotations

from evenspike_core.arch import WEIGHTS, Arch
from evenspike_core.fixed import ACCUMULATOR_BITS, WEIGHT_BITS
from evenspike_core.memories import memories

PE_FLIP_FLOPS = {
    1: {3: 1052, 5: 1170, 7: 1358},
    2: {3: 1323, 5: 1532, 7: 1667},
    4: {3: 1150, 5: 1315, 7: 1618},
}
"""Of a PE, whatever its timesteps, by the weights that it selects a cycle and the largest kernel
that it is built for: of a fetch of headers, its matches and their addresses, above all."""

MATCHER_GATES = {1: {3: 4206, 5: 5390, 7: 7702}, 2: {3: 5680, 5: 7976, 7: 9088}}
SELECTOR_GATES = {
    1: {3: 4552, 5: 5958, 7: 8114},
    2: {3: 11954, 5: 17234, 7: 20066},
    4: {3: 13260, 5: 17980, 7: 27210},
}
QUEUE_GATES = {1: {3: 2578, 5: 3120, 7: 4216}, 2: {3: 3822, 5: 4892, 7: 5616}}
"""Transistors without flip-flops and RAM of the blocks that grow with the patterns of a fetch, by
the same two. Four weights a cycle are those of gates that are weights, whose fetches, and so
matcher and queue, are those of one."""

WINDOW_FLIP_FLOPS = 82
"""Of a bank of the accumulators where the gates are weights."""

NEURON_FLIP_FLOPS, BANK_FLIP_FLOPS = 50, 30
"""With parallel LIF, of a neuron, whose psum has 24 and whose membrane 25, with a flag; and of a
bank, whose adder has a weight and a row."""


def quantities(arch: Arch) -> dict[str, float]:
    """Widths, KiB of memory and flip-flops, by the names that an energy table may use.

    The flip-flops are fitted to `evenspike synth` of `pe` and of the shared blocks: within 0.2 %
    for a PE of 1, 2, 4 and 8 timesteps with either `Arch.issue`, and of 4 with each
    `Arch.kernel_max`. A PE's for each timestep are 69 of LIF's, whose stages hand over all later
    sums and so have 27 more for its square, and 11 for the spikes of an activation on its way from
    filter to selector. Shared LIF has a spike for each timestep, a counter of them, and 73 more
    than LIF has whatever its timesteps (1 to 4 were synthesised). An adder has 65, of operands, sum
    and what it writes; where two weights are selected a cycle 121, with an address and a lane's
    counters of its own. For each PE of the array there are 2, of which channels of a block have
    weights, for each bit of a PE's number 6.

    The shared ones are within 0.2 % for 2 to 16 PEs of 4 timesteps. For each timestep the drain
    delays what it works on by two more stages (96), or by one with shared LIF (48), which has 86
    more whatever the timesteps; for each timestep and PE there is a bit in collector, input and
    three times in the APU; for each PE 32 of a logit, and a count in the loader; for their square
    what D and the lane stage know of each PE and lane, for three entries; for each bit of the port
    a word that comes and one that goes.
    """
    t, pes, found = arch.timesteps, arch.pes, memories(arch)
    lif = 73 + t + t.bit_length() if arch.lif_shared else 69 * t + 27 * t**2
    drain = 86 + 48 * t if arch.lif_shared else 96 * t
    adders = 65 * t if arch.issue == 1 else 121 * arch.banks
    if arch.gates == WEIGHTS:
        adders = WINDOW_FLIP_FLOPS * arch.window_banks
    if arch.lif_parallel:
        adders, lif = NEURON_FLIP_FLOPS * arch.lif_units + BANK_FLIP_FLOPS * arch.window_banks, 0
    return {
        "accumulator_bits": ACCUMULATOR_BITS,
        "weight_bits": WEIGHT_BITS,
        "port_bits": arch.port_bits,
        "pe_kilobytes": sum(m.bits for m in found if m.in_pe) / pes / 8192,
        "shared_kilobytes": sum(m.bits for m in found if not m.in_pe) / 8192,
        "matcher_gates": MATCHER_GATES[arch.issue][arch.kernel_max],
        "selector_gates": SELECTOR_GATES[arch.ways][arch.kernel_max],
        "queue_gates": QUEUE_GATES[arch.issue][arch.kernel_max],
        "pe_flip_flops": PE_FLIP_FLOPS[arch.ways][arch.kernel_max]
        + lif
        + 11 * t
        + adders
        + 2 * pes
        + 6 * (pes - 1).bit_length(),
        "shared_flip_flops": 2705
        + drain
        + 5 * t * pes
        + 46 * pes
        + 3 * pes**2
        + 2 * arch.port_bits,
    }
