"""What a design around the accelerator is given: Verilog, a page, a C header; they are true."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("amaranth")

from amaranth.hdl import Fragment, Value

import evenspike as es
from evenspike.cli import main
from evenspike.flows.verilog import verilog
from evenspike_core.arch import preset
from evenspike_core.errors import EvenspikeError
from evenspike_hw.engine import compiled
from evenspike_hw.interface.fields import Field, fields
from evenspike_hw.interface.header import header
from evenspike_hw.interface.ports import ports
from evenspike_hw.rtl.accelerator import Accelerator
from evenspike_hw.rtl.descriptor import LAYER_WORDS, MEANING, RECORD_WORDS, RECORDS, encode
from evenspike_hw.rtl.faults import Fault
from evenspike_hw.rtl.registers import Register

SMALL = "packed,pes=2,timesteps=2,accumulators=16,table_words=128"
TABLE = "packed,pes=4"

COMPILER = shutil.which("cc") or shutil.which("gcc")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verilog")
    files = verilog(SMALL, folder)
    assert [file.name for file in files] == ["evenspike.v", "evenspike.md", "evenspike.h"]
    return folder


def test_the_same_arch_gives_the_same_files(written: Path, tmp_path: Path) -> None:
    for file in es.verilog(preset(SMALL), tmp_path):
        assert file.read_bytes() == (written / file.name).read_bytes()


def test_a_block_of_every_pe_is_written_once(written: Path) -> None:
    text = (written / "evenspike.v").read_text()
    assert re.findall(r"^module (\S*\.matcher) ", text, re.MULTILINE) == [
        "\\evenspike.array.pe0.matcher"
    ]
    instances = re.findall(r"^  \\evenspike\.array\.pe0  (pe\d+) \($", text, re.MULTILINE)
    assert instances == ["pe0", "pe1"]


def test_every_port_is_listed_with_its_width(written: Path) -> None:
    found = ports((written / "evenspike.v").read_text(), "evenspike")
    widths = {one.name: (one.direction, one.width) for one in found}
    design = Accelerator(preset(SMALL))
    Fragment.get(design, None)  # or Amaranth warns that nothing is made of it
    flat = list(design.signature.flatten(design))
    assert len(widths) == len(flat) + 2  # and the clock, and the reset
    for path, member, value in flat:
        name = "__".join(map(str, path))
        direction = "output" if member.flow.name == "Out" else "input"
        assert widths[name] == (direction, len(Value.cast(value)))
    text = (written / "evenspike.md").read_text()
    for one in found:
        assert f"| `{one.name}` | {one.direction} | {one.width} |" in text


def test_a_port_that_nobody_describes_is_an_error() -> None:
    text = "\nmodule evenspike(clk);\n  input clk;\n  output [3:0] more;\nendmodule\n"
    with pytest.raises(EvenspikeError, match="port accumulator_overflow is not described"):
        ports(text, "evenspike")
    with pytest.raises(EvenspikeError, match="no module other"):
        ports(text, "other")


@pytest.mark.parametrize("kind", list(RECORDS))
def test_fields_fill_their_words_and_have_a_meaning(kind: str) -> None:
    found = fields(kind)
    assert [field.name for field in found] == list(MEANING[kind])
    taken: set[int] = set()
    for field in found:
        bits = set(range(field.bit, field.bit + field.width))
        assert not taken & bits
        taken |= bits
    assert max(taken) < 64 * RECORD_WORDS[kind]


WAIVED = (
    "WIDTHEXPAND",  # Yosys counts on Verilog's own rules of width where it writes an operator
    "WIDTHTRUNC",
    "UNSIGNED",  # a comparison that a width decides
    "CASEINCOMPLETE",  # each case is behind an assignment of its default
    "UNUSEDSIGNAL",  # bits of a packet that a block does not read
    "PROCASSINIT",  # a register's value at power-up
    "DECLFILENAME",  # many modules in one file
)
"""What generated Verilog does on purpose. All else is looked for: latches, loops, signals with two
drivers or none, pins that are missing, races."""


def test_verilator_has_nothing_to_complain_of(written: Path) -> None:
    try:
        tools = compiled.find_tools()
    except compiled.EngineError as error:
        pytest.skip(str(error))
    waivers = [f"-Wno-{name}" for name in WAIVED]
    options = ["--lint-only", "-Wall", *waivers, "--top-module", "evenspike"]
    done = subprocess.run(
        [str(tools.verilator), *options, "evenspike.v"],
        cwd=written,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"VERILATOR_ROOT": str(tools.root)},
    )
    assert done.returncode == 0, done.stderr[:2000]
    assert not done.stderr.strip(), done.stderr[:2000]


@pytest.mark.skipif(COMPILER is None, reason="needs a C compiler")
def test_the_header_reads_and_writes_the_tables_of_a_network(tmp_path: Path) -> None:
    """A C program takes each field of a real table out and puts it into an empty one."""
    packed = es.pack(es.load("vgg16-small"), TABLE)
    tables = encode(packed)
    layers = tables.words[: LAYER_WORDS * tables.layers]
    passes = tables.words[tables.pass_base :]
    count = int(np.flatnonzero(passes == 0)[0])
    chunks = passes[count + 1 :]
    (tmp_path / "evenspike.h").write_text(header(preset(TABLE)))
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "evenspike.h"\n'
        "int main(void)\n{\n    static uint64_t in[4096], out[4096];\n"
        "    size_t n = fread(in, 8, 4096, stdin), at = 0;\n"
        + "".join(
            copied(kind, words)
            for kind, words in (("layer", len(layers)), ("pass", count), ("chunk", len(chunks)))
        )
        + "    for (size_t i = 0; i < EVENSPIKE_LAYER_WORDS * "
        + f"{tables.layers}u; i += EVENSPIKE_LAYER_WORDS)\n"
        + '        fprintf(stderr, "%d %d %d\\n",\n'
        + ",\n".join(
            f"            (int)evenspike_get(out + i, EVENSPIKE_LAYER_{name}_BIT, "
            f"EVENSPIKE_LAYER_{name}_WIDTH)"
            for name in ("THRESHOLD", "LEAK", "HEIGHT")
        )
        + ");\n    fwrite(out, 8, n, stdout);\n    return at != n;\n}\n"
    )
    assert COMPILER is not None
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1"]
    subprocess.run([COMPILER, *flags, "main.c", "-o", "main"], cwd=tmp_path, check=True)
    content = np.concatenate([layers, passes[:count], chunks])
    done = subprocess.run(
        [tmp_path / "main"], input=content.tobytes(), capture_output=True, check=True
    )
    assert done.stdout == content.tobytes()
    named = [[int(n) for n in line.split()] for line in done.stderr.decode().splitlines()]
    assert named == [[one.threshold, one.leak, one.size[0]] for one in packed.layers]
    assert len(chunks)
    assert layers.any()


def copied(kind: str, words: int) -> str:
    """C that copies records of a kind, field by field."""
    big = kind.upper()
    body = "".join(line(big, field) for field in fields(kind))
    head = f"    for (size_t end = at + {words}; at < end; at += EVENSPIKE_{big}_WORDS) {{\n"
    return f"{head}{body}    }}\n"


def line(big: str, field: Field) -> str:
    name = f"EVENSPIKE_{big}_{field.name.upper()}"
    get = "evenspike_get_signed" if field.signed else "evenspike_get"
    place = f"{name}_BIT, {name}_WIDTH"
    return f"        evenspike_put(out + at, {place}, (uint64_t){get}(in + at, {place}));\n"


def test_the_header_has_the_registers(written: Path) -> None:
    text = (written / "evenspike.h").read_text()
    page = (written / "evenspike.md").read_text()
    hardware = (Path(__file__).parents[2] / "docs" / "hardware.md").read_text(encoding="utf-8")
    for one in Register:
        assert f"#define EVENSPIKE_REG_{one.name} {one.value}\n" in text
        assert f"| {one.value} | `{one.name}` |" in page
        assert re.search(
            rf"^\| [0-9, ]*\b{one.value}\b[0-9, ]* \| [^|]*`{one.name}`", hardware, re.MULTILINE
        )
    for fault in Fault:
        assert f"#define EVENSPIKE_FAULT_{fault.name} {fault.value}\n" in text
        assert f"| {fault.value} | `{fault.name}` | {fault.meaning} |" in page
        assert f"| {fault.value} | `{fault.name}` | {fault.meaning} |" in hardware
    digest = re.search(r"EVENSPIKE_DIGEST UINT32_C\(0x([0-9a-f]{8})\)", text)
    assert digest is not None
    assert digest[1] == preset(SMALL).digest[:8]


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verilog", "--arch", "packed,pes=3", "--out", str(tmp_path / "none")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Arch pes is 3" in said
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").write_text("")
    assert main(["verilog", "--arch", SMALL, "--out", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
