"""The card of a Program: a ticket's scores and how to make it again, or an import's proof."""

from __future__ import annotations

from evenspike_core import published
from evenspike_core.program import Program
from evenspike_core.wilson import wilson
from evenspike_train.lowering.proof import NOT_PROVED

_ROUNDS = (
    "Validation accuracy of a round is that of the weights after its (short) training, on the "
    "first held-out images, with the round's number of timesteps and in the precision of the "
    "training. Evenness is 1 where the filters of every group have as equal work as whole "
    "weights allow."
)


_CURVE = (
    "On the first {:,} held-out images, with the weights as they are on the way, which are not "
    "averaged."
)


def _percent(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2f} %"


def _share(value: float | None) -> str:
    return "none, no weight is left" if value is None else f"{value:.4f}"


def _tested(percent: float, images: int) -> str:
    """An accuracy on so many images, and where that of all images like them is likely to lie."""
    low, high = (100 * end for end in wilson(percent / 100 * images, images))
    return f"{percent:.2f} % ({low:.2f} to {high:.2f} with a confidence of 95 %)"


def _before(program: Program) -> tuple[str, str]:
    """What was there before: the ticket that was trained on, or the dense network."""
    p = program.provenance
    start = p.get("start")
    if start:
        tested = f", {start['accuracy']:.2f} % of the first {start['tested']:,} test images"
        score = tested if start["tested"] else ""
        what = f"`{start['source']}`, {start['sparsity']:.2%} sparse{score}"
        return "trained on from", f"{what}; digest `{start['digest']}`"
    dense = (
        f"{_percent(p['dense_test_accuracy'])} (trained with {p['dense_timesteps']} timesteps, "
        f"measured with {program.timesteps})"
    )
    return "test accuracy before pruning, float32", dense


def _left(program: Program) -> list[tuple[str, str]]:
    """What compression has left of the inner layers, where it was measured (ADMM, Eqs. 16-18)."""
    left = program.provenance.get("residual")
    if not left:
        return []
    shares = ", ".join(f"{left[name]:.2%}" for name in ("r_mem", "r_s", "r_ops"))
    return [
        ("left of memory, spikes, operations", f"R_mem, R_s, R_ops {shares} (inner layers)"),
        ("weights of the inner layers that are not 0", f"{left['living']:.2%}"),
    ]


def _stated(program: Program) -> list[tuple[str, str]]:
    """What the paper states for this network, data set and method, at its full width."""
    p = program.provenance
    key = (p.get("network", ""), p["dataset"], p["method"])
    known = published.ACCURACY.get(key)
    if known is None:
        return []
    wide = "" if p.get("width") == published.FULL_WIDTH else f", at width {published.FULL_WIDTH}"
    return [(f"the paper's test accuracy{wide}", f"{known[0]:.1f} % at {known[1]:.1f} % sparse")]


def _hybrid(program: Program) -> list[tuple[str, str]]:
    """Of a network with learned neurons: its stages, its neurons, and the paper's operations."""
    p = program.provenance.get("hybrid")
    if p is None:
        return []
    counted = p["operations"]
    dense = f"dense with ReLU {counted['macs_dense']:,.0f} MAC"
    converted = p.get("converted_accuracy")
    stages = [] if converted is None else [("converted, before hybrid learning", converted)]
    stages.append(("validation accuracy, leaks rounded", p["rounded_accuracy"]))
    return [
        *((name, _percent(value)) for name, value in stages),
        ("leaks, of 4096", ", ".join(map(str, p["leaks"]))),
        ("thresholds", ", ".join(f"{one:.4g}" for one in p["thresholds"])),
        ("spikes of a neuron, all timesteps", ", ".join(f"{one:.3f}" for one in p["activity"])),
        (
            "operations (AGC, Table V)",
            f"{counted['macs_first']:,.0f} MAC, {counted['acs']:,.0f} AC; {dense}",
        ),
        (
            "energy (AGC, Eq. 15)",
            f"{counted['energy_dense'] / counted['energy']:.1f} times less than dense with ReLU",
        ),
    ]


def card(program: Program) -> str:
    """The Markdown card of a shipped Program, from its provenance alone."""
    p = program.provenance
    rows = [
        ("data set", p["dataset"]),
        ("method", f"{p['method']}, seed {p['seed']}"),
        (
            "weights",
            f"{program.nnz:,} of {program.weights:,} alive ({program.sparsity:.2%} sparse)",
        ),
        *_left(program),
        (f"utilization (weights, layer mean, {p['pes']} PEs)", _share(p["utilization"])),
        ("test images", f"the first {p['test_images']:,} of the test set"),
        ("test accuracy, integers", _tested(p["integer_test_accuracy"], p["test_images"])),
        *_stated(program),
        ("test accuracy, float32", _percent(p["float_test_accuracy"])),
        ("validation accuracy", _percent(p["validation_accuracy"])),
        _before(program),
        ("firing rate", f"{p['firing_rate']:.4f} spikes per neuron and timestep (float, test)"),
        ("timesteps", str(program.timesteps)),
        *_hybrid(program),
        ("training", f"{p['images_seen']:,} images passed in {p['seconds'] / 60:.0f} minutes"),
        ("weights rounded to zero", str(p["weights_rounded_to_zero"])),
        ("made", f"{p['date']}, evenspike {p['version']}, torch {p['torch']}, {p['machine']}"),
        ("digest", f"`{program.digest()}`"),
    ]
    lines = [f"# {program.name}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in rows]
    lines += ["", "```", p["command"], "```", ""]
    if p["notes"]:
        lines += [p["notes"], ""]
    if p["rounds"]:
        lines += ["## Rounds", "", "| round | sparsity | evenness | validation accuracy |"]
        lines += ["|---|---|---|---|"]
        for entry in p["rounds"]:
            score = entry["validation_accuracy"]
            lines.append(
                f"| {entry['round']} | {entry['sparsity']:.2%} | {entry['evenness']:.4f} | "
                f"{'see above' if score is None else f'{score:.1f} %'} |"
            )
        lines += [
            "",
            _ROUNDS,
            "",
        ]
    if p.get("curve"):
        lines += ["## The final phase", "", "| images passed | validation accuracy |", "|---|---|"]
        lines += [f"| {passed:,} | {score:.1f} % |" for passed, score in p["curve"]]
        lines += ["", _CURVE.format(p["curve_images"]), ""]
    if p.get("proof"):  # tickets of earlier versions keep none
        lines += _proof_lines(p["proof"])
    lines += ["## Recipe", "", "```toml", p["recipe"].rstrip(), "```", ""]
    return "\n".join(lines)


def import_card(program: Program, proof: str) -> str:
    """The Markdown card of a Program that was imported, with the table of its proof."""
    p = program.provenance
    encoder, last = program.encoder, program.layers[-1]
    rows = [
        ("source", f"`{p['source']}`"),
        ("examples", p["dataset"] or "given"),
        ("input", f"{' x '.join(map(str, program.shape))} bytes, {encoder.coding} coding"),
        ("timesteps", str(program.timesteps)),
        ("layers", str(len(program.layers))),
        ("read-out", f"{last.readout} of {program.classes} classes"),
        (
            "weights",
            f"{program.nnz:,} of {program.weights:,} alive ({program.sparsity:.2%} sparse)",
        ),
        ("weights rounded to zero", str(p["weights_rounded_to_zero"])),
        ("digest", f"`{program.digest()}`"),
    ]
    lines = [f"# {program.name}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in rows]
    return "\n".join([*lines, "", *_proof_lines(proof)])


def _proof_lines(proof: str) -> list[str]:
    """The section about a proof's table; what it leaves open stands in front of that."""
    open_ = proof.splitlines()[-1]
    return [
        "## The integers beside the network",
        "",
        "Each layer is judged on the network's own spikes of the layer before.",
        "",
        *([f"**{open_}.**", ""] if open_.startswith(NOT_PROVED) else []),
        "```",
        proof,
        "```",
        "",
    ]
