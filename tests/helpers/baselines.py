"""Compare area and longest path of the RTL's parts with what they were.

    python -m tests.helpers.baselines [--update] [PART-TARGET ...]

Each file of `tests/baselines` holds the metrics of one part on one target, preset `packed`, without
place-and-route. Exit status 1 if a metric has grown beyond its tolerance, if one is missing on
either side, or if a memory has become flip-flops. What has shrunk beyond its tolerance passes, and
says so: a baseline that nobody lowers lets the next growth through. `--update` writes the files.

Tolerances. The same netlist and Yosys give the same figures, so none is there for noise: each is
how much a change of a part may cost before it must say so, and a file's own may be edited.
- Counts of cells, 2 %: abc chooses other gates after any edit, so a smaller difference of a part
  says little about the RTL; a register or an adder more is beyond it in its own part.
- Bits and blocks of RAM, 0: nothing but a change of the design moves them.
- Longest path, 5 %, and one level in any case: less than one level there is not.

A memory that has become flip-flops fails whatever the figures are, and `--update` does not accept
it. One that may become registers where there are only large blocks of RAM is none (`ram.py`).
"""

# ruff: noqa: T201 (what it prints is its result)

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evenspike.cli.parser import Parser
from evenspike_core.arch import preset
from evenspike_core.errors import EvenspikeError
from evenspike_hw.synthesis.parts import PARTS, home
from evenspike_hw.synthesis.synthesize import Request, synthesize

Data = Mapping[str, Any]

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "baselines"
CACHE = ROOT / "build" / "synth" / "cache"
LARGE = ("array", "neurons", "neuron_bank")
"""Most of the top; and a multiplier for each neuron, which takes minutes."""

NAMES = (
    *(f"{part}-generic" for part in PARTS if part not in LARGE),
    *(f"{part}-{target}" for part in ("pe", "apu") for target in ("ecp5", "ice40")),
)

GENERIC = ("transistors", "flip_flops", "ram_bits", "ltp")
FPGA = ("luts", "muxes", "flip_flops", "block_ram", "carry", "distributed_ram", "dsp", "ltp")
CELLS = 0.02
TOLERANCES = {"ram_bits": 0.0, "block_ram": 0.0, "ltp": 0.05}
"""Relative; CELLS for what is not here."""

LEAST = {"ltp": 1}
"""What a metric may differ in any case."""

ABSENT = "-"


@dataclass(frozen=True)
class Finding:
    """verdict: "worse" and "missing" fail; "better" and "same" do not."""

    metric: str
    before: float | str
    now: float | str
    verdict: str

    @property
    def fails(self) -> bool:
        return self.verdict not in {"better", "same"}

    @property
    def difference(self) -> str:
        if isinstance(self.before, str) or isinstance(self.now, str):
            return ABSENT
        change = self.now - self.before
        return f"{change:+,}" + (f" ({change / self.before:+.1%})" if self.before else "")


def metrics(result: Data) -> dict[str, float]:
    """What is compared of a synthesis."""
    found = {**result["resources"], "ltp": result["ltp"]}
    wanted = GENERIC if result["target"] == "generic" else FPGA
    return {name: found[name] for name in wanted if name in found}


def baseline(result: Data, before: Data | None) -> dict[str, Any]:
    """The file's content for a result; tolerances as they were before."""
    old = before["metrics"] if before else {}
    return {
        "part": result["part"],
        "target": result["target"],
        "arch": home(result["part"]),
        "tools": result["tools"],
        "metrics": {
            name: {
                "value": value,
                "tolerance": old.get(name, {}).get("tolerance", TOLERANCES.get(name, CELLS)),
            }
            for name, value in metrics(result).items()
        },
    }


def compare(before: Data, result: Data) -> list[Finding]:
    """Every metric of either side, and every memory that no RAM holds."""
    now, found = metrics(result), []
    for name in dict.fromkeys((*before["metrics"], *now)):
        known = before["metrics"].get(name)
        if known is None or name not in now:
            was = ABSENT if known is None else known["value"]
            found.append(Finding(name, was, now.get(name, ABSENT), "missing"))
            continue
        value, change = known["value"], now[name] - known["value"]
        allowed = max(value * known["tolerance"], LEAST.get(name, 0))
        verdict = "same" if abs(change) <= allowed else "worse" if change > 0 else "better"
        found.append(Finding(name, value, now[name], verdict))
    return found + memories(result)


def memories(result: Data) -> list[Finding]:
    """Memories that should be RAM and are not."""
    return [
        Finding(memory["name"], "RAM", memory["mapped"], "worse")
        for memory in result["memories"]
        if memory["mapped"] in {"flip-flops", "?"}
    ]


def tools(before: Data, result: Data) -> str:
    """Which tools are others than the baseline's; "" if none is."""
    names = sorted({*before["tools"], *result["tools"]})
    return ", ".join(
        f"{name} {result['tools'].get(name, ABSENT)} instead of {before['tools'].get(name, ABSENT)}"
        for name in names
        if result["tools"].get(name) != before["tools"].get(name)
    )


def load(name: str, folder: Path) -> dict[str, Any] | None:
    """A baseline, or None if there is no file. Raises EvenspikeError for one that is none."""
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        whole = f"{found['part']}-{found['target']}" == name
        whole = whole and found["arch"] == home(found["part"])
        for metric in found["metrics"].values():
            whole = whole and metric["value"] >= 0 and metric["tolerance"] >= 0
        found["tools"].items()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvenspikeError(f"{path}: no baseline: {error!r}") from error
    if not whole:
        raise EvenspikeError(f"{path}: no baseline of {name}, Arch {home(name.rpartition('-')[0])}")
    return found


def judge(name: str, result: Data, folder: Path, update: bool) -> bool:
    """Print how a result compares with its baseline; write that if asked. Whether it passes."""
    before = load(name, folder)
    if before is None:
        print(f"{name}: no baseline" + ("" if update else "; --update writes it"))
        findings = [Finding(key, ABSENT, n, "missing") for key, n in metrics(result).items()]
        findings += memories(result)
    else:
        findings = compare(before, result)
        differ = tools(before, result)
        if differ:
            print(f"{name}: {differ}")
    shown = [finding for finding in findings if finding.verdict != "same"]
    if shown:
        head = ("metric", "before", "now", "difference", "")
        lines = [
            (f.metric, _number(f.before), _number(f.now), f.difference, _says(f, update))
            for f in shown
        ]
        widths = [max(len(line[n]) for line in (head, *lines)) for n in range(len(head))]
        for line in (head, *lines):
            cells = [text.rjust(width) for text, width in zip(line, widths, strict=True)][1:-1]
            print("   ", line[0].ljust(widths[0]), *cells, line[-1])
    lost = memories(result)
    if update and not lost:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(baseline(result, before), indent=1) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return not lost if update else not any(finding.fails for finding in findings)


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,}"


def _says(finding: Finding, update: bool) -> str:
    if finding.verdict == "better" and not update:
        return "better: update the baseline"
    return finding.verdict


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="PART-TARGET", help="(default: all)")
    parser.add_argument("--update", action="store_true", help="write the baselines")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in NAMES]
    if unknown:
        parser.error(f"no baseline is kept for {unknown[0]!r}; there are: {', '.join(NAMES)}")
    failed = []
    try:
        for name in given.names or NAMES:
            part, _, target = name.rpartition("-")
            result = synthesize(Request(part, target, preset(home(part)), route=False), CACHE)
            taken = "kept" if result["cached"] else f"{result['seconds']} s"
            passes = judge(name, result, FOLDER, given.update)
            print(f"{name}: {'passes' if passes else 'FAILS'} ({taken})", flush=True)
            failed += [] if passes else [name]
    except EvenspikeError as error:
        print(error, file=sys.stderr)
        return 2
    stale = sorted({path.stem for path in FOLDER.glob("*.json")} - set(NAMES))
    failed += stale
    for name in stale:
        print(f"{name}: FAILS: no such part is compared; delete {FOLDER / name}.json")
    print(f"{len(failed)} of {len(given.names or NAMES)} failed" if failed else "all pass")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
