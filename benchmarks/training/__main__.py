"""Time the same training step in evenspike, SpikingJelly and snnTorch: `build/bench/train.json`.

    python -m benchmarks.training [--peers PYTHON] [--steps N] [--batch N] [--out DIR]

Every variant is a process of its own on one thread.  They take turns, a step each, so that what
disturbs the machine disturbs all of them; figures are medians.  Ratios are of CPU seconds a step:
on one thread these are the seconds that a quiet machine would take.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from evenspike.cli.parser import Parser
from evenspike.report import contents
from evenspike_core import data as dataset
from evenspike_core import files
from evenspike_core.errors import EvenspikeError

ROOT = Path(__file__).resolve().parents[2]
VARIANTS = {
    "evenspike fp32": ("evenspike", "channels_last"),
    "evenspike default": ("evenspike", "channels_last", "bf16"),
    "spikingjelly fp32": ("spikingjelly",),
    "spikingjelly fp32, channels_last": ("spikingjelly", "channels_last"),
    "spikingjelly bf16, channels_last": ("spikingjelly", "channels_last", "bf16"),
    "snntorch fp32": ("snntorch",),
    "snntorch fp32, channels_last": ("snntorch", "channels_last"),
    "snntorch bf16, channels_last": ("snntorch", "channels_last", "bf16"),
}
EPOCH = 60_000
"""Images of a round: an epoch of Fashion-MNIST. The papers' rounds have 150."""
PEERS = ("spikingjelly", "snntorch")
WARM_UP = 2
BALANCES = 3
DEFINITIONS = {
    "ratio_fp32": "CPU seconds a step, SpikingJelly in fp32 (the faster memory format) / evenspike "
    "in fp32; above 1 evenspike is faster",
    "ratio_default": "the same SpikingJelly / evenspike as `evenspike train` runs by default: bf16 "
    "autocast, channels_last",
    "peak_rss_ratio": "peak resident memory during the timed steps, evenspike's default / that "
    "SpikingJelly's; below 1 evenspike needs less",
    "step": "forward, loss, backward, SGD update",
    "cpu, wall": "median seconds a step by the process's clock and by the wall's; every step's in "
    "cpu_steps and wall_steps",
    "of_floor": "time a step / the time its multiply-accumulates take at the rate of a matrix "
    "product of 2048 x 2048, measured in the same run",
    "balance": "CPU seconds of a mask update's balance at a sparsity of 97.6 %, for cycle-aware "
    "with what it measures before, and as shares of a round of one epoch of 60,000 images in the "
    "default precision",
    "agreement": "evenspike in fp32 against SpikingJelly's, both in the same memory format, from "
    "the same weights: loss, spikes that differ, gradient of all convolutions (norm of the "
    "difference / norm)",
}
LIMITS = {"loss_difference": 1e-4, "spikes_differing": 1e-4, "gradient_difference": 0.01}
"""Of `agreement`: a current that differs in its last bit flips a spike that is at the threshold,
and a flipped spike moves the layers behind it."""


class Process:
    """A worker and its two pipes."""

    def __init__(self, python: str, batch: Path, options: tuple[str, ...]) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": _search_path(options[0])}
        self.name = options[0]
        self.process = subprocess.Popen(
            [python, "-m", "benchmarks.training.worker", options[0], str(batch), *options[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )

    def ask(self, command: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except OSError:  # its end of a pipe is closed
            line = ""
        if not line:
            raise EvenspikeError(
                f"{self.name} ended at {command.split(maxsplit=1)[0]!r}; see above"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        self.process.communicate()


def _search_path(framework: str) -> str:
    """Ours imports the packages of the tree, a peer nothing but these workers."""
    own = [ROOT, *(ROOT / name for name in ("train", "sim", "hw"))]
    return os.pathsep.join(map(str, own if framework == "evenspike" else own[:1]))


def cpu_flags() -> dict[str, bool]:
    """Whether the processor multiplies bfloat16 by itself: where the default precision pays."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        flags = []
    return {name: name in flags for name in ("amx_bf16", "avx512_bf16")}


def measure(
    workers: dict[str, Process], floor: Process, steps: int
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Figures of each variant, and the floor's, in turns."""
    rows: dict[str, dict[str, Any]] = {name: w.ask("version") for name, w in workers.items()}
    versions = sorted({row["torch"] for row in rows.values()})
    if len(versions) > 1:  # of their times and sizes, which are most of ours
        raise EvenspikeError(f"different versions of torch: {', '.join(versions)}")
    for worker in workers.values():
        for _ in range(WARM_UP):
            worker.ask("step")
        worker.ask("forget_peak")
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    floor.ask("step")
    floors = []
    for number in range(steps):
        floors.append(floor.ask("step"))
        for name, worker in workers.items():
            answers[name].append(worker.ask("step"))
        print(f"bench-train: step {number + 1} of {steps}", file=sys.stderr)
    for name, worker in workers.items():
        for clock in ("cpu", "wall"):
            seconds = [answer[clock] for answer in answers[name]]
            rows[name][clock] = statistics.median(seconds)
            rows[name][f"{clock}_steps"] = [round(value, 4) for value in seconds]
        rows[name]["loss_after"] = answers[name][-1]["loss"]
        rows[name].update(worker.ask("peak"))
    least = {key: statistics.median(answer[key] for answer in floors) for key in ("fp32", "bf16")}
    return rows, {**floor.ask("version"), **least}


def fastest(rows: dict[str, dict[str, Any]], framework: str, precision: str, clock: str) -> str:
    """The memory format in which a peer does best."""
    names = [name for name in rows if name.startswith(f"{framework} {precision}")]
    return min(names, key=lambda name: float(rows[name][clock]))


def ratios(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Of the peers' times and memory to ours, within this run."""
    ours, default = rows["evenspike fp32"], rows["evenspike default"]
    result: dict[str, Any] = {}
    for peer in PEERS:
        of = {}
        for clock in ("cpu", "wall"):
            best = rows[fastest(rows, peer, "fp32", clock)]
            of[f"fp32_{clock}"] = best[clock] / ours[clock]
            of[f"default_{clock}"] = best[clock] / default[clock]
            both = rows[fastest(rows, peer, "bf16", clock)]
            of[f"both_bf16_{clock}"] = both[clock] / default[clock]
        memory = rows[fastest(rows, peer, "fp32", "cpu")]["peak_rss_mb"]
        of["peak_rss_default"] = default["peak_rss_mb"] / memory
        of["peak_rss_fp32"] = ours["peak_rss_mb"] / memory
        result[peer] = of
    first = result["spikingjelly"]
    return {
        "ratio_fp32": first["fp32_cpu"],
        "ratio_default": first["default_cpu"],
        "peak_rss_ratio": first["peak_rss_default"],
        "ratios": result,
    }


def balance_shares(balanced: list[dict[str, Any]], image: float) -> dict[str, Any]:
    """Medians of the balances' seconds, and their shares of a round; `image`: seconds of one."""
    found = {key: statistics.median(each[key] for each in balanced) for key in balanced[0]}
    round_seconds = EPOCH * image
    cycle_aware = found["cycle_aware_probe"] + found["cycle_aware_balance"]
    return {
        **found,
        "round": round_seconds,
        "u_ticket_share": found["u_ticket"] / round_seconds,
        "cycle_aware_share": cycle_aware / round_seconds,
    }


def agreement(workers: dict[str, Process], folder: Path) -> dict[str, Any]:
    """How far evenspike and SpikingJelly are apart from the same weights on the same batch."""
    answers, files = [], []
    for name in ("evenspike fp32", "spikingjelly fp32"):
        path = folder / f"{name.split()[0]}.npz"
        answers.append(workers[name].ask(f"check {path}"))
        with np.load(path) as content:
            files.append((content["spikes"], content["gradient"]))
    (spikes, gradient), (other_spikes, other_gradient) = files
    differing = int(np.bitwise_count(spikes ^ other_spikes).sum()) / answers[0]["neuron_steps"]
    difference = float(np.linalg.norm(gradient - other_gradient) / np.linalg.norm(other_gradient))
    found = {
        "loss_difference": abs(answers[0]["loss"] - answers[1]["loss"]),
        "spikes_differing": differing,
        "gradient_difference": difference,
    }
    return {
        **found,
        "limits": LIMITS,
        "equal": all(found[name] <= limit for name, limit in LIMITS.items()),
        "loss": [answer["loss"] for answer in answers],
        "firing_rate": [answer["firing_rate"] for answer in answers],
    }


def bench(peers: str, steps: int, size: int, out: Path) -> dict[str, Any]:
    """Measure, check and write; the content of ``train.json``."""
    files.check_folder(out)
    with tempfile.TemporaryDirectory() as name:
        batch = Path(name) / "batch.npz"
        images, labels = dataset.shipped()
        np.savez(batch, images=images[:size], labels=labels[:size].astype(np.int64))
        for options in VARIANTS.values():
            if options[0] == "evenspike":  # compiles its kernels, once for a machine
                first = Process(sys.executable, batch, options)
                first.ask("step")
                first.close()
        workers = {
            variant: Process(peers if options[0] in PEERS else sys.executable, batch, options)
            for variant, options in VARIANTS.items()
        }
        balance = Process(sys.executable, batch, ("balance",))
        balance.ask("step")  # compiles its kernel
        balanced = [balance.ask("step") for _ in range(BALANCES)]
        balance.close()
        floor = Process(sys.executable, batch, ("floor",))
        rows, least = measure(workers, floor, steps)
        same = agreement(workers, Path(name))
        for worker in (*workers.values(), floor):
            worker.close()
    for variant, precision in (("evenspike fp32", "fp32"), ("evenspike default", "bf16")):
        rows[variant]["of_floor"] = rows[variant]["cpu"] / least[precision]
    content = {
        "machine": contents.machine(),
        "bf16_instructions": cpu_flags(),
        "problem": f"VGG-16, T = 4, batch {size}, Fashion-MNIST 32x32, one thread",
        "definitions": DEFINITIONS,
        **ratios(rows),
        "balance": balance_shares(balanced, rows["evenspike default"]["cpu"] / size),
        "agreement": same,
        "variants": rows,
        "floor": least,
    }
    files.write_json(content, out / "train.json")
    return content


def main() -> int:
    parser = Parser(prog="python -m benchmarks.training")
    parser.add_argument("--peers", default=sys.executable, help="Python of the peers' environment")
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each (default: 10)")
    parser.add_argument("--batch", type=int, default=16, help="images, of the 100 shipped ones")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    arguments = parser.parse_args()
    try:
        if arguments.steps < 1:
            raise EvenspikeError(f"--steps {arguments.steps}: at least 1")
        if not 1 <= arguments.batch <= 100:
            raise EvenspikeError(f"--batch {arguments.batch}: 1 to 100 are possible")
        content = bench(arguments.peers, arguments.steps, arguments.batch, arguments.out)
    except (EvenspikeError, OSError) as error:
        print(f"bench-train: {error}", file=sys.stderr)
        return 2
    for name, row in content["variants"].items():
        print(
            f"{name:34} {row['cpu']:.3f} CPU s, {row['wall']:.3f} s a step, "
            f"{row['peak_rss_mb']:.0f} MB"
        )
    for name in ("ratio_fp32", "ratio_default", "peak_rss_ratio"):
        print(f"{name}: {content[name]:.2f}")
    for name in ("u_ticket_share", "cycle_aware_share"):
        print(f"balance, {name}: {100 * content['balance'][name]:.2f} % of a round")
    same = content["agreement"]
    print(", ".join(f"{name}: {same[name]:.2g}" for name in LIMITS))
    return 0 if same["equal"] else 1


if __name__ == "__main__":
    sys.exit(main())
