"""Any feed-forward spiking network of torch, brought into the form that becomes a Program."""

from __future__ import annotations

from evenspike_train.lowering.importing import import_network
from evenspike_train.lowering.network import FloatLayer, Network
from evenspike_train.lowering.neurons import NeuronModel, Reset
from evenspike_train.lowering.nir_graph import import_nir
from evenspike_train.lowering.registry import register
from evenspike_train.lowering.segments import FloatSegment

__all__ = [
    "FloatLayer",
    "FloatSegment",
    "Network",
    "NeuronModel",
    "Reset",
    "import_network",
    "import_nir",
    "register",
]
