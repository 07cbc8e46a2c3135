"""Sizes: an Arch's widths, memories and flip-flops, of which the energy of an action follows."""

from __future__ import annotations

from evenspike_core.arch import Arch
from evenspike_core.fixed import ACCUMULATOR_BITS, WEIGHT_BITS
from evenspike_core.memories import memories

PE_FLIP_FLOPS = {1: {3: 1056, 5: 1172, 7: 1359}, 2: {3: 1329, 5: 1536, 7: 1670}}
"""Of a PE, whatever its timesteps, by the weights that it selects a cycle and the largest kernel that
it is built for: of a fetch of headers, its matches and their addresses, above all."""


def quantities(arch: Arch) -> dict[str, float]:
    """Widths, KiB of memory and flip-flops, by the names that an energy table may use.

    The flip-flops are fitted to `evenspike synth` of `pe` and of the shared blocks: within 0.2 %
    for a PE of 1, 2, 4 and 8 timesteps with either `Arch.issue`, and of 4 with each
    `Arch.kernel_max`. Those of a PE for each timestep are 69 of LIF's, whose stages hand over all
    later sums and so have 27 more for its square, and 11 for the spikes of an activation on its way
    from filter to selector. An adder has 65, of operands, sum and what it writes; where two weights
    are selected a cycle 121, with an address and a lane's counters of its own. SHARED
    """
    t, pes, found = arch.timesteps, arch.pes, memories(arch)
    adders = 65 * t if arch.issue == 1 else 121 * arch.banks
    return {
        "accumulator_bits": ACCUMULATOR_BITS,
        "weight_bits": WEIGHT_BITS,
        "port_bits": arch.port_bits,
        "pe_kilobytes": sum(m.bits for m in found if m.in_pe) / pes / 8192,
        "shared_kilobytes": sum(m.bits for m in found if not m.in_pe) / 8192,
        "pe_flip_flops": PE_FLIP_FLOPS[arch.issue][arch.kernel_max] + 80 * t + 27 * t**2 + adders,
        "shared_flip_flops": 2380 + 96 * t + 3 * t * pes + 22 * pes + 2.4 * pes**2,
    }
