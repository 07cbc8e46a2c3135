"""The neurons of evenspike, SpikingJelly and snnTorch in the registry."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from evenspike_core.errors import EvenspikeError
from evenspike_train.kernels.learned_neuron import LearnedLIF
from evenspike_train.kernels.neuron import LIF
from evenspike_train.lowering.neurons import NeuronModel, Reset
from evenspike_train.lowering.registry import refuse, register, scalar

# ---- ours -------------------------------------------------------------------------------------


def _ours(module: LIF, _: str) -> NeuronModel:
    p = module.neuron
    return NeuronModel(p.leak, p.threshold, p.gain, reset=Reset(p.reset))


def _learned(module: LearnedLIF, where: str) -> NeuronModel:
    if module.rectifies:
        raise EvenspikeError(f"{where}: it is set to rectify: a rectifier gives no spikes")
    p = module.values()
    return NeuronModel(p.leak, p.threshold, p.gain, reset=Reset(p.reset))


register(LIF, _ours)
register(LearnedLIF, _learned)

# ---- SpikingJelly -----------------------------------------------------------------------------
# The membrane leaks towards v_reset and starts there, so v - v_reset is the membrane of this
# package, and the threshold is that much lower.

_JELLY = "spikingjelly.activation_based.neuron"


def _jelly_reset(module: Any) -> tuple[Reset, float]:
    if module.v_reset is None:
        return Reset.SOFT, 0.0
    return Reset.HARD, float(module.v_reset)


def _jelly(module: Any, where: str, leak: float, gain: float) -> NeuronModel:
    reset, base = _jelly_reset(module)
    threshold = scalar(module.v_threshold, where, "v_threshold") - base
    return NeuronModel(leak, threshold, gain, reset=reset)


def _jelly_lif(module: Any, where: str) -> NeuronModel:
    tau = scalar(module.tau, where, "tau")
    if not tau >= 1.0:
        raise EvenspikeError(f"{where}: tau {tau:.4g}; one of at least 1 is possible")
    share = 1.0 / tau
    return _jelly(module, where, 1.0 - share, share if module.decay_input else 1.0)


def _jelly_plif(module: Any, where: str) -> NeuronModel:
    share = scalar(module.w.detach().double().sigmoid(), where, "w")
    return _jelly(module, where, 1.0 - share, share if module.decay_input else 1.0)


def _jelly_if(module: Any, where: str) -> NeuronModel:
    return _jelly(module, where, 1.0, 1.0)


def _jelly_steps(module: Any) -> bool:
    return bool(module.step_mode == "m")


def _jelly_clear(module: Any) -> None:
    module.reset()


def _jelly_membrane(module: Any) -> Tensor | None:
    # After a soft reset it is lower than the machine's by the threshold.
    if module.v_reset is None or float(module.v_reset) != 0.0:
        return None
    return module.v if isinstance(module.v, Tensor) else None


for _kind, _describe in (
    ("lif.LIFNode", _jelly_lif),
    ("lif.SimpleLIFNode", _jelly_lif),
    ("plif.ParametricLIFNode", _jelly_plif),
    ("integrate_and_fire.IFNode", _jelly_if),
    ("integrate_and_fire.SimpleIFNode", _jelly_if),
):
    register(
        f"{_JELLY}.{_kind}",
        _describe,
        steps=_jelly_steps,
        clear=_jelly_clear,
        membrane=_jelly_membrane,
    )
refuse(
    f"{_JELLY}.base_node.BaseNode",
    "these neurons have no integer form; LIFNode, ParametricLIFNode and IFNode have one",
)
refuse(
    "spikingjelly.activation_based.base.MemoryModule",
    "it carries a state of its own from timestep to timestep; only LIFNode, ParametricLIFNode and "
    "IFNode may",
)
refuse(
    "spikingjelly.activation_based.encoding.PoissonEncoder",
    'it draws spikes inside the network; take it out, and ask for encoder="rate"',
)

# ---- snnTorch ---------------------------------------------------------------------------------

_SNN = "snntorch._neurons"


def _snn_leaky(module: Any, where: str) -> NeuronModel:
    if bool(module.inhibition):
        raise EvenspikeError(
            f"{where}: inhibition=True silences all neurons but one, which no neuron of the "
            "machine can see; train without"
        )
    if module.state_quant:
        raise EvenspikeError(
            f"{where}: state_quant rounds the membrane by itself; the integers have their own "
            "rounding, so import the network without"
        )
    graded = scalar(module.graded_spikes_factor, where, "graded_spikes_factor")
    if graded != 1.0:
        raise EvenspikeError(
            f"{where}: graded_spikes_factor is {graded}; a spike is 0 or 1, so put the factor into "
            "the weights behind"
        )
    resets = {"zero": Reset.HARD, "none": Reset.NONE}
    soft = Reset.DELAYED if module.reset_delay else Reset.SOFT
    return NeuronModel(
        min(max(scalar(module.beta, where, "beta"), 0.0), 1.0),  # as the module clamps it
        scalar(module.threshold, where, "threshold"),
        strict=True,
        reset=resets.get(module.reset_mechanism, soft),
    )


def _snn_clear(module: Any) -> None:
    module.mem = torch.zeros(0, device=module.mem.device)


def _snn_membrane_is_ours(module: Any) -> bool:
    """Whether what the module calls its membrane is v: before the subtraction, after the zero."""
    late = bool(module.reset_delay)
    return {"zero": not late, "none": True}.get(module.reset_mechanism, late)


def _snn_membrane(module: Any) -> Tensor | None:
    return module.mem if _snn_membrane_is_ours(module) else None


register(f"{_SNN}.leaky.Leaky", _snn_leaky, steps=False, clear=_snn_clear, membrane=_snn_membrane)
for _kind, _reason in (
    ("rleaky.RLeaky", "its spikes come back to its own layer: recurrence"),
    ("rsynaptic.RSynaptic", "its spikes come back to its own layer: recurrence"),
    ("slstm.SLSTM", "an LSTM is recurrent"),
    ("sconv2dlstm.SConv2dLSTM", "an LSTM is recurrent"),
    ("synaptic.Synaptic", "its current decays by itself, a second state for each neuron"),
    ("alpha.Alpha", "its currents decay by themselves, further states for each neuron"),
):
    refuse(f"{_SNN}.{_kind}", f"{_reason}; feed-forward Leaky neurons are possible")
refuse(
    f"{_SNN}.neurons.SpikingNeuron", "these neurons have no integer form; snntorch.Leaky has one"
)

# ---- sinabs -----------------------------------------------------------------------------------

refuse(
    "sinabs.layers.stateful_layer.StatefulLayer",
    "its neurons send several spikes in a timestep by default; the machine's send one at most. "
    "Register the layer (evenspike_train.lowering.register) where it has SingleSpike",
)

# ---- what torch has and the machine has not ---------------------------------------------------

for _kind, _reason in (
    ("rnn.RNNBase", "recurrent; feed-forward networks are possible"),
    ("rnn.RNNCellBase", "recurrent; feed-forward networks are possible"),
    ("activation.MultiheadAttention", "attention multiplies activations with each other"),
    ("normalization.GroupNorm", "its statistics come from the activations; use BatchNorm2d"),
    ("normalization.LayerNorm", "its statistics come from the activations; use BatchNorm2d"),
    ("normalization.RMSNorm", "its statistics come from the activations; use BatchNorm2d"),
    ("normalization.LocalResponseNorm", "its divisor comes from the activations; use BatchNorm2d"),
    ("instancenorm._InstanceNorm", "its statistics come from the activations; use BatchNorm2d"),
    ("conv._ConvTransposeNd", "a transposed convolution has no form as a convolution of spikes"),
    ("activation.ReLU", "a rectifier gives no spikes; put neurons in its place"),
    ("activation.Sigmoid", "a sigmoid gives no spikes; put neurons in its place"),
    ("activation.Tanh", "a tanh gives no spikes; put neurons in its place"),
    ("activation.GELU", "a GELU gives no spikes; put neurons in its place"),
    ("activation.SiLU", "a SiLU gives no spikes; put neurons in its place"),
    ("activation.LeakyReLU", "a rectifier gives no spikes; put neurons in its place"),
    ("upsampling.Upsample", "a larger map than the spikes' is not possible"),
):
    refuse(f"torch.nn.modules.{_kind}", _reason)
