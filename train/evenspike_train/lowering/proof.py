"""Proof: the module and the integers on the same inputs, layer by layer.

Each layer is judged on right inputs: the spikes that the module itself gave in the layer before.
Errors that are carried on multiply, and would say nothing about the layer in which they are seen.

Of the bits in which the module or the integers spike, at most `LIMIT` may differ; a single bit may
where at least ten spike, of a hundred or more in all. Bits in which both are silent count for
nothing: a layer that loses all of its spikes differs in 100 %, however seldom it fires. Filters
that never fire are judged by their drives: none may be off by more than a tenth of the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from evenspike_core import reference
from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import pack_masks
from evenspike_core.program import Program
from evenspike_train.lowering.causes import cause_of
from evenspike_train.lowering.judging import (
    FAR,
    coarse,
    encoded,
    judge_output,
    judge_spikes,
    run_layer,
)
from evenspike_train.lowering.network import Network

LIMIT = 0.01
"""Largest share of a layer's spikes that may differ; `benchmarks.imports` says how many do."""

NOT_PROVED = "NOT PROVED"
"""How the line about layers that never spike begins."""

_SINGLE = 10
"""Spikes among which a single one may differ."""


@dataclass(frozen=True)
class LayerProof:
    """What rounding did to one layer.

    spikes: that the module gave. bits: of all neurons and timesteps; 0 of a read-out without.
    either: bits in which the module or the integers spike; of a read-out without spikes, outputs.
    wrong: of these, those that differ; of a read-out without spikes, those that are off by more
        than a hundredth of the largest output, weight or bias of their class.
    overflow: whether an accumulator or membrane saturated.
    lost, living: weights that became zero, of those that live.
    error: largest difference of a drive, in thresholds; of a read-out, in its largest output.
    filter: the one with most that differ, -1 for none. cause: in words, where it is too much.
    weight_bits: of its widest segment in the weight stream; 0 of an encoder.
    coarse: how far off rounding puts the drives of the worst filter, `coarsest`: in thresholds, or
        in its largest drive where that is larger.
    """

    name: str
    spikes: int
    bits: int
    either: int
    wrong: int
    overflow: bool
    lost: int
    living: int
    error: float
    filter: int
    cause: str = ""
    coarse: float = 0.0
    coarsest: int = -1
    weight_bits: int = 0

    @property
    def different(self) -> float:
        """Share of the spikes, or outputs, that differ."""
        return self.wrong / self.either if self.either else 0.0

    def beyond(self, limit: float) -> bool:
        """Whether more differs than a limit allows."""
        return self.differs(limit) or self.ruined(limit)

    def differs(self, limit: float) -> bool:
        """Whether more spikes, or outputs, differ than a limit allows."""
        if self.wrong == 1 and self.either >= _SINGLE and limit * self.bits >= 1:
            return False
        return self.different > limit

    def ruined(self, limit: float) -> bool:
        """Whether drives are further off than `FAR`, or ten times a limit that is higher."""
        return limit < 1 and self.coarse > max(FAR, 10 * limit)


@dataclass(frozen=True)
class Proof:
    """What rounding did to a network, on `images` examples.

    changed: how many of them got another class from the integers alone, from layer to layer.
    """

    name: str
    images: int
    layers: tuple[LayerProof, ...]
    changed: int
    limit: float

    def __str__(self) -> str:
        rows = [
            (
                "layer",
                "weights",
                "spikes",
                "differ",
                "share",
                "largest error",
                "weights to zero",
                "saturated",
            )
        ]
        rows += [
            (
                one.name,
                f"{one.weight_bits} bits" if one.weight_bits else "-",
                f"{one.spikes:,}" if one.bits else "-",
                f"{one.wrong:,}",
                f"{one.different:.4%}",
                f"{one.error:.2g}",
                f"{one.lost:,} of {one.living:,}",
                "yes" if one.overflow else "no",
            )
            for one in self.layers
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(
                text.ljust(width) if i == 0 else text.rjust(width)
                for i, (text, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        lines.append(f"{self.changed} of {self.images} examples get another class")
        if self.warning:
            lines.append(self.warning)
        return "\n".join(lines)

    @property
    def silent(self) -> tuple[str, ...]:
        """Names of the layers whose neurons never spike on the examples."""
        return tuple(one.name for one in self.layers if one.bits and not one.spikes)

    @property
    def dead(self) -> bool:
        """Whether no neuron behind the encoder spikes; of an encoder alone, whether that does."""
        behind = [one for one in self.layers[1:] if one.bits] or self.layers[:1]
        return all(one.name in self.silent for one in behind)

    @property
    def warning(self) -> str:
        """What the examples leave unproved, in words; empty where every layer spikes."""
        if not self.silent:
            return ""
        return (
            f"{NOT_PROVED}: {', '.join(self.silent)} never spike{'s' * (len(self.silent) == 1)} on "
            "these examples, so their neurons, and the weights of what reads them, were not tried"
        )

    def check(self, *, may_be_silent: bool = False) -> None:
        """Raise EvenspikeError, naming layer, filter and cause, where a layer differs too much.

        Also where nothing spikes behind the encoder, unless it may be silent or the limit is 1:
        then the examples have compared zeros with zeros.
        """
        for one in self.layers:
            if one.differs(self.limit):
                what = "spikes" if one.bits else "outputs"
                raise EvenspikeError(
                    f"{self.name}: layer {one.name}: the integers differ from the module in "
                    f"{one.wrong:,} of {one.either:,} {what}, {one.different:.2%} (limit "
                    f"{self.limit:.2%}), most in filter {one.filter}: {one.cause}"
                )
            if one.ruined(self.limit):
                raise EvenspikeError(
                    f"{self.name}: layer {one.name}: rounding puts the drives of filter "
                    f"{one.coarsest} off by {one.coarse:.0%} of the threshold, or of its largest "
                    f"(limit {max(FAR, 10 * self.limit):.0%}): {one.cause}"
                )
        if self.dead and not may_be_silent and self.limit < 1:
            raise EvenspikeError(
                f"{self.name}: no neuron of {', '.join(self.silent)} ever spikes on the examples, "
                "which proves nothing; give examples on which it fires (a limit of 100 % takes it "
                "as it is)"
            )


def prove(
    network: Network,
    program: Program,
    exponents: dict[str, int],
    lost: dict[str, int],
    limit: float = LIMIT,
) -> Proof:
    """Run the Program's layers on the module's own spikes, and say what differs.

    exponents, lost: of each layer, as `quantise` gives them.
    """
    masks = [
        None
        if layer.spikes is None
        else [pack_masks(one) for one in np.moveaxis(layer.spikes, 1, 0)]
        for layer in network.layers
    ]
    found = []
    for index, (layer, integers) in enumerate(zip(network.layers, program.layers, strict=True)):
        living = sum(int(segment.mask.sum()) for segment in layer.segments)
        exponent, gone = exponents[layer.name], lost[layer.name]
        if integers.host:
            spikes, drives, overflow = encoded(network, program)
            logits = None
        else:
            spikes, drives, overflow, logits = run_layer(network, program, index, masks)
        if logits is not None:
            judged = judge_output(network, layer, integers, logits, exponent)
        else:
            judged = judge_spikes(layer, spikes, drives, exponent)
        off, coarsest = (0.0, -1) if drives is None else coarse(network, index, drives, exponent)
        one = LayerProof(
            layer.name,
            judged.spikes,
            judged.bits,
            judged.either,
            judged.wrong,
            overflow,
            gone,
            living,
            judged.error,
            judged.filter,
            coarse=off,
            coarsest=coarsest,
            weight_bits=0 if integers.host else max(map(integers.stream_bits, integers.segments)),
        )
        if one.beyond(limit):
            cause = cause_of(network, index, integers, exponent, one)
            one = replace(one, cause=cause)
        found.append(one)
    changed = 0
    for pixels, outputs in zip(network.inputs, network.outputs, strict=True):
        changed += reference.run(program, pixels).prediction != int(outputs.argmax())
    return Proof(program.name, len(network.inputs), tuple(found), changed, limit)
