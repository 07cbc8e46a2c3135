"""Own: a user's module as one of the networks that recipes train, prune and export."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from evenspike_core.errors import EvenspikeError
from evenspike_train.lowering import registry
from evenspike_train.networks.base import NetworkConfig, SpikingNetwork, keep, prunable
from evenspike_train.networks.source import construct, file_of, reason

BYTE = 255
"""What a byte of 255 is in the module's input: 1."""


class OwnNetwork(SpikingNetwork):
    """A module of the user's, made of layers with weights and of neurons.

    It takes frames [T, B, C, H, W] with values 0 to 1 and gives logits [T, B, classes]; an image is
    the same frame at each timestep. Of `in_channels`, `classes`, `width`, `timesteps` and `neuron`
    its constructor gets those that it has parameters for. Its neurons are those that import knows:
    ours, SpikingJelly's and snnTorch's, or what is registered. Its convolutions and linear layers
    are pruned; the first convolution of its constructor is taken for the one that sees pixels.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        fields = ("in_channels", "classes", "width", "timesteps", "neuron")
        self.network = construct(config.name, {name: getattr(config, name) for name in fields})
        self._neurons = [one for one in self.network.modules() if registry.find(one) is not None]
        if not self._neurons:
            raise EvenspikeError(f"{config.name}: has no neurons that are known")

    @torch.no_grad()
    def check(self, images: Tensor, timesteps: Iterable[int]) -> None:
        """Try it on some images with each of these T, as the whole data set would come too late.

        Raises EvenspikeError for a forward pass that fails, that gives something else than logits
        of each timestep, or that leaves out neurons or weights.
        """
        idle = dict(prunable(self))
        if not idle:
            raise EvenspikeError(f"{self.config.name}: has no convolution and no linear layer")
        hooks = [
            module.register_forward_hook(lambda *_, name=name: idle.pop(name, None) and None)
            for name, module in idle.items()
        ]
        mode, steps = self.training, self.timesteps
        record: list[Tensor] = []
        try:
            self.eval()
            for self.timesteps in timesteps:
                self(images, record)
        except EvenspikeError:
            raise
        except Exception as error:
            why = reason(error, file_of(self.config.name))
            raise EvenspikeError(f"{self.config.name}: does not run: {why}") from error
        finally:
            self.train(mode)
            self.timesteps = steps
            for hook in hooks:
                hook.remove()
        if idle:
            raise EvenspikeError(
                f"{self.config.name}: its forward pass calls no {', '.join(idle)}; weights of "
                "modules that are not called cannot be pruned"
            )
        if not record:
            raise EvenspikeError(f"{self.config.name}: its forward pass calls no neurons")

    def forward(self, images: Tensor, record: list[Tensor] | None = None) -> Tensor:
        steps = self.timesteps
        like = next(one for one in self.parameters() if one.is_floating_point())
        x = images.to(like.dtype) / BYTE
        if images.dim() == 5:
            if images.shape[1] < steps:
                raise EvenspikeError(f"{images.shape[1]} frames for {steps} timesteps")
            x = x[:, :steps].transpose(0, 1)
        else:
            x = x.unsqueeze(0).expand(steps, *x.shape)
        self._clear()
        hooks = [] if record is None else [self._record(one, record) for one in self._neurons]
        try:
            logits = self.network(x)
        except SystemExit as error:  # it would end a run without a word
            why = reason(error, file_of(self.config.name))
            raise EvenspikeError(f"{self.config.name}: does not run: {why}") from error
        finally:
            self._clear()  # a membrane is no part of the weights that are kept
            for hook in hooks:
                hook.remove()
        shape = (steps, x.shape[1], self.config.classes)
        if not isinstance(logits, Tensor) or tuple(logits.shape) != shape:
            given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            summed = isinstance(logits, Tensor) and tuple(logits.shape) == shape[1:]
            hint = "; stack what the timesteps give (torch.stack) in place of adding it up"
            raise EvenspikeError(
                f"{self.config.name}: gives {given}, not logits of each timestep, {shape}"
                f"{hint if summed or isinstance(logits, (list, tuple)) else ''}"
            )
        return logits

    def _clear(self) -> None:
        """Neurons that keep a state between calls start a batch without one."""
        for one in self._neurons:
            handler = registry.find(one)
            if handler is not None and handler.clear is not None:
                handler.clear(one)

    @staticmethod
    def _record(neurons: nn.Module, record: list[Tensor]) -> Any:
        def hook(_: nn.Module, __: Any, spikes: Any) -> None:
            out = cast("Tensor", spikes[0] if isinstance(spikes, tuple) else spikes)
            rows = out.flatten(0, 1) if out.dim() in (3, 5) else out
            keep(record, rows if rows.dim() == 4 else rows[:, :, None, None])

        return neurons.register_forward_hook(hook)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """None of its own: the layers are named after the module's."""
        return ()
