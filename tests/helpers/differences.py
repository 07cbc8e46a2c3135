"""Where the cycle model and the RTL part, at any speed of the memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from evenspike.flows import locate
from evenspike.flows.outcome import model_statement
from evenspike_core.compare import Divergence, first_divergence
from evenspike_core.counters import LayerStatement
from evenspike_core.pack import Packed
from evenspike_hw.engine.results import LayerTrace
from evenspike_sim.accelerator import LayerRun


def difference(
    packed: Packed, runs: Sequence[LayerRun], traces: Sequence[LayerTrace], *, stalls: bool
) -> Divergence | None:
    """The first of one inference. stalls: the memory did, so what depends on its speed is left out.

    What is left are spikes, logits, overflow flags and, where one weight issues a cycle, busy
    cycles: of two weights in lanes of their own it is the cycle they issue in that says whether
    their PE is busy once or twice. (The accelerator's bench has stalls, too, and compares what each
    PE does in every cycle.)
    """
    if not stalls:
        return locate.difference(packed, runs, traces)
    return first_divergence(
        [_timeless(packed, model_statement(run)) for run in runs],
        [_timeless(packed, locate.rtl_statement(trace)) for trace in traces],
        locate.NAMES,
    )


def _timeless(packed: Packed, result: LayerStatement) -> LayerStatement:
    busy = {"busy"} if packed.arch.issue == 1 else set()
    kept = {k: v for k, v in result.counters.items() if k in busy or k.endswith("overflow")}
    return replace(result, cycles=0, counters=kept)
