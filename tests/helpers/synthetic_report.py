"""A report as a run would give it, made up from a seed: 16 PEs, a VGG-like network, counts that add
up. Its numbers mean nothing; its form is that of `docs/report.md`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from evenspike_core.counters import STATES

Data = dict[str, Any]

BOUNDS = ("matched", "bound_cycles", "dense_cycles")
PES, TIMESTEPS, ISSUE, CLOCK_MHZ, IMAGES = 16, 4, 2, 400.0, 10

LAYERS = (
    # name, channels, filters, side, pool, cycles, share of busy
    ("conv1", 3, 64, 32, 1, 9_000, 0.35),
    ("conv2", 64, 64, 32, 2, 232_000, 0.86),
    ("conv3", 64, 128, 16, 1, 71_000, 0.84),
    ("conv4", 128, 128, 16, 2, 135_000, 0.83),
    ("conv5", 128, 256, 8, 1, 26_000, 0.76),
    ("conv6", 256, 256, 8, 2, 32_000, 0.74),
    ("conv7", 256, 512, 4, 1, 8_000, 0.52),
    ("conv8", 512, 512, 4, 2, 11_000, 0.49),
    ("fc", 512, 10, 1, 1, 900, 0.08),
)

COSTS = {
    "and_gate": 0.01185,
    "accumulate": 0.137625,
    "accumulator_read": 2.068,
    "accumulator_write": 2.395,
    "lif_step": 0.4427,
    "scratchpad_read": 0.6893,
    "spike_read": 7.799,
    "fifo_push": 0.4241,
    "memory_word": 937.524,
    "leakage_cycle": 5.8823,
}

CLASSES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"]
CLASSES += ["Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]


def synthetic_report(seed: int = 1) -> dict[str, Any]:
    """A complete report; every call gives a fresh one that a test may spoil."""
    rng = np.random.default_rng(seed)
    layers = [_layer(rng, *row) for row in LAYERS]
    totals: dict[str, Any] = {
        key: sum(layer[key] for layer in layers)
        for key in ("cycles", "accumulations", "words_loaded", "energy_pj", *BOUNDS, *STATES)
    }
    totals["speedup_over_dense"] = totals["dense_cycles"] / totals["cycles"]
    totals["port_occupancy"] = totals["words_loaded"] / totals["cycles"]
    totals["frames_per_second"] = CLOCK_MHZ * 1e6 / totals["cycles"]
    totals["utilization"] = totals["busy"] / (PES * totals["cycles"])
    gates = PES * TIMESTEPS * totals["cycles"]
    totals["efficiency"] = totals["accumulations"] / gates
    totals["latency_ms"] = totals["cycles"] / (CLOCK_MHZ * 1e3)
    logits = rng.integers(-900, 2500, (IMAGES, 10))
    labels = logits.argmax(axis=1)
    labels[3] = (labels[3] + 1) % 10
    return {
        "model": "vgg9-fmnist",
        "version": "1.2.3",
        "date": "2030-01-31T23:59:58Z",
        "command": "evenspike sim --model vgg9-fmnist",
        "natural_order": {
            "images": 1,
            "cycles": 1.3 * totals["cycles"],
            "mapped_cycles": totals["cycles"],
            "speedup": 1.3,
        },
        "arch": {
            "preset": "packed",
            "digest": "0123456789ab",
            "pes": PES,
            "timesteps": TIMESTEPS,
            "issue": ISSUE,
            "accumulators": 256,
            "scratchpad_words": 1024,
            "fifo_depth": 64,
            "slots": 64,
            "port_bits": 64,
            "clock_mhz": CLOCK_MHZ,
        },
        "engine": "model",
        "program": {
            "digest": "fedcba9876543210",
            "nnz": 88_000,
            "weights": 5_000_000,
            "sparsity": 1 - 88_000 / 5_000_000,
            "provenance": {
                "recipe": "u-ticket",
                "seed": 7,
                "accuracy": {"torch": 0.9213, "integer": 0.9211},
                "float_test_accuracy": 91.5,
                "seconds": 5285,
                "rounds": [{"sparsity": 0.25, "round": 1}, {"sparsity": 0.4, "round": 2}],
                "text": "name = 1\nseed = 2",
                "shipped_predictions": list(range(100)),
                "data set": "Fashion-MNIST",
            },
        },
        "images": IMAGES,
        "bit_exact": True,
        "compared": {"spikes": 11_223_344, "layers": len(layers), "timesteps": TIMESTEPS},
        "accuracy": 0.9,
        "accuracy_interval": [0.5958499732047615, 0.9821237869049271],
        "totals": totals,
        "paper_convention": {
            "work": 41_000_000,
            "idle": 12_000_000,
            "latency": 3_312_500,
            "utilization": {"layer_mean": 0.612, "parameter_weighted": 0.534, "pooled": 0.758},
        },
        "layers": layers,
        "energy": _energy(totals["energy_pj"]),
        "predictions": [
            {
                "index": index,
                "label": int(labels[index]),
                "prediction": int(logits[index].argmax()),
                "logits": logits[index].tolist(),
            }
            for index in range(IMAGES)
        ],
        "mapping": "cost",
        "seconds": {"pack": 0.21, "simulate": 1.75},
        "machine": {"cpu": "a processor", "python": "3.11"},
        "classes": CLASSES,
    }


def _layer(
    rng: np.random.Generator,
    name: str,
    channels: int,
    filters: int,
    side: int,
    pool: int,
    cycles: int,
    share: float,
) -> dict[str, Any]:
    busy = np.minimum(rng.normal(share, 0.06, PES), 0.99).clip(0.01) * cycles
    rest = cycles - busy.astype(np.int64)
    parts = rng.dirichlet((4, 5, 2, 1), PES) * rest[:, None]
    per_pe = dict(zip(STATES[1:], parts.astype(np.int64).T.tolist(), strict=True))
    others = np.array([per_pe[state] for state in STATES[1:]])
    per_pe = {"busy": (cycles - others.sum(axis=0)).tolist(), **per_pe}
    sums = {state: sum(per_pe[state]) for state in STATES}
    matched, added = int(sums["busy"] * 1.3), int(sums["busy"] * 3.1)
    kernel = 1 if name == "fc" else 3
    neurons = filters * (side // pool) ** 2
    return {
        "name": name,
        "shape": {
            "filters": filters,
            "channels": channels,
            "kernel": kernel,
            "stride": 1,
            "height": side,
            "width": side,
            "pool": pool,
        },
        "tile": [min(side, 16), min(side, 16)],
        "filters_per_pass": max(1, min(256 // side**2, filters // PES)),
        "passes": max(1, filters // PES // max(1, 256 // side**2)),
        "chunks": max(1, channels // 128),
        "cycles": cycles,
        **sums,
        "utilization": sums["busy"] / (PES * cycles),
        "matched": matched,
        "bound_cycles": max(matched / ISSUE, added / TIMESTEPS) / PES,
        "dense_cycles": 7.5 * cycles,
        "per_pe": per_pe,
        "words_loaded": int(cycles * rng.uniform(0.05, 0.4)),
        "spikes_in": int(rng.uniform(0.1, 0.3) * channels * side**2 * TIMESTEPS),
        "spikes_out": 0 if name == "fc" else int(rng.uniform(0.1, 0.4) * neurons * TIMESTEPS),
        "accumulations": added,
        "density": float(rng.uniform(0.005, 0.4)),
        "energy_pj": float(cycles * 320),
    }


def _energy(total: float) -> dict[str, Any]:
    weights = np.array([1, 30, 90, 100, 6, 25, 16, 4, 280, 210], dtype=np.float64)
    by_action: dict[str, Any] = {}
    for (name, cost), part in zip(COSTS.items(), total * weights / weights.sum(), strict=True):
        by_action[name] = {
            "count": part / cost,
            "pj_each": cost,
            "pj": part,
            "pj_range": [part / 2 if name == "memory_word" else part, part],
            "unit": "pJ",
            "node": "32 nm",
            "source": f"made up for {name}",
            "note": "a note",
        }
    low = total - by_action["memory_word"]["pj"] / 2
    return {"by_action": by_action, "total_pj": total, "total_pj_range": [low, total]}


def synthetic_pictures(
    report: dict[str, Any], channels: int = 1
) -> list[tuple[npt.NDArray[np.uint8], int | None, int]]:
    """A picture for each prediction, [C, H, W], or [H, W] where `channels` is 0."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:32, 0:32]
    pictures: list[tuple[npt.NDArray[np.uint8], int | None, int]] = []
    for p in report["predictions"]:
        shape = (channels or 1, 1, 1)
        centre, phase = rng.uniform(8, 24, (2, *shape)), rng.uniform(3, 9, shape)
        wave = np.hypot(y - centre[0], x - centre[1])
        pixels = (127 + 127 * np.cos(wave * 2 / phase)).astype(np.uint8)
        pictures.append((pixels if channels else pixels[0], p["label"], p["prediction"]))
    return pictures


def at(data: Data, path: tuple[str | int, ...]) -> Any:
    """What stands at a path of keys and indices."""
    value: Any = data
    for key in path:
        value = value[key]
    return value
