"""Weights of the form alpha * 2^e become integers that are powers of two.

A layer's scale is a power of two, so that a threshold is rounded as little as may be. In a layer
whose weights all have one mantissa, as ADMM's quantised ones, that would round every weight the
same way and leave none a power of two. Divided by that mantissa, weights, bias, threshold and
membranes together, the neurons spike as they did, and the same scales give +-2^k exactly: a weight
then is a sign and an exponent.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from evenspike_core.program import Readout
from evenspike_train.lowering import FloatLayer, Network


def normalised(network: Network) -> Network:
    """The network with such layers divided by their mantissa; it spikes at the same times."""
    layers = tuple(map(_normalised, network.layers))
    return replace(network, layers=layers)


def _normalised(layer: FloatLayer) -> FloatLayer:
    mantissa = common_mantissa(layer)
    if mantissa == 0.5:  # a power of two already
        return layer
    return replace(
        layer,
        segments=tuple(replace(one, weight=one.weight / mantissa) for one in layer.segments),
        bias=layer.bias / mantissa,
        neuron=replace(layer.neuron, threshold=layer.neuron.threshold / mantissa),
        drives=None if layer.drives is None else layer.drives / mantissa,
    )


def common_mantissa(layer: FloatLayer) -> float:
    """That of all weights of a layer, in [0.5, 1); 0.5 where they differ or it must not change.

    Currents that the host computes, and sums that are read as they are, keep their scale.
    """
    if layer.coding is not None or layer.readout not in (None, Readout.COUNT):
        return 0.5
    found = 0.0
    for segment in layer.segments:
        mantissas = np.abs(np.frexp(segment.weight[segment.weight != 0])[0])
        if not mantissas.size:
            continue
        found = found or float(mantissas[0])
        if (mantissas != found).any():
            return 0.5
    return found or 0.5
