"""Header: the registers and the table's words in C, for the host's driver."""

from __future__ import annotations

from collections.abc import Iterator

from evenspike_core.arch import Arch
from evenspike_hw.interface.fields import fields
from evenspike_hw.rtl.descriptor import RECORD_WORDS, RECORDS
from evenspike_hw.rtl.faults import Fault
from evenspike_hw.rtl.registers import CONTROL, Register, Status

_FUNCTIONS = """\
/* The field of `width` bits from `bit` on, of a record that begins at `words`. It may
   lie across two of them. */
static inline uint64_t evenspike_get(const uint64_t *words, unsigned bit, unsigned width)
{
    unsigned shift = bit % 64u;
    uint64_t value = words[bit / 64u] >> shift;
    if (shift + width > 64u)
        value |= words[bit / 64u + 1u] << (64u - shift);
    return value & (~UINT64_C(0) >> (64u - width));
}

/* The same of a signed field. */
static inline int64_t evenspike_get_signed(const uint64_t *words, unsigned bit, unsigned width)
{
    uint64_t sign = UINT64_C(1) << (width - 1u);
    return (int64_t)((evenspike_get(words, bit, width) ^ sign) - sign);
}

/* Puts the low `width` bits of a value there, signed or not, and leaves all others. */
static inline void evenspike_put(uint64_t *words, unsigned bit, unsigned width, uint64_t value)
{
    unsigned shift = bit % 64u;
    uint64_t mask = ~UINT64_C(0) >> (64u - width);
    value &= mask;
    words[bit / 64u] = (words[bit / 64u] & ~(mask << shift)) | value << shift;
    if (shift + width > 64u) {
        words[bit / 64u + 1u] &= ~(mask >> (64u - shift));
        words[bit / 64u + 1u] |= value >> (64u - shift);
    }
}
"""


def header(arch: Arch) -> str:
    """The text of a C99 header for the Arch."""
    lines = [
        f"/* evenspike, Arch {arch.preset}, digest {arch.digest}: made by `evenspike verilog`. */",
        "#ifndef EVENSPIKE_H",
        "#define EVENSPIKE_H",
        "",
        "#include <stdint.h>",
        "",
        *_arch(arch),
        "",
        "/* Registers of 32 bits, by their number on the bus. */",
        *(_define(f"REG_{one.name}", str(one.value)) for one in Register),
        "",
        "/* Bits of REG_CONTROL, written. */",
        *(
            _define(f"CONTROL_{name}", f"(UINT32_C(1) << {bit})")
            for name, (bit, _) in CONTROL.items()
        ),
        "",
        "/* Bits of REG_CONTROL, read; the layer is the byte from its bit on. */",
        *(
            _define(f"STATUS_{one.name}", f"(UINT32_C(1) << {one.value})")
            for one in Status
            if one is not Status.LAYER
        ),
        _define("STATUS_LAYER(status)", f"((status) >> {Status.LAYER.value} & UINT32_C(0xff))"),
        "",
        "/* Codes of REG_FAULT: why it has stopped. */",
        *(_define(f"FAULT_{one.name}", str(one.value)) for one in Fault),
        "",
        "/* Records of the table, in 64-bit words; lowest bit and width of their fields. */",
        *_records(),
        "",
        _FUNCTIONS,
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def _arch(arch: Arch) -> list[str]:
    numbers = {
        "PES": arch.pes,
        "CLUSTERS": arch.clusters,
        "TIMESTEPS": arch.timesteps,
        "TABLE_WORDS": arch.table_words,
        "SPIKE_ENTRIES": arch.spike_entries,
        "STREAM_DEPTH": arch.stream_depth,
        "KERNEL_MAX": arch.kernel_max,
        "PORT_BITS": arch.port_bits,
        "ADDRESS_BITS": arch.address_bits,
        "ROW_ENTRIES": arch.row_entries,
    }
    return [
        "/* What it was built with. REG_DIGEST reads EVENSPIKE_DIGEST. */",
        _define("DIGEST", f"UINT32_C(0x{arch.digest[:8]})"),
        *(_define(name, str(value)) for name, value in numbers.items()),
    ]


def _records() -> Iterator[str]:
    for kind in RECORDS:
        yield _define(f"{kind}_WORDS".upper(), str(RECORD_WORDS[kind]))
        for field in fields(kind):
            sign = ", signed" if field.signed else ""
            name = f"{kind}_{field.name}".upper()
            yield _define(f"{name}_BIT", str(field.bit)) + f"  /* {field.meaning}{sign} */"
            yield _define(f"{name}_WIDTH", str(field.width))


def _define(name: str, value: str) -> str:
    return f"#define EVENSPIKE_{name} {value}"
