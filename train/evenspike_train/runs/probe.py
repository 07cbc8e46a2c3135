"""Measurements of a pruning method on the network: saliency, and what a weight costs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from evenspike_core.progress import Progress, silent
from evenspike_train import networks
from evenspike_train.data import Split
from evenspike_train.runs.optimizer import loss_of
from evenspike_train.tickets import Probe, WeightWork
from evenspike_train.tickets import masks as weight_masks

PROBE_IMAGES = 256
"""Training images over which activity and predictions are measured."""

_BATCH = 64


class NetworkProbe(Probe):
    """Measures a network on images of the training set, and leaves it as it was.

    Parameters
    ----------
    model : with masks attached.
    timesteps : to measure with; a search may be running with fewer.
    images, order : the training images, and the order in which they are used.
    progress : is told how many of them have been looked at.
    kind : of the loss, as the recipe names it.
    """

    def __init__(
        self,
        model: networks.SpikingNetwork,
        timesteps: int,
        images: Split,
        order: Tensor,
        progress: Progress = silent,
        kind: str = "cross-entropy",
    ) -> None:
        self.model, self.timesteps, self.images, self.order = model, timesteps, images, order
        self.progress, self.kind = progress, kind
        self._work: dict[str, WeightWork] | None = None

    def _batches(self, count: int, what: str) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Pixels and labels of the first `count` images, a batch at a time, and how many in all."""
        index = self.order[:count]
        chosen = Split(self.images.images[index], self.images.labels[index])
        for number, (pixels, labels) in enumerate(chosen.batches(_BATCH)):
            self.progress(what, number * _BATCH, len(chosen))
            yield pixels, labels, len(chosen)

    @contextmanager
    def _borrowed(self, training: bool) -> Iterator[None]:
        model = self.model
        mode, timesteps = model.training, model.timesteps
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        model.train(training)
        model.timesteps = self.timesteps
        try:
            yield
        finally:
            model.train(mode)
            model.timesteps = timesteps
            for name, buffer in model.named_buffers():  # batch norm's running statistics
                buffer.copy_(buffers[name])
            model.zero_grad(set_to_none=True)

    def saliency(self, images: int) -> dict[str, Tensor]:
        """|dL/dw * w| of every prunable weight, by layer, over so many images.

        In training mode, as the network is about to be trained: batch norm has no statistics yet.
        """
        originals = weight_masks.originals(self.model)
        with self._borrowed(training=True), torch.enable_grad():
            for pixels, labels, total in self._batches(images, "saliency"):
                loss = loss_of(self.kind, self.model(pixels), labels)
                (loss * (len(labels) / total)).backward()
            return {
                name: (weight * _gradient(weight)).detach().abs()
                for name, weight in originals.items()
            }

    @torch.no_grad()
    def logits(self) -> Tensor:
        """Return the logits of the network as it would be used, [T, images, classes]."""
        with self._borrowed(training=False):
            batches = self._batches(PROBE_IMAGES, "divergence of the timesteps")
            return torch.cat([self.model(pixels).float() for pixels, *_ in batches], dim=1)

    def weight_work(self) -> dict[str, WeightWork]:
        """Work of the weights of each convolution after the first, which reads pixels.

        A window for each image, one row of the input further down with each. Measured once.
        """
        if self._work is None:
            self._work = self._weight_work()
        return self._work

    @torch.no_grad()
    def _weight_work(self) -> dict[str, WeightWork]:
        totals: dict[str, Tensor] = {}
        windows: dict[str, list[Tensor]] = {}
        seen: dict[str, Tensor] = {}  # whether a neuron of the batch spikes at all, [B, C, H, W]
        images = 0  # of the batch

        def watch(name: str, module: nn.Conv2d) -> torch.utils.hooks.RemovableHandle:
            def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                # A call brings all timesteps, or one of them.
                spikes = inputs[0].unflatten(0, (-1, images)).amax(0) > 0
                seen[name] = spikes | seen[name] if name in seen else spikes

            return module.register_forward_pre_hook(look)

        convolutions = {
            name: module
            for name, module in networks.prunable(self.model)
            if isinstance(module, nn.Conv2d)
        }
        spiking = dict(list(convolutions.items())[1:])
        hooks = [watch(name, module) for name, module in spiking.items()]
        try:
            with self._borrowed(training=False):
                for pixels, *_ in self._batches(PROBE_IMAGES, "activity of the channels"):
                    images = len(pixels)
                    self.model(pixels)
                    for name, module in spiking.items():
                        active = seen.pop(name).double()
                        totals[name] = totals.get(name, 0.0) + active.sum(0)
                        known = windows.setdefault(name, [])
                        known.append(_window_work(active, sum(map(len, known)), module))
        finally:
            for hook in hooks:
                hook.remove()
        total = min(PROBE_IMAGES, len(self.order))
        return {
            name: WeightWork(_reached(totals[name] / total, module), torch.cat(windows[name]))
            for name, module in spiking.items()
        }


def _gradient(weight: Tensor) -> Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.grad


def _padding(module: nn.Conv2d) -> tuple[int, int, int, int]:
    """Zeros (left, right, above, below) that a convolution adds to its input."""
    if isinstance(module.padding, str):
        total = [0, 0]
        if module.padding == "same":
            total = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        (above, below), (left, right) = ((n // 2, n - n // 2) for n in total)
        return left, right, above, below
    rows, columns = cast("tuple[int, int]", module.padding)
    return columns, columns, rows, rows


def _of_weights(work: Tensor, module: nn.Conv2d) -> Tensor:
    """Work by channel, [..., C, K, K], as a filter's weights have it, [..., C / groups, K, K].

    Groups of a convolution share one figure, the mean.
    """
    return work.unflatten(-3, (module.groups, -1)).mean(-4)


def _reached(active: Tensor, module: nn.Conv2d) -> Tensor:
    """Active neurons that meet a weight, [C, K, K]; `active` is their share by place, [C, H, W]."""
    columns = functional.unfold(
        functional.pad(active, _padding(module))[None],
        kernel_size=module.kernel_size,
        dilation=module.dilation,
        stride=module.stride,
    )
    return _of_weights(columns[0].sum(1).view(active.shape[0], *module.kernel_size), module)


def _window_work(active: Tensor, first: int, module: nn.Conv2d) -> Tensor:
    """Active neurons of one row that meet each weight, [B, C, K, K]; `active` is [B, C, H, W].

    Image b gives its row `first` + b, counted around.
    """
    batch, channels, height, _ = active.shape
    left, right, above, below = _padding(module)
    row = (first + torch.arange(batch, device=active.device)) % height
    line = active[torch.arange(batch, device=active.device), :, row].unsqueeze(2)
    across = functional.unfold(
        functional.pad(line, (left, right)),
        kernel_size=(1, module.kernel_size[1]),
        dilation=(1, module.dilation[1]),
        stride=(1, module.stride[1]),
    )
    columns = across.sum(2).view(batch, channels, 1, module.kernel_size[1])
    rows = torch.eye(height, device=active.device, dtype=active.dtype)[row]  # where the row is
    down = functional.unfold(
        functional.pad(rows.view(batch, 1, height, 1), (0, 0, above, below)),
        kernel_size=(module.kernel_size[0], 1),
        dilation=(module.dilation[0], 1),
        stride=(module.stride[0], 1),
    )
    work = columns * down.sum(2).view(batch, 1, module.kernel_size[0], 1)
    return _of_weights(work, module)
