"""Sizes: an Arch's widths, memories and flip-flops, of which the energy of an action follows."""

from __future__ import annotations

from evenspike_core.arch import Arch
from evenspike_core.fixed import ACCUMULATOR_BITS, WEIGHT_BITS
from evenspike_core.memories import memories

PE_FLIP_FLOPS = {3: 653, 5: 733, 7: 921}
"""Of a PE, whatever its timesteps, by the largest kernel that it is built for."""


def quantities(arch: Arch) -> dict[str, float]:
    """Widths, KiB of memory and flip-flops, by the names that an energy table may use.

    The flip-flops are fitted to `evenspike synth` of `pe` and of the shared blocks: exact for a PE
    of 1, 2, 4 and 8 timesteps, and of 4 with each `Arch.kernel_max`; the shared ones within 2 % for
    2 to 32 PEs of 4 timesteps, and 4 PEs of 8. The LIF's stages make them grow with the square of
    the timesteps, the APU's registers with that of the PEs.
    """
    t, pes, found = arch.timesteps, arch.pes, memories(arch)
    return {
        "accumulator_bits": ACCUMULATOR_BITS,
        "weight_bits": WEIGHT_BITS,
        "port_bits": arch.port_bits,
        "pe_kilobytes": sum(m.bits for m in found if m.in_pe) / pes / 8192,
        "shared_kilobytes": sum(m.bits for m in found if not m.in_pe) / 8192,
        "pe_flip_flops": PE_FLIP_FLOPS[arch.kernel_max] + 98 * t + 27 * t**2,
        "shared_flip_flops": 2380 + 96 * t + 3 * t * pes + 22 * pes + 2.4 * pes**2,
    }
