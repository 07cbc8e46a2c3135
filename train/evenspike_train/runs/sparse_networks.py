"""VGG-16 and ResNet-19 computed from their living weights alone, on a CPU.

Parameters, masks, batch-norm statistics and the optimiser are those of the ordinary model, so the
two can be exchanged between steps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor

from evenspike_train.networks import VGG16, ConvNorm, ResNet19, SpikingNetwork, twin
from evenspike_train.networks.resnet19 import BasicBlock
from evenspike_train.runs.sparse_cpu import MapLIF, Structure, convolve
from evenspike_train.tickets import masks as weight_masks

Network = TypeVar("Network", bound=SpikingNetwork)


class SparseForward(ABC, Generic[Network]):
    """Callable in place of the model: what the model takes -> logits [T, B, classes].

    The masks are read when it is made; make a new one when they change. Raises ValueError for a
    network that it cannot compute (`missing`).
    """

    def __init__(self, model: Network) -> None:
        if why := missing(model):
            raise ValueError(f"sparse kernels: {why}")
        self.model, self.neuron = model, model.config.neuron
        self.weights = weight_masks.originals(model)
        masks = weight_masks.read(model)
        self.structures = {
            name: Structure(mask.cpu()) for name, mask in masks.items() if mask.dim() == 4
        }
        self.names = {module: name for name, module in model.named_modules()}

    @abstractmethod
    def __call__(self, images: Tensor) -> Tensor:
        """What the model takes -> logits [T, B, classes]."""

    def pixels(self, images: Tensor, layer: ConvNorm) -> Tensor:
        """Current of the first layer, [H, W, F, N]: too little work to matter.

        Of an image it is computed once for all timesteps.
        """
        current = self.model.drive(images, layer).to(torch.bfloat16)
        if current.dim() == 4:
            # T behind the transposition: its gradient is a sum along memory, not across.
            time = (-1, -1, -1, self.model.timesteps, -1)
            maps = current.permute(2, 3, 1, 0).contiguous().unsqueeze(3).expand(time)
        else:
            maps = current.permute(3, 4, 2, 0, 1)
        return maps.flatten(3)

    def current(self, x: Tensor, layer: ConvNorm) -> Tensor:
        """Spikes [H, W, C, N] -> current [H', W', F, N] of a convolution and its batch norm."""
        conv = layer.conv
        name = self.names[conv]
        bias = torch.zeros(conv.out_channels) if conv.bias is None else conv.bias
        stride = conv.stride[0]
        if stride > 1 and conv.kernel_size == (1, 1):
            x = x[::stride, ::stride]
        maps = convolve(x, self.weights[name], bias, self.structures[name])
        if stride > 1 and conv.kernel_size != (1, 1):
            # Few layers have a stride, and their weights are few, too.
            maps = maps[::stride, ::stride].contiguous()
        # [H*W, C, N, 1]: a batch of H*W maps to the norm, with no copy.
        normed: Tensor = layer.norm(maps.flatten(0, 1).unsqueeze(3)).view(maps.shape)
        return normed

    def spikes(self, current: Tensor) -> Tensor:
        """Current [H, W, F, N] -> spikes of the same shape."""
        rows = current.reshape(-1, self.model.timesteps, current.shape[-1] // self.model.timesteps)
        fired: Tensor = MapLIF.apply(rows, self.neuron)
        return fired.view(current.shape)

    def read_out(self, features: Tensor) -> Tensor:
        """Features [N, C] -> logits [T, B, classes]."""
        # Where nothing is cast on the way, the read-out is float32 as all dense layers are.
        read_out = self.model.classifier
        logits: Tensor = read_out(features.to(read_out.bias.dtype))
        return logits.unflatten(0, (self.model.timesteps, -1))


class SparseVGG16(SparseForward[VGG16]):
    """See `SparseForward`."""

    def __call__(self, images: Tensor) -> Tensor:
        x = images
        for index, layer in enumerate(self.model.blocks()):
            current = self.current(x, layer) if index else self.pixels(x, layer)
            x = self.spikes(current)
            if layer.pool is not None:
                # [1, C*N, H, W] with C*N innermost is channels-last to the pooling.
                planes = x.flatten(2).unsqueeze(0).permute(0, 3, 1, 2)
                pooled = layer.pool(planes).permute(0, 2, 3, 1).squeeze(0)
                x = pooled.unflatten(2, x.shape[2:])
        return self.read_out(x.flatten(0, 2).T)


class SparseResNet19(SparseForward[ResNet19]):
    """See `SparseForward`."""

    def __call__(self, images: Tensor) -> Tensor:
        model = self.model
        x = self.spikes(self.pixels(images, model.stem))
        for block in cast("list[BasicBlock]", list(model.blocks)):
            x = self._block(x, block)
        hidden = model.fc1(x.to(model.fc1.bias.dtype).mean((0, 1)).T)
        spikes = model.lif(hidden.unflatten(0, (model.timesteps, -1))).flatten(0, 1)
        return self.read_out(spikes)

    def _block(self, x: Tensor, block: BasicBlock) -> Tensor:
        inner = self.spikes(self.current(x, block.first))
        beside = x if block.shortcut is None else self.current(x, block.shortcut)
        return self.spikes(self.current(inner, block.second) + beside)


_KNOWN: dict[type[SpikingNetwork], type[SparseForward[Any]]] = {
    VGG16: SparseVGG16,
    ResNet19: SparseResNet19,
}


def missing(model: SpikingNetwork) -> str:
    """What the sparse kernels lack for a network, in words; empty where they compute it."""
    neuron = model.config.neuron
    if type(model) not in _KNOWN:
        return f"{model.config.name} has no sparse kernels"
    if twin.is_twin(model):
        return "the sparse kernels have no ReLU"
    if not neuron.detach_reset:
        return "the sparse kernels detach the reset"
    if neuron.surrogate != "arctan":
        return f"the sparse kernels have no {neuron.surrogate}"
    if model.norm_parts > 1:
        return "the sparse kernels have no batch norm per timestep"
    return ""


def sparse_forward(model: SpikingNetwork) -> SparseForward[Any]:
    """The sparse forward pass of a network; raises ValueError as `SparseForward` says."""
    return _KNOWN.get(type(model), SparseVGG16)(model)
